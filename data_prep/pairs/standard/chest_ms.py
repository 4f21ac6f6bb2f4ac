"""MS-CXR: phrases of reports with the boxes they speak of, eight findings, on images of MIMIC-CXR.

Boecking et al., ECCV 2022, https://physionet.org/content/ms-cxr/; credentialed access, its data use agreement.
Columns of ``MS_CXR_Local_Alignment_v1.1.0.csv`` (dicom_id, category_name, label_text, path, x, y, w, h, image_width,
image_height, split; 1.0.0 has no split) and of the JSON of the same name in COCO's form: read in several public
readers; 1,162 pairs of image and phrase: the PhysioNet page; 851 patients: counted by a public test of version 1.1.0.
The images are those of MIMIC-CXR-JPG; ``path`` begins with ``files/``.

Known defects: all images are from MIMIC-CXR, on whose reports many encoders were trained, so part of the test images
may have been seen; positives only: no image is without finding.

One image is one item with all its phrases as texts and its findings as labels; the boxes are read by
``data_prep.pairs.standard.boxes``. Cases are hashes of MIMIC's patient folder, and keys are file names.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.split import given_split
from data_prep.pairs.standard.checks import Expected, set_root
from data_prep.pairs.standard.chest_names import describe
from data_prep.pairs.standard.tabular import check_set, one_of, pseudonym, rows_of
from data_prep.pairs.tables import Row
from medvlp.config import Config, resolve_path
from medvlp.data.pairs import Text
from medvlp.errors import DataError

TITLE = "MS-CXR"
TABLES = ("MS_CXR_Local_Alignment_v1.1.0.csv", "MS_CXR_Local_Alignment_v1.0.0.csv")
NUM_PAIRS = 1_162
COLUMNS = ("dicom_id", "category_name", "label_text", "path")


class MsCxr(Config):
    """Phrases, findings and boxes on images of MIMIC-CXR."""

    name: Literal["ms_cxr"] = Field(description="Kind of source.")
    root: str = Field(description="Folder with the table of MS-CXR.")
    images: str = Field(description="Folder of MIMIC-CXR-JPG that holds files/, or files itself.")
    partial: bool = Field(default=False, description="Go on with part of the images; differences are noted.")
    use_split: bool = Field(default=True, description="Use the table's split, where it has one.")


def list_ms_cxr(source: MsCxr) -> Listing:
    """List the images with their phrases, as free texts, and findings.

    Raises:
        DataError: Missing table or images, or an image that is given two splits.
    """
    listing = Listing([])
    by_name: dict[str, Item] = {}
    pairs: set[tuple[str, str, str]] = set()
    for row in table_rows(source, listing):
        name = row["dicom_id"]
        text = Text(" ".join(row["label_text"].split()))
        split = given_split(row["split"], name) if source.use_split and row.get("split") else None
        path, case = image_path(source, row)
        item = by_name.setdefault(name, Item(f"{name}.jpg", path, split=split, case=case))
        if item.split != split:
            raise DataError("rows give it two splits", item=item.key, remedy="get the table again")
        item.labels = list(dict.fromkeys([*item.labels, row["category_name"]]))
        item.texts = list(dict.fromkeys([*item.texts, text]))
        pairs.add((name, row["category_name"], text.text))
    listing.items = list(by_name.values())
    describe(listing, dict.fromkeys(label for item in listing.items for label in item.labels))
    if len(pairs) != NUM_PAIRS:
        listing.note(f"pairs of image and phrase, the publication counts {NUM_PAIRS:,}", len(pairs))
    check_set(listing, Expected(len(listing.items)), TITLE, partial=source.partial)
    return listing


def table_rows(source: MsCxr, listing: Listing) -> list[Row]:
    """The rows of the published table, one per box."""
    root = set_root(source.root, TITLE)
    return rows_of(one_of(root, TABLES, TITLE), COLUMNS, listing)


def image_path(source: MsCxr, row: Row) -> tuple[Path, str | None]:
    """Where a row's image is, and a pseudonym for the patient whose folder it is in.

    Raises:
        DataError: If the path leaves the folder of images.
    """
    images, relative = resolve_path(source.images), PurePosixPath(row["path"])
    if relative.is_absolute() or ".." in relative.parts:
        raise DataError("lies outside the image folder", item=row["dicom_id"], remedy="get the table again")
    path = images / relative
    if not (images / "files").is_dir() and relative.parts[0] == "files":
        path = images.joinpath(*relative.parts[1:])
    patients = [part for part in relative.parts if len(part) > 3 and part[0] == "p" and part[1:].isdigit()]
    return path, pseudonym(patients[0], TITLE) if patients else None
