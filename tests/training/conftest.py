"""A folder with a graph, a pairs store and a tiny text model, made once per session."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    from tiny_models import write_bert
    from training_cases import write_graph, write_pairs

    folder = tmp_path_factory.mktemp("training")
    write_graph(folder / "graph")
    write_pairs(folder / "pairs")
    write_bert(folder / "bert")
    return folder


@pytest.fixture
def bert(place):
    return place / "bert"
