"""The small runs of the training tests, for tests that break them."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "training")]


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    from tiny_models import write_bert
    from training_cases import write_graph, write_pairs

    folder = tmp_path_factory.mktemp("faults")
    write_graph(folder / "graph")
    write_pairs(folder / "pairs")
    write_bert(folder / "bert")
    return folder


@pytest.fixture
def bert(place):
    return place / "bert"
