"""The answer for a slide: shares, ties, slides of one tile, all-normal slides, fitted rules, refused input."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from medvlp.errors import ConfigError, DataError
from medvlp.metrics.overlap import dice
from medvlp.zeroshot.slide import (
    METHODS,
    SlideRule,
    fit_rule,
    fit_segmentation,
    score_slide,
    segmentation,
    tile_values,
)
from medvlp.zeroshot.slide_pooling import segment, tile_cosines

NORMAL = 2


def slide(*counts: int, high: float = 0.5) -> np.ndarray:
    """Tiles that clearly show one class each: so many of each class, in class order."""
    rows = [np.eye(len(counts))[k] * high for k, count in enumerate(counts) for _ in range(count)]
    return np.stack(rows)


def test_the_most_frequent_class_that_is_not_normal_wins() -> None:
    found = score_slide(slide(1, 2, 7), SlideRule(), NORMAL)
    assert found.decision == 1
    assert found.score_K.tolist() == [0.1, 0.2, 0.7]
    assert found.tumour_score == pytest.approx(0.3)
    assert not found.tie


def test_with_normal_the_most_frequent_class_of_all_wins() -> None:
    assert score_slide(slide(1, 2, 7), SlideRule(method="ratio_with_normal"), NORMAL).decision == NORMAL


@pytest.mark.parametrize("method", METHODS)
def test_a_slide_without_a_tumour_tile_is_normal(method) -> None:
    found = score_slide(slide(0, 0, 5), SlideRule(method=method), NORMAL)
    assert found.decision == NORMAL
    assert found.tumour_score <= 0


def test_the_published_rule_answers_the_first_class_there() -> None:
    assert score_slide(slide(0, 0, 5), SlideRule(compat="keep"), NORMAL).decision == 0
    assert score_slide(slide(1, 2, 7), SlideRule(compat="keep"), NORMAL).decision == 1


def test_a_tie_goes_to_the_larger_mean_then_to_the_first() -> None:
    even = score_slide(slide(3, 3, 1), SlideRule(), NORMAL)
    assert even.decision == 0
    assert even.tie
    tiles = slide(3, 3, 1)
    tiles[3] *= 1.5
    assert score_slide(tiles, SlideRule(), NORMAL).decision == 1
    assert score_slide(tiles[::-1], SlideRule(), NORMAL).decision == 1


@pytest.mark.parametrize("method", METHODS)
def test_one_tile_is_enough(method) -> None:
    found = score_slide(slide(0, 1, 0), SlideRule(method=method), NORMAL)
    assert found.decision == 1


def test_top_k_takes_what_there_is_and_says_so() -> None:
    rule = SlideRule(method="top_k", k=50)
    assert score_slide(slide(1, 2, 7), rule, NORMAL).used_k == 10
    assert score_slide(slide(40, 40, 40), rule, NORMAL).used_k == 50
    assert score_slide(slide(1, 2, 7), SlideRule(), NORMAL).used_k is None


def test_the_order_of_tiles_changes_nothing() -> None:
    tiles = np.random.default_rng(0).uniform(-0.2, 0.4, (40, 3)).round(1)
    for method in METHODS:
        one, other = (score_slide(table, SlideRule(method=method), NORMAL) for table in (tiles, tiles[::-1]))
        assert one.decision == other.decision
        np.testing.assert_allclose(one.score_K, other.score_K, atol=1e-12)


def test_a_fitted_cut_decides_between_normal_and_tumour() -> None:
    rule = SlideRule(slide_threshold=0.25, source="development", split="dev", num_slides=4)
    assert score_slide(slide(1, 1, 8), rule, NORMAL).decision == NORMAL
    assert score_slide(slide(1, 2, 7), rule, NORMAL).decision == 1
    assert score_slide(slide(1, 1, 8), SlideRule(), NORMAL).decision != NORMAL


def test_without_a_normal_class_there_is_no_tumour_score() -> None:
    for method in METHODS:
        found = score_slide(slide(2, 3), SlideRule(method=method))
        assert found.tumour_score is None
    assert score_slide(slide(2, 3), SlideRule()).decision == 1


def test_the_scale_is_the_rules_or_the_models() -> None:
    cosine = slide(1, 1, high=0.3)
    _, fixed = tile_values(cosine, SlideRule())
    _, own = tile_values(cosine, SlideRule(scale=None), scale=50.0)
    assert fixed[0, 0] == pytest.approx(1 / (1 + np.exp(-3)))
    assert own[0, 0] == pytest.approx(1 / (1 + np.exp(-15)))
    with pytest.raises(ConfigError, match="scale"):
        tile_values(cosine, SlideRule(scale=None))


def test_smoothing_takes_a_lone_tile_back() -> None:
    grid = np.argwhere(np.ones((3, 3))) * 256
    tiles = np.tile([0.0, 0.5], (9, 1))
    tiles[4] = [0.5, 0.0]
    plain = score_slide(tiles, SlideRule(), 1, coords_NX=grid)
    smooth = score_slide(tiles, SlideRule(smoothing="centred"), 1, coords_NX=grid, step=256)
    assert plain.tumour_score == pytest.approx(1 / 9)
    assert smooth.tumour_score == 0
    assert smooth.decision == 1
    with pytest.raises(DataError, match="coordinates"):
        score_slide(tiles, SlideRule(smoothing="centred"), 1)


def development() -> tuple[list[np.ndarray], list[int]]:
    counts = [(0, 1, 9), (1, 0, 9), (0, 0, 10), (0, 0, 10), (4, 1, 5), (1, 6, 3)]
    return [slide(*count) for count in counts], [NORMAL] * 4 + [0, 1]


def test_a_rule_is_fitted_on_development_slides() -> None:
    slides, target = development()
    rule = fit_rule(slides, target, "dev", normal=NORMAL, specificity=0.95)
    assert (rule.source, rule.split, rule.num_slides) == ("development", "dev", 6)
    assert 0.1 < rule.slide_threshold <= 0.5
    assert [score_slide(tiles, rule, NORMAL).decision for tiles in slides] == target


def test_k_is_fitted_too() -> None:
    sure, unsure = np.array([0.9, 0.0]), np.array([0.0, 0.3])
    one_of_class_0 = np.stack([sure, *[unsure] * 20])
    all_of_class_1 = np.stack([np.array([0.25, 0.4])] * 21)
    rule = fit_rule([one_of_class_0, all_of_class_1], [0, 1], "dev", SlideRule(method="top_k"))
    assert rule.k == 1
    assert rule.slide_threshold is None


def test_nothing_is_fitted_on_a_test_split() -> None:
    slides, target = development()
    with pytest.raises(DataError, match="test split"):
        fit_rule(slides, target, "Test", normal=NORMAL)
    with pytest.raises(ValidationError, match="test split"):
        SlideRule(source="development", split="test")
    with pytest.raises(ValidationError, match="names its split"):
        SlideRule(source="development")
    with pytest.raises(DataError, match="label every slide"):
        fit_rule([], [], "dev")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused_by_number(value) -> None:
    tiles = slide(2, 2, 2)
    tiles[3, 1] = value
    for method in METHODS:
        with pytest.raises(DataError, match="1 of 6 tiles are not finite, the first is tile 3"):
            score_slide(tiles, SlideRule(method=method), NORMAL)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(DataError, match="tiles"):
        score_slide(np.zeros((0, 3)), SlideRule())
    with pytest.raises(DataError, match="give two or more"):
        score_slide(np.zeros((4, 1)), SlideRule())
    with pytest.raises(DataError, match="give two or more"):
        score_slide(np.zeros((4, 2)), SlideRule(), 2)
    with pytest.raises(DataError, match="projected"):
        tile_cosines(torch.zeros(3, 8), np.zeros((2, 4)))
    with pytest.raises(DataError, match="finite"):
        segment(np.array([0.2, np.nan]), 0.5)


def test_cosines_come_in_blocks(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    tiles, classes = torch.tensor(rng.normal(size=(7, 4))), rng.normal(size=(2, 4))
    whole = tile_cosines(tiles, classes)
    monkeypatch.setattr("medvlp.zeroshot.slide_pooling._ROWS", 3)
    np.testing.assert_allclose(tile_cosines(tiles, classes), whole, atol=1e-15)


def test_a_mask_and_its_dice() -> None:
    found = segment(np.array([0.2, 0.5, 0.9, 0.7]), 0.5)
    assert found.tolist() == [False, False, True, True]
    assert dice([False, True, True, False], found) == 0.5
    assert dice(found, found) == 1.0
    assert np.isnan(dice([False] * 4, found))


def test_a_segmentation_threshold_comes_from_development_slides() -> None:
    value, truth = [np.array([0.1, 0.4, 0.8]), np.array([0.35, 0.9])], [np.array([0, 1, 1]), np.array([0, 1])]
    threshold = fit_segmentation(value, truth, "dev")
    assert 0.35 < threshold < 0.4
    assert [segment(one, threshold).tolist() for one in value] == [[False, True, True], [False, True]]
    with pytest.raises(DataError, match="test split"):
        fit_segmentation(value, truth, "test")
    with pytest.raises(DataError, match="no tile is tumour"):
        fit_segmentation(value, [np.zeros(3), np.zeros(2)], "dev")
    with pytest.raises(DataError, match="differ in number"):
        fit_segmentation(value, truth[:1], "dev")


def test_a_mask_of_the_whole_slide() -> None:
    places = [[10, 0], [20, 0], [10, 10]]
    found = segmentation([0.9, 0.2, 0.6], places, 10, 10, threshold=0.5, slide_size=(40, 20), shape_hw=(4, 8))
    expected = np.zeros((4, 8), dtype=bool)
    expected[:, 2:4] = True
    np.testing.assert_array_equal(found, expected)
    overlapping = segmentation(
        [1.0, 0.2], [[0, 0], [10, 0]], 20, 10, threshold=0.5, slide_size=(40, 20), shape_hw=(2, 4)
    )
    assert overlapping.tolist() == [[True, True, False, False]] * 2
