"""Makes the tiny models of the tests folder importable and offers one text model per session."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test never asks the network
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    from tiny_models import write_bert

    return write_bert(tmp_path_factory.mktemp("bert"))
