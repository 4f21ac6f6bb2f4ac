"""Counts, files and checksums of a copy: what is missing or too much is told in one line, or noted when asked for."""

import hashlib

import pytest
from standard_helpers import write_xlsx

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import Expected, check_listing, check_sums, require_files
from data_prep.pairs.standard.xlsx import read_xlsx
from medvlp.errors import DataError

EXPECTED = Expected(4, {"train": 3, "test": 1}, {"a": 2, "b": 2}, "a paper")


def listing(*labels, splits=("train", "train", "train", "test")):
    return Listing([Item(f"{i}", label=label, split=splits[i % 4]) for i, label in enumerate(labels)])


def test_a_whole_copy_passes_without_notes():
    whole = listing("a", "a", "b", "b")
    check_listing(whole, EXPECTED, "set", partial=False)
    assert whole.notes == {}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (listing(), "set: no images found; check source.root"),
        (
            listing("a", "a", "b", "c"),
            r"unknown class 'c' \(1 images\); the classes are a, b, or set partial: true",
        ),
        (
            listing("a", "a", "b"),
            r"set: class 'b': 1 images, expected 2; download and unpack.*counts: a paper",
        ),
        (listing("a", "a", "b", "b", "b"), "set: class 'b': 3 images, expected 2; take out what is not of the set"),
        (listing("a", "a", "b", "b", splits=("train", "train", "test", "test")), "split train: 2 images, expected 3"),
    ],
)
def test_differences_are_named(found, message):
    with pytest.raises(DataError, match=message):
        check_listing(found, EXPECTED, "set", partial=False)


def test_total_is_checked_where_no_classes_are_published():
    with pytest.raises(DataError, match=r"set: total: 3 slides, expected 1,000"):
        check_listing(listing("x", "y", "z"), Expected(1000), "set", partial=False, unit="slides")


def test_partial_notes_every_difference():
    found = listing("a", "c")
    check_listing(found, EXPECTED, "set", partial=True)
    assert set(found.notes) == {
        "set, unknown class 'c' (1 images)",
        "set, class 'a': 1 images, expected 2",
        "set, class 'b': 0 images, expected 2",
        "set, split train: 2 images, expected 3",
        "set, split test: 0 images, expected 1",
        "set, total: 2 images, expected 4",
    }
    with pytest.raises(DataError, match="no images found"):
        check_listing(Listing([]), EXPECTED, "set", partial=True)


def test_all_missing_files_are_named_at_once(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "file").touch()
    require_files(tmp_path, ["there/", "file"], "set")
    with pytest.raises(DataError, match=r"set lacks file/; download and unpack"):
        require_files(tmp_path, ["there/", "file/"], "set")
    names = [f"f{i}" for i in range(7)]
    with pytest.raises(DataError, match=r"set lacks f0, f1, f2, f3, f4 and 2 more;"):
        require_files(tmp_path, names, "set")


@pytest.mark.parametrize("method", ["md5", "sha256"])
def test_checksums(tmp_path, method):
    (tmp_path / "a").write_bytes(b"published")
    digest = hashlib.new(method, b"published").hexdigest()
    check_sums(tmp_path, {"a": digest.upper()})
    (tmp_path / "a").write_bytes(b"damaged")
    with pytest.raises(DataError, match=rf"a: {method.upper()} is \w+, the published one {digest}; the file"):
        check_sums(tmp_path, {"a": digest})
    with pytest.raises(DataError, match="b: file not found"):
        check_sums(tmp_path, {"b": digest})


@pytest.mark.parametrize("inline", [False, True])
def test_workbooks(tmp_path, inline):
    path = tmp_path / "t.xlsx"
    write_xlsx(path, [["name", "NC", "note"], ["p<1>.jpg", 1, None], [None, None, None], ["q", 0.5, "x"]], inline)
    assert read_xlsx(path) == [
        {"name": "p<1>.jpg", "NC": "1", "note": ""},
        {"name": "q", "NC": "0.5", "note": "x"},
    ]


def test_what_is_no_workbook_is_told(tmp_path):
    path = tmp_path / "t.xlsx"
    with pytest.raises(DataError, match="table not found"):
        read_xlsx(path)
    path.write_bytes(b"name,label\n")
    with pytest.raises(DataError, match=r"t.xlsx: is no .xlsx workbook \(BadZipFile\)"):
        read_xlsx(path)
    write_xlsx(path, [])
    with pytest.raises(DataError, match="its first sheet is empty"):
        read_xlsx(path)
