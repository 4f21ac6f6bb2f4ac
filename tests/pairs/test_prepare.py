"""Preparation: what goes in comes out, every drop is counted, every mistake has one line with its remedy."""

import errno
import json

import numpy as np
import pytest
from pairs_helpers import picture, write_table

from data_prep.deid.text import ENGINE
from data_prep.pairs.prepare import prepare
from medvlp.data.pairs import PairsStore
from medvlp.errors import DataError, GraphError
from medvlp.knowledge.graph import DiseaseGraph

TEXT_COLUMNS = {"image": "file", "captions": ["caption"], "case": "case"}


def error_of(config, out, **options):
    with pytest.raises(DataError) as caught:
        prepare(config, out, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert not out.exists()
    return message


def test_classes_become_groups_and_captions(make_folder, tmp_path):
    _folder, _rows, settings = make_folder()
    config = settings(classes={"a": {"name": "alpha", "aliases": ["the first"]}}, captions={"num_texts": 4})
    store = PairsStore.load(prepare(config, tmp_path / "out"))
    assert store.classes == ["alpha", "b"]
    assert store.manifest["already_deidentified"] is False
    assert store.manifest["num_groups"] == 2
    assert store.manifest["sources"].keys() == {"table.csv"}
    assert sum(store.manifest["num_rows_per_split"].values()) == 20
    for split in ("train", "dev", "test"):
        for pair in store.split(split):
            texts = [text.text for text in pair.texts]
            assert len(set(texts)) == 4
            assert pair.label in texts[0]
            assert {text.aspect for text in pair.texts} == {"class-template"}
            assert all(any(name in text for name in ("alpha", "the first", "b")) for text in texts)
    again = PairsStore.load(prepare(config.model_copy(update={"num_workers": 1}), tmp_path / "again"))
    assert [p.key for p in again.split("test")] == [p.key for p in store.split("test")]
    assert again.split("train").column("texts") == store.split("train").column("texts")


def test_same_config_same_bytes(make_folder, tmp_path):
    _, _, settings = make_folder()
    first, second = (PairsStore.load(prepare(settings(), tmp_path / name)).digest for name in "12")
    assert first == second


def test_graph_gives_concepts_and_synonyms(make_folder, tmp_path):
    _, _, settings = make_folder()
    graph = DiseaseGraph.from_dict(
        {
            "X:1": {"name": "adenoma", "parents": [], "synonyms": ["glandular tumour"]},
            "X:2": {"name": "lung", "parents": [], "synonyms": []},
        }
    )
    graph.save(tmp_path / "graph", {})
    classes = {"a": {"name": "adenoma"}, "b": {"name": "healthy lung"}}
    config = settings(graph=str(tmp_path / "graph"), classes=classes, captions={"num_texts": 10})
    store = PairsStore.load(prepare(config, tmp_path / "out"))
    assert store.class_concepts == {"adenoma": ["X:1"], "healthy lung": ["X:2"]}
    assert store.manifest["graph_digest"] == graph.digest
    texts = [text.text for pair in store.split("train") if pair.label == "adenoma" for text in pair.texts]
    assert any("glandular tumour" in text for text in texts)
    with pytest.raises(GraphError, match="X:9"):
        prepare(settings(graph=str(tmp_path / "graph"), classes={"a": {"concepts": ["X:9"]}}), tmp_path / "no")
    dropped = settings(graph=str(tmp_path / "graph"), classes={"a": {"name": "adenoma"}}, unlinked="drop")
    prepare(dropped, tmp_path / "dropped")
    ledger = json.loads((tmp_path / "dropped" / "ledger.json").read_text())
    assert ledger["dropped"] == {"no linked concept": 10}


def test_free_text_is_deidentified_unless_the_user_says_it_is(make_folder, tmp_path, capsys):
    folder, rows, settings = make_folder(columns=("file", "caption", "case"))
    rows[0]["caption"] += ", reported by Dr. Okafor on 3/12/2019, MRN 4471902"
    rows[1]["caption"] = "Dr. Okafor"  # of this nothing is left
    write_table(folder / "table.csv", rows)
    config = settings(columns=TEXT_COLUMNS)
    store = PairsStore.load(prepare(config, tmp_path / "clean"))
    assert store.manifest["already_deidentified"] is False
    assert store.manifest["deidentification"] == {
        "by": ENGINE, "num_texts": 20, "num_dicom": 0, "warnings": {},
        "removed": {"date": 1, "id": 1, "name": 2},
    }  # fmt: skip
    written = b"".join(path.read_bytes() for path in sorted(store.folder.rglob("*")) if path.is_file())
    said = capsys.readouterr().err
    for secret in ("Okafor", "3/12/2019", "4471902"):
        assert secret.encode() not in written
        assert secret not in said
    assert "de-identified 20 texts: removed 1 date, 1 id, 2 name" in said
    texts = {pair.key: pair.texts[0].text for split in ("train", "dev", "test") for pair in store.split(split)}
    assert texts["000.png"] == "finding number 0 in the left lung, reported by Dr. [NAME] on [DATE], MRN [ID]"
    assert texts["001.png"] == "Dr. [NAME]"

    store = PairsStore.load(prepare(config, tmp_path / "out", already_deidentified=True))
    assert store.manifest["already_deidentified"] is True
    assert store.manifest["deidentification"]["by"] == "the user's word"
    assert b"Okafor" in b"".join(path.read_bytes() for path in sorted(store.folder.rglob("*.arrow")))
    write_table(
        folder / "table.csv", [{**row, "caption": f"finding number {i} in the left lung"} for i, row in enumerate(rows)]
    )
    store = PairsStore.load(prepare(config, tmp_path / "plain"))
    pair = store.split("train")[0]
    assert pair.label is None
    assert [(t.aspect, t.text) for t in pair.texts] == [
        ("caption", f"finding number {int(pair.key[:3])} in the left lung")
    ]
    cases = {split: set(store.split(split).column("case")) for split in ("train", "dev", "test")}
    assert not cases["train"] & cases["test"]
    assert not cases["train"] & cases["dev"]


def test_texts_of_nothing_but_identifiers_are_dropped(make_folder, tmp_path):
    folder, rows, settings = make_folder(columns=("file", "caption", "case"))
    rows[1]["caption"], rows[2]["caption"] = "3/12/2019 4471902", "[NAME]"
    write_table(folder / "table.csv", rows)
    store = PairsStore.load(prepare(settings(columns=TEXT_COLUMNS), tmp_path / "out"))
    assert json.loads((store.folder / "ledger.json").read_text())["dropped"] == {"empty caption": 1}
    assert store.manifest["deidentification"]["removed"] == {"date": 1, "id": 1, "texts of nothing but identifiers": 1}


def test_broken_dicom_under_another_name(make_folder, tmp_path):
    folder, _rows, settings = make_folder()
    (folder / "images" / "003.png").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 50)
    assert error_of(settings(), tmp_path / "out").startswith("003.png: DICOM file without pixels")


