"""The pairs store: what is written is read back, and what is wrong is refused by name."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.errors import DataError


def row(i, **changes):
    values = {
        "key": f"k{i}",
        "image": Image.new("RGB", (12, 10), (i, 0, 0)),
        "texts": [Text("a text", "caption"), Text(f"number {i}", "report")],
        "split": "train" if i < 4 else "test",
        "case": f"c{i}",
        "group": i % 3,
        "label": "a" if i % 2 else "b",
        "concepts": ["X:1", "X:2"][: i % 3],
    }
    return Row(**{**values, **changes})


def test_round_trip(tmp_path):
    store = PairsStore.write(tmp_path / "s", map(row, range(6)), {"note": 1}, classes={"a": ["X:1"], "b": []})
    store = PairsStore.load(tmp_path / "s")
    train, test = store.split("train"), store.split("test")
    assert (len(store), len(train), len(test), len(store.split("dev"))) == (6, 4, 2, 0)
    pair = test[0]
    assert (pair.key, pair.label, pair.group, pair.case, pair.concepts) == ("k4", "b", 1, "c4", ["X:1"])
    assert pair.texts == [Text("a text", "caption"), Text("number 4", "report")]
    assert pair.image.getpixel((0, 0)) == (4, 0, 0)
    assert train.column("group").tolist() == [0, 1, 2, 0]
    assert train.column("group").dtype == np.int64
    assert test.column("texts")[1][1] == Text("number 5", "report")
    assert test.keys == ["k4", "k5"]
    assert [p.key for p in test] == ["k4", "k5"]
    assert store.classes == ["a", "b"]
    assert store.class_concepts == {"a": ["X:1"], "b": []}
    assert store.manifest["num_rows_per_split"] == {"train": 4, "dev": 0, "test": 2}
    assert store.manifest["note"] == 1
    with pytest.raises(IndexError):
        test[2]
    assert test[-1].key == "k5"


def test_same_rows_same_bytes_and_small_pickles(tmp_path):
    first = PairsStore.write(tmp_path / "1", map(row, range(6)))
    second = PairsStore.write(tmp_path / "2", map(row, range(6)))
    assert first.digest == second.digest
    assert first.digest != PairsStore.write(tmp_path / "3", map(row, range(5))).digest
    data = pickle.dumps(first.split("train"))
    assert len(data) < 10_000
    assert pickle.loads(data)[1].key == "k1"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(0), row(1, key="k0")], "k0: the key occurs twice"),
        ([row(0), row(5, case="c0")], "c0: the case is in both train and test"),
        ([row(0, split="val")], "k0: unknown split 'val'; use one of train, dev, test"),
        ([row(0, texts=[Text(" ")])], "k0: empty caption"),
        ([row(0, texts=[])], "k0: empty caption"),
        ([row(0, label="zzz")], "k0: label 'zzz' is not among the classes"),
        ([], "no row to write"),
    ],
)
def test_bad_rows_leave_nothing_behind(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        PairsStore.write(tmp_path / "s", rows, classes={"a": [], "b": []})
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_foreign_folders(tmp_path):
    folder = tmp_path / "s"
    PairsStore.write(folder, map(row, range(6)))
    with pytest.raises(DataError, match="already exists"):
        PairsStore.write(folder, map(row, range(6)))
    arrow = next((folder / "data").glob("*.arrow"))
    data = bytearray(arrow.read_bytes())
    data[len(data) // 2] ^= 1
    arrow.write_bytes(data)
    with pytest.raises(DataError, match=r"\.arrow: differs from its sha256"):
        PairsStore.load(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": "other"}))
    with pytest.raises(DataError, match="not a pairs store of this version"):
        PairsStore.load(folder, verify=False)
    (folder / "manifest.json").unlink()
    for verify in (True, False):
        with pytest.raises(DataError, match="not a finished store"):
            PairsStore.load(folder, verify=verify)


def test_unknown_names(tmp_path):
    store = PairsStore.write(tmp_path / "s", map(row, range(6)))
    with pytest.raises(DataError, match="val: no such split; choose one of train, dev, test"):
        store.split("val")
    for column in ("image", "no_such"):
        with pytest.raises(DataError, match=f"{column}: no such readable column"):
            store.split("train").column(column)
