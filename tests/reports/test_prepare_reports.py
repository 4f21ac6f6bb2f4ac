"""The job: what it writes, what it drops and counts, how it goes on, and that no identifier reaches a file."""

import json

import numpy as np
import pytest
from pyarrow import parquet

from data_prep.deid.text import ENGINE
from data_prep.reports import prepare as job
from data_prep.reports.config import ReportsConfig
from data_prep.reports.prepare import prepare
from data_prep.text.mentions import annotate
from data_prep.text.triplets import load_vocabulary, matrix, triplets
from medvlp.cli import run
from medvlp.errors import DataError
from medvlp.io import verify_manifest


def table(store, name):
    return parquet.read_table(store / f"{name}.parquet").to_pylist()


def test_a_store(config, folder, tmp_path):
    store = prepare(config, tmp_path / "store", already_deidentified=True)
    manifest = verify_manifest(store)
    words = load_vocabulary("radiology")
    reports = table(store, "reports")
    assert [row["report"] for row in reports] == ["r1.txt", "r2.txt", "r3.txt"]
    matrix_NPE = np.load(store / "matrix.npy", mmap_mode="r")
    assert matrix_NPE.shape == (3, 51, 75)
    assert matrix_NPE.dtype == np.int8
    for row, written in enumerate(reports):
        text = (folder / written["report"]).read_text(encoding="utf-8")
        assert written["text"] == text
        found = triplets(annotate(text, None), words)
        assert (matrix_NPE[row] == matrix(found, words)).all()
        assert written["num_triplets"] == len(found)
    for mention in table(store, "mentions"):
        text = next(row["text"] for row in reports if row["report"] == mention["report"])
        assert text[mention["start"] : mention["end"]] == mention["text"]
    mentions = table(store, "mentions")
    assert manifest["num_rows"] == {"reports": 3, "mentions": len(mentions), "triplets": len(table(store, "triplets"))}
    assert sum(manifest["assertions"].values()) == len(mentions)
    described = json.loads((store / "vocabulary.json").read_text(encoding="utf-8"))
    assert described["positions"] == list(words.positions)
    assert described["ancestors"]["left_pleural"] == ["pleural_unspec", "unspecified"]
    assert described["values"] == {"not_mentioned": -1, "absent": 0, "present": 1, "uncertain": 2}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_two_runs_are_equal(config, tmp_path):
    first, second = (prepare(config, tmp_path / name, already_deidentified=True) for name in ("a", "b"))
    assert verify_manifest(first)["files"] == verify_manifest(second)["files"]


def test_identifiers_go_before_anything_is_written(config, tmp_path):
    page = tmp_path / "page.html"
    store = prepare(config, tmp_path / "store", preview=page, show_texts=True)
    manifest = verify_manifest(store)
    assert manifest["removed_identifiers"] == {"name": 1}
    assert manifest["already_deidentified"] is False
    assert manifest["deidentified_by"] == ENGINE
    assert "Mr. [NAME] has a scar" in table(store, "reports")[2]["text"]
    for path in [page, *store.rglob("*")]:
        assert b"Pemberton" not in path.read_bytes()
    assert "[NAME]" in page.read_text(encoding="utf-8")


def test_bad_reports_are_counted_and_never_told(folder, config, tmp_path, capfd):
    (folder / "empty.txt").write_text(" \n\t", encoding="utf-8")
    (folder / "latin.txt").write_bytes("Épanchement: SECRET pleural effusion.".encode("cp1252"))
    (folder / "utf16.txt").write_bytes("Pleural effusion.".encode("utf-16"))
    (folder / "null.txt").write_bytes(b"Pleural\x00effusion, \x01 SECRET.")
    (folder / "nothing.txt").write_text("SECRET words of no vocabulary", encoding="utf-8")
    (folder / "long.txt").write_text("Effusion. " * 30, encoding="utf-8")
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 4)
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    (tmp_path / "outside.txt").write_text("SECRET outside", encoding="utf-8")
    changed = config.model_copy(update={"max_chars": 250})
    store = prepare(changed, tmp_path / "store", already_deidentified=True)
    ledger = json.loads((store / "ledger.json").read_text(encoding="utf-8"))
    assert ledger["dropped"]["empty"] == 1
    assert ledger["dropped"]["a link out of the folder"] == 1
    assert ledger["examples"]["longer than 250 characters"] == ["binary.txt", "long.txt"]
    assert ledger["kept"] == 7
    notes = verify_manifest(store)["notes"]
    assert notes["decoded as Windows-1252, not UTF-8"] == 2
    assert notes["decoded as UTF-16"] == 1
    assert notes["reports in which nothing was found"] == 1
    assert notes["reports without a heading"] == 4
    texts = {row["report"]: row["text"] for row in table(store, "reports")}
    assert texts["latin.txt"].startswith("Épanchement")
    assert texts["utf16.txt"] == "Pleural effusion."
    assert "\x00" not in texts["null.txt"]
    captured = capfd.readouterr()
    assert "kept 7" in captured.err
    for told in (
        captured.err,
        captured.out,
        (store / "ledger.json").read_text(),
        (store / "manifest.json").read_text(),
    ):
        assert "SECRET" not in told


