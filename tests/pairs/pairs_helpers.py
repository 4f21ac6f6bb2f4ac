"""Distinguishable images and tables for the tests of preparation."""

import csv

import numpy as np
from PIL import Image


def picture(seed, size=40):
    coarse = np.random.default_rng([seed]).integers(0, 255, (10, 10, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


def write_table(path, rows, encoding="utf-8"):
    with path.open("w", newline="", encoding=encoding) as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
