"""The graph of a comparison, built once below its output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.common.records import once
from data_prep.ontologies.build import build
from data_prep.ontologies.config import GraphConfig
from medvlp import __version__
from medvlp.config import load


def build_graph(config: str, out: Path) -> Path:
    """Build a graph as ``out/graph`` unless it is there from the same settings; return its folder.

    Args:
        config: Config of kind `graph`: a path or a shipped name.
        out: Folder of the comparison.
    """
    settings = load(config, kind="graph")
    assert isinstance(settings, GraphConfig)
    folder, record = out / "graph", out / "graph.json"
    if not folder.is_dir():
        record.unlink(missing_ok=True)

    def work() -> dict[str, Any]:
        build(settings, folder, overwrite=True)
        return {}

    once(record, [__version__, settings.model_dump(mode="json")], work)
    return folder
