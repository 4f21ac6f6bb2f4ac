"""Boxes of a set become masks beside its store: places, names, sizes, what is left out, and the command line."""

import csv
import sys

import numpy as np
import pytest
from PIL import Image

from data_prep.masks import boxes
from data_prep.pairs.config import PairsConfig
from data_prep.pairs.prepare import prepare
from data_prep.pairs.standard import chest_challenges
from data_prep.pairs.standard.checks import Expected
from medvlp.data.pairs import PairsStore
from medvlp.errors import DataError

NIH_HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID"


def nih(root):
    """Three images of 1,024 pixels, as the set has them, four boxes."""
    root.mkdir(parents=True)
    labels = {"00000001_000.png": "Mass|Infiltration", "00000002_000.png": "No Finding", "00000003_000.png": "Mass"}
    rows = [f"{key},{label},0,{number}" for number, (key, label) in enumerate(labels.items())]
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join([NIH_HEADER, *rows]) + "\n")
    (root / "train_val_list.txt").write_text("00000001_000.png\n00000002_000.png\n")
    (root / "test_list.txt").write_text("00000003_000.png\n")
    (root / "images").mkdir()
    for number, key in enumerate(labels):
        coarse = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(coarse.repeat(128, 0).repeat(128, 1)).save(root / "images" / key)
    (root / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "00000001_000.png,Infiltrate,512,256,128,64,,,\n"
        "00000001_000.png,Mass,0,0,100,100,,,\n"
        "00000001_000.png,Mass,1000,1000,24,24,,,\n"
        "00000002_000.png,Mass,1,1,5,5,,,\n"
    )
    return PairsConfig(source={"name": "chestxray14", "root": str(root), "partial": True, "dev_share": 0}, max_side=256)


def test_masks_have_the_stores_keys_names_and_sizes(tmp_path):
    config = nih(tmp_path / "nih")
    ledger = boxes.write_masks(config, tmp_path / "masks")
    assert ledger.kept == 3
    assert dict(ledger.dropped) == {"box of a finding that is no label of its image": 1}
    rows = list(csv.DictReader((tmp_path / "masks" / "masks.csv").open()))
    masks = {(row["key"], row["label"]): np.asarray(Image.open(tmp_path / "masks" / row["file"])) for row in rows}
    assert set(masks) == {("00000001_000.png", "infiltration"), ("00000001_000.png", "lung mass")}
    infiltration, mass = masks["00000001_000.png", "infiltration"], masks["00000001_000.png", "lung mass"]
    wanted = np.zeros((256, 256), dtype=bool)
    wanted[64:80, 128:160] = True
    assert np.array_equal(infiltration > 0, wanted)
    assert mass[:25, :25].all()
    assert mass[250:, 250:].all()
    assert (mass > 0).sum() == 25 * 25 + 6 * 6
    store = PairsStore.load(prepare(config, tmp_path / "store"))
    pairs = {pair.key: pair for split in ("train", "test") for pair in store.split(split)}
    assert {key for key, _ in masks} <= set(pairs)
    assert pairs["00000001_000.png"].image.size == infiltration.shape[::-1]
    assert {label for _, label in masks} <= set(store.manifest["class_names"].values())


def test_command_line_and_mistakes(tmp_path, monkeypatch, capsys):
    config = nih(tmp_path / "nih")
    settings = [f"source.root={tmp_path / 'nih'}", "source.partial=true"]
    words = ["boxes", "pairs/chestxray14", "--out", str(tmp_path / "masks")]
    monkeypatch.setattr(sys, "argv", [*words, *(word for setting in settings for word in ("--set", setting))])
    assert boxes.main() == 0
    assert "boxes: kept 3, dropped 1" in capsys.readouterr().out
    assert boxes.main() == 2
    assert "already exists" in capsys.readouterr().err
    boxes.write_masks(config, tmp_path / "masks", overwrite=True)
    (tmp_path / "nih" / "BBox_List_2017.csv").unlink()
    with pytest.raises(DataError, match=r"ChestX-ray14 lacks BBox_List_2017.csv"):
        boxes.write_masks(config, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    other = PairsConfig(source={"name": "padchest", "root": str(tmp_path)})
    with pytest.raises(DataError, match="publishes no boxes"):
        boxes.write_masks(other, tmp_path / "none")


@pytest.mark.extras
def test_sizes_of_dicom_files_come_from_their_headers(tmp_path, monkeypatch):
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID = ExplicitVRLittleEndian, "1.2.3"
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID, data.PatientID = meta.MediaStorageSOPClassUID, "1.2.3", "pat-0001"
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 40, 20, 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = np.arange(800, dtype=np.uint16).astype(np.uint8).tobytes()
    folder = tmp_path / "rsna" / "stage_2_train_images"
    folder.mkdir(parents=True)
    data.save_as(folder / "pat-0001.dcm", enforce_file_format=True)
    (tmp_path / "rsna" / "stage_2_train_labels.csv").write_text(
        "patientId,x,y,width,height,Target\npat-0001,10,20,5,10,1\n"
    )
    monkeypatch.setattr(chest_challenges, "RSNA_EXPECTED", {"two": Expected(1, by_class={"pneumonia": 1})})
    config = PairsConfig(source={"name": "rsna_pneumonia", "root": str(tmp_path / "rsna")})
    boxes.write_masks(config, tmp_path / "masks")
    mask = np.asarray(Image.open(tmp_path / "masks" / "000000.png"))
    assert mask.shape == (40, 20)
    assert (np.argwhere(mask).min(0).tolist(), np.argwhere(mask).max(0).tolist()) == ([20, 10], [29, 14])
    kept = PairsStore.load(prepare(config, tmp_path / "as_is", already_deidentified=True))
    hidden = PairsStore.load(prepare(config, tmp_path / "hidden"))
    keys = [[key for split in ("train", "dev", "test") for key in s.split(split).keys] for s in (kept, hidden)]
    assert keys[0] == ["pat-0001.dcm"]
    assert "pat-0001" not in keys[1][0]
