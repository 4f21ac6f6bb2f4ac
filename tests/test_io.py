"""Stores appear whole or not at all, replace only stores, and say in one line what is wrong with one."""

import errno

import pytest

from medvlp.errors import CheckpointError, DataError, GraphError
from medvlp.io import atomic_folder, full_disk_told, is_disk_full, verify_manifest, write_manifest, write_text


def store(folder, text="a"):
    with atomic_folder(folder, replace=True) as partial:
        (partial / "file").write_text(text)
        write_manifest(partial, {})
    return folder


def test_a_store_or_an_empty_folder_is_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    store(tmp_path / "out")
    store(tmp_path / "out", "b")
    assert (tmp_path / "out" / "file").read_text() == "b"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_no_store_is_never_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").write_text("x")
    (tmp_path / "note").write_text("y")
    for name in ("mine", "note"):
        with pytest.raises(DataError, match=rf"{name}: is not a store, so it is not replaced; remove it or choose"):
            store(tmp_path / name)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "note", "thesis"]
    with atomic_folder(tmp_path / "mine", replace=True, own=True) as partial:
        write_manifest(partial, {})
    assert not (tmp_path / "mine" / "thesis").exists()


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"files": [1]}', '{"files": {"file": 3}}', '{"files": {"file": {"bytes": 1}}}']
)
def test_a_manifest_that_is_none_is_one_line(tmp_path, text):
    folder = store(tmp_path / "out")
    (folder / "manifest.json").write_text(text)
    with pytest.raises(GraphError, match=r"manifest\.json: does not list the store's files; restore or rebuild"):
        verify_manifest(folder, GraphError)


def test_an_absent_folder_is_told_from_an_unfinished_store(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone: no such folder; check the path"):
        verify_manifest(tmp_path / "gone", CheckpointError)
    with pytest.raises(DataError, match=r"no manifest\.json"):
        verify_manifest(tmp_path)


def test_a_file_does_not_take_the_place_of_a_folder(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"out: is a folder; name a file"):
        write_text(tmp_path / "out", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_names_the_target_and_keeps_the_old_store(tmp_path):
    folder = store(tmp_path / "out")

    def write():
        with full_disk_told(folder, GraphError), atomic_folder(folder, replace=True) as partial:
            (partial / "file").write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(GraphError, match=r"^\S*out: no space left on the disk; free some space and run again$"):
        write()
    verify_manifest(folder)
    assert (folder / "file").read_text() == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(PermissionError), full_disk_told(folder):
        raise PermissionError(errno.EACCES, "no")


def test_a_full_disk_is_known_through_other_libraries():
    inner = OSError(errno.ENOSPC, "x")
    outer = RuntimeError("writer failed")
    outer.__context__ = inner
    assert is_disk_full(outer)
    assert is_disk_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not is_disk_full(OSError(errno.EACCES, "x"))
    assert not is_disk_full(None)
