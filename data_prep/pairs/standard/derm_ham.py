"""HAM10000: 10,015 dermatoscopic images of pigmented lesions, seven diagnoses; the training part of ISIC 2018, task 3.

Tschandl et al., Scientific Data 2018, https://doi.org/10.7910/DVN/DBW86T; CC BY-NC 4.0. Columns of
``HAM10000_metadata.csv`` and the two image folders: the Dataverse page and several public readers (the archives
unpack into ``HAM10000_images_part_1`` and ``..._2``, at times into one folder; all are found). Counts: total on the
Dataverse page; by class in a public model's README and in MedMNIST's DermaMNIST, which is made of it.

Known defects: several images show one lesion, so a split by image leaks (as in DermaMNIST: Abhishek et al., arXiv
2401.14497); not all diagnoses are proven by histology (the column dx_type tells). There is no published split of
these images: it is drawn by lesion.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import Expected, set_root
from data_prep.pairs.standard.tabular import check_set, images_below, one_of, rows_of
from medvlp.config import Config

TITLE = "HAM10000"
NAMES = {
    "akiec": "actinic keratosis or intraepithelial carcinoma",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis",
    "df": "dermatofibroma",
    "mel": "melanoma of the skin",
    "nv": "melanocytic nevus",
    "vasc": "vascular skin lesion",
}
CONCEPTS = {"bcc": ["DOID:2513"], "df": ["DOID:4418"], "mel": ["DOID:8923"]}  # the others are mixtures, or no disease
EXPECTED = Expected(
    10_015,
    by_class={"nv": 6_705, "mel": 1_113, "bkl": 1_099, "bcc": 514, "akiec": 327, "vasc": 142, "df": 115},
    source="Tschandl et al. 2018",
)


class Ham10000(Config):
    """Dermatoscopic images with seven diagnoses."""

    name: Literal["ham10000"] = Field(description="Kind of source.")
    root: str = Field(description="Folder with HAM10000_metadata.csv and, at any depth, the images.")
    partial: bool = Field(default=False, description="Go on with part of the images; differences are noted.")


def list_ham10000(source: Ham10000) -> Listing:
    """List the images of the table; all images of a lesion are one case.

    Raises:
        DataError: Missing table, absent images, or counts other than the published ones.
    """
    root = set_root(source.root, TITLE)
    listing = Listing([], label_names=dict(NAMES), label_concepts=dict(CONCEPTS))
    found = images_below([root], (".jpg",))
    table = one_of(root, ["HAM10000_metadata.csv", "HAM10000_metadata"], TITLE)
    for row in rows_of(table, ["image_id", "lesion_id", "dx"], listing):
        file = f"{row['image_id']}.jpg"
        path = found.get(file, root / "HAM10000_images_part_1" / file)
        listing.items.append(Item(row["image_id"], path, label=row["dx"], case=row["lesion_id"]))
    check_set(listing, EXPECTED, TITLE, partial=source.partial)
    return listing
