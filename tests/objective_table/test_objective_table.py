"""The table of objectives: cells that resume, arms that differ, and numbers that can be checked by hand."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from objective_table_cases import tiny_table

from benchmarks.objectives.ask import own_texts
from benchmarks.objectives.config import ObjectiveTableConfig
from benchmarks.objectives.floors import FLOOR
from benchmarks.objectives.measure import measured, scores_of
from benchmarks.objectives.memory import TextMemory
from benchmarks.objectives.run import Done, Worker, cells_of, run
from benchmarks.objectives.sets import Gallery
from benchmarks.objectives.table import build, markdown
from benchmarks.simulation.questions import Question
from medvlp.errors import ConfigError
from medvlp.io import read_json
from medvlp.model import DualEncoder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("objectives")


@pytest.fixture(scope="module")
def config(root):
    return tiny_table(root)


@pytest.fixture(scope="module")
def worker(config, root):
    """The worker of a table whose two processes were killed at its first cell, that went on, and is done."""
    out, first = root / "out", root / "out" / "cells" / "cells-clip-real-seed-1.json"
    command = [sys.executable, "-m", "benchmarks.objectives", str(root / "table.yaml"), "--out", str(out)]
    command += ["--jobs", "2"]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE)
    end = time.monotonic() + 120
    while not first.is_file() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    _, told = process.communicate()
    assert first.is_file(), told.decode()
    before = os.stat(first).st_mtime_ns
    done = run(config, out)["cells"]
    assert os.stat(first).st_mtime_ns == before, "a finished cell is not made again"
    assert len(done.records) == 4
    return Worker(config, out)


def test_a_killed_table_goes_on_and_leaves_nothing_half_written(worker, config):
    found = sorted(path.name for path in (worker.out / "cells").iterdir())
    assert found == sorted([*(f"{cell.name}.json" for cell in cells_of(config)), "cells-floors.json"])
    assert all(worker.found(cell) is not None for cell in cells_of(config))


def test_another_setting_makes_a_record_void(worker, config):
    cell = cells_of(config)[0]
    longer = config.model_copy(update={"align_set": [*config.align_set, "steps=4"]})
    assert Worker(longer, worker.out).found(cell) is None
    retitled = config.model_copy(update={"num_draws": 200})
    assert Worker(retitled, worker.out).found(cell) is not None, "what is counted later changes no run"


def test_permuted_arms_really_differ_and_cost_the_same(worker, config):
    for method in config.methods:
        real, permuted = (worker.do(cell) for cell in cells_of(config, [method]))
        assert not np.allclose(real["scores"]["seen"], permuted["scores"]["seen"])
        for key in ("steps", "rows", "texts"):
            assert real["cost"][key] == permuted["cost"][key]


def test_a_decoder_is_asked_with_the_texts_it_was_trained_with(worker, config):
    real, permuted = cells_of(config, ["medklip"])
    texts = {cell.arm: own_texts(worker.settings(cell), worker.set("cells")) for cell in (real, permuted)}
    assert texts["real"][1] == ["Red tissue with effusion."]  # classes in the order of their names
    assert sorted(texts["real"]) != sorted([["lung carcinoma"], ["colon carcinoma"], ["skin nevus"]])
    assert all(own != exchanged for own, exchanged in zip(texts["real"], texts["permuted"], strict=True))
    record = worker.do(real)
    assert record["by"] == {"scores": "decoder", "texts": "decoder", "maps": "attention"}
    assert set(record["scores"]) == {"seen", "own"}


def test_ranks_and_swaps_are_kept_by_sample(worker, config):
    prepared = worker.set("cells")
    for cell in cells_of(config):
        record = worker.do(cell)
        assert len(record["ranks"]["image_to_text"]) == len(prepared.gallery.rows_R)
        assert all(1 <= rank <= len(prepared.gallery.texts) for rank in record["ranks"]["image_to_text"])
        assert len(record["swaps"]["below"]) == len(prepared.swaps) > 0
        assert set(record["swaps"]["below"]) <= {0.0, 0.5, 1.0}


def test_the_table_names_every_cell_and_a_partial_one_says_so(worker, config):
    done = run(config, worker.out, 0)
    table = build(config, done)
    [one] = table["sets"]
    assert [(row["method"], row["arm"]) for row in one["rows"]] == [
        (method, arm) for method in config.methods for arm in config.arms
    ]
    assert {row["score"] for row in one["differences"]} == {"auroc", "recall_at_5", "consistency"}
    page = markdown(table)
    assert "| MedKLIP | permuted |" in page
    assert "histograms, prior maps" in page
    del done["cells"].records["clip", "real", 1]
    partial = build(config, done)
    assert [row["method"] for row in partial["sets"][0]["differences"]] == ["medklip"] * 3
    assert partial["num_differences"] == 3


def test_methods_that_read_triples_get_the_entities_of_the_texts(worker, config):
    sets = {"cells": config.sets["cells"].model_copy(update={"triples": "entities/reports"})}
    reads = config.methods["medklip"].model_copy(update={"triples": True})
    other = Worker(
        config.model_copy(update={"sets": sets, "methods": {**config.methods, "medklip": reads}}), worker.out
    )
    (clip, _), (medklip, _) = (cells_of(config, [method]) for method in ("clip", "medklip"))
    folders = other.set("cells").folders
    assert Path(other.settings(medklip).entities) == folders["triples"] != folders["entities"]
    assert other.found(medklip) is None, "its record was made with other entities"
    assert other.found(clip) is not None
    assert worker.set("cells").folders["triples"] == worker.set("cells").folders["entities"]


def test_a_part_that_nothing_has_is_refused(config):
    with pytest.raises(ConfigError, match="no cell has this"):
        cells_of(config, ["medclip"])
    assert len(cells_of(config, ["real", "seed-2-"])) == 2, "only what is named"


def test_settings_that_contradict_one_another_are_refused(config):
    plain = config.model_dump(mode="json")
    with pytest.raises(ValueError, match="one of simulation and pairs"):
        ObjectiveTableConfig.model_validate({**plain, "sets": {"x": {"title": "x", "entities": "entities/classes"}}})
    with pytest.raises(ValueError, match="comes twice"):
        ObjectiveTableConfig.model_validate({**plain, "seeds": [0, 0]})


def test_a_frozen_tower_that_remembers_says_the_same(worker, config):
    settings = worker.settings(cells_of(config)[0])
    torch.manual_seed(0)
    plain, remembering = (DualEncoder(settings.model).eval() for _ in range(2))
    remembering.load_state_dict(plain.state_dict())
    memory = TextMemory()
    memory.attach(remembering.text)
    texts = ["a lung", "left pleural effusion of the lung", "a lung"]
    ids_ML, mask_ML = plain.tokenize(texts)
    for _ in range(2):  # new, then remembered
        torch.testing.assert_close(remembering.text_features(ids_ML, mask_ML), plain.text_features(ids_ML, mask_ML))
        for mine, theirs in zip(
            remembering.text_tokens(ids_ML, mask_ML), plain.text_tokens(ids_ML, mask_ML), strict=True
        ):
            real = mask_ML.bool() if mine.ndim == 3 else slice(None)
            torch.testing.assert_close(mine[real], theirs[real])


def hand_made(scores_by_arm):
    """Four images of cases of their own, two classes, one gallery of four texts."""
    present = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], dtype=bool)
    question = Question("scenes", "test images", ("a", "b"), present, np.ones((4, 2), dtype=bool))
    prepared = SimpleNamespace(
        questions=(question,), kinds=("a", "b"), labels=("a", "b"), cases=["1", "2", "3", "4"], marked={}, swaps=[],
        gallery=Gallery(np.arange(4), ("t", "u", "v", "w", "x", "y"), np.eye(4, 6, dtype=bool)),
        store=SimpleNamespace(digest="", split=lambda name: [0] * 9), entities=SimpleNamespace(digest=""),
    )  # fmt: skip
    cost = {"processor_seconds_per_step": 0.5, "seconds_per_step": 1.0, "peak_mib": 10.0, "steps": 3, "texts": 6}
    records = {
        ("clip", arm, seed): {"scores": {"seen": scores}, "ranks": {"image_to_text": ranks}, "cost": cost,
                              "by": {"scores": "cosine"}}
        for arm, found in scores_by_arm.items() for seed, (scores, ranks) in enumerate(found)
    }  # fmt: skip
    return Done(prepared, {FLOOR: {"scores": {"seen": [[0.5, None]] * 4}}}, records)


def test_numbers_computed_by_hand(config):
    good = [[0.9, 0.1], [0.8, 0.9], [0.2, 0.8], [0.1, 0.2]]  # both classes right: AUROC 1
    half = [[0.9, 0.1], [0.2, 0.9], [0.5, 0.8], [0.1, 0.2]]  # class a: 3 of 4 pairs right, so (.75 + 1) / 2
    done = hand_made({"real": [(good, [1, 2, 6, 6]), (half, [1, 1, 1, 6])], "permuted": [(half, [6, 6, 6, 1])] * 2})
    config = config.model_copy(update={"seeds": [0, 1]})
    [one] = build(config, {"cells": done})["sets"]
    real, permuted = (row["scores"] for row in one["rows"])
    assert real["auroc"]["by_seed"] == pytest.approx([1.0, 0.875])
    assert real["auroc"]["value"] == pytest.approx(0.9375)
    assert permuted["auroc"]["value"] == pytest.approx(0.875)
    assert real["recall_at_5"]["value"] == pytest.approx((2 / 4 + 3 / 4) / 2)
    assert real["mrr"]["by_seed"] == pytest.approx([(1 + 1 / 2 + 1 / 6 + 1 / 6) / 4, (3 + 1 / 6) / 4])
    assert one["floors"][FLOOR]["auroc"]["value"] == pytest.approx(0.5), (
        "the class that the floor does not know is left out"
    )
    luck = {score["name"]: score["chance"] for score in one["scores"]}
    assert luck["recall_at_5"] == pytest.approx(5 / 6)
    assert luck["auroc"] == 0.5
    found = {row["score"]: row for row in one["differences"]}
    assert found["auroc"]["value"] == pytest.approx(0.0625)
    assert found["auroc"]["by_seed"] == pytest.approx([0.125, 0.0])
    assert found["auroc"]["gain"] == "no", "not above zero in every seed"
    assert found["recall_at_5"]["value"] == pytest.approx(0.625 - 0.25)


def test_a_bootstrap_draw_takes_whole_cases():
    done = hand_made({"real": [([[0.9, 0.1], [0.8, 0.9], [0.2, 0.8], [0.1, 0.2]], [1, 1, 9, 9])]})
    done.prepared.cases[:] = ["1", "1", "2", "2"]
    recall = next(score for score in scores_of(done.prepared) if score.name == "recall_at_5")
    found = measured(recall, list(done.records.values()), 200)
    assert set(np.unique(found.draw_S)) <= {0.0, 0.5, 1.0}
    assert found.num_cases == 2


def test_the_shipped_table_names_recipes_that_load():
    from medvlp.config import load

    found = load("objective_table", kind="objective_table")
    assert isinstance(found, ObjectiveTableConfig)
    for method in found.methods.values():
        overrides = [*found.align_set, *method.set]
        recipe = load(method.align, overrides, kind="align")
        assert recipe.steps == [int(one.partition("=")[2]) for one in overrides if one.startswith("steps=")][-1]
        assert {"image_tower", "text_tower"} <= set(recipe.freeze.always), "places and texts are encoded once"
        assert recipe.cached_features


def test_records_hold_no_text(worker, config):
    for cell in cells_of(config):
        assert "effusion" not in str(read_json(worker.file(cell)))
