"""The documented layouts are recognised, and nothing else is."""

import os
from pathlib import Path

import pytest
from pairs_helpers import picture, write_table

from data_prep.pairs.layout import detect_layout
from data_prep.pairs.sources import list_items
from medvlp.errors import DataError


def images(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        picture(seed).save(folder / name)


def detected(folder, **options):
    said = []
    return detect_layout(folder, say=said.append, **options), "\n".join(said)


def test_class_folders(tmp_path):
    images(tmp_path / "deeper" / "benign", ["1.png", "2.png"])
    images(tmp_path / "deeper" / "malignant", ["1.jpg"])
    config, said = detected(tmp_path)
    assert config.source.name == "class_folders"
    assert "benign, malignant" in said
    assert [item.key for item in list_items(config).items] == ["benign/1.png", "benign/2.png", "malignant/1.jpg"]


def test_table_with_everything(tmp_path):
    images(tmp_path / "pictures", ["a.png", "b.png"])
    row = {"Image": "a.png", "Diagnosis": "x", "Patient ID": "1", "Report": "text", "Split": "train"}
    write_table(tmp_path / "t.csv", [row, {**row, "Image": "b.png", "Patient ID": "2", "Split": "test"}])
    config, said = detected(tmp_path)
    columns = config.source.columns
    assert (columns.image, columns.label, columns.case, columns.captions, columns.split) == (
        "Image", "Diagnosis", "Patient ID", ["Report"], "Split",
    )  # fmt: skip
    assert "images below pictures/ by column 'Image'" in said


def test_numbers_and_useless_split(tmp_path):
    images(tmp_path / "cells", [f"{i:04d}.png" for i in range(12)])
    write_table(tmp_path / "t.csv", [{"image ID": i, "class label": i % 2, "split": "train"} for i in range(12)])
    write_table(tmp_path / "label_names.csv", [{"label": 0, "name": "zero"}, {"label": 1, "name": "one"}])
    config, said = detected(tmp_path)
    assert config.source.image_pattern == "{:04d}.png"
    assert config.source.columns.split is None
    assert "so the split is drawn by case" in said
    listing = list_items(config)
    assert listing.label_names == {"0": "zero", "1": "one"}
    assert all(item.path.is_file() for item in listing.items)


def test_refusals_ask_for_a_config(tmp_path):
    images(tmp_path / "images", ["a.png"])
    with pytest.raises(DataError, match="no table, and not one sub-folder per class; write a config"):
        detected(tmp_path)
    write_table(tmp_path / "t.csv", [{"file": "a.png", "label": "x", "diagnosis": "y"}])
    with pytest.raises(DataError, match=r"several label columns \(label, diagnosis\); write a config"):
        detected(tmp_path)
    write_table(tmp_path / "t.csv", [{"file": "z.png", "label": "x"}])
    with pytest.raises(DataError, match="no column leads to the images"):
        detected(tmp_path)
    write_table(tmp_path / "t.csv", [{"file": "a.png", "size": "x"}])
    with pytest.raises(DataError, match="no label or caption column"):
        detected(tmp_path)
    write_table(tmp_path / "u.csv", [{"file": "a.png", "label": "x"}])
    with pytest.raises(DataError, match=r"several tables \(t\.csv, u\.csv\)"):
        detected(tmp_path)
    with pytest.raises(DataError, match="folder not found"):
        detected(tmp_path / "none")


SETS = {
    "path_oral_oscc": (941, 2),
    "path_mini/lc25000": (100, 5),
    "derm_ham10000_mini": (70, 7),
    "mednist_subset": (2400, 6),
    "cyto_wbc": (300, 5),
    "cxr_covid_chestxray": (197, 14),
}


@pytest.mark.data
@pytest.mark.parametrize("name", SETS)
def test_real_sets(name):
    if not os.environ.get("MEDVLP_DATA"):
        pytest.skip("MEDVLP_DATA is not set")
    config, _ = detected(Path(os.environ["MEDVLP_DATA"]) / name)
    items = list_items(config).items
    assert (len(items), len({item.label for item in items})) == SETS[name]
    assert all(item.path.is_file() for item in items)
