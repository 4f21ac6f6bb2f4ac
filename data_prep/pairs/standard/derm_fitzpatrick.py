"""Fitzpatrick17k: 16,577 clinical images of 114 conditions; SkinCon: 48 clinical concepts on part of them and on DDI.

Fitzpatrick17k: Groh et al., ISIC workshop at CVPR 2021, https://github.com/mattgroh/fitzpatrick17k (table, columns
and counts read there); CC BY-NC-SA 3.0. Images are downloaded from two atlases, or sent by the authors, as
``<md5hash>.jpg``.

SkinCon: Daneshjou et al., NeurIPS 2022, https://skincon-dataset.github.io (3,230 usable images of Fitzpatrick17k, 656
of DDI, 22 concepts with at least 50 images); licence of the annotations not stated.
``annotations_fitzpatrick17k.csv`` has 3,690 rows, of which 460 say "Do not consider this image",
``annotations_ddi.csv`` 656, of which 20 say so: counted in a public copy. The images keep the terms of Fitzpatrick17k
and of DDI (Stanford AIMI).

Known defects of Fitzpatrick17k: duplicates and near-duplicates across any random split, wrong labels and images that
show no skin (Abhishek et al., arXiv 2401.14497); atlas addresses die, so copies differ; skin type -1 means unknown;
no patient is told. Neither set has a split of its own: it is drawn, near-identical images together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import Expected, differs, set_root
from data_prep.pairs.standard.tabular import NONE, check_set, drop, images_below, one_of, rows_of
from medvlp.config import Config

FITZPATRICK, SKINCON = "Fitzpatrick17k", "SkinCon"
NUM_IMAGES, NUM_CONDITIONS = 16_577, 114
LEVELS = {"condition": "label", "nine": "nine_partition_label", "three": "three_partition_label"}
ANNOTATIONS = {"fitzpatrick17k": ("annotations_fitzpatrick17k.csv", 3_690), "ddi": ("annotations_ddi.csv", 656)}
UNUSABLE = "Do not consider this image"
CONCEPTS = (
    "Vesicle", "Papule", "Macule", "Plaque", "Abscess", "Pustule", "Bulla", "Patch", "Nodule", "Ulcer", "Crust",
    "Erosion", "Excoriation", "Atrophy", "Exudate", "Purpura/Petechiae", "Fissure", "Induration", "Xerosis",
    "Telangiectasia", "Scale", "Scar", "Friable", "Sclerosis", "Pedunculated", "Exophytic/Fungating",
    "Warty/Papillomatous", "Dome-shaped", "Flat topped", "Brown(Hyperpigmentation)", "Translucent",
    "White(Hypopigmentation)", "Purple", "Yellow", "Black", "Erythema", "Comedo", "Lichenification", "Blue",
    "Umbilicated", "Poikiloderma", "Salmon", "Wheal", "Acuminate", "Burrow", "Gray", "Pigmented", "Cyst",
)  # fmt: skip


class Fitzpatrick17k(Config):
    """Atlas images with conditions and skin types."""

    name: Literal["fitzpatrick17k"] = Field(description="Kind of source.")
    root: str = Field(description="Folder with fitzpatrick17k.csv and, at any depth, <md5hash>.jpg.")
    partial: bool = Field(default=False, description="Go on with part of the images; differences are noted.")
    level: Literal["condition", "nine", "three"] = Field(
        default="condition", description="Classes: 114 conditions, nine groups or three groups."
    )


class SkinCon(Config):
    """Concepts a dermatologist sees, any number per image."""

    name: Literal["skincon"] = Field(description="Kind of source.")
    root: str = Field(description="Folder with the annotations and, at any depth, the images they name.")
    partial: bool = Field(default=False, description="Go on with part of the images; differences are noted.")
    part: Literal["fitzpatrick17k", "ddi"] = Field(
        default="fitzpatrick17k", description="Images of Fitzpatrick17k, or of Diverse Dermatology Images."
    )
    min_images: Annotated[int, Field(ge=1)] = Field(
        default=50, description="Pass over concepts with fewer usable images in the table (50 leaves 22)."
    )


def list_fitzpatrick17k(source: Fitzpatrick17k) -> Listing:
    """List the images of the table.

    Raises:
        DataError: Missing table, absent images, or counts other than the published ones.
    """
    root = set_root(source.root, FITZPATRICK)
    listing = Listing([])
    found = images_below([root], (".jpg",))
    rows = rows_of(one_of(root, ["fitzpatrick17k.csv"], FITZPATRICK), ["md5hash", *LEVELS.values()], listing)
    for row in rows:
        file = f"{row['md5hash']}.jpg"
        path = found.get(file, _guess(root, file))
        listing.items.append(Item(row["md5hash"], path, label=row[LEVELS[source.level]]))
    num_conditions = len({row["label"] for row in rows})
    if num_conditions != NUM_CONDITIONS:
        problem = f"{num_conditions} conditions, expected {NUM_CONDITIONS}"
        differs(listing, problem, FITZPATRICK, "use the published table", source.partial)
    check_set(listing, Expected(NUM_IMAGES, source="README of the set"), FITZPATRICK, partial=source.partial)
    return listing


def list_skincon(source: SkinCon) -> Listing:
    """List the usable images with their concepts; an image without any of those kept has the label ``NONE``.

    Raises:
        DataError: Missing table, absent images, or counts other than the published ones.
    """
    root = set_root(source.root, SKINCON)
    listing = Listing([], label_names={concept: display_name(concept) for concept in CONCEPTS})
    name, count = ANNOTATIONS[source.part]
    rows = rows_of(one_of(root, [name], SKINCON), ["ImageID", *CONCEPTS, UNUSABLE], listing)
    usable = [row for row in rows if not _given(row[UNUSABLE])]
    kept = [concept for concept in CONCEPTS if sum(_given(row[concept]) for row in usable) >= source.min_images]
    found = images_below([root])
    for row in rows:
        key = row["ImageID"]
        labels = [concept for concept in kept if _given(row[concept])]
        listing.items.append(Item(key, found.get(key, _guess(root, key)), labels=labels or [NONE]))
    unusable = {row["ImageID"] for row in rows if _given(row[UNUSABLE])}
    drop(listing, unusable, "the set's own annotation says not to consider it")
    expected = Expected(count - len(unusable), source=name)
    if len(rows) != count:
        differs(
            listing, f"{len(rows):,} rows, expected {count:,}", name, "download the annotations again", source.partial
        )
    check_set(listing, expected, SKINCON, partial=source.partial)
    return listing


def display_name(concept: str) -> str:
    """``Brown(Hyperpigmentation)`` is called hyperpigmentation, ``Purpura/Petechiae`` purpura or petechiae."""
    inner = concept.partition("(")[2].removesuffix(")")
    return (inner or concept).lower().replace("/", " or ")


def _given(value: str) -> bool:
    return value.strip() in ("1", "1.0")


def _guess(root: Path, key: str) -> Path:
    """Where an image would be that is nowhere."""
    return root / "images" / key
