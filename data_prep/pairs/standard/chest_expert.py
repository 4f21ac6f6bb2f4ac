"""CheXpert: 224,316 radiographs of 65,240 patients, 14 observations that are positive, negative or uncertain.

Irvin et al., AAAI 2019, https://stanfordmlgroup.github.io/competitions/chexpert/; Stanford's research use agreement:
no commercial use, no redistribution. Layout, columns and counts: the published ``train.csv`` (223,414 rows) and the
readers in torchxrayvision 1.5.7 (234 validation and 668 test images; together the 224,316 of the paper). The test
labels are ``test_labels.csv`` of the CheXlocalize release: the majority of five radiologists, without age, sex and
view.

Known defects: training labels come from a rule-based labeller; the paper's figures are on 500 test studies, most
later papers' on the 200 validation studies; one file of the training table gives no sex.

A blank means that the report does not speak of the observation; here, as in the paper, it counts as negative.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import Expected, require_files, set_root
from data_prep.pairs.standard.chest_names import describe
from data_prep.pairs.standard.tabular import NONE, check_set, drop, rows_of
from data_prep.pairs.tables import Row
from medvlp.config import Config
from medvlp.errors import DataError

TITLE = "CheXpert"
OBSERVATIONS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
COMPETITION = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
COUNTS = {"train": 223_414, "dev": 234, "test": 668}
TABLES = {"train": ("train.csv",), "dev": ("valid.csv",), "test": ("test_labels.csv", "test.csv")}
READ_IN = "train.csv; CheXlocalize labels as described in torchxrayvision 1.5.7"
UNCERTAIN = "an uncertain observation"


class CheXpert(Config):
    """Stanford's radiographs; ``root`` is the folder CheXpert-v1.0 or CheXpert-v1.0-small."""

    name: Literal["chexpert"] = Field(description="Kind of source.")
    root: str = Field(description="Folder with train.csv, valid.csv, test_labels.csv and the folders of their images.")
    partial: bool = Field(default=False, description="Go on with part of the images; differences are noted.")
    parts: list[Literal["train", "dev", "test"]] = Field(
        default=["train", "dev", "test"], min_length=1, description="Parts to use: their tables have to be there."
    )
    findings: Literal["all", "competition"] = Field(
        default="all", description="All 14 observations, or the five that the competition scores."
    )
    uncertain: Literal["negative", "positive", "drop"] = Field(
        default="negative", description="What -1 counts as; drop leaves out images with one among the findings."
    )
    views: Literal["frontal", "all"] = Field(default="frontal", description="Use frontal images only, or lateral too.")


def list_chexpert(source: CheXpert) -> Listing:
    """List the images of the chosen parts.

    Images with none of the findings get the label :data:`~data_prep.pairs.standard.tabular.NONE`.

    Raises:
        DataError: A missing table, an unreadable label, or counts other than the published ones.
    """
    root = set_root(source.root, TITLE)
    listing = Listing([])
    findings = OBSERVATIONS if source.findings == "all" else COMPETITION
    unsure: set[str] = set()
    for part in dict.fromkeys(source.parts):
        known = [name for name in TABLES[part] if (root / name).is_file()] or [TABLES[part][0]]
        require_files(root, known[:1], TITLE)
        for row in rows_of(root / known[0], ["Path", *findings], listing):
            item, doubtful = _item(row, root, part, findings, source.uncertain == "positive")
            listing.items.append(item)
            if doubtful:
                unsure.add(item.key)
    describe(listing, [*findings, NONE])
    counts: dict[str, int] = {part: COUNTS[part] for part in source.parts}
    check_set(listing, Expected(sum(counts.values()), counts, source=READ_IN), TITLE, partial=source.partial)
    if source.views == "frontal":
        drop(listing, {item.key for item in listing.items if "lateral" in Path(item.key).name}, "lateral view")
    if source.uncertain == "drop":
        drop(listing, unsure, UNCERTAIN)
    return listing


def _item(row: Row, root: Path, part: str, findings: tuple[str, ...], positive: bool) -> tuple[Item, bool]:
    """One image, and whether any of its findings is uncertain."""
    key = _below_root(row["Path"])
    values = {name: _value(row[name], key) for name in findings}
    labels = [name for name, value in values.items() if value == 1 or (positive and value == -1)]
    path = root / key
    if part == "dev" and not path.is_file() and key.startswith("valid/"):
        path = root / key.replace("valid/", "val/", 1)  # as the CheXlocalize release calls the folder
    case = next((folder for folder in Path(key).parts if folder.startswith("patient")), None)
    return Item(key, path, labels=labels or [NONE], split=part, case=case), -1 in values.values()


def _below_root(path: str) -> str:
    """The tables' paths begin with the name of the release's folder, or with the part."""
    first, _, rest = path.partition("/")
    return rest if first.startswith("CheXpert-v1.0") else path


def _value(text: str, key: str) -> int:
    if text.strip() == "":
        return 0
    try:
        value = float(text)
    except ValueError:
        value = 2.0
    if value not in (-1.0, 0.0, 1.0):
        raise DataError(f"label {text!r} is none of 1, 0, -1 and blank", item=key, remedy="use the published table")
    return int(value)
