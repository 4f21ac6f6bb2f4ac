"""BACH, part A: 400 microscopy fields of breast tissue in four classes, 2048 x 1536 pixels at 0.42 um.

Citation: Aresta et al., "BACH: grand challenge on breast cancer histology images", Medical Image Analysis 56, 2019.
Homepage: https://iciar2018-challenge.grand-challenge.org, data: https://zenodo.org/records/3632035. Licence:
CC BY-NC-ND 4.0.

Counts (100 of each class) were read on the challenge's page Dataset; layout and file names in kaiko-ai/eva
(classification/bach.py, docs/datasets/bach.md). eva's page says 408 images, 102 per class; the challenge's own page
is taken.

Split: the labels of the 100 test images are not public. ``split: eva`` divides the 400 by patient as eva does (268 for
training; the 132 that eva calls validation are the test part here); ``drawn`` leaves it to the store.

Known defects: file names and folders carry no patient, and the challenge tells the patients of some images only, so
there are no cases: near-identical images are the only ones kept together by a drawn split.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import Expected, check_listing, set_root
from data_prep.pairs.standard.files import matching, subfolders
from medvlp.config import Config

NAMES = {
    "Benign": "benign breast lesion",
    "InSitu": "breast carcinoma in situ",
    "Invasive": "invasive breast carcinoma",
    "Normal": "normal breast tissue",
}
CONCEPTS = {"InSitu": ["DOID:8791"]}  # breast carcinoma in situ
PER_CLASS = 100
TEST_NUMBERS = {  # the numbers in the file names of eva's held-out part
    "Benign": [*range(42, 60), *range(61, 91)],
    "InSitu": [*range(40, 70)],
    "Invasive": [*range(41, 59), *range(61, 74)],
    "Normal": [*range(46, 69)],
}
_PREFIX = {"Benign": "b", "InSitu": "is", "Invasive": "iv", "Normal": "n"}
_TITLE = "BACH"
_SOURCE = "https://iciar2018-challenge.grand-challenge.org/Dataset/"


class Bach(Config):
    """The 400 labelled microscopy images of BACH."""

    name: Literal["bach"] = Field(description="Kind of source.")
    root: str = Field(description="Folder ICIAR2018_BACH_Challenge, which holds Photos.")
    split: Literal["eva", "drawn"] = Field(
        default="eva", description="eva: its split by patient, 268 for training and 132 for testing; drawn: none given."
    )
    partial: bool = Field(default=False, description="Go on with a copy that lacks files, and note what differs.")


def list_bach(source: Bach) -> Listing:
    """List the labelled images; the tables in the class folders' parent are left alone.

    Raises:
        DataError: Missing folders, foreign files, counts that are not the published ones.
    """
    root = set_root(source.root, _TITLE)
    listing = Listing([], label_names=dict(NAMES), label_concepts=dict(CONCEPTS))
    folders = [f"Photos/{label}" for label in NAMES]
    for folder in subfolders(root, folders, listing, _TITLE, partial=source.partial, foreign=False):
        label = folder.removeprefix("Photos/")
        pattern = re.compile(rf"{_PREFIX[label]}(?P<number>\d{{3}})\.tif")
        for path, match in matching(root / folder, pattern, listing, _TITLE, partial=source.partial):
            held_out = int(match["number"]) in TEST_NUMBERS[label]
            split = ("test" if held_out else "train") if source.split == "eva" else None
            listing.items.append(Item(path.relative_to(root).as_posix(), path, label=label, split=split))
    num, num_test = PER_CLASS * len(NAMES), sum(map(len, TEST_NUMBERS.values()))
    by_split = {"train": num - num_test, "test": num_test} if source.split == "eva" else {}
    expected = Expected(num, by_split, dict.fromkeys(NAMES, PER_CLASS), _SOURCE)
    check_listing(listing, expected, _TITLE, partial=source.partial)
    return listing
