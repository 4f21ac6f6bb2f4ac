"""Protocols without a model, models that cannot do what is asked, prompt variants and seeds that play no part."""

import numpy as np
import pytest

from benchmarks.harness import record
from benchmarks.harness.cells import all_cells, choose
from benchmarks.harness.data import read_task
from benchmarks.harness.grid import run
from benchmarks.harness.outcome import Metric, Outcome, Skipped
from benchmarks.harness.protocols.settings import MODULES
from medvlp.config import load


class Counting:
    """A question whose systems count; ``SYSTEMS`` of a protocol that needs no model."""

    digest, prompts_digest, num, num_cases = "d" * 64, None, 3, 3

    def system(self, name, seed):
        if name == "cannot":
            return Skipped("needs an extra")
        assert name == "counts", "only this one has an answer"
        return Outcome((Metric("count", "Count", float(seed), np.full(10, float(seed)), 3, 3),))

    def floor(self, name, subject, seed):
        assert subject is None
        return Outcome((Metric("count", "Count", float("nan"), np.zeros(0), 3, 3, reason="nothing to count"),))


class WithoutModel:
    """The protocol of :class:`Counting`."""

    ABILITIES, SYSTEMS, FLOORS, FLOORS_OF_MODEL = frozenset(), ("counts", "cannot", "breaks"), ("nought",), ()

    @staticmethod
    def open(task, settings, context):
        return Counting()


@pytest.fixture
def without_model(monkeypatch):
    monkeypatch.setitem(MODULES, "retrieval", WithoutModel)


def test_a_protocol_without_a_model(without_model, write_grid, tmp_path):
    config = load(write_grid("protocols: [{name: retrieval}]"), ["seeds=[0, 4]"], kind="benchmark")
    found = run(config, tmp_path / "out")
    assert (found.scored, len(found.failed)) == (6, 2)
    values = {(v["system"]["id"], v["seed"]): v for _, v in record.read_all(tmp_path / "out")}
    assert {v["system"]["kind"] for (name, _), v in values.items() if name != "nought"} == {"system"}
    assert values["nought", 0]["system"]["kind"] == "floor"
    assert values["counts", 4]["metrics"][0]["value"] == 4.0
    assert values["cannot", 0]["skipped"] == "needs an extra"
    assert values["breaks", 0]["failed"].startswith("AssertionError: only this one has an answer")
    assert values["nought", 4]["metrics"][0] | {"low": None} == values["nought", 0]["metrics"][0]
    assert values["nought", 4]["metrics"][0]["reason"] == "nothing to count"
    again = run(config, tmp_path / "out")  # what failed is tried again, what was skipped stands
    assert (again.scored, again.found, len(again.failed)) == (0, 6, 2)


def test_a_model_that_cannot_is_skipped_with_the_reason(write_grid, tmp_path):
    images_only = "models={eyes: {source: 'timm:test_efficientnet'}}"
    config = load(write_grid("protocols: [{name: zero_shot}]"), [images_only, "floors=[untrained]"], kind="benchmark")
    assert run(config, tmp_path / "out", only=["system=eyes", "system=eyes.untrained"]).failed == ()
    values = [value for _, value in record.read_all(tmp_path / "out")]
    assert [value["skipped"] for value in values] == ["eyes encodes no texts"] * 2
    assert all(value["system"]["weights_sha256"] for value in values)


def test_variants_and_seeds_where_they_matter(write_grid):
    path = write_grid("protocols: [{name: zero_shot}, {name: retrieval}, {name: zero_shot, specificity: 0.9}]")
    more = ["seeds=[0, 1]", "prompts={task: null, plain: {templates: plain}}"]
    config = load(path, more, kind="benchmark")
    cells = all_cells(config, dict([read_task(config.tasks[0])]))
    assert len({cell.file(path.parent) for cell in cells}) == len(cells)

    def count(**wanted):
        return len(choose(cells, [",".join(f"{key}={value}" for key, value in wanted.items())]))

    assert count(task="squares.zero_shot", system="a") == 2  # two wordings, one seed: nothing is drawn
    assert count(task="squares.zero_shot", system="a.untrained") == 4
    assert count(task="squares.zero_shot", system="a.untrained", variant="plain", seed=1) == 1
    assert count(task="squares.zero_shot-2", system="a") == 2
    assert count(task="squares.retrieval", system="a") == 1  # no prompts either
    assert count(task="squares.retrieval", system="a.untrained") == 2
    assert count(task="squares", system="untrained") == 2 * (4 + 2 + 4)
    for cell in cells:
        assert choose(cells, [cell.only()]) == [cell]
