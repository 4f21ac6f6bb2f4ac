"""The slide sets of two Kaggle competitions: PANDA (prostate biopsies) and UBC-OCEAN (ovarian carcinoma).

PANDA: Bulten et al., "Artificial intelligence for diagnosis and Gleason grading of prostate cancer: the PANDA
challenge", Nature Medicine 28, 2022. https://www.kaggle.com/competitions/prostate-cancer-grade-assessment. Licence:
CC BY-SA-NC 4.0. Layout, licence and the count of 10,616 were read in kaiko-ai/eva (docs/datasets/panda.md), the columns
of train.csv (image_id, data_provider, isup_grade, gleason_score) in public tests of loaders. Known defects: labels are
noisy (eva leaves out about a tenth); no patients are published, so a drawn split may part biopsies of one patient.

UBC-OCEAN: https://www.kaggle.com/competitions/UBC-OCEAN. Licence: the competition's rules. Layout and counts by class
were read in a public solution (MoustafaMohammedd/UBC_Ovarian_Cancer_Subtype_Classification, README.md: 222 + 47 + 124 +
99 + 46 = 538), columns and the number of cores (25, five of each class) in the copy of train.csv in another one
(gunesevitan/ubc-ovarian-cancer-subtype-classification-and-outlier-detection). Known defects: slides are flat PNG files
without a pyramid or a pixel size; tissue microarray cores stand among them; no patients are published.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from data_prep.pairs.config import SplitConfig
from data_prep.pairs.standard.checks import Expected, require_files, set_root
from data_prep.pairs.standard.slide_rows import WHOLE_SET, SlideListing, SlideRow, check_slides, finish, keep_present
from data_prep.pairs.tables import Row, read_table, require_columns
from medvlp.config import Config
from medvlp.errors import DataError

PANDA_IMAGES = 10616
PANDA_NAMES = {
    "0": "benign prostate tissue",
    **{str(grade): f"prostate adenocarcinoma, ISUP grade group {grade}" for grade in range(1, 6)},
}
OCEAN_COUNTS = {"HGSC": 222, "LGSC": 47, "EC": 124, "CC": 99, "MC": 46}
CORES_PER_CLASS = 5  # of OCEAN_COUNTS
OCEAN_NAMES = {
    "HGSC": "ovarian high-grade serous carcinoma",
    "LGSC": "ovarian low-grade serous carcinoma",
    "EC": "ovarian endometrioid carcinoma",
    "CC": "ovarian clear cell carcinoma",
    "MC": "ovarian mucinous carcinoma",
}


class Panda(Config):
    """The 10,616 biopsies of PANDA's training set, by ISUP grade group."""

    name: Literal["panda"] = Field(description="Kind of source.")
    root: str = Field(description="Folder of train.csv, train_images and train_label_masks.")
    provider: Literal["both", "karolinska", "radboud"] = Field(default="both", description="Which centre's biopsies.")
    split: SplitConfig = Field(default=WHOLE_SET, description="Shares to draw, as no split is published.")
    partial: bool = Field(default=False, description="Go on with a copy that lacks slides, and note what differs.")


class UbcOcean(Config):
    """The training slides of UBC-OCEAN, by histotype."""

    name: Literal["ubc_ocean"] = Field(description="Kind of source.")
    root: str = Field(description="Folder of train.csv and train_images.")
    with_tma: bool = Field(default=False, description="Keep tissue microarray cores, which are no whole slides.")
    split: SplitConfig = Field(default=WHOLE_SET, description="Shares to draw, as no split is published.")
    partial: bool = Field(default=False, description="Go on with a copy that lacks slides, and note what differs.")


def list_panda(source: Panda) -> SlideListing:
    """List the biopsies of train.csv; biopsies without a mask are counted.

    Raises:
        DataError: Missing files or columns, absent slides, counts that are not the published ones.
    """
    root, title = set_root(source.root, "PANDA"), "PANDA"
    require_files(root, ["train.csv", "train_images/"], title)
    rows = _table(root / "train.csv", ["image_id", "data_provider", "isup_grade"])
    listing, provider = SlideListing(), {}
    for row in rows:
        key = row["image_id"]
        provider[key] = row["data_provider"]
        mask: Path | None = root / "train_label_masks" / f"{key}_mask.tiff"
        if mask is not None and not mask.is_file():
            listing.note("slides without a mask")
            mask = None
        path = root / "train_images" / f"{key}.tiff"
        listing.rows.append(SlideRow(key, path, row["isup_grade"], None, None, mask))
    keep_present(listing, title, partial=source.partial)
    check_slides(listing, Expected(PANDA_IMAGES, source="kaiko-ai/eva"), title, partial=source.partial)
    _known(listing, PANDA_NAMES)
    if source.provider != "both":
        others = [row for row in listing.rows if provider[row.key] != source.provider]
        listing.note("slides of the other provider, left out", len(others))
        listing.rows = [row for row in listing.rows if provider[row.key] == source.provider]
    return finish(listing, PANDA_NAMES, source.split)


def list_ubc_ocean(source: UbcOcean) -> SlideListing:
    """List the slides of train.csv.

    Raises:
        DataError: Missing files or columns, absent slides, counts that are not the published ones.
    """
    root, title = set_root(source.root, "UBC-OCEAN"), "UBC-OCEAN"
    require_files(root, ["train.csv", "train_images/"], title)
    rows = _table(root / "train.csv", ["image_id", "label", "is_tma"])
    listing = SlideListing()
    for row in rows:
        path = root / "train_images" / f"{row['image_id']}.png"
        listing.rows.append(SlideRow(row["image_id"], path, row["label"], None, None))
    keep_present(listing, title, partial=source.partial)
    counts = dict(OCEAN_COUNTS)
    if not source.with_tma:
        counts = {label: count - CORES_PER_CLASS for label, count in OCEAN_COUNTS.items()}
        cores = {row["image_id"] for row in rows if row["is_tma"].strip().lower() == "true"}
        listing.dropped += [(row.key, "tissue microarray core") for row in listing.rows if row.key in cores]
        listing.rows = [row for row in listing.rows if row.key not in cores]
    expected = Expected(sum(counts.values()), {}, counts, "the competition's train.csv")
    check_slides(listing, expected, title, partial=source.partial)
    return finish(listing, OCEAN_NAMES, source.split)


def _table(path: Path, columns: list[str]) -> list[Row]:
    rows = read_table(path)
    require_columns(path, rows, columns)
    return rows


def _known(listing: SlideListing, names: dict[str, str]) -> None:
    for row in listing.rows:
        if row.label not in names:
            raise DataError(f"unknown class {row.label!r}", item=row.key, remedy="use the published table")
