"""ChestX-ray14: 112,120 frontal radiographs of 30,805 patients, 14 findings mined from reports.

Wang et al., ChestX-ray8, CVPR 2017, https://nihcc.app.box.com/v/ChestXray-NIHCC; no restriction on use, the NIH
Clinical Center is to be named. Layout and columns: the published table ``Data_Entry_2017_v2020.csv`` and its reader
in torchxrayvision 1.5.7; counts by class: counted in that table; 86,524 images in ``train_val_list.txt`` and 25,596
in ``test_list.txt``: github.com/gregorywmorris/radiology-chest. The archives unpack into ``images/`` or, as on
Kaggle, ``images_001/images/`` to ``images_012/images/``; both are found.

Known defects: labels come from a text miner (the authors expect more than 90 % to be right), so their errors are in
the test part too; images of one patient follow each other in time, and No Finding includes findings other than the
14.

The published split has train and dev in one list; dev is drawn from it by patient, always the same ones.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import Expected, require_files, set_root
from data_prep.pairs.standard.chest_names import describe
from data_prep.pairs.standard.tabular import check_set, draw_dev, images_below, one_of, rows_of
from medvlp.config import Config
from medvlp.errors import DataError

TITLE = "ChestX-ray14"
LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}
TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
EXPECTED = Expected(
    images=112_120,
    by_split={"test": 25_596},
    by_class={
        "No Finding": 60_361,
        "Infiltration": 19_894,
        "Effusion": 13_317,
        "Atelectasis": 11_559,
        "Nodule": 6_331,
        "Mass": 5_782,
        "Pneumothorax": 5_302,
        "Consolidation": 4_667,
        "Pleural_Thickening": 3_385,
        "Cardiomegaly": 2_776,
        "Emphysema": 2_516,
        "Edema": 2_303,
        "Fibrosis": 1_686,
        "Pneumonia": 1_431,
        "Hernia": 227,
    },
    source="Data_Entry_2017_v2020.csv",
)


class ChestXray14(Config):
    """The NIH radiographs with 14 findings, any number per image."""

    name: Literal["chestxray14"] = Field(description="Kind of source.")
    root: str = Field(description="Folder with the table, the two lists and the image folders.")
    partial: bool = Field(default=False, description="Go on with part of the images; differences are noted.")
    dev_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1, description="Share of the patients of the published train_val list that become dev."
    )


def list_chestxray14(source: ChestXray14) -> Listing:
    """List the images of the table under the published split.

    Raises:
        DataError: Missing files, an image in neither list, or counts other than the published ones.
    """
    root = set_root(source.root, TITLE)
    require_files(root, list(LISTS), TITLE)
    listing = Listing([])
    split_of = {
        name: split for file, split in LISTS.items() for name in (root / file).read_text(encoding="utf-8").split()
    }
    found = images_below(folder for folder in sorted(root.glob("images*")) if folder.is_dir())
    table = one_of(root, TABLES, TITLE)
    for row in rows_of(table, ["Image Index", "Finding Labels", "Patient ID"], listing):
        key = row["Image Index"]
        if key not in split_of:
            raise DataError("is in neither train_val_list.txt nor test_list.txt", item=key, remedy="download the lists")
        listing.items.append(
            Item(
                key,
                found.get(key, root / "images" / key),
                labels=row["Finding Labels"].split("|"),
                split=split_of[key],
                case=row["Patient ID"],
            )
        )
    describe(listing, EXPECTED.by_class)
    check_set(listing, EXPECTED, TITLE, partial=source.partial)
    draw_dev(listing.items, source.dev_share)
    return listing
