"""Pools of prompt classifiers and their screening without labels."""

import numpy as np
import pytest

from medvlp.errors import DataError
from medvlp.zeroshot import slide_prompts
from medvlp.zeroshot.prompts import build_prompts
from medvlp.zeroshot.slide_prompts import PromptPool, names_of, prompt_pool, screen, screening_scores
from medvlp.zeroshot.templates import PATHOLOGY

NAMES = {"tumour": ["melanoma", "skin cancer"], "normal": ["normal skin", "skin without a tumour", "dermis"]}
TEMPLATES = ("a slide of {name}", "{name}, H&E")


def test_every_combination_once_each_with_one_name_and_one_wording() -> None:
    pool = prompt_pool(NAMES, TEMPLATES)
    assert len(pool) == 2 * 2 * 3
    assert len(pool.texts) == 2 * 5
    assert len({pool.classifier(number) for number in range(len(pool))}) == len(pool)
    for number in range(len(pool)):
        texts = pool.classifier(number)
        made = [[t for t in TEMPLATES for n in NAMES[label] if t.replace("{name}", n) == text]
                for label, text in zip(pool.classes, texts, strict=True)]  # fmt: skip
        assert len(made[0]) == len(made[1]) == 1
        assert made[0] == made[1]  # one wording for all classes


def test_the_published_pool_has_its_published_size() -> None:
    names = {"tumour": [f"t{n}" for n in range(9)], "normal": [f"n{n}" for n in range(7)]}
    pool = prompt_pool(names, PATHOLOGY)
    assert len(pool) == 1386
    assert len(pool.texts) == 22 * 16


def test_a_limit_draws_and_counts_the_rest() -> None:
    pool = prompt_pool(NAMES, TEMPLATES, limit=5, seed=1)
    assert (len(pool), pool.num_left_out) == (5, 7)
    assert len(set(map(pool.classifier, range(5)))) == 5
    assert prompt_pool(NAMES, TEMPLATES, limit=5, seed=1).texts == pool.texts


@pytest.mark.parametrize(
    ("names", "templates", "problem"),
    [
        ({"a": ["x y", "z"], "b": ["Z"]}, TEMPLATES, "is a name of 'a' and of 'b'"),
        ({"a": ["nevus"], "b": ["mole"]}, ["a nevus near {name}"], "holds the class name 'nevus'"),
        (
            {"a": ["melanoma"], "b": ["benign skin tissue", "normal skin tissue", "benign skin tissuenormal skin"]},
            TEMPLATES,
            "run together",
        ),
        ({"a": ["melanoma"]}, TEMPLATES, "two classes"),
        ({"a": ["melanoma"], "b": []}, TEMPLATES, "a name for each"),
        (NAMES, ["no placeholder"], "exactly once"),
    ],
)
def test_fused_and_shared_names_are_refused(names, templates, problem) -> None:
    with pytest.raises(DataError, match=problem):
        prompt_pool(names, templates)


def test_names_of_one_word_that_hold_others_are_fine() -> None:
    names = {"a": ["ovarian cystadenoma", "adenoma", "cyst"], "b": ["adenocarcinoma of the lung", "carcinoma"]}
    assert len(prompt_pool(names, TEMPLATES)) == 12


def test_names_come_from_the_prompts_of_the_graph(graph) -> None:
    prompts = build_prompts(graph, {"adeno": ["T:4"], "wart": ["T:6"]}, "general", num_definitions=1)
    names = names_of(prompts)
    assert names["wart"] == ["wart", "verruca"]
    assert "A cancer of adeno kind." not in names["adeno"]


def test_screening_keeps_the_decided_classifiers_and_adds_them_up() -> None:
    tile = np.array([[1.0, 0.0], [0.0, 1.0]])
    texts = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, 0.6]])
    pool = PromptPool(("a", "b"), tuple("abcd"), np.array([[3, 2], [0, 1], [0, 2]]))
    found = screen(tile, texts, pool, keep=2)
    assert found.kept == (1, 2)
    assert found.num_tiles == 2
    np.testing.assert_allclose(found.score_Q, [0.2, 1.0, 0.6])
    summed = np.array([0.6, 1.8])
    np.testing.assert_allclose(found.class_KD, [[1, 0], summed / np.linalg.norm(summed)])


def test_the_published_margin_cancels_for_usual_cosines() -> None:
    rng = np.random.default_rng(0)
    tiles, texts = np.abs(rng.normal(size=(20, 8))) * 0.12, np.abs(rng.normal(size=(6, 8))) * 0.3
    pool = np.array([[0, 1], [2, 3], [4, 5]])
    published, _ = screening_scores([tiles], texts, pool, compat="keep")
    first = (tiles @ texts.T)[:, pool].max(2)
    np.testing.assert_allclose(published, (2 * first - 1).mean(0))
    assert (screening_scores([tiles], texts, pool)[0] >= 0).all()


def test_ties_keep_the_first_and_blocks_change_nothing(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    tiles, texts = rng.normal(size=(50, 4)), rng.normal(size=(6, 4))
    pool = PromptPool(("a", "b"), tuple("abcdef"), np.tile([[0, 1]], (9, 1)))
    assert screen(tiles, texts, pool, keep=3).kept == (0, 1, 2)
    whole, _ = screening_scores(tiles, texts, np.array([[0, 1], [2, 3], [4, 5]]))
    monkeypatch.setattr(slide_prompts, "_BLOCK_ROWS", 7)
    monkeypatch.setattr(slide_prompts, "_BLOCK_VALUES", 1)
    np.testing.assert_allclose(screening_scores(tiles, texts, np.array([[0, 1], [2, 3], [4, 5]]))[0], whole)


def test_what_cannot_be_screened_is_refused() -> None:
    pool = prompt_pool(NAMES, TEMPLATES)
    texts = np.ones((10, 3))
    with pytest.raises(DataError, match="no tile"):
        screen([], texts, pool)
    with pytest.raises(DataError, match="keep at least 1"):
        screen(np.ones((2, 3)), texts, pool, keep=0)
    with pytest.raises(DataError, match="not finite"):
        screen(np.full((2, 3), np.nan), texts, pool)
