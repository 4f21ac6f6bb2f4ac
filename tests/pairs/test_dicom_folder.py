"""A DICOM folder: cases hashed from tags, frames chosen, tables joined, and every odd file named with its remedy."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from pairs_helpers import write_table
from pydantic import ValidationError
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from data_prep.pairs.config import PairsConfig
from data_prep.pairs.prepare import prepare
from medvlp.data.pairs import SPLITS, PairsStore
from medvlp.errors import ConfigError, DataError


def write_dicom(path, patient, number, frames=1, pixels=True, modality="CR", study=None):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = f"1.9.{number}", study or f"1.8.{number}"
    dataset.PatientID, dataset.PatientName, dataset.Modality = patient, "Doe^Jane", modality
    if pixels:
        rng = np.random.default_rng([number])
        coarse = rng.integers(0, 4000, (frames, 6, 6), dtype=np.uint16)
        values = coarse.repeat(8, axis=1).repeat(8, axis=2)
        dataset.Rows = dataset.Columns = 48
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        if frames > 1:
            dataset.NumberOfFrames = frames
        dataset.PixelData = values.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


@pytest.fixture
def folder(tmp_path):
    for i in range(12):
        write_dicom(tmp_path / "pacs" / f"PAT-{i // 2}" / "IMAGES" / f"IM{i}", f"PAT-{i // 2}", i)
    (tmp_path / "pacs" / "readme.txt").write_text("hello")
    (tmp_path / "pacs" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    return tmp_path / "pacs"


def settings(folder, **source):
    source = {"name": "dicom_folder", "images": str(folder), **source}
    if "table" not in source:
        source.setdefault("label", "Modality")
    return PairsConfig.model_validate({"source": source})


def prepared(config, out):
    return PairsStore.load(prepare(config, out, already_deidentified=True))


def everything(store, column):
    return [value for split in SPLITS for value in store.split(split).column(column)]


def error_of(config, out):
    with pytest.raises(DataError) as caught:
        prepare(config, out, already_deidentified=True)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_identifiers_are_never_stored_in_clear(folder, tmp_path):
    store = prepared(settings(folder), tmp_path / "out")
    assert (len(store), store.manifest["num_cases"], store.classes) == (12, 6, ["CR"])
    assert store.manifest["notes"]["files that are not DICOM images"] == 2
    written = b"".join(path.read_bytes() for path in sorted(store.folder.rglob("*")) if path.is_file())
    for secret in (b"PAT-", b"Doe", b"Jane", b"1.2.3.", b"1.9."):
        assert secret not in written
    assert all("/IMAGES/IM" in key for key in everything(store, "key"))
    again = prepared(settings(folder), tmp_path / "again")
    assert again.digest == store.digest


def test_salt(folder, tmp_path, monkeypatch):
    plain = set(everything(prepared(settings(folder), tmp_path / "plain"), "case"))
    with pytest.raises(ConfigError, match="the environment variable MY_SALT is not set"):
        prepare(settings(folder, salt="${MY_SALT}"), tmp_path / "x", already_deidentified=True)
    monkeypatch.setenv("MY_SALT", "grain-of-salt")
    store = prepared(settings(folder, salt="${MY_SALT}"), tmp_path / "salted")
    assert not plain & set(everything(store, "case"))
    assert "grain-of-salt" not in (store.folder / "manifest.json").read_text()
    with pytest.raises(ValidationError, match=r"write salt as \$\{VARIABLE\}"):
        settings(folder, salt="grain")


def test_by_default_keys_and_cases_are_pseudonyms(folder, tmp_path, monkeypatch):
    store = PairsStore.load(prepare(settings(folder), tmp_path / "out"))
    assert everything(store, "key")[:1] != []
    assert all(re.fullmatch(r"image-\d{6}", key) for key in everything(store, "key"))
    assert sorted(set(everything(store, "case"))) == [f"case-{i:05d}" for i in range(1, 7)]
    assert store.manifest["deidentification"]["num_dicom"] == 12
    assert store.manifest["deidentification"]["warnings"] == {"pixels may show text: secondary capture": 12}
    written = b"".join(path.read_bytes() for path in sorted(store.folder.rglob("*")) if path.is_file())
    for secret in (b"PAT-", b"Doe", b"Jane", b"1.2.3.", b"1.9.", b"IMAGES/IM"):
        assert secret not in written
    assert PairsStore.load(prepare(settings(folder), tmp_path / "again")).digest == store.digest
    monkeypatch.setenv("MY_SALT", "grain-of-salt")
    keyed = PairsStore.load(prepare(settings(folder, salt="${MY_SALT}"), tmp_path / "keyed"))
    assert all(re.fullmatch(r"image-[0-9a-f]{16}", key) for key in everything(keyed, "key"))
    assert len(set(everything(keyed, "case"))) == 6
    (folder / "PAT-0" / "IMAGES" / "IM0").unlink()  # with a secret, the others keep their names
    fewer = PairsStore.load(prepare(settings(folder, salt="${MY_SALT}"), tmp_path / "fewer"))
    assert set(everything(fewer, "key")) < set(everything(keyed, "key"))


def test_dicom_beside_a_table_loses_identifiers_in_its_name(folder, tmp_path):
    for i in range(4):
        write_dicom(tmp_path / "flat" / f"PAT-{i // 2}_Doe_{i}.dcm", f"PAT-{i // 2}", 30 + i)
    rows = [{"file": f"PAT-{i // 2}_Doe_{i}.dcm", "label": "ab"[i % 2], "case": f"PAT-{i // 2}"} for i in range(4)]
    write_table(tmp_path / "t.csv", rows)
    columns = {"image": "file", "label": "label", "case": "case"}
    source = {
        "name": "folder_csv",
        "images": str(tmp_path / "flat"),
        "table": str(tmp_path / "t.csv"),
        "columns": columns,
    }
    store = PairsStore.load(prepare(PairsConfig.model_validate({"source": source}), tmp_path / "out"))
    assert sorted(everything(store, "key")) == [f"id-{1 + 2 * (i > 1):05d}_id-00002_{i}.dcm" for i in range(4)]
    assert sorted(set(everything(store, "case"))) == ["id-00001", "id-00003"]
    assert store.manifest["deidentification"]["removed"] == {"identifier in a case": 4, "identifier in a key": 4}


def test_case_by_study_and_series(folder, tmp_path):
    assert prepared(settings(folder, case="series"), tmp_path / "series").manifest["num_cases"] == 12
    write_dicom(folder / "a", "", 90, study="7.7")
    write_dicom(folder / "b", "", 91, study="7.7")
    store = prepared(settings(folder), tmp_path / "out")  # without a patient the study stands in
    assert store.manifest["num_cases"] == 7


def test_several_frames(folder, tmp_path):
    write_dicom(folder / "cine", "PAT-9", 50, frames=5)
    assert error_of(settings(folder), tmp_path / "out") == (
        "cine: holds 5 frames; set source.frames to first, middle or all"
    )
    counts = {"first": 13, "middle": 13, "all": 17}
    stores = {which: prepared(settings(folder, frames=which), tmp_path / which) for which in counts}
    assert {which: len(store) for which, store in stores.items()} == counts
    keys = [key for key in everything(stores["all"], "key") if key.startswith("cine")]
    assert keys == [f"cine#{i:04d}" for i in range(5)]

    def image(store, key):
        split = next(store.split(name) for name in SPLITS if key in store.split(name).keys)
        return np.asarray(split[split.keys.index(key)].image)

    assert np.array_equal(image(stores["middle"], "cine#0002"), image(stores["all"], "cine#0002"))
    assert not np.array_equal(image(stores["first"], "cine#0000"), image(stores["middle"], "cine#0002"))


def test_files_without_pixels(folder, tmp_path):
    write_dicom(folder / "report.dcm", "PAT-1", 60, pixels=False, modality="SR")
    assert error_of(settings(folder), tmp_path / "out") == (
        "report.dcm: DICOM file without pixels; leave reports and key objects out, or set source.without_pixels: drop"
    )
    store = prepared(settings(folder, without_pixels="drop"), tmp_path / "out")
    ledger = json.loads((store.folder / "ledger.json").read_text())
    assert ledger["dropped"] == {"DICOM file without pixels": 1}


def test_copies_and_damage(folder, tmp_path):
    (folder / "copy.dcm").write_bytes((folder / "PAT-0" / "IMAGES" / "IM0").read_bytes())
    assert "is the same DICOM object as" in error_of(settings(folder), tmp_path / "out")
    (folder / "copy.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\1\2\3")
    assert "copy.dcm: DICOM file without pixels" in error_of(settings(folder), tmp_path / "out")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "x.txt").write_text("x")
    assert "no DICOM image to use (1 files that are not DICOM images)" in error_of(settings(empty), tmp_path / "out")


@pytest.mark.parametrize("join", ["path", "sop_instance_uid"])
def test_table(folder, tmp_path, join):
    names = [f"PAT-{i // 2}/IMAGES/IM{i}" if join == "path" else f"1.2.3.{i}" for i in range(11)]
    rows = [{"file": name, "dx": "ab"[i % 2], "note": f"note {i}", "part": "train"} for i, name in enumerate(names)]
    rows[0]["part"] = rows[1]["part"] = "test"
    write_table(tmp_path / "t.csv", [*rows, {"file": "nowhere", "dx": "a", "note": "", "part": "train"}])
    columns = {"label_column": "dx", "caption_columns": ["note"], "split_column": "part"}
    config = settings(folder, table=str(tmp_path / "t.csv"), join=join, **columns)
    store = prepared(config, tmp_path / "out")
    assert (len(store), store.classes) == (11, ["a", "b"])
    assert [texts[0].text for texts in store.split("test").column("texts")] == ["note 0", "note 1"]
    assert store.manifest["notes"]["rows of the table without a DICOM file"] == 1
    ledger = json.loads((store.folder / "ledger.json").read_text())
    assert ledger["dropped"] == {"DICOM file that is not in the table": 1}
    write_table(tmp_path / "t.csv", [*rows, rows[0]])
    assert "t.csv: row 13 names the image of an earlier row" in error_of(config, tmp_path / "no")
    write_table(tmp_path / "t.csv", [{**row, "part": "train" if i % 2 else "test"} for i, row in enumerate(rows)])
    assert "the case is in both test and train" in error_of(config, tmp_path / "no")  # one patient in two splits


def test_a_source_says_what_to_learn(folder, tmp_path):
    with pytest.raises(ValidationError, match="give a table, or label: folder, Modality or BodyPartExamined"):
        PairsConfig.model_validate({"source": {"name": "dicom_folder", "images": str(folder)}})
    with pytest.raises(ValidationError, match="name its label_column or caption_columns"):
        settings(folder, table="t.csv")


@pytest.mark.data
def test_real_files(tmp_path):
    import os

    if not os.environ.get("MEDVLP_DATA"):
        pytest.skip("MEDVLP_DATA is not set")
    folder = Path(os.environ["MEDVLP_DATA"]) / "dicom_samples"
    store = prepared(settings(folder), tmp_path / "out")
    assert len(store) == 3
    assert all(pair.image.width > 100 for split in SPLITS for pair in store.split(split))
