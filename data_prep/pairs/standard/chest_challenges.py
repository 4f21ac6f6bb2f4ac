"""Two challenges on DICOM radiographs: RSNA pneumonia (2018) and SIIM-ACR pneumothorax (2019).

RSNA: Shih et al., Radiology: Artificial Intelligence 2019,
https://www.kaggle.com/c/rsna-pneumonia-detection-challenge. 26,684 images of ``stage_2_train_images/``;
``stage_2_train_labels.csv`` has one row per box (30,227 rows, counted in the published table; 6,012 images with a
box), ``stage_2_detailed_class_info.csv`` the three classes (8,851 Normal, 11,821 No Lung Opacity / Not Normal, 6,012
Lung Opacity: counts found in two repositories, both adding up).

SIIM: https://www.kaggle.com/c/siim-acr-pneumothorax-segmentation; ``train-rle.csv`` has one row per mask (12,954
rows, counted in the published table: 12,047 images, 2,669 with pneumothorax), images lie at any depth of
``dicom-images-train/``. Readers of both in torchxrayvision 1.5.7. Rules of each challenge apply to the use of the
data.

Known defects: both publish labels of the training part only, and no split, so papers differ in what they score
(8,006, 9,006 or a random 30 % of RSNA); RSNA's images are a part of ChestX-ray14, several of one patient, and neither
table tells patients, so a drawn split cannot keep them apart. "Lung Opacity" means a suspicion of pneumonia, not a
proven one. The test images of SIIM have no labels; images of its archive without a row in the table are counted.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import Expected, require_files, set_root
from data_prep.pairs.standard.chest_names import describe
from data_prep.pairs.standard.tabular import check_set, images_below, rows_of
from medvlp.config import Config
from medvlp.errors import DataError

RSNA, SIIM = "RSNA pneumonia", "SIIM-ACR pneumothorax"
RSNA_IMAGES, RSNA_LABELS = "stage_2_train_images", "stage_2_train_labels.csv"
RSNA_CLASSES = "stage_2_detailed_class_info.csv"
PNEUMONIA = {"1": "pneumonia", "0": "no pneumonia"}
RSNA_EXPECTED = {
    "two": Expected(26_684, by_class={"pneumonia": 6_012, "no pneumonia": 20_672}, source=RSNA_LABELS),
    "three": Expected(
        26_684,
        by_class={"Normal": 8_851, "No Lung Opacity / Not Normal": 11_821, "Lung Opacity": 6_012},
        source=RSNA_CLASSES,
    ),
}
SIIM_EXPECTED = Expected(12_047, by_class={"pneumothorax": 2_669, "no pneumothorax": 9_378}, source="train-rle.csv")


class RsnaPneumonia(Config):
    """Radiographs with and without a suspicion of pneumonia."""

    name: Literal["rsna_pneumonia"] = Field(description="Kind of source.")
    root: str = Field(description="Folder with stage_2_train_images/ and the two tables.")
    partial: bool = Field(default=False, description="Go on with part of the images; differences are noted.")
    classes: Literal["two", "three"] = Field(
        default="two", description="Pneumonia or not, or Normal, Not Normal and Lung Opacity."
    )


class SiimPneumothorax(Config):
    """Radiographs with and without pneumothorax."""

    name: Literal["siim_pneumothorax"] = Field(description="Kind of source.")
    root: str = Field(description="Folder with dicom-images-train/ and train-rle.csv.")
    partial: bool = Field(default=False, description="Go on with part of the images; differences are noted.")


def list_rsna(source: RsnaPneumonia) -> Listing:
    """List the labelled images; a file's name is the challenge's own pseudonym.

    Raises:
        DataError: Missing files, rows of one image that contradict each other, counts other than the published ones.
    """
    root = set_root(source.root, RSNA)
    table, column = (RSNA_LABELS, "Target") if source.classes == "two" else (RSNA_CLASSES, "class")
    require_files(root, [f"{RSNA_IMAGES}/", table], RSNA)
    listing = Listing([])
    label_of: dict[str, str] = {}
    for row in rows_of(root / table, ["patientId", column], listing):
        label = PNEUMONIA.get(row[column], row[column]) if source.classes == "two" else row[column]
        if label_of.setdefault(row["patientId"], label) != label:
            raise DataError(f"rows disagree on {column}", item=row["patientId"], remedy=f"get {table} again")
    folder = root / RSNA_IMAGES
    listing.items = [Item(f"{name}.dcm", folder / f"{name}.dcm", label=label) for name, label in label_of.items()]
    describe(listing, RSNA_EXPECTED[source.classes].by_class)
    check_set(listing, RSNA_EXPECTED[source.classes], RSNA, partial=source.partial)
    return listing


def list_siim(source: SiimPneumothorax) -> Listing:
    """List the labelled images; one with any mask is positive.

    Raises:
        DataError: Missing files, or counts other than the published ones.
    """
    root = set_root(source.root, SIIM)
    require_files(root, ["dicom-images-train/", "train-rle.csv"], SIIM)
    listing = Listing([])
    positive: dict[str, bool] = {}
    for row in rows_of(root / "train-rle.csv", ["ImageId", "EncodedPixels"], listing):
        mask = row["EncodedPixels"].strip() != "-1"
        positive[row["ImageId"]] = positive.get(row["ImageId"], False) or mask
    folder = root / "dicom-images-train"
    found = images_below([folder], (".dcm",))
    for name, present in positive.items():
        key = f"{name}.dcm"
        label = "pneumothorax" if present else "no pneumothorax"
        listing.items.append(Item(key, found.get(key, folder / key), label=label))
    listing.note("DICOM files without a row in train-rle.csv", len(set(found) - {f"{name}.dcm" for name in positive}))
    describe(listing, SIIM_EXPECTED.by_class)
    check_set(listing, SIIM_EXPECTED, SIIM, partial=source.partial)
    return listing
