"""The job and its command line: DICOM, texts and tables in; the same without identifiers out, or a refusal."""

import csv
import json

import pydicom
import pytest
from test_deid_dicom import ORGANISATION, SECRET, image

from data_prep.deid.job import Options, deidentify_folder
from data_prep.deid.pseudonyms import Pseudonyms
from medvlp.cli import run
from medvlp.errors import DataError
from medvlp.io import verify_manifest

TEXT = f"Patient Name: Jane {SECRET}\nMRN 4711947119\nSeen by Dr. Okafor on 3/12/2019. Hodgkin lymphoma.\n"


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "in" / f"{SECRET}_jane"
    source.mkdir(parents=True)
    for number in range(4):
        values = {
            "PatientID": f"MRN-{number // 2}",
            "SOPInstanceUID": f"{ORGANISATION}.{number}",
            "Modality": "US" if number == 3 else "CT",
        }
        image(**values).save_as(source / f"IM{number}", enforce_file_format=True)
    (source / "report.txt").write_text(TEXT)
    with (tmp_path / "in" / "t.csv").open("w", newline="") as stream:
        rows = [
            ["patient_id", "note", "age", "sex"],
            ["MRN-0", "Dr. Okafor, 3/12/2019", "44", "F"],
            ["MRN-9", "clear", "", "M"],
        ]
        csv.writer(stream).writerows(rows)
    (source / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\7" * 30)
    (source / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (source / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (source / "link.txt").symlink_to("/etc/hostname")
    return tmp_path / "in"


OPTIONS = Options(columns=["note"], id_columns=["patient_id"], keep_columns=["sex"])


def test_a_folder(folder, tmp_path):
    out = tmp_path / "out"
    report = deidentify_folder(folder, out, OPTIONS)
    everything = b"".join(path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file())
    names = " ".join(path.as_posix() for path in out.rglob("*"))
    for secret in (SECRET, "jane", "Okafor", "4711947119", "3/12/2019", ORGANISATION, "MRN-"):
        assert secret.encode() not in everything
        assert secret not in names
    dicoms = [pydicom.dcmread(path) for path in sorted(out.rglob("*.dcm"))]
    assert len(dicoms) == 4
    assert len({dataset.PatientID for dataset in dicoms}) == 2
    assert all(dataset.pixel_array.shape == (4, 4) for dataset in dicoms)
    with next((out / "tables").iterdir()).open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["note"] for row in rows] == ["Dr. [NAME], [DATE]", "clear"]
    assert set(rows[0]) == {"patient_id", "note", "sex"}  # age was named nowhere
    assert rows[0]["patient_id"] in {dataset.PatientID for dataset in dicoms}  # table and files still belong together
    text = next((out / "texts").iterdir()).read_text()
    assert text == "Patient Name: [NAME]\nMRN [ID]\nSeen by Dr. [NAME] on [DATE]. Hodgkin lymphoma.\n"
    manifest = verify_manifest(out)
    assert manifest["secret"] == "drawn and forgotten"
    ledger = json.loads((out / "ledger.json").read_text())
    assert ledger["files"] == {"dicom": 4, "table": 1, "text": 1}
    assert ledger["dropped"] == {
        "DICOMDIR, which lists names": 1, "neither DICOM, text nor table": 1, "unreadable DICOM file": 1,
    }  # fmt: skip
    assert ledger["removed"]["text"] == {"date": 2, "id": 1, "name": 3, "record number": 2}
    assert ledger["warnings"]["pixels may show text: modality US"] == 1
    assert ledger["warned_about"]["pixels may show text: modality US"][0].endswith(".dcm")
    assert report.ledger.kept == 6


def test_a_secret_makes_two_jobs_agree(folder, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="MY_SECRET: the environment variable is not set, or shorter than 16"):
        deidentify_folder(folder, tmp_path / "x", Options(columns=["note"], secret_variable="MY_SECRET"))
    monkeypatch.setenv("MY_SECRET", "a-grain-of-salt-and-more")
    options = Options(columns=["note"], id_columns=["patient_id"], secret_variable="MY_SECRET", num_workers=1)
    for name in "ab":
        deidentify_folder(folder, tmp_path / name, options)
    a, b = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*.*")
            if path.is_file()
        }
        for name in "ab"
    )
    assert a == b
    assert b"a-grain-of-salt" not in b"".join(a.values())
    assert any(path.parts[0] == Pseudonyms("a-grain-of-salt-and-more").of("MRN-0") for path in a)


