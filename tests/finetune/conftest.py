"""A folder with a pairs store, a folder of masks and a tiny model, made once per session."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "training"), str(ROOT / "finetune")]


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    from finetune_cases import write_masks
    from training_cases import write_pairs

    folder = tmp_path_factory.mktemp("finetune")
    write_pairs(folder / "pairs")
    write_masks(folder / "shapes")
    return folder
