"""NCT-CRC-HE-100K and CRC-VAL-HE-7K: nine tissues of colorectal cancer, 224 x 224 pixels at 0.5 um.

Citation: Kather et al., "100,000 histological images of human colorectal cancer and healthy tissue", Zenodo 1214456,
2018; PLOS Medicine 16(1):e1002730. Homepage: https://zenodo.org/records/1214456. Licence: CC BY 4.0.

Layout and totals were read in kaiko-ai/eva (docs/datasets/crc.md, classification/crc.py), file names (ADI-AAAFLCLY.tif,
in the 7K ADI-TCGA-AAICEQFN.tif, whose last part is no patient) there and in public loaders; counts by class of the 100K
follow from the index ranges of its classification/crc_he.py, those of the 7K are the class counts of PathMNIST's test
split, which is this set (MedMNIST: 7,180 images; they sum up to it).

Known defects: the 100K carries no patient ids, so no development split can be cut from it without a leak; colour
normalisation, JPEG artefacts that differ between classes and damaged dynamic range give the class away (Ignatov and
Malivenko, arXiv:2409.11546: mean colour alone over 50 %, a colour histogram over 82 % accuracy).
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import Expected, check_listing, set_root
from data_prep.pairs.standard.files import matching, subfolders
from medvlp.config import Config

TRAIN_COUNTS = {
    "ADI": 10407, "BACK": 10566, "DEB": 11512, "LYM": 11557, "MUC": 8896,
    "MUS": 13536, "NORM": 8763, "STR": 10446, "TUM": 14317,
}  # fmt: skip
TEST_COUNTS = {
    "ADI": 1338, "BACK": 847, "DEB": 339, "LYM": 634, "MUC": 1035, "MUS": 592, "NORM": 741, "STR": 421, "TUM": 1233,
}  # fmt: skip
NAMES = {
    "ADI": "adipose tissue",
    "BACK": "background",
    "DEB": "debris",
    "LYM": "lymphocytes",
    "MUC": "mucus",
    "MUS": "smooth muscle",
    "NORM": "normal colon mucosa",
    "STR": "cancer-associated stroma",
    "TUM": "colorectal adenocarcinoma epithelium",
}
CONCEPTS = {"TUM": ["DOID:0050861"]}  # colorectal adenocarcinoma
_TITLE = "CRC-HE"


class CrcHe(Config):
    """NCT-CRC-HE-100K for training and CRC-VAL-HE-7K, of 50 other patients, for testing."""

    name: Literal["crc_he"] = Field(description="Kind of source.")
    root: str = Field(description="Folder that holds NCT-CRC-HE-100K and CRC-VAL-HE-7K.")
    colours: Literal["normalised", "original"] = Field(
        default="normalised", description="Training images: NCT-CRC-HE-100K, or NCT-CRC-HE-100K-NONORM."
    )
    parts: Literal["both", "train", "test"] = Field(default="both", description="Which of the two archives to list.")
    partial: bool = Field(default=False, description="Go on with a copy that lacks files, and note what differs.")


def list_crc_he(source: CrcHe) -> Listing:
    """List every image with its tissue; the two archives are the splits.

    Raises:
        DataError: Missing folders, foreign files, counts that are not the published ones.
    """
    root = set_root(source.root, _TITLE)
    train = "NCT-CRC-HE-100K" if source.colours == "normalised" else "NCT-CRC-HE-100K-NONORM"
    archives = {
        archive: split
        for archive, split in ((train, "train"), ("CRC-VAL-HE-7K", "test"))
        if source.parts in ("both", split)
    }
    counts = {split: TRAIN_COUNTS if split == "train" else TEST_COUNTS for split in archives.values()}
    listing = Listing([], label_names=dict(NAMES), label_concepts=dict(CONCEPTS))
    for archive in subfolders(root, list(archives), listing, _TITLE, partial=source.partial, foreign=False):
        for label in subfolders(root / archive, list(NAMES), listing, _TITLE, partial=source.partial):
            pattern = re.compile(rf"{label}-(TCGA-)?[A-Z]+\.tif")
            for path, _ in matching(root / archive / label, pattern, listing, _TITLE, partial=source.partial):
                key = path.relative_to(root).as_posix()
                listing.items.append(Item(key, path, label=label, split=archives[archive]))
    expected = Expected(
        sum(sum(count.values()) for count in counts.values()),
        {split: sum(count.values()) for split, count in counts.items()},
        {label: sum(count[label] for count in counts.values()) for label in NAMES},
        "https://zenodo.org/records/1214456",
    )
    check_listing(listing, expected, _TITLE, partial=source.partial)
    return listing
