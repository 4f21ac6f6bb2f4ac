"""SICAPv2: patches of prostate biopsies with Gleason patterns, 512 x 512 pixels at 10x, of 155 slides.

Citation: Silva-Rodriguez et al., "Going deeper through the Gleason scoring scale", Computer Methods and Programs in
Biomedicine 195, 2020. Homepage: https://data.mendeley.com/datasets/9xxm58dvs3. Licence: not stated in the sources
opened; the homepage has the terms.

Layout (images, masks, partition/Test, partition/Validation/Val1 to Val4, wsi_labels.xlsx with slide_id and patient_id,
tables with image_name, NC, G3, G4, G5, G4C) and counts by part (test 2,122 patches of 31 slides; the four validation
folds share the other 9,959) were read in public loaders and audits of the set, which agree. Counts by class were found
in none, so they are not checked.

Known defects: the folder images holds 18,783 patches, of which only the 12,081 of the tables are labelled; neighbouring
patches overlap by half; ten regions are listed as duplicates in a public loader; a patch has one label though it may
show several patterns.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from data_prep.pairs.folders import is_image
from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import Expected, check_listing, differs, require_files, set_root
from data_prep.pairs.standard.xlsx import read_xlsx
from data_prep.pairs.tables import Row, require_columns
from medvlp.config import Config
from medvlp.errors import DataError
from medvlp.io import sha256_file

NAMES = {
    "NC": "non-cancerous prostate tissue",
    "G3": "prostate adenocarcinoma, Gleason pattern 3",
    "G4": "prostate adenocarcinoma, Gleason pattern 4",
    "G5": "prostate adenocarcinoma, Gleason pattern 5",
}
TEST, REST = 2122, 9959
FOLD_SIZES = {1: (7472, 2487), 2: (7793, 2166), 3: (8166, 1793), 4: (6446, 3513)}  # training, validation
_TITLE = "SICAPv2"


class SicapV2(Config):
    """Labelled patches of SICAPv2 with the published parts; the patient is the case."""

    name: Literal["sicapv2"] = Field(description="Kind of source.")
    root: str = Field(description="Folder SICAPv2, which holds images, partition and wsi_labels.xlsx.")
    fold: Literal[1, 2, 3, 4] | None = Field(
        default=1, description="Validation fold that becomes the development part; none: all of it is for training."
    )
    partial: bool = Field(default=False, description="Go on with a copy that lacks files, and note what differs.")


def list_sicapv2(source: SicapV2) -> Listing:
    """List the patches of the tables, each with its one pattern and its patient.

    Raises:
        DataError: Missing files or columns, a patch without exactly one label or without a patient, counts that are
            not the published ones.
    """
    root = set_root(source.root, _TITLE)
    tables = {"partition/Test/Test.xlsx": "test"}
    if source.fold is None:
        tables["partition/Test/Train.xlsx"] = "train"
    else:
        folder = f"partition/Validation/Val{source.fold}"
        tables |= {f"{folder}/Train.xlsx": "train", f"{folder}/Test.xlsx": "dev"}
    require_files(root, ["images/", "wsi_labels.xlsx", *tables], _TITLE)
    listing = Listing([], label_names=dict(NAMES))
    patients = _patients(root / "wsi_labels.xlsx")
    for table, split in tables.items():
        listing.sources[table] = sha256_file(root / table)
        for name, label in _labelled(root / table):
            slide = name.split("_Block_")[0]
            if slide not in patients:
                raise DataError("its slide has no patient", item=name, remedy="use the published wsi_labels.xlsx")
            item = Item(f"images/{name}", root / "images" / name, label=label, split=split, case=patients[slide])
            listing.items.append(item)
    absent = [item for item in listing.items if item.path is not None and not is_image(item.path)]
    if absent:
        problem = f"{len(absent):,} images of the tables are absent"
        differs(listing, problem, _TITLE, "download and unpack the rest", source.partial)
        gone = {item.key for item in absent}
        listing.dropped += [(key, "missing image") for key in sorted(gone)]
        listing.items = [item for item in listing.items if item.key not in gone]
    by_split = {"train": REST, "test": TEST}
    if source.fold is not None:
        train, dev = FOLD_SIZES[source.fold]
        by_split = {"train": train, "dev": dev, "test": TEST}
    expected = Expected(TEST + REST, by_split, source="https://data.mendeley.com/datasets/9xxm58dvs3")
    check_listing(listing, expected, _TITLE, partial=source.partial)
    return listing


def _labelled(table: Path) -> Iterator[tuple[str, str]]:
    """Name and label of every patch of a table."""
    rows: list[Row] = read_xlsx(table)
    require_columns(table, rows, ["image_name", *NAMES])
    for row in rows:
        labels = [label for label in NAMES if row[label] == "1"]
        if len(labels) != 1:
            raise DataError(f"{len(labels)} labels instead of one", item=row["image_name"], remedy=f"check {table}")
        yield row["image_name"], labels[0]


def _patients(table: Path) -> dict[str, str]:
    rows = read_xlsx(table)
    require_columns(table, rows, ["slide_id", "patient_id"])
    return {row["slide_id"]: row["patient_id"] for row in rows}
