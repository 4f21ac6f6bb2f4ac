"""Graphs for the knowledge tests: a small one, and the real Disease Ontology where it is at hand."""

from __future__ import annotations

import pytest
from knowledge_examples import SMALL

from medvlp.knowledge.graph import DiseaseGraph


@pytest.fixture
def small() -> DiseaseGraph:
    return DiseaseGraph.from_dict(SMALL)


@pytest.fixture(scope="session")
def doid() -> DiseaseGraph:
    """The real Disease Ontology, built once."""
    import os
    import tempfile
    from pathlib import Path

    if "MEDVLP_DATA" not in os.environ:
        pytest.skip("MEDVLP_DATA is not set: the real Disease Ontology is not at hand")
    pytest.importorskip("obonet", reason="needs the extra 'ontologies'")
    from data_prep.ontologies.build import build
    from data_prep.ontologies.config import GraphConfig, Source

    source = Source(
        name="obo", id="DOID", path="${MEDVLP_DATA}/ontology_doid/doid-2024-01-31.obo.gz", licence="CC0-1.0"
    )
    with tempfile.TemporaryDirectory() as folder:
        return DiseaseGraph.load(build(GraphConfig(sources=[source]), Path(folder) / "doid"))
