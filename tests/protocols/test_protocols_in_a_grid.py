"""Every protocol that learns from features runs as cells of a grid, floors beside models, and resumes."""

import numpy as np
import pytest
from harness.grid_cases import make_world, written

from benchmarks.harness import record
from benchmarks.harness.grid import run
from medvlp.config import load

PROTOCOLS = """protocols:
  - {name: linear_probe, grid_points: 3}
  - {name: knn, k: [1, 3]}
  - {name: few_shot, shots: [1, 2], draws: 2}
  - {name: few_shot, shots: [2], draws: 1, methods: [linear], C: 1.0}
  - {name: prompt_tuning, shots: [2], draws: 1, steps: 10}
  - {name: prompt_tuning, shots: [2], draws: 1, steps: 3, space: tokens, num_context: 2}"""


@pytest.mark.extras
def test_all_cells_are_scored_and_found_again(tmp_path):
    pytest.importorskip("transformers")
    world = make_world(tmp_path / "world")
    config = load(written(world, tmp_path, PROTOCOLS), ["num_draws=40"], kind="benchmark")
    first = run(config, tmp_path / "out")
    assert first.failed == ()
    assert first.scored == 6 * (2 + 2 + 2), "two models, two floors, two untrained models"
    again = run(config, tmp_path / "out")
    assert (again.scored, again.found) == (0, first.scored)
    found: dict[str, dict[str, dict]] = {}
    for file, value in record.read_all(tmp_path / "out"):
        assert value["skipped"] is None
        assert value["metrics"][0]["value"] is not None
        found.setdefault(value["task"]["label"], {})[value["system"]["id"]] = value
        draws = record.read_arrays(file)
        assert draws[f"draws.{value['metrics'][0]['name']}"].shape == (40,)
    assert sorted(found) == ["few_shot", "few_shot-2", "knn", "linear_probe", "prompt_tuning", "prompt_tuning-2"]
    for label, systems in found.items():
        assert sorted(systems) == ["a", "a.untrained", "b", "b.untrained", "colour-histogram", "prior"]
        assert len({value["task"]["digest"] for value in systems.values()}) == 1
        assert len({tuple(m["name"] for m in value["metrics"][:2]) for value in systems.values()}) == 1
        lead = {name: value["metrics"][0]["value"] for name, value in systems.items()}
        assert lead["prior"] == pytest.approx(1 / 3)
        assert lead["colour-histogram"] > 0.9, "the classes are colours"
        assert label.startswith("prompt_tuning") == (systems["a"]["prompts"] is not None)
    assert np.isfinite(found["linear_probe"]["a"]["details"]["C"])
