"""PadChest: 160,861 radiographs of 67,625 patients, findings written by physicians (27 %) or by a network.

Bustos et al., Medical Image Analysis 2020, https://bimcv.cipf.es/bimcv-projects/padchest/; its own research use
agreement. Layout and columns: the published table ``PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz``, in
which all counts were made (the paper says 160,868 images), and its reader in torchxrayvision 1.5.7. Images lie in
folders 0 to 54, as the column ImageDir says, or all in one.

Known defects: 121,808 images are labelled by a network; 21 files, none of them labelled by a physician, are absent or
broken in the usual download (list in torchxrayvision); ``unchanged``, ``suboptimal study`` and ``exclude`` are no
findings; ``normal`` stands beside others where a report has several sentences; about 3,000 images have an empty
label.

There is no published split. Papers score all 39,053 images labelled by physicians (KAD), which this source does too
where the configuration puts everything into test.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import Expected, set_root
from data_prep.pairs.standard.chest_names import describe
from data_prep.pairs.standard.tabular import check_set, drop, one_of, rows_of
from medvlp.config import Config

TITLE = "PadChest"
TABLES = (
    "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz",
    "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",
)
COUNTS = {"physician": 39_053, "automatic": 121_808, "all": 160_861}
METHODS = {"Physician": "physician", "RNN_model": "automatic"}
_QUOTED = re.compile(r"'([^']*)'")


class PadChest(Config):
    """Radiographs of Alicante with up to 193 kinds of findings."""

    name: Literal["padchest"] = Field(description="Kind of source.")
    root: str = Field(description="Folder with the table and the image folders 0 to 54, or all images.")
    partial: bool = Field(default=False, description="Go on with part of the images; differences are noted.")
    labelled_by: Literal["physician", "automatic", "all"] = Field(
        default="physician", description="Whose labels to use: physicians', the network's, or both."
    )
    no_findings: list[str] = Field(
        default=["unchanged", "suboptimal study"],
        description="Labels to pass over; images without another are left out.",
    )


def list_padchest(source: PadChest) -> Listing:
    """List the images with their findings; those to be excluded and those without any label are dropped.

    Raises:
        DataError: Missing table, absent images, or counts other than the published ones.
    """
    root = set_root(source.root, TITLE)
    listing = Listing([])
    table = one_of(root, TABLES, TITLE)
    excluded: set[str] = set()
    for row in rows_of(table, ["ImageID", "ImageDir", "PatientID", "MethodLabel", "Labels"], listing):
        method = METHODS.get(row["MethodLabel"], row["MethodLabel"])
        if source.labelled_by not in ("all", method):
            continue
        key = row["ImageID"]
        labels = list(dict.fromkeys(label.strip() for label in _QUOTED.findall(row["Labels"])))
        if "exclude" in labels:
            excluded.add(key)
        kept = [label for label in labels if label and label not in source.no_findings]
        listing.items.append(Item(key, _path(root, row["ImageDir"], key), labels=kept, case=row["PatientID"]))
    describe(listing, dict.fromkeys(label for item in listing.items for label in item.labels))
    expected = Expected(COUNTS[source.labelled_by], source=table.name)
    check_set(listing, expected, TITLE, partial=source.partial)
    drop(listing, excluded, "the set's own label says to exclude it")
    drop(listing, {item.key for item in listing.items if not item.labels}, "no label that is a finding or normal")
    return listing


def _path(root: Path, folder: str, key: str) -> Path:
    places = [root / folder / key, root / "images" / folder / key, root / "images" / key, root / key]
    return next((path for path in places if path.is_file()), places[0])
