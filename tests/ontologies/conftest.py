"""A way to build a graph from source files in one call."""

from __future__ import annotations

import pytest

from data_prep.ontologies.build import build
from data_prep.ontologies.config import GraphConfig, Source
from medvlp.knowledge.graph import DiseaseGraph


@pytest.fixture
def make(tmp_path):
    """``make(("obo", "DOID", text, {options}), ...)`` writes the files and builds tmp_path/out from them."""

    def make(*files, **options) -> DiseaseGraph:
        sources = []
        for number, (name, source, text, *more) in enumerate(files):
            path = tmp_path / f"source{number}.txt"
            path.write_text(text, encoding="utf-8")
            sources.append(Source(name=name, id=source, path=str(path), licence=f"{source} licence", **dict(*more)))
        return DiseaseGraph.load(build(GraphConfig(sources=sources, **options), tmp_path / "out", overwrite=True))

    return make
