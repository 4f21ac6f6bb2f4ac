"""WSSS4LUAD: patches of lung adenocarcinoma with the tissues they show, from 87 slides.

Citation: Han et al., "WSSS4LUAD: grand challenge on weakly-supervised tissue semantic segmentation for lung
adenocarcinoma", arXiv:2204.06455, 2022. Homepage: https://wsss4luad.grand-challenge.org. Licence: not stated in the
sources opened; the homepage has the terms.

Totals (10,091 training patches with image-level labels) were read in the paper's abstract; the layout (1.training,
2.validation, 3.testing) in yzouag/WSSS4LUAD, README.md; the file names, patient-x-y-[tumor, stroma, normal].png, and
the counts of patches with one tissue only (1,181 tumor, 1,680 stroma, 1,832 normal) in two public loaders of the set.

Split: validation (40 images) and test (80) have outlines of tissues and no labels of images, so the training patches
are all that is listed, as zero-shot studies of this set do, and the split is drawn by patient.

Known defects: labels were made with the help of a model; patches differ in size; repacked copies write the labels as
[1_1_0] or [1 1 0] and are refused.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import Expected, check_listing, require_files, set_root
from data_prep.pairs.standard.files import matching
from medvlp.config import Config

NAMES = {
    "tumor": "lung adenocarcinoma epithelium",
    "stroma": "tumor-associated stroma",
    "normal": "normal lung tissue",
}
CONCEPTS = {"tumor": ["DOID:3910"]}  # lung adenocarcinoma
IMAGES = 10091
ONE_TISSUE = {"tumor": 1181, "stroma": 1680, "normal": 1832}
_TITLE = "WSSS4LUAD"
_FILE = re.compile(r"(?P<patient>.+?)(-\d+-\d+)?-\[(?P<tumor>[01]), (?P<stroma>[01]), (?P<normal>[01])\]\.png")
_FOLDERS = ("1.training", "training")


class Wsss4Luad(Config):
    """Training patches of WSSS4LUAD; the patient in the file name is the case."""

    name: Literal["wsss4luad"] = Field(description="Kind of source.")
    root: str = Field(description="Folder that holds 1.training.")
    tissues: Literal["one", "any"] = Field(
        default="one", description="one: patches with one tissue, one label each; any: all, with several labels."
    )
    partial: bool = Field(default=False, description="Go on with a copy that lacks files, and note what differs.")


def list_wsss4luad(source: Wsss4Luad) -> Listing:
    """List the training patches; with ``tissues: one`` those with several are counted and left out.

    Raises:
        DataError: A missing folder, foreign files, counts that are not the published ones.
    """
    root = set_root(source.root, _TITLE)
    listing = Listing([], label_names=dict(NAMES), label_concepts=dict(CONCEPTS))
    folder = next((name for name in _FOLDERS if (root / name).is_dir()), _FOLDERS[0])
    require_files(root, [f"{folder}/"], _TITLE)
    for path, match in matching(root / folder, _FILE, listing, _TITLE, partial=source.partial):
        shown = [tissue for tissue in NAMES if match[tissue] == "1"]
        listing.items.append(Item(path.relative_to(root).as_posix(), path, labels=shown, case=match["patient"]))
    check_listing(listing, Expected(IMAGES, source="arXiv:2204.06455"), _TITLE, partial=source.partial)
    if source.tissues == "any":
        listing.note("patches that show none of the tissues", sum(not item.labels for item in listing.items))
        return listing
    listing.note("patches with several tissues or none, left out", sum(len(i.labels) != 1 for i in listing.items))
    listing.items = [item for item in listing.items if len(item.labels) == 1]
    for item in listing.items:
        item.label, item.labels = item.labels[0], []
    num = sum(ONE_TISSUE.values())
    check_listing(listing, Expected(num, {}, ONE_TISSUE, "a public loader"), _TITLE, partial=source.partial)
    return listing
