"""The whole benchmark: train, score, and write the results beside the runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.simulation import page
from benchmarks.simulation.config import SimulationBenchmarkConfig
from benchmarks.simulation.run import open_scenes, prompt_sets, run
from benchmarks.simulation.table import build, markdown
from medvlp.io import write_json, write_text


def judge(config: SimulationBenchmarkConfig, out: Path) -> dict[str, Any]:
    """Run every arm and write ``results.json``, ``table.md`` and ``report.html`` into ``out``.

    Returns:
        The table, as in ``results.json``.

    Raises:
        DataError: If ``config.scenes`` is no store of simulated scenes.
    """
    records = run(config, out)
    store = open_scenes(config)
    table = build(config, store, records)
    table["prompts"] = {name: found.to_json() for name, found in prompt_sets(config, store).items()}
    table["config"] = config.model_dump(mode="json")
    write_json(out / "results.json", table)
    write_text(out / "table.md", markdown(table))
    write_text(out / "report.html", page.render(table, page.pictures(store, config.num_examples)))
    return table
