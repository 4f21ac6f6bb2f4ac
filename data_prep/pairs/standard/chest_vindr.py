"""VinDr-CXR: 18,000 frontal radiographs (DICOM), 28 findings and diagnoses by radiologists.

Nguyen et al., Scientific Data 2022, https://physionet.org/content/vindr-cxr/1.0.0/; credentialed access, its data use
agreement. 15,000 training images with three readers each, 3,000 test images with a consensus of five (the paper).
Layout of the PhysioNet release, read in several public readers of it: ``annotations/image_labels_train.csv``
(image_id, rad_id and 28 columns of 0 and 1, 45,000 rows), ``annotations/image_labels_test.csv`` (without rad_id),
``train/`` and ``test/`` with ``<image_id>.dicom``.

Known defects: the column "Other diseases" of training is "Other disease" in test (one name here); training labels of
one image differ between readers, so a number of agreeing readers has to be chosen; Edema is absent from test, and
five other labels have fewer than ten boxes there; no patient is told, so cases are images.

The published split is train and test; dev is drawn from train by image, always the same ones.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import Expected, require_files, set_root
from data_prep.pairs.standard.chest_names import describe
from data_prep.pairs.standard.tabular import NONE, check_set, draw_dev, rows_of
from data_prep.pairs.tables import Row
from medvlp.config import Config
from medvlp.errors import DataError

TITLE = "VinDr-CXR"
LOCAL = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture", "Consolidation", "Edema",
    "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst", "Mediastinal shift",
    "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumothorax", "Pulmonary fibrosis", "Rib fracture",
    "Other lesion",
)  # fmt: skip
GLOBAL = ("COPD", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases", "No finding")
OTHER_NAMES = {"Other disease": "Other diseases"}
READERS = {"train": 3, "test": 1}
COUNTS = {"train": 15_000, "test": 3_000}


class VinDrCxr(Config):
    """Radiographs from Hanoi with 28 labels, any number per image."""

    name: Literal["vindr_cxr"] = Field(description="Kind of source.")
    root: str = Field(description="Folder with annotations/, train/ and test/.")
    partial: bool = Field(default=False, description="Go on with part of the images; differences are noted.")
    parts: list[Literal["train", "test"]] = Field(
        default=["train", "test"], min_length=1, description="Parts to use: table and folder have to be there."
    )
    readers: Annotated[int, Field(ge=1, le=3)] = Field(
        default=2, description="How many of a training image's three readers have to agree on a label."
    )
    dev_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1, description="Share of the training images that become dev."
    )


def list_vindr(source: VinDrCxr) -> Listing:
    """List the images with the labels that enough readers gave; without any, the label is ``NONE``.

    Raises:
        DataError: Missing files, a label that is neither 0 nor 1, an image with another number of readers, or counts
            other than the published ones.
    """
    root = set_root(source.root, TITLE)
    listing = Listing([])
    parts = list(dict.fromkeys(source.parts))
    tables = {part: f"annotations/image_labels_{part}.csv" for part in parts}
    require_files(root, [*tables.values(), *(f"{part}/" for part in parts)], TITLE)
    for part in parts:
        votes: dict[str, dict[str, int]] = {}
        readers: dict[str, int] = {}
        for row in rows_of(root / tables[part], ["image_id", *LOCAL, *GLOBAL[:4], "No finding"], listing):
            count = votes.setdefault(row["image_id"], {})
            readers[row["image_id"]] = readers.get(row["image_id"], 0) + 1
            for label in _labels(row):
                count[label] = count.get(label, 0) + 1
        needed = source.readers if part == "train" else 1
        for name, count in votes.items():
            if readers[name] != READERS[part]:
                raise DataError(
                    f"{readers[name]} rows in {tables[part]}, not {READERS[part]}", item=name, remedy="get it again"
                )
            agreed = [label for label in (*LOCAL, *GLOBAL) if count.get(label, 0) >= needed]
            path = root / part / f"{name}.dicom"
            listing.items.append(Item(f"{part}/{name}.dicom", path, labels=agreed or [NONE], split=part))
    describe(listing, [*LOCAL, *GLOBAL, NONE])
    counts: dict[str, int] = {part: COUNTS[part] for part in parts}
    expected = Expected(sum(counts.values()), counts, source="Nguyen et al. 2022")
    check_set(listing, expected, TITLE, partial=source.partial)
    draw_dev(listing.items, source.dev_share)
    return listing


def _labels(row: Row) -> list[str]:
    """Labels that one reader, or the consensus, gave."""
    given = []
    for column, value in row.items():
        label = OTHER_NAMES.get(column, column)
        if label not in LOCAL and label not in GLOBAL:
            continue
        if value not in ("0", "1", "0.0", "1.0"):
            raise DataError(f"{column} is {value!r}, not 0 or 1", item=row["image_id"], remedy="get the table again")
        if value.startswith("1"):
            given.append(label)
    return given
