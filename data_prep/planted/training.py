"""The images that no slide is made of: copied, listed, and with a configuration to make a pairs store of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import yaml
from PIL import Image

from data_prep.planted.config import PlantedSlidesConfig
from data_prep.planted.images import TileImage, read_cell
from medvlp.data.image import encode_image
from medvlp.io import write_text

TABLE, CONFIG = "train.csv", "pairs.yaml"
SPLITS = ("train", "dev")
_WORDINGS = [
    "an H&E image of {}.",
    "a histology patch showing {}.",
    "{}, haematoxylin and eosin stain.",
    "a micrograph of {}.",
]


def write_training(config: PlantedSlidesConfig, images: Sequence[TileImage], folder: Path) -> None:
    """Write ``train/``, ``train.csv`` and ``pairs.yaml``: training images, and those of the development part.

    Images are brought to the size they would have on a slide, so that training and slides agree in scale. Paths in the
    configuration are relative to ``${PLANTED}``, the folder itself.
    """
    (folder / "train").mkdir()
    kept = [image for image in images if image.split in SPLITS]
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", "label", "split", "case"])
    for number, image in enumerate(kept):
        name = f"train/{number:05d}.jpg"
        pixels = read_cell(image.path, config.cell)
        (folder / name).write_bytes(encode_image(Image.fromarray(pixels), "jpeg"))
        writer.writerow([name, image.name, image.split, image.case])
    write_text(folder / TABLE, table.getvalue())
    pairs = {
        "kind": "pairs",
        "source": {
            "name": "folder_csv",
            "images": "${PLANTED}",
            "table": f"${{PLANTED}}/{TABLE}",
            "columns": {"image": "file", "label": "label", "split": "split", "case": "case"},
        },
        "classes": {
            name: {"name": name, "aliases": entry.aliases}
            for name, entry in config.classes.items()
            if any(image.name == name for image in kept)
        },
        "captions": {"templates": _WORDINGS, "graph_names": False},
    }
    head = "# Images no planted slide is made of: export PLANTED=<this folder>, then medvlp prepare <this file>.\n"
    write_text(folder / CONFIG, head + yaml.safe_dump(pairs, sort_keys=False, allow_unicode=True, width=120))
