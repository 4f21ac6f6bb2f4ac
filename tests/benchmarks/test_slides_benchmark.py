"""The slide benchmark: controls that are controls, areas that are pixels, cuts from development slides, a whole run."""

import json

import numpy as np
import pytest
from planted.planted_cases import CELL, make_config, write_sources
from tiny_models import write_bert

from benchmarks.slides import arms
from benchmarks.slides.config import SlidesBenchmarkConfig
from benchmarks.slides.embed import Tiles
from benchmarks.slides.outlines import outlines
from benchmarks.slides.run import ask, describe, run
from benchmarks.slides.score import THRESHOLDS, Asked, score_probabilities
from benchmarks.slides.table import build, markdown
from data_prep.planted import simulate as planted
from data_prep.planted.plan import GLASS, TUMOUR
from data_prep.planted.store import PlantedSlides
from medvlp.errors import ConfigError, DataError
from medvlp.metrics.overlap import dice
from medvlp.zeroshot.prompts import Prompt, PromptSet

pytestmark = pytest.mark.extras
pytest.importorskip("openslide", reason="needs the extra slides")
pytest.importorskip("tifffile", reason="needs the extra slides")

PROMPTS = PromptSet(
    ("carcinoma", "mucosa"),
    ((Prompt("an image of carcinoma", "name"),), (Prompt("an image of normal tissue", "name"),)),
)
ASKED = Asked.of(PROMPTS, ["carcinoma"])


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    sources = write_sources(tmp_path_factory.mktemp("tiles"))
    config = make_config(sources, slides={"dev": 4, "test": 6}, sides=[5], levels=[4, 8])
    return PlantedSlides(planted.simulate(config, folder / "planted"))


@pytest.fixture(scope="module")
def config(slides, tmp_path_factory):
    folder = tmp_path_factory.mktemp("settings")
    PROMPTS.save(folder / "prompts.json")
    bert = write_bert(folder / "bert")
    plain = {
        "sets": {
            "tiny": {
                "title": "Carcinoma or not", "slides": str(slides.folder), "prompts": str(folder / "prompts.json"),
                "untrained_towers": True,
            }
        },
        "align": "slides/align",
        "set": [
            "steps=3", "optimizer.warmup_steps=1", "model.embed_dim=32", f"model.text.model={bert}",
            "model.image={name: timm, model: test_efficientnet, weights: none, image_size: 64}",
            "model.text.context_length=16",
        ],
        "seeds": [0, 1],
        "rows_per_step": 8,
        "tissue": {"pen": False, "mpp": 2.0, "closing_um": 0.0, "min_area_um2": 0.0, "max_hole_um2": 0.0},
        "grid": {"tile_size": CELL},
        "num_draws": 100,
    }  # fmt: skip
    return SlidesBenchmarkConfig.model_validate(plain)


def tiles_of(slides):
    """Tiles on a grid of its own, without any image."""
    out = []
    for slide in slides.slides:
        height, width = np.array(slide.read_mask().shape) * slide.downsample
        grid = np.stack(np.meshgrid(np.arange(0, width - CELL + 1, CELL), np.arange(0, height - CELL + 1, CELL)), -1)
        coords = grid.reshape(-1, 2)
        tumour, tissue = slide.truth(coords, CELL)
        kept = tissue > 0
        area = slide.tumour_pixels() * slide.downsample**2 / CELL**2
        nothing = np.zeros((kept.sum(), 1), dtype=np.float32)
        out.append(Tiles(slide, nothing, nothing, coords[kept], CELL, CELL, tumour[kept], tissue[kept], area))
    return out


def record_of(config, tiles, tumour_probabilities):
    return score_probabilities(config, tiles, [np.stack([p, 1 - p], 1) for p in tumour_probabilities], ASKED)


def test_areas_give_the_dice_of_pixels(config, slides):
    tiles = tiles_of(slides)
    rng = np.random.default_rng(0)
    noisy = [np.clip(one.tumour_N + rng.normal(0, 0.4, len(one.tumour_N)), 0.01, 0.99) for one in tiles]
    record = record_of(config, tiles, noisy)
    areas = record["areas"]["none"]["test"]
    test = [(one, p) for one, p in zip(tiles, noisy, strict=True) if one.slide.part == "test"]
    compared = 0
    for row, (one, probability) in enumerate(test):
        mask = np.repeat(np.repeat(one.slide.read_mask(), one.slide.downsample, 0), one.slide.downsample, 1)
        for column, threshold in enumerate([*THRESHOLDS, config.threshold]):
            called = np.zeros(mask.shape, dtype=bool)
            for (x, y), value in zip(one.coords_NX, probability, strict=True):
                called[y : y + CELL, x : x + CELL] = value > threshold
            expected = dice(mask == TUMOUR, called & (mask != GLASS))
            hit, total = areas["hit"][row][column], areas["called"][row][column] + areas["truth"][row]
            if np.isnan(expected):
                assert areas["truth"][row] == 0
            elif not np.isclose(probability, threshold, atol=1e-6).any():
                assert 2 * hit / total == pytest.approx(expected, abs=1e-9)
                compared += 1
    assert compared > 50


