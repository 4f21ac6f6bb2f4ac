"""The two small stores that the pages' examples are run on, and copies of the checkout that hold them."""

import numpy as np
import pytest
from docs_pages import Checkout
from PIL import Image

CONCEPTS = {
    "DOID:4": {"name": "disease", "parents": [], "definitions": ["A disposition to undergo pathological processes."]},
    "DOID:162": {"name": "cancer", "parents": ["DOID:4"], "synonyms": ["malignant tumor"]},
    "DOID:305": {"name": "carcinoma", "parents": ["DOID:162"]},
    "DOID:299": {"name": "adenocarcinoma", "parents": ["DOID:305"]},
    "DOID:3459": {"name": "breast carcinoma", "parents": ["DOID:305"], "synonyms": ["carcinoma of breast"]},
    "DOID:1324": {"name": "lung cancer", "parents": ["DOID:162"]},
    "DOID:3910": {
        "name": "lung adenocarcinoma",
        "parents": ["DOID:299", "DOID:1324"],
        "synonyms": ["adenocarcinoma of lung"],
    },
}
CLASSES = {"lung adenocarcinoma": ["DOID:3910"], "breast carcinoma": ["DOID:3459"]}


@pytest.fixture(scope="session")
def stores(tmp_path_factory):
    """A folder with ``graph`` and ``pairs``."""
    from medvlp.data.pairs import PairsStore, Row, Text
    from medvlp.knowledge.graph import DiseaseGraph

    folder = tmp_path_factory.mktemp("stores")
    DiseaseGraph.from_dict(CONCEPTS).save(folder / "graph", {})
    rng = np.random.default_rng(0)
    rows = [
        Row(
            key=f"{number:02d}.png",
            image=Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)),
            texts=[Text(f"an H&E image of {label}")],
            split=("train", "train", "dev", "test")[number % 4],
            case=f"p{number}",
            group=number // 16,
            label=label,
            concepts=CLASSES[label],
        )
        for number in range(32)
        for label in [list(CLASSES)[number // 16]]
    ]
    PairsStore.write(folder / "pairs", rows, classes=CLASSES)
    return folder


@pytest.fixture
def checkout(tmp_path, stores):
    """A fresh copy of the checkout."""
    return Checkout(tmp_path / "checkout", stores)
