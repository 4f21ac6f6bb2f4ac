"""MedMNIST files: self-made ones of their layout are read, others refused, and no network is told in one line."""

import io
import urllib.error
import zipfile

import numpy as np
import pytest

from data_prep.pairs import medmnist_sets
from data_prep.pairs.config import PairsConfig
from data_prep.pairs.prepare import prepare
from medvlp.cli import run
from medvlp.data.pairs import SPLITS, PairsStore
from medvlp.errors import DataError
from medvlp.zeroshot.task import build_task

pytestmark = [pytest.mark.extras]
medmnist = pytest.importorskip("medmnist", reason="the extra medmnist is not installed")


def write_npz(path, size=28, colour=True, num_labels=1, num_classes=9, counts=(6, 3, 4), compressed=True, **changes):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in zip(("train", "val", "test"), counts, strict=True):
        shape = (count, size, size, 3) if colour else (count, size, size)
        arrays[f"{part}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
        if num_labels == 1:
            arrays[f"{part}_labels"] = (np.arange(count) % num_classes).astype(np.uint8)[:, None]
        else:
            arrays[f"{part}_labels"] = (rng.random((count, num_labels)) < 0.2).astype(np.uint8)
    arrays |= changes
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return arrays


def settings(root, dataset="pathmnist", **source):
    source = {"name": "medmnist", "dataset": dataset, "root": str(root), "download": False, **source}
    return PairsConfig.model_validate({"source": source, "format": "png"})


@pytest.mark.parametrize("compressed", [False, True])
def test_images_labels_and_splits_are_those_of_the_file(tmp_path, compressed):
    arrays = write_npz(tmp_path / "pathmnist.npz", compressed=compressed)
    store = PairsStore.load(prepare(settings(tmp_path), tmp_path / "out"))
    assert store.manifest["num_rows_per_split"] == {"train": 6, "dev": 3, "test": 4}
    names = medmnist.INFO["pathmnist"]["label"]
    for part, split in zip(("train", "val", "test"), SPLITS, strict=True):
        for row, pair in enumerate(store.split(split)):
            assert np.array_equal(np.asarray(pair.image), arrays[f"{part}_images"][row])
            assert pair.label == names[str(int(arrays[f"{part}_labels"][row, 0]))]
            assert pair.key == f"{part}/{row:06d}"
    assert store.manifest["notes"] == {"file pathmnist.npz whose MD5 is not the published one": 1}


def test_command_line(tmp_path, capfd):
    write_npz(tmp_path / "bloodmnist_64.npz", size=64, num_classes=8)
    words = [
        "prepare",
        "--dataset",
        "bloodmnist",
        "--size",
        "64",
        "--root",
        str(tmp_path),
        "--out",
        str(tmp_path / "o"),
    ]
    assert run([*words, "--set", "captions.num_texts=2"]) == 0
    store = PairsStore.load(tmp_path / "o")
    assert store.split("train")[0].image.size == (64, 64)
    assert {len(texts) for texts in store.split("train").column("texts")} == {2}
    assert run(["prepare", "--out", "x"]) == 2
    assert "name one thing to prepare" in capfd.readouterr().err
    assert run(["prepare", "pairs/nuclei", "--dataset", "pathmnist", "--out", "x"]) == 2


def test_several_labels_per_image(tmp_path):
    arrays = write_npz(tmp_path / "chestmnist.npz", colour=False, num_labels=14, counts=(40, 20, 30))
    store = PairsStore.load(prepare(settings(tmp_path, "chestmnist"), tmp_path / "out"))
    names = [medmnist.INFO["chestmnist"]["label"][str(k)] for k in range(14)]
    truth_NK = arrays["test_labels"].astype(bool)
    labels = store.split("test").column("labels")
    assert labels == [[names[k] for k in np.flatnonzero(row)] or ["no finding"] for row in truth_NK]
    single = [row[0] if len(row) == 1 else None for row in labels]
    assert store.split("test").column("label") == single
    for pair, own in zip(store.split("test"), labels, strict=True):
        assert {name for name in own if any(name in text.text for text in pair.texts)} == set(own)
    task = build_task(store.split("test"), names, {}, mode="multi")
    assert np.array_equal(task.target_NK, truth_NK)
    groups = store.split("test").column("group")
    same_NN = np.array([[a == b for b in labels] for a in labels])
    assert np.array_equal(np.equal.outer(groups, groups), same_NN)


def test_grades_get_names(tmp_path):
    write_npz(tmp_path / "retinamnist.npz", num_classes=5, counts=(5, 5, 5))
    store = PairsStore.load(prepare(settings(tmp_path, "retinamnist"), tmp_path / "out"))
    assert store.classes == [f"diabetic retinopathy, grade {grade}" for grade in range(5)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size": 64}, "train_images.npy holds uint8 (6, 64, 64, 3), not uint8 images of 28 pixels; check size"),
        ({"train_labels": np.zeros((5, 1), np.uint8)}, "train_labels.npy holds uint8 (5, 1) for 6 images"),
        ({"train_labels": np.full((6, 1), 99, np.uint8)}, "labels do not fit the set; check source.dataset"),
        ({"train_labels": np.array([[{"a": 1}]] * 6)}, "array of objects or in column order"),
        ({"train_images": np.zeros((6, 28, 28, 3), np.float32)}, "not uint8 images of 28 pixels"),
    ],
)
def test_files_of_another_layout(tmp_path, changes, said):
    write_npz(tmp_path / "pathmnist.npz", **changes)
    with pytest.raises(DataError) as caught:
        prepare(settings(tmp_path), tmp_path / "out")
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_cut_file(tmp_path):
    path = tmp_path / "pathmnist.npz"
    write_npz(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="is not a whole MedMNIST file"):
        prepare(settings(tmp_path), tmp_path / "out")
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 28, 28, 3)})
    with zipfile.ZipFile(path, "w") as archive:  # promises 2 TB
        archive.writestr("train_images.npy", stream.getvalue())
    with pytest.raises(DataError, match=r"is not a whole MedMNIST file \(EOFError\)"):
        prepare(settings(tmp_path), tmp_path / "out")