def test_a_megabyte_in_one_report(folder, config, tmp_path):
    (folder / "r4.txt").write_text("No effusion, small nodule in the left lung " * 24_000, encoding="utf-8")
    store = prepare(config, tmp_path / "store", already_deidentified=True)
    assert table(store, "reports")[3]["num_mentions"] >= 47_000


def test_an_interrupted_job_goes_on(config, tmp_path, monkeypatch):
    changed = config.model_copy(update={"shard_size": 1})
    whole = prepare(changed, tmp_path / "whole", already_deidentified=True)
    real, read = job.annotate, []

    def counting(text, *args, **kwargs):
        read.append(text)
        if len(read) == 3:
            raise KeyboardInterrupt
        return real(text, *args, **kwargs)

    monkeypatch.setattr(job, "annotate", counting)
    with pytest.raises(KeyboardInterrupt):
        prepare(changed, tmp_path / "again", already_deidentified=True)
    assert not (tmp_path / "again").exists()
    store = prepare(changed, tmp_path / "again", already_deidentified=True)
    assert len(read) == 4  # the third report twice, the first two once
    assert verify_manifest(store)["files"] == verify_manifest(whole)["files"]


def test_shards_of_another_configuration_are_not_used(config, folder, tmp_path, monkeypatch):
    real, read = job.annotate, []

    def failing(text, *args, **kwargs):
        read.append(text)
        if len(read) == 2:
            raise KeyboardInterrupt
        return real(text, *args, **kwargs)

    monkeypatch.setattr(job, "annotate", failing)
    changed = config.model_copy(update={"shard_size": 1})
    with pytest.raises(KeyboardInterrupt):
        prepare(changed, tmp_path / "store", already_deidentified=True)
    (folder / "r1.txt").write_text("Heart normal.", encoding="utf-8")
    prepare(changed, tmp_path / "store", already_deidentified=True)
    assert len(read) == 5
    assert table(tmp_path / "store", "reports")[0]["text"] == "Heart normal."


def test_a_dry_run_writes_nothing(config, tmp_path, capfd):
    page = tmp_path / "page.html"
    prepare(config, tmp_path / "store", already_deidentified=True, dry_run=True, preview=page)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "texts"]
    assert "dry run on 3 of 3 reports: kept 3" in capfd.readouterr().err


def test_refusals(config, folder, tmp_path):
    prepare(config, tmp_path / "store", already_deidentified=True)
    with pytest.raises(DataError, match=r"store: already exists; .*--overwrite"):
        prepare(config, tmp_path / "store", already_deidentified=True)
    prepare(config, tmp_path / "store", already_deidentified=True, overwrite=True)
    for path in folder.iterdir():
        path.write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="no report could be used; see the reasons: kept 0, dropped 3 empty"):
        prepare(config, tmp_path / "none", already_deidentified=True)
    assert not (tmp_path / "none").exists()


def test_linked_to_a_graph(config, tmp_path):
    from medvlp.knowledge.graph import DiseaseGraph

    graph = DiseaseGraph.from_dict({"X:1": {"name": "pleural effusion", "parents": []}})
    graph.save(tmp_path / "graph")
    changed = config.model_copy(update={"graph": str(tmp_path / "graph")})
    store = prepare(changed, tmp_path / "store", already_deidentified=True, preview=tmp_path / "page.html")
    manifest = verify_manifest(store)
    assert manifest["graph_digest"] == graph.digest
    assert manifest["num_linked_mentions"] == 1
    assert [row["concept"] for row in table(store, "triplets") if row["concept"]] == ["X:1"]
    assert 'href="#X:1"' in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_from_the_command_line(folder, tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(f"kind: reports\nsource: {{name: texts, folder: {folder}}}\n", encoding="utf-8")
    out = tmp_path / "store"
    assert run(["prepare", str(path), "--out", str(out), "--already-deidentified"]) == 0
    assert f"reports store: {out}" in capsys.readouterr().out
    assert run(["prepare", str(path), "--out", str(out), "--already-deidentified"]) == 2
    assert run(["prepare", str(path), "--out", str(out), "--set", "vocabulary=none", "--overwrite"]) == 2
    assert "no such vocabulary; name a file, or one of dermatology" in capsys.readouterr().err


def test_config_defaults():
    loaded = ReportsConfig.model_validate({"source": {"name": "texts", "folder": "x"}})
    assert loaded.sections == ["findings", "impression", "addendum", "body", "other"]