def test_the_truth_as_answer_ranks_every_slide_and_beats_calling_everything(config, slides):
    tiles = tiles_of(slides)
    perfect = record_of(config, tiles, [0.4 + 0.59 * one.tumour_N for one in tiles])
    target = [slide.tumour is not None for slide in slides.part("test")]
    found = perfect["methods"]["tumour_ratio|none"]
    assert min(s for s, t in zip(found["test"]["score"], target, strict=True) if t) > 0
    assert max(s for s, t in zip(found["test"]["score"], target, strict=True) if not t) == 0
    assert found["cut"] > 0
    rows = outlines(config, {arms.TRAINED: [perfect | {"seconds": 0}]}, [slide.key for slide in slides.part("test")])
    by_title = {(row["title"], row["smoothed"]): row for row in rows}
    exact = by_title[arms.TITLES[arms.TRAINED], False]
    everything = by_title["every tile called tumour", False]
    assert exact["preset"]["value"] > 1.5 * everything["preset"]["value"] > 0
    assert exact["oracle"] >= exact["development"]["value"]


def test_cuts_and_k_never_see_test_slides(config, slides):
    tiles = tiles_of(slides)
    rng = np.random.default_rng(1)
    values = [rng.uniform(0.1, 0.9, len(one.tumour_N)) for one in tiles]
    other = [
        v if one.slide.part == "dev" else rng.uniform(0.1, 0.9, len(v)) for v, one in zip(values, tiles, strict=True)
    ]
    first, second = (record_of(config, tiles, one) for one in (values, other))
    for method, found in first["methods"].items():
        assert (found["cut"], found["k"]) == (second["methods"][method]["cut"], second["methods"][method]["k"])
        assert found["dev"] == second["methods"][method]["dev"]
    assert first["methods"]["tumour_ratio|none"]["test"] != second["methods"]["tumour_ratio|none"]["test"]
    assert first["areas"]["none"]["dev"] == second["areas"]["none"]["dev"]


def test_several_normal_tissues_become_one_answer():
    prompts = PromptSet(("n1", "b", "n2", "a"), tuple((Prompt(name, "name"),) for name in "wxyz"))
    asked = Asked.of(prompts, ["a", "b"])
    assert asked.tumours == ("b", "a")
    value = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.1, 0.2, 0.2]])
    assert asked.merge(value).tolist() == [[0.2, 0.4, 0.3], [0.1, 0.2, 0.5]]
    np.testing.assert_allclose(asked.merge(value, total=True), [[0.2, 0.4, 0.4], [0.1, 0.2, 0.7]])


def test_permuted_labels_keep_images_and_counts(slides, tmp_path):
    store = arms.prepare_training(slides, "digest", tmp_path)
    other = arms.permuted_copy(store, tmp_path, 1).split("train")
    real, permuted = store.split("train"), arms.permuted_copy(store, tmp_path, 0).split("train")
    assert permuted.keys == real.keys
    assert [permuted.image_bytes(row) for row in range(len(real))] == [
        real.image_bytes(row) for row in range(len(real))
    ]
    labels = [split.column("label") for split in (real, permuted)]
    assert sorted(labels[0]) == sorted(labels[1])
    assert labels[0] != labels[1] != other.column("label")
    assert {label in text.text for label, texts in zip(*(permuted.column(c) for c in ("label", "texts")), strict=True)
            for text in texts if label == "mucosa"} == {True}  # fmt: skip


def test_a_class_without_prompt_is_named(config, slides, tmp_path):
    PromptSet(PROMPTS.classes[:1], PROMPTS.prompts[:1]).save(tmp_path / "few.json")
    settings = config.sets["tiny"].model_copy(update={"prompts": str(tmp_path / "few.json")})
    with pytest.raises(DataError, match="mucosa"):
        ask(slides, settings)


def test_an_image_tower_that_learns_is_refused(config, slides, tmp_path):
    store = arms.prepare_training(slides, "digest", tmp_path)
    changed = config.model_copy(update={"set": [*config.set, "freeze.always=[text_tower]", "cached_features=false"]})
    with pytest.raises(ConfigError, match="image tower must stay frozen"):
        arms.recipe(changed, store, tmp_path, 0)


def test_a_whole_run_and_its_resumption(config, tmp_path, monkeypatch):
    records = run(config, tmp_path / "out")
    table = build(config, describe(config), records)
    json.dumps(table, allow_nan=False)
    found = table["sets"]["tiny"]
    assert {row["arm"] for row in found["rows"]} == {"trained", "permuted", "start", "random", "colour"}
    assert len([row for row in found["rows"] if row["arm"] == "trained"]) == 11
    # the two classes differ in colour, and the floor that sees colours finds tumour
    colour = next(row for row in found["rows"] if row["arm"] == "colour")
    assert colour["auroc"]["value"] > 0.9
    text = markdown(table)
    assert "oracle" in text
    assert "K = " in text
    assert text.count("| prior |") == 1

    def never(*_):
        raise AssertionError("finished work is done again")

    monkeypatch.setattr(arms, "trained_model", never)
    monkeypatch.setattr("benchmarks.slides.run.embed_set", never)
    again = build(config, describe(config), run(config, tmp_path / "out"))
    assert again == table