def test_unknown_and_volume_sets(tmp_path):
    with pytest.raises(DataError, match="patmnist: no such MedMNIST set; use one of pathmnist, chestmnist"):
        prepare(settings(tmp_path, "patmnist"), tmp_path / "out")
    with pytest.raises(DataError, match="organmnist3d: holds volumes, not images"):
        prepare(settings(tmp_path, "organmnist3d"), tmp_path / "out")


def test_without_a_network(tmp_path, monkeypatch, capfd):
    def refuse(url, timeout):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(medmnist_sets.urllib.request, "urlopen", refuse)
    assert run(["prepare", "--dataset", "pathmnist", "--root", str(tmp_path / "r"), "--out", str(tmp_path / "o")]) == 2
    error = capfd.readouterr().err.strip().splitlines()[-1]
    info = medmnist.INFO["pathmnist"]
    assert error == (
        f"error: pathmnist: cannot be downloaded here (Name or service not known); download {info['url']} "
        f"(MD5 {info['MD5']}) elsewhere, name it pathmnist.npz, set source.root (--root) to its folder"
    )
    assert list((tmp_path / "r").iterdir()) == []
    with pytest.raises(DataError, match=r"pathmnist\.npz: not there, and source\.download is off; download https"):
        prepare(settings(tmp_path), tmp_path / "out")


def test_download(tmp_path, monkeypatch):
    write_npz(tmp_path / "made.npz")
    data = (tmp_path / "made.npz").read_bytes()
    monkeypatch.setattr(medmnist_sets.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(data))
    config = settings(tmp_path / "root", download=True)
    with pytest.raises(DataError, match=r"what arrived is not the published file \(MD5\)"):
        prepare(config, tmp_path / "out")
    assert list((tmp_path / "root").iterdir()) == []
    info = {**medmnist.INFO["pathmnist"], "MD5": medmnist_sets._md5(tmp_path / "made.npz")}
    monkeypatch.setitem(medmnist.INFO, "pathmnist", info)
    store = PairsStore.load(prepare(config, tmp_path / "out"))
    assert (len(store), store.manifest["notes"]) == (13, {})
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["pathmnist.npz"]