def test_a_dry_run_writes_nothing(folder, tmp_path):
    report = deidentify_folder(folder, tmp_path / "out", OPTIONS, dry_run=True)
    assert report.ledger.kept == 6
    assert not (tmp_path / "out").exists()


def refused(*arguments, **options):
    with pytest.raises(DataError) as caught:
        deidentify_folder(*arguments, **options)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_mistakes(folder, tmp_path):
    out = tmp_path / "out"
    assert "a table with the columns 'patient_id', 'note', 'age', 'sex'; name free texts with --columns" in refused(
        folder, out
    )
    assert "no column 'notes'; found" in refused(folder, out, Options(columns=["notes"]))
    assert "no such file or folder; check the path" in refused(tmp_path / "none", out)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.jpg").write_bytes(b"x")
    assert "nothing to de-identify (kept 0, dropped 1 neither DICOM, text nor table)" in refused(
        tmp_path / "empty", out
    )
    (folder / "u.txt").write_bytes("Röntgen".encode("latin-1"))
    assert "file 10: is not utf-8-sig; pass --encoding" in refused(folder, out, OPTIONS)
    (folder / "u.txt").unlink()
    assert not out.exists()
    deidentify_folder(folder, out, OPTIONS)
    assert "already exists" in refused(folder, out, OPTIONS)
    deidentify_folder(folder, out, OPTIONS, overwrite=True)
    (folder / f"{SECRET}_jane" / "copy").write_bytes((folder / f"{SECRET}_jane" / "IM0").read_bytes())
    report = deidentify_folder(folder, tmp_path / "again", OPTIONS)
    assert report.warnings["copy of another file, written once"] == 1
    assert not list(tmp_path.glob(".partial-*"))


@pytest.mark.parametrize("suffix", [".jsonl", ".tsv"])
def test_other_tables(tmp_path, suffix):
    row = {"note": "Dr. Okafor – gut", "sex": "F"}
    text = json.dumps(row) if suffix == ".jsonl" else "note\tsex\nDr. Okafor – gut\tF\n"
    (tmp_path / f"t{suffix}").write_text(text, encoding="utf-8")
    deidentify_folder(tmp_path / f"t{suffix}", tmp_path / "out", Options(columns=["note"], keep_columns=["sex"]))
    done = (tmp_path / "out" / "tables" / f"000001{suffix}").read_text(encoding="utf-8")
    assert "Dr. [NAME] – gut" in done


def test_command_line(folder, tmp_path, capfd):
    words = [
        "deid",
        str(folder),
        "--out",
        str(tmp_path / "out"),
        "--columns",
        "note, sex",
        "--id-columns",
        "patient_id",
    ]
    assert run([*words, "--dry-run"]) == 0
    said = capfd.readouterr()
    assert "dry run: nothing was written" in said.out
    assert "removed from text: 2 date, 1 id, 3 name, 2 record number" in said.err
    assert run([*words, "--dates", "shift"]) == 0
    said = capfd.readouterr()
    for secret in (SECRET, "Okafor", "4711947119", "MRN-"):
        assert secret not in said.out + said.err
    assert "warning: 1 files: pixels may show text: modality US" in said.err
    assert verify_manifest(tmp_path / "out")["dates"] == "shift"
    assert run([*words, "--overwrite", "--names", "no_such_model"]) == 2
    said = capfd.readouterr().err  # without the extra, spaCy itself is what lacks
    assert "no_such_model: the spaCy model is not installed" in said or 'pip install "medvlp[nlp]"' in said


@pytest.mark.extras
def test_a_spacy_pipeline_adds_names():
    spacy = pytest.importorskip("spacy", reason="the extra nlp is not installed")
    from data_prep.deid.recogniser import recogniser_of
    from data_prep.deid.text import deidentify_text

    pipeline = spacy.blank("en")
    ruler = pipeline.add_pipe("entity_ruler")
    patterns = ["Quorra Zyxwv", "Hodgkin", "Radiology", "Marcus Gunn"]
    ruler.add_patterns([{"label": "PERSON", "pattern": words} for words in patterns])
    text = "Radiology saw Quorra Zyxwv with Hodgkin lymphoma and a Marcus Gunn pupil"
    done = deidentify_text(text, recogniser_of(pipeline))
    assert done.text == "Radiology saw [NAME] with Hodgkin lymphoma and a Marcus Gunn pupil"
