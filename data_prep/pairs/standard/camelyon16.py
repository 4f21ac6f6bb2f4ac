"""CAMELYON16: sentinel lymph nodes of breast cancer, with or without metastasis, 399 slides of two Dutch centres.

Citation: Ehteshami Bejnordi et al., "Diagnostic assessment of deep learning algorithms for detection of lymph node
metastases in women with breast cancer", JAMA 318(22), 2017. Homepage: https://camelyon17.grand-challenge.org/Data/.
Licence: CC0.

Layout (training/normal, training/tumor, testing/images, testing/reference.csv, lesion_annotations) and counts of
today's release (270 and 129) were read in kaiko-ai/eva (classification/camelyon16.py, docs/datasets/camelyon16.md);
160 slides of the 399 have a metastasis, 20 of them partly annotated, and each is of a case of its own (PMC9659028,
table 1). The challenge's own release had 400: 160 normal and 110 tumor for training, 130 for testing.

Known defects: test_049 repeats another slide and is left out where it is still there; the annotation of test_114 is
incomplete, so it has a label and no mask (both excluded by the organisers; NCRF's README.md says so as well).
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

from pydantic import Field

from data_prep.pairs.standard.checks import Expected, differs, require_files, set_root
from data_prep.pairs.standard.slide_rows import SlideListing, SlideRow, check_slides, finish
from medvlp.config import Config
from medvlp.errors import DataError

NAMES = {"normal": "lymph node tissue without metastasis", "tumor": "lymph node metastasis of breast cancer"}
DUPLICATE, INCOMPLETE = "test_049", "test_114"
_TITLE = "CAMELYON16"
_ANNOTATIONS = "lesion_annotations"


class Camelyon16(Config):
    """The slides of CAMELYON16 with their published parts."""

    name: Literal["camelyon16"] = Field(description="Kind of source.")
    root: str = Field(description="Folder that holds training and testing.")
    release: Literal["open", "challenge"] = Field(
        default="open", description="open: today's 399 slides; challenge: the 400 of 2016."
    )
    partial: bool = Field(default=False, description="Go on with a copy that lacks slides, and note what differs.")


def list_camelyon16(source: Camelyon16) -> SlideListing:
    """List the slides; masks are the XML files of the unpacked lesion annotations.

    Raises:
        DataError: Missing folders, a test slide without a label, counts that are not the published ones.
    """
    root = set_root(source.root, _TITLE)
    folders = ["training/normal/", "training/tumor/", "testing/images/"]
    if source.partial:
        folders = [folder for folder in folders if (root / folder).is_dir()]
    require_files(root, [*folders, *(["testing/reference.csv"] if "testing/images/" in folders else [])], _TITLE)
    labels = _reference(root / "testing" / "reference.csv") if "testing/images/" in folders else {}
    listing = SlideListing()
    for folder in folders:
        part, kind = folder.rstrip("/").split("/")
        for path in sorted((root / folder).glob("*.tif")):
            key = path.stem.lower()
            label = labels.get(key) if kind == "images" else kind
            if label is None:
                raise DataError("the test slide has no label", item=key, remedy="use the published reference.csv")
            mask = root / part / _ANNOTATIONS / f"{path.stem}.xml" if label == "tumor" else None
            listing.rows.append(
                SlideRow(key, path, label, key, "train" if part == "training" else "test", _mask(listing, key, mask))
            )
    absent = sorted(set(labels) - {row.key for row in listing.rows} - {DUPLICATE})
    if absent:
        problem = f"{len(absent)} slides of reference.csv are absent"
        differs(listing, problem, _TITLE, "download the rest", source.partial)
    if source.release == "open":
        _drop_duplicate(listing)
        expected = Expected(399, {"train": 270, "test": 129}, {"normal": 239, "tumor": 160}, "PMC9659028, table 1")
    else:
        expected = Expected(400, {"train": 270, "test": 130}, source="https://camelyon16.grand-challenge.org")
    check_slides(listing, expected, _TITLE, partial=source.partial)
    _drop_duplicate(listing)
    return finish(listing, NAMES)


def _drop_duplicate(listing: SlideListing) -> None:
    listing.dropped += [(row.key, "repeats another slide") for row in listing.rows if row.key == DUPLICATE]
    listing.rows = [row for row in listing.rows if row.key != DUPLICATE]


def _mask(listing: SlideListing, key: str, mask: Path | None) -> Path | None:
    if mask is None:
        return None
    if key == INCOMPLETE:
        listing.note("slides whose annotation is incomplete: no mask")
        return None
    if not mask.is_file():
        listing.note(f"tumor slides without an XML file in {_ANNOTATIONS}: no mask")
        return None
    return mask


def _reference(path: Path) -> dict[str, str]:
    """Label of every test slide; some copies of the table have a header, others none."""
    labels = {}
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.reader(stream):
            if len(row) >= 2 and row[1].strip().lower() in NAMES:
                labels[Path(row[0].strip()).stem.lower()] = row[1].strip().lower()
    if not labels:
        raise DataError("names no slide as Normal or Tumor", item=path, remedy="use the published reference.csv")
    return labels
