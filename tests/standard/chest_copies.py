"""Small chest sets in their true layouts: tables, images, what a source lists."""

import csv
import gzip
import io

import numpy as np
from PIL import Image

from data_prep.pairs.config import PairsConfig
from data_prep.pairs.sources import list_items


def write_table(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_image(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def listed(source):
    return list_items(PairsConfig(source=source))


def by_key(listing):
    return {item.key: item for item in listing.items}
