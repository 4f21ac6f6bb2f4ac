"""PAD-UFES-20: 2,298 smartphone images of 1,641 skin lesions of 1,373 patients, six diagnoses.

Pacheco et al., Data in Brief 2020, https://data.mendeley.com/datasets/zr7vgbcyr2; CC BY 4.0. Columns of
``metadata.csv``: the paper's table and two public readers. The images come in three archives, ``imgs_part_1`` to
``imgs_part_3``, which unpack into a folder each, often below ``images/``, at times one inside another of its name;
all are found. Counts: 2,298 images in paper and Mendeley page; by class in three public repositories, adding up.

Known defects: only 58 % of the diagnoses are proven by biopsy (all cancers are); about 35 % of the answers on
patients are missing; Bowen's disease counts as squamous cell carcinoma. There is no published split: it is drawn by
patient.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import Expected, set_root
from data_prep.pairs.standard.tabular import check_set, images_below, one_of, rows_of
from medvlp.config import Config

TITLE = "PAD-UFES-20"
NAMES = {
    "BCC": "basal cell carcinoma",
    "SCC": "squamous cell carcinoma of the skin",
    "ACK": "actinic keratosis",
    "SEK": "seborrheic keratosis",
    "NEV": "melanocytic nevus",
    "MEL": "melanoma of the skin",
}
CONCEPTS = {
    "BCC": ["DOID:2513"],
    "SCC": ["DOID:3151"],
    "ACK": ["DOID:8866"],
    "SEK": ["DOID:6498"],
    "MEL": ["DOID:8923"],
}  # a nevus is no disease of the ontology
EXPECTED = Expected(
    2_298,
    by_class={"BCC": 845, "ACK": 730, "NEV": 244, "SEK": 235, "SCC": 192, "MEL": 52},
    source="Pacheco et al. 2020",
)


class PadUfes20(Config):
    """Clinical images with six diagnoses."""

    name: Literal["pad_ufes_20"] = Field(description="Kind of source.")
    root: str = Field(description="Folder with metadata.csv and, at any depth, the images.")
    partial: bool = Field(default=False, description="Go on with part of the images; differences are noted.")


def list_pad_ufes_20(source: PadUfes20) -> Listing:
    """List the images of the table.

    Raises:
        DataError: Missing table, absent images, or counts other than the published ones.
    """
    root = set_root(source.root, TITLE)
    listing = Listing([], label_names=dict(NAMES), label_concepts=dict(CONCEPTS))
    found = images_below([root], (".png",))
    for row in rows_of(one_of(root, ["metadata.csv"], TITLE), ["img_id", "patient_id", "diagnostic"], listing):
        key = row["img_id"]
        listing.items.append(
            Item(key, found.get(key, root / "images" / key), label=row["diagnostic"], case=row["patient_id"])
        )
    check_set(listing, EXPECTED, TITLE, partial=source.partial)
    return listing
