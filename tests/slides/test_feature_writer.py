"""TRIDENT's layout on the way out: complete, byte for byte the same, whole or absent."""

import errno
from dataclasses import replace

import feature_files as files
import numpy as np
import pytest
import torch

from medvlp.errors import DataError
from medvlp.slides.feature_writer import nominal_magnification
from medvlp.slides.features import read_features, write_features
from medvlp.slides.types import SlideFeatures

pytestmark = pytest.mark.extras
h5py = pytest.importorskip("h5py")


def slide(**changes) -> SlideFeatures:
    features = SlideFeatures(
        key="slide",
        features_ND=torch.from_numpy(files.vectors(unit=True)),
        coords_NX=torch.from_numpy(files.COORDS),
        patch_size_level0=512,
        step_level0=512,
        mpp=0.5,
        level0_mpp=0.25,
        encoder="keep_cpu",
        projected=True,
        normalised=True,
        slide_size=files.SIZE,
    )
    return replace(features, **changes)


def test_what_is_written_is_read_back(tmp_path):
    path = write_features(tmp_path / "new" / "slide.h5", slide())
    read = read_features(path)
    assert torch.equal(read.features_ND, slide().features_ND)
    assert torch.equal(read.coords_NX, slide().coords_NX)
    tensors = {"features_ND": None, "coords_NX": None}
    assert replace(read, **tensors) == replace(slide(), **tensors)


def test_the_attributes_of_trident_and_ours(tmp_path):
    tissue = np.linspace(0.3, 1, 10, dtype=np.float32)
    path = write_features(tmp_path / "slide.h5", slide(), tissue=tissue, encoder_digest="e1", grid_digest="g1")
    with h5py.File(path) as file:
        assert dict(file["coords"].attrs) == {
            **files.trident_about(savetodir="slide.h5"),
            "mpp": 0.5,
            "level0_mpp": 0.25,
            "step_level0": 512,
            "grid_digest": "g1",
        }
        about = dict(file["features"].attrs)
        assert about.pop("medvlp_version")
        assert about == {
            "name": "slide",
            "savetodir": "slide.h5",
            "encoder": "keep_cpu",
            "projected": True,
            "normalised": True,
            "encoder_digest": "e1",
        }
        assert np.array_equal(file["tissue"][()], tissue)
        assert file["features"].chunks == (10, files.WIDTH)
        assert file["coords"].dtype == np.int64


def test_overlap_is_written_in_pixels_of_the_tile(tmp_path):
    path = write_features(tmp_path / "a.h5", slide(coords_NX=torch.from_numpy(files.GRID * 256), step_level0=256))
    with h5py.File(path) as file:
        assert file["coords"].attrs["overlap"] == 128
    assert read_features(path).step_level0 == 256


def test_two_writes_give_the_same_bytes(tmp_path):
    first, second = (write_features(tmp_path / name / "slide.h5", slide()) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert write_features(first, slide()).read_bytes() == second.read_bytes()


def test_chunks_of_long_slides_are_about_a_megabyte(tmp_path):
    tiles = 3000
    grid = torch.stack([torch.arange(tiles) % 100, torch.arange(tiles) // 100], 1) * 512
    path = write_features(
        tmp_path / "a.h5", slide(features_ND=torch.ones(tiles, 768), coords_NX=grid, normalised=None, slide_size=None)
    )
    with h5py.File(path) as file:
        assert file["features"].chunks == (341, 768)
    assert len(read_features(path)) == tiles


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    write_features(tmp_path / "slide.h5", slide())
    before = (tmp_path / "slide.h5").read_bytes()

    def full(path, data):
        with open(path, "wb") as stream:
            stream.write(data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(DataError, match=r"slide.h5: no space left on the disk"):
        write_features(tmp_path / "slide.h5", slide(encoder="other"))
    assert [path.name for path in tmp_path.iterdir()] == ["slide.h5"]
    assert (tmp_path / "slide.h5").read_bytes() == before


@pytest.mark.parametrize(("mpp", "power"), [(0.25, 40), (0.2425, 40), (0.499, 20), (0.9, 10), (0.12, 80), (2.1, 5)])
def test_nominal_magnification(mpp, power):
    assert nominal_magnification(mpp) == power


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match="at least one tile"):
        write_features(tmp_path / "a.h5", slide(features_ND=torch.ones(0, 8), coords_NX=torch.ones(0, 2)))
    with pytest.raises(DataError, match="tissue shares of shape"):
        write_features(tmp_path / "a.h5", slide(), tissue=np.ones(3, np.float32))
    assert not list(tmp_path.iterdir())
