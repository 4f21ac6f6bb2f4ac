"""Boxes that radiologists drew, of the sets that publish them, for grounding: one row per box, by the item's key."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from data_prep.pairs.items import Listing
from data_prep.pairs.standard.checks import require_files, set_root
from data_prep.pairs.standard.chest_challenges import RSNA, RSNA_LABELS, RsnaPneumonia
from data_prep.pairs.standard.chest_ms import MsCxr, table_rows
from data_prep.pairs.standard.chest_nih import TITLE as NIH
from data_prep.pairs.standard.chest_nih import ChestXray14
from data_prep.pairs.standard.chest_vindr import TITLE as VINDR
from data_prep.pairs.standard.chest_vindr import VinDrCxr
from data_prep.pairs.standard.tabular import rows_of
from medvlp.errors import DataError

_NIH_SIDE = 1024  # every image of ChestX-ray14
_NIH_NAMES = {"Infiltrate": "Infiltration"}  # the box table's word for the label table's
_RSNA_LABELS = {"two": "pneumonia", "three": "Lung Opacity"}


@dataclass(frozen=True)
class Box:
    """One box in pixels of the published image, from its upper left corner.

    Attributes:
        key: Key of the item.
        label: Raw label of the finding.
        x: Left edge.
        y: Upper edge.
        width: Width, more than 0.
        height: Height, more than 0.
        phrase: Words of the report, where the set gives them.
        image_size: Width and height of the published image, where the table says them. A pairs store may hold the image
            smaller, so scale with the image's own size where it does not.
        reader: Who drew it, in sets with several readers.
    """

    key: str
    label: str
    x: float
    y: float
    width: float
    height: float
    phrase: str | None = None
    image_size: tuple[int, int] | None = None
    reader: str | None = None


BoxedSource = ChestXray14 | RsnaPneumonia | VinDrCxr | MsCxr


def list_boxes(source: BoxedSource) -> list[Box]:
    """Read every box of a set.

    Raises:
        DataError: Missing table, or a box without a size.
    """
    if isinstance(source, ChestXray14):
        return _nih(set_root(source.root, NIH))
    if isinstance(source, RsnaPneumonia):
        root, listing = set_root(source.root, RSNA), Listing([])
        require_files(root, [RSNA_LABELS], RSNA)
        rows = rows_of(root / RSNA_LABELS, ["patientId", "x", "y", "width", "height", "Target"], listing)
        return [
            _box(
                f"{row['patientId']}.dcm",
                _RSNA_LABELS[source.classes],
                [row["x"], row["y"], row["width"], row["height"]],
            )
            for row in rows
            if row["Target"] == "1"
        ]
    if isinstance(source, VinDrCxr):
        return _vindr(set_root(source.root, VINDR), source)
    return [
        _box(
            f"{row['dicom_id']}.jpg",
            row["category_name"],
            [row["x"], row["y"], row["w"], row["h"]],
            phrase=" ".join(row["label_text"].split()),
            image_size=(int(float(row["image_width"])), int(float(row["image_height"]))),
        )
        for row in table_rows(source, Listing([]))
    ]


def _nih(root: Path) -> list[Box]:
    """984 boxes; the header's ``Bbox [x,y,w,h]`` falls into four columns and is followed by empty ones."""
    require_files(root, ["BBox_List_2017.csv"], NIH)
    with (root / "BBox_List_2017.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.reader(stream) if row][1:]
    size = (_NIH_SIDE, _NIH_SIDE)
    return [_box(row[0], _NIH_NAMES.get(row[1], row[1]), row[2:6], image_size=size) for row in rows]


def _vindr(root: Path, source: VinDrCxr) -> list[Box]:
    """Corners in ``annotations_train.csv`` (with rad_id) and ``annotations_test.csv``; no finding, no box."""
    boxes = []
    for part in dict.fromkeys(source.parts):
        table = f"annotations/annotations_{part}.csv"
        require_files(root, [table], VINDR)
        for row in rows_of(root / table, ["image_id", "class_name", "x_min", "y_min", "x_max", "y_max"], Listing([])):
            if not row["x_min"].strip():
                continue
            left, upper, right, lower = (float(row[name]) for name in ("x_min", "y_min", "x_max", "y_max"))
            values = [str(value) for value in (left, upper, right - left, lower - upper)]
            boxes.append(
                _box(f"{part}/{row['image_id']}.dicom", row["class_name"], values, reader=row.get("rad_id") or None)
            )
    return boxes


def _box(
    key: str,
    label: str,
    values: list[str],
    phrase: str | None = None,
    image_size: tuple[int, int] | None = None,
    reader: str | None = None,
) -> Box:
    try:
        x, y, width, height = (float(value) for value in values)
    except ValueError:
        raise DataError("a box is not four numbers", item=key, remedy="use the table as it was published") from None
    if width <= 0 or height <= 0:
        raise DataError(f"a box of {width:g} x {height:g} pixels", item=key, remedy="use the table as it was published")
    return Box(key, label, x, y, width, height, phrase, image_size, reader)
