"""Small images of two classes and a configuration that composes slides of them."""

import csv

import numpy as np
from PIL import Image

from data_prep.planted.config import PlantedSlidesConfig

CELL, NUMBERS = 32, 60


def picture(seed, tumour=False, size=CELL):
    """Noise in blocks of 4 pixels, no two alike, also turned; tumour has more blue in it, normal tissue more red."""
    small = np.random.default_rng(seed).integers(0, 200, size=(size // 4, size // 4, 3), dtype=np.uint8)
    small[..., 0 if tumour else 2] //= 3
    return Image.fromarray(small).resize((size, size), Image.Resampling.NEAREST)


def write_sources(folder):
    """Write 60 tumour and 60 normal images of 400x, and two of 100x, with ``table.csv``."""
    rows = [["file", "label", "magnification"]]
    for index, label in enumerate(["T", "N"]):
        for number in range(NUMBERS):
            name = f"{label}_400x_{number}.png"
            picture(1000 * index + number, label == "T").save(folder / name)
            rows.append([name, label, "400x"])
        name = f"{label}_100x_1.png"
        picture(5000 + index, label == "T").save(folder / name)
        rows.append([name, label, "100x"])
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return folder


def make_config(folder, /, **changes):
    """One development and two test slides of 4 x 4 images; keyword arguments replace keys."""
    plain = {
        "sources": {
            "tiles": {
                "images": str(folder), "table": str(folder / "table.csv"), "magnification": "magnification",
                "where": {"magnification": ["400x"]}, "number": r"_(\d+)\.png", "block": 10,
            }
        },
        "classes": {
            "carcinoma": {"source": "tiles", "label": "T", "beside": ["mucosa"], "aliases": ["cancer"]},
            "mucosa": {"source": "tiles", "label": "N"},
        },
        "slides": {"dev": 1, "test": 2}, "ratios": [0.25], "sides": [4], "cell": CELL, "blend": 0,
        "mask_downsample": 4, "levels": [2, 8], "compression": "deflate",
    }  # fmt: skip
    return PlantedSlidesConfig.model_validate(plain | changes)
