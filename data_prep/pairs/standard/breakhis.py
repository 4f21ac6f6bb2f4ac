"""BreakHis 1.0: 7,909 fields of 82 patients' breast tumours at four magnifications, 700 x 460 pixels.

Citation: Spanhol et al., "A dataset for breast cancer histopathological image classification", IEEE TBME 63(7), 2016.
Homepage: https://web.inf.ufpr.br/vri/databases/breast-cancer-histopathological-database-breakhis/. Licence: CC BY 4.0
(as kaiko-ai/eva, docs/datasets/breakhis.md, says).

Counts by magnification were read on the homepage. Its table says 652 benign images at 40x, which agrees neither with
its own row total (1,995) nor with its column total (2,480): 625 is right. Counts by the eight types were found in no
source opened, so benign and malignant are checked. Layout and file names: the homepage's naming scheme
(SOB_B_TA-14-4659-40-001.png: biopsy, class, type, year, slide, magnification, number) and kaiko-ai/eva
(classification/breakhis.py). Folds: the authors' files dsfold1.txt to dsfold5.txt, whose lines read
name|magnification|fold|split.

Known defects: the images of slide 14-13412 are there twice, as ductal and as lobular carcinoma, and fold 1 has them on
both sides of the split; they are left out unless asked for. Images of one patient at four magnifications are not
independent, and some types have three to seven patients only.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.split import given_split
from data_prep.pairs.standard.checks import Expected, check_listing, set_root
from data_prep.pairs.standard.files import matching, subfolders
from medvlp.config import Config, resolve_path
from medvlp.errors import DataError
from medvlp.io import sha256_file

Magnification = Literal[40, 100, 200, 400]
COUNTS: dict[int, tuple[int, int]] = {40: (625, 1370), 100: (644, 1437), 200: (623, 1390), 400: (588, 1232)}
TYPES = {
    "benign": {"A": "adenosis", "F": "fibroadenoma", "PT": "phyllodes_tumor", "TA": "tubular_adenoma"},
    "malignant": {
        "DC": "ductal_carcinoma",
        "LC": "lobular_carcinoma",
        "MC": "mucinous_carcinoma",
        "PC": "papillary_carcinoma",
    },
}
NAMES = {
    "A": "adenosis of the breast",
    "F": "fibroadenoma of the breast",
    "PT": "benign phyllodes tumor of the breast",
    "TA": "tubular adenoma of the breast",
    "DC": "ductal carcinoma of the breast",
    "LC": "lobular carcinoma of the breast",
    "MC": "mucinous carcinoma of the breast",
    "PC": "papillary carcinoma of the breast",
    "benign": "benign breast tumor",
    "malignant": "malignant breast tumor",
}
CONCEPTS = {
    "F": ["DOID:1618"], "PT": ["DOID:1631"], "DC": ["DOID:3007"], "LC": ["DOID:0050938"], "MC": ["DOID:3610"],
    "PC": ["DOID:5592"], "benign": ["DOID:0060082"],
}  # fmt: skip
AMBIGUOUS = "14-13412"
_TITLE = "BreakHis"
_SLIDE = re.compile(r"SOB_[BM]_(?P<type>[A-Z]+)_(?P<slide>\d\d-\w+)")
_FILE = re.compile(r"SOB_[BM]_(?P<type>[A-Z]+)-(?P<slide>\d\d-\w+)-(?P<magnification>40|100|200|400)-\d{3}\.png")


class BreakHis(Config):
    """Breast tumours of BreakHis; the slide in the file name is the case."""

    name: Literal["breakhis"] = Field(description="Kind of source.")
    root: str = Field(description="Folder BreaKHis_v1, which holds histology_slides.")
    magnifications: Annotated[list[Magnification], Field(min_length=1)] = Field(
        default=[40, 100, 200, 400], description="Which magnifications to list."
    )
    labels: Literal["type", "malignancy"] = Field(
        default="type", description="type: the eight tumour types; malignancy: benign or malignant."
    )
    fold_file: str | None = Field(
        default=None, description="One of the authors' dsfold1.txt to dsfold5.txt; without it the split is drawn."
    )
    ambiguous: Literal["drop", "keep"] = Field(
        default="drop", description="What to do with slide 14-13412, published as ductal and as lobular carcinoma."
    )
    partial: bool = Field(default=False, description="Go on with a copy that lacks files, and note what differs.")


def list_breakhis(source: BreakHis) -> Listing:
    """List the images of the chosen magnifications, each with type, slide and, by a fold file, split.

    Raises:
        DataError: Missing folders, foreign files, counts that are not the published ones, a fold file that lacks an
            image.
    """
    root, magnifications = set_root(source.root, _TITLE), sorted({int(number) for number in source.magnifications})
    listing = Listing([], label_names=dict(NAMES), label_concepts={key: list(ids) for key, ids in CONCEPTS.items()})
    types: dict[str, str] = {}
    for path, label, kind, slide in _images(root, magnifications, listing, source.partial):
        types[path.name] = kind
        listing.items.append(Item(path.name, path, label=label, case=slide))
    benign, malignant = (sum(COUNTS[number][side] for number in magnifications) for side in (0, 1))
    by_class = {"benign": benign, "malignant": malignant}
    expected = Expected(benign + malignant, {}, by_class, "the table on the set's homepage")
    check_listing(listing, expected, _TITLE, partial=source.partial)
    if source.ambiguous == "drop":
        dropped = [item for item in listing.items if item.case == AMBIGUOUS]
        listing.dropped += [(item.key, "slide published with two labels") for item in dropped]
        listing.items = [item for item in listing.items if item.case != AMBIGUOUS]
    if source.labels == "type":
        for item in listing.items:
            item.label = types[item.key]
    if source.fold_file is not None:
        _split(listing, resolve_path(source.fold_file))
    return listing


def _images(root: Path, magnifications: list[int], listing: Listing, partial: bool) -> list[tuple[Path, str, str, str]]:
    """Path, benign or malignant, type and slide of every image."""
    found = []
    folders = {
        f"histology_slides/breast/{label}/SOB/{folder}": (label, kind)
        for label, kinds in TYPES.items()
        for kind, folder in kinds.items()
    }
    for folder in subfolders(root, list(folders), listing, _TITLE, partial=partial, foreign=False):
        label, kind = folders[folder]
        for slide_folder, _ in matching(root / folder, _SLIDE, listing, _TITLE, partial=partial):
            for magnification in magnifications:
                here = slide_folder / f"{magnification}X"
                entries = matching(here, _FILE, listing, _TITLE, partial=partial) if here.is_dir() else []
                for path, match in entries:
                    if match["type"] != kind or int(match["magnification"]) != magnification:
                        raise DataError("lies in the wrong folder", item=path, remedy="unpack the archive again")
                    found.append((path, label, kind, match["slide"]))
    return found


def _split(listing: Listing, path: Path) -> None:
    if not path.is_file():
        raise DataError("fold file not found", item=path, remedy="unpack the authors' folds, or leave fold_file out")
    lines = [line.split("|") for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line]
    if any(len(line) != 4 for line in lines):
        raise DataError("is no fold file", item=path, remedy="its lines read name|magnification|fold|split")
    splits = {line[0]: given_split(line[3], line[0]) for line in lines}
    listing.sources[path.name] = sha256_file(path)
    for item in listing.items:
        if item.key not in splits:
            raise DataError("is not in the fold file", item=item.key, remedy="use the authors' file as published")
        item.split = splits[item.key]
