"""Derm7pt: 1,011 lesions, each with a dermatoscopic and a clinical image, a diagnosis and the seven-point checklist.

Kawahara et al., IEEE JBHI 2019, http://derm.cs.sfu.ca; on request, for research. Layout and the grouping of
diagnoses: github.com/jeremykawahara/derm7pt (``meta/meta.csv`` with columns derm, clinic, diagnosis, sex, location
...; ``meta/train_indexes.csv``, ``valid_indexes.csv`` and ``test_indexes.csv`` with rows of meta.csv, from 0, in the
column ``indexes``; ``images/``). 1,011 cases and 395 in test: DermoBench's counts (2,022 images, 5,530 questions, 14
a case).

Known defects: images come from a teaching atlas, some with black borders; no patient is told, so cases are lesions;
the paper scores five groups of diagnoses, others melanoma alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import Expected, require_files, set_root
from data_prep.pairs.standard.tabular import check_set, rows_of
from medvlp.config import Config
from medvlp.errors import DataError

TITLE = "Derm7pt"
INDEXES = {"train": "train_indexes.csv", "dev": "valid_indexes.csv", "test": "test_indexes.csv"}
EXPECTED = Expected(1_011, by_split={"test": 395}, source="Kawahara et al. 2019, DermoBench")
_NEVI = ("nevus", "blue nevus", "clark nevus", "combined nevus", "congenital nevus", "dermal nevus", "recurrent nevus",
         "reed or spitz nevus")  # fmt: skip
_MELANOMAS = ("melanoma", "melanoma (in situ)", "melanoma (less than 0.76 mm)", "melanoma (0.76 to 1.5 mm)",
              "melanoma (more than 1.5 mm)", "melanoma metastasis")  # fmt: skip
_OTHERS = ("dermatofibroma", "lentigo", "melanosis", "miscellaneous", "vascular lesion")
FIVE = {
    "basal cell carcinoma": "BCC",
    "seborrheic keratosis": "SK",
    **dict.fromkeys(_NEVI, "NEV"),
    **dict.fromkeys(_MELANOMAS, "MEL"),
    **dict.fromkeys(_OTHERS, "MISC"),
}
NAMES = {
    "BCC": "basal cell carcinoma",
    "SK": "seborrheic keratosis",
    "NEV": "melanocytic nevus",
    "MEL": "melanoma of the skin",
    "MISC": "other skin lesion",
}
CONCEPTS = {"BCC": ["DOID:2513"], "SK": ["DOID:6498"], "MEL": ["DOID:8923"]}


class Derm7pt(Config):
    """Dermatoscopic or clinical images with a diagnosis."""

    name: Literal["derm7pt"] = Field(description="Kind of source.")
    root: str = Field(description="Folder release_v0, with meta/ and images/.")
    partial: bool = Field(default=False, description="Go on with part of the images; differences are noted.")
    image: Literal["derm", "clinic"] = Field(default="derm", description="Which of a case's two images.")
    diagnosis: Literal["five", "all"] = Field(
        default="five", description="The paper's five groups, or the diagnoses of the table."
    )


def list_derm7pt(source: Derm7pt) -> Listing:
    """List one image per case under the published split.

    Raises:
        DataError: Missing files, an unknown diagnosis, a case in no part or in two, or other counts than published.
    """
    root = set_root(source.root, TITLE)
    require_files(root, ["images/", "meta/meta.csv", *(f"meta/{name}" for name in INDEXES.values())], TITLE)
    listing = Listing([], label_names=dict(NAMES), label_concepts=dict(CONCEPTS))
    split_of = _splits(root / "meta", listing)
    for number, row in enumerate(rows_of(root / "meta" / "meta.csv", ["derm", "clinic", "diagnosis"], listing)):
        key, label = row[source.image], row["diagnosis"].strip()
        if number not in split_of:
            raise DataError(f"row {number} of meta.csv is in no part", item=key, remedy="get the index files again")
        if source.diagnosis == "five":
            if label not in FIVE:
                raise DataError(f"unknown diagnosis {label!r}", item=key, remedy="get meta.csv again")
            label = FIVE[label]
        path = root / "images" / key
        if ".." in Path(key).parts or Path(key).is_absolute():
            raise DataError("lies outside the image folder", item=key, remedy="get meta.csv again")
        listing.items.append(Item(key, path, label=label, split=split_of[number], case=f"case-{number:04d}"))
    check_set(listing, EXPECTED, TITLE, partial=source.partial)
    return listing


def _splits(folder: Path, listing: Listing) -> dict[int, str]:
    split_of: dict[int, str] = {}
    for split, name in INDEXES.items():
        for row in rows_of(folder / name, ["indexes"], listing):
            if not row["indexes"].strip().isdigit():
                raise DataError(f"{row['indexes']!r} is no row number", item=folder / name, remedy="get it again")
            number = int(row["indexes"])
            if split_of.setdefault(number, split) != split:
                raise DataError(f"row {number} is in {split_of[number]} and {split}", item=name, remedy="get it again")
    return split_of