def test_captions_source_groups_near_identical_texts(make_folder, tmp_path):
    folder, rows, settings = make_folder(columns=("file", "caption"))
    lines = [{"image": r["file"], "caption": r["caption"]} for r in rows]
    long = "a b c d e f g h i j k l m n o p q r s t u v"
    lines[3]["caption"], lines[7]["caption"] = long, long.upper() + "!"
    lines[5]["caption"] = " "
    (folder / "t.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    source = {"name": "captions", "images": str(folder / "images"), "table": str(folder / "t.jsonl")}
    config = settings().model_validate({"source": source})
    store = PairsStore.load(prepare(config, tmp_path / "out", already_deidentified=True))
    group = {
        key: g
        for split in ("train", "dev", "test")
        for key, g in zip(store.split(split).keys, store.split(split).column("group"), strict=True)
    }
    assert group["003.png"] == group["007.png"]
    assert len(set(group.values())) == 18
    ledger = json.loads((tmp_path / "out" / "ledger.json").read_text())
    assert ledger["dropped"] == {"empty caption": 1}
    assert ledger["examples"] == {"empty caption": ["005.png"]}
    assert ledger["kept"] == 19


def test_near_identical_images_stay_in_one_split(make_folder, tmp_path):
    folder, _, settings = make_folder()
    for i in range(0, 20, 2):
        picture(100 + i).save(folder / "images" / f"{i:03d}.png")
        picture(100 + i).save(folder / "images" / f"{i + 1:03d}.png")
    store = PairsStore.load(prepare(settings(), tmp_path / "out"))
    assert store.manifest["num_cases"] == 10
    assert store.manifest["notes"] == {
        "images near-identical to an earlier one": 10,
        "near-identical images with different labels": 10,
    }


def test_missing_and_damaged_images(make_folder, tmp_path):
    folder, _, settings = make_folder()
    for i in (2, 4, 6, 8):
        (folder / "images" / f"{i:03d}.png").unlink()
    message = error_of(settings(), tmp_path / "out")
    assert "4 images are absent (002.png, 004.png, 006.png, ...); add them or raise max_missing" in message
    (folder / "images" / "009.png").write_bytes(b"")
    message = error_of(settings(max_missing=4), tmp_path / "out")
    assert message == "009.png: zero-byte file; repair or remove it, or raise max_unreadable"
    prepare(settings(max_missing=4, max_unreadable=1), tmp_path / "out")
    ledger = json.loads((tmp_path / "out" / "ledger.json").read_text())
    assert ledger["dropped"] == {"missing image": 4, "unreadable image": 1}
    assert ledger["kept"] == 15


def test_table_mistakes(make_folder, tmp_path):
    folder, rows, settings = make_folder(columns=("file", "label", "split", "case"))
    out, table = tmp_path / "out", folder / "table.csv"
    message = error_of(settings(columns={"image": "file", "label": "labels"}), out)
    assert "no column 'labels'; found 'file', 'label', 'split', 'case'; did you mean 'label'?" in message
    assert "x.csv: table not found" in error_of(settings(source={"table": str(folder / "x.csv")}), out)
    write_table(table, [*rows, rows[4]])
    assert "004.png: the image occurs in two rows; remove one or set source.duplicates" in error_of(settings(), out)
    write_table(table, [*rows, {**rows[4], "label": "b"}])
    assert "two rows disagree on its label" in error_of(settings(source={"duplicates": "merge"}), out)
    write_table(table, [{**r, "case": "p1"} for r in rows])
    both = {"image": "file", "label": "label", "split": "split", "case": "case"}
    assert "p1: the case is in both train and test" in error_of(settings(columns=both), out)
    write_table(table, [{**r, "split": "holdout"} for r in rows])
    assert "000.png: unknown split 'holdout'" in error_of(settings(columns=both), out)
    write_table(table, [{**r, "split": ""} for r in rows])
    assert "000.png: has no split" in error_of(settings(columns=both), out)
    write_table(table, [{**rows[0], "file": "../../secret.png"}])
    assert "../../secret.png: lies outside the image folder" in error_of(settings(), out)
    write_table(table, [{**r, "label": "é"} for r in rows], encoding="latin-1")
    assert "line 2 is not utf-8-sig; set source.encoding, for example latin-1" in error_of(settings(), out)
    assert PairsStore.load(prepare(settings(source={"encoding": "latin-1"}), out)).classes == ["é"]
    out = tmp_path / "out2"
    table.write_text("file,label\na.png,x,y\n")
    assert "line 2 has 3 fields, the header 2" in error_of(settings(), out)
    table.write_text("file,label\n")
    assert "holds no rows" in error_of(settings(), out)
    table.write_text("")
    assert "holds no rows" in error_of(settings(), out)
    table.write_text("file,file\na,b\n")
    assert "column 'file' occurs twice" in error_of(settings(), out)
    assert "classes: no image has the label 'aa'; did you mean 'a'?" in make_error_for_class(rows, table, settings, out)


def make_error_for_class(rows, table, settings, out):
    write_table(table, rows)
    return error_of(settings(classes={"aa": {}}), out)


def test_two_labels_with_one_name(make_folder, tmp_path):
    _, _, settings = make_folder()
    config = settings(classes={"a": {"name": "same"}, "b": {"name": "same"}})
    assert "same: labels 'a' and 'b' have the same name" in error_of(config, tmp_path / "out")


def test_existing_target_and_dry_run(make_folder, tmp_path, capsys):
    _, _, settings = make_folder(num=30)
    out = tmp_path / "out"
    assert prepare(settings(), out, dry_run=True) == out
    assert not out.exists()
    assert "dry run on 20 images: kept 20, dropped nothing" in capsys.readouterr().err
    prepare(settings(), out)
    with pytest.raises(DataError, match="already exists"):
        prepare(settings(), out)
    assert len(PairsStore.load(prepare(settings(max_side=16), out, overwrite=True))) == 30
    assert PairsStore.load(out).split("train")[0].image.size == (16, 16)
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_full_disk_leaves_nothing(make_folder, tmp_path, monkeypatch):
    _, _, settings = make_folder()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("medvlp.data.pairs.write_json", full)
    assert "out: the disk is full; free some space" in error_of(settings(), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_features_of_ones_own(make_folder, tmp_path):
    _, _, settings = make_folder()
    out = prepare(settings(), tmp_path / "out", features=lambda image: np.array([3.0, image.width]))
    assert PairsStore.load(out).manifest["num_cases"] == 1


def test_number_pattern_and_where(make_folder, tmp_path):
    _, _, settings = make_folder(columns=("number", "label"))
    config = settings(
        columns={"image": "number", "label": "label"}, source={"image_pattern": "{:03d}.png", "where": {"label": ["a"]}}
    )
    store = PairsStore.load(prepare(config, tmp_path / "out"))
    assert store.manifest["notes"] == {"rows left out by source.where": 10}
    assert set(store.split("train").keys) <= {f"{i:03d}.png" for i in range(0, 20, 2)}
    bad = settings(columns={"image": "number", "label": "label"}, source={"image_pattern": "{0.__class__}"})
    assert "use '{}.png' or '{:03d}.png'" in error_of(bad, tmp_path / "no")


def test_given_split_and_stored_pixels(make_folder, tmp_path):
    _, _, settings = make_folder(columns=("file", "label", "split"))
    config = settings(columns={"image": "file", "label": "label", "split": "split"}, format="png")
    store = PairsStore.load(prepare(config, tmp_path / "out"))
    assert store.manifest["num_rows_per_split"] == {"train": 12, "dev": 0, "test": 8}
    first = store.split("test")[0]
    assert first.key == "012.png"
    assert np.array_equal(np.asarray(first.image), np.asarray(picture(12)))
