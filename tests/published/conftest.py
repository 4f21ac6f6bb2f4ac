"""Makes the tiny models of the tests folder importable, and offers one text model per session."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ftfy", reason="needs the extra `clip` (open_clip)")


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    from tiny_models import write_bert

    return write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def clip():
    from medvlp import torchvision_guard

    torchvision_guard.install()
    return pytest.importorskip("open_clip", reason="needs the extra `clip` (open_clip)")


COLOURS = {"lung carcinoma": (200, 40, 40), "skin nevus": (40, 160, 60), "normal liver": (50, 60, 190)}


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    from medvlp.data.pairs import PairsStore, Row, Text

    rng = np.random.default_rng(0)
    rows = []
    for split in ("train", "dev", "test"):
        for label, colour in COLOURS.items():
            for i in range(6):
                pixels = np.clip(np.array(colour) + rng.normal(0, 30, (24, 24, 3)), 0, 255).astype(np.uint8)
                rows.append(Row(f"{split}/{label}-{i}", Image.fromarray(pixels), [Text("secret note", "report")], split,
                                f"case-{split}-{label}-{i // 2}", len(rows), label, []))  # fmt: skip
        rows.append(Row(f"{split}/none", Image.new("RGB", (9, 9)), [Text("x")], split, f"c-{split}", len(rows)))
    folder = tmp_path_factory.mktemp("store") / "pairs"
    return PairsStore.write(folder, rows, classes={label: [] for label in COLOURS})
