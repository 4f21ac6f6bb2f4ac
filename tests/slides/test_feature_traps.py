"""What a feature file must not get away with: each trap is refused in one line that names it."""

import feature_files as files
import numpy as np
import pytest
import torch

from medvlp.errors import DataError
from medvlp.slides.features import read_features
from medvlp.slides.features import write_features as write

pytestmark = pytest.mark.extras
h5py = pytest.importorskip("h5py")


def refused(path, match, **options):
    with pytest.raises(DataError, match=match) as caught:
        read_features(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path.parent) not in str(caught.value)
    return str(caught.value)


COORDINATES = {
    "step of another magnification": (files.COORDS, {"patch_size_level0": 256}, "512 level-0 pixels apart.*mean 256"),
    "finer than stated": (files.GRID * 256, {"patch_size_level0": 512}, "256 level-0 pixels apart.*mean 512"),
    "grid indices": (files.GRID, {}, "numbers of rows and columns"),
    "fractions": (files.COORDS + 0.5, {}, "not whole numbers and no unit"),
    "y before x": (files.COORDS[:, ::-1], {"slide_size": (4096, 1500)}, r"they are \(y, x\)"),
    "outside": (files.COORDS * 10, {"slide_size": files.SIZE}, "of 10 coordinates are outside"),
    "transposed": (files.COORDS.T, {}, "transpose them"),
    "one short": (files.COORDS[:-1], {}, "9 coordinates for 10 feature vectors"),
    "twice": (np.vstack([files.COORDS[:-1], files.COORDS[:1]]), {}, "1 of 10 coordinates occur before"),
    "negative": (files.COORDS - 512, {}, "negative"),
    "NaN": (np.where(files.COORDS == 512, np.nan, files.COORDS), {}, "coordinates hold NaN"),
    "huge": (files.COORDS.astype(np.uint64) + np.uint64(2**40), {}, "larger than any slide"),
    "three columns": (np.hstack([files.COORDS, files.COORDS[:, :1]]), {}, "coordinates of shape"),
    "text": (np.array([b"a"] * 10), {}, "not numbers"),
}


@pytest.mark.parametrize("name", COORDINATES)
def test_coordinates(name, tmp_path):
    coords, options, match = COORDINATES[name]
    refused(files.clam(tmp_path / "a.h5", coords=coords), match, **options)


FEATURES = {
    "no tiles": (np.zeros((0, 8), np.float32), "holds no tiles"),
    "a slide embedding": (np.zeros(768, np.float32), "a slide embedding, not tile features"),
    "integers": (np.zeros((10, 8), np.int64), "not floats"),
    "NaN": (np.where(np.arange(80).reshape(10, 8) == 17, np.nan, files.vectors()), "1 of 10 vectors.*tiles 2"),
    "infinity": (np.full((10, 8), np.inf, np.float32), "10 of 10 vectors.*tiles 0, 1, 2"),
    "four axes": (np.zeros((1, 1, 10, 8), np.float32), "expected .tiles, width."),
    "two batches": (np.zeros((2, 10, 8), np.float32), "expected .tiles, width."),
}


@pytest.mark.parametrize("name", FEATURES)
def test_features(name, tmp_path):
    values, match = FEATURES[name]
    refused(files.clam(tmp_path / "a.h5", features=values, coords=files.COORDS[: len(values)]), match)


def test_width(tmp_path):
    refused(files.clam(tmp_path / "a.h5"), "vectors of 8 numbers, expected 768", dim=768)
    refused(files.clam(tmp_path / "b.h5", features=files.vectors().T), "look transposed", dim=8)


def test_claims_on_length(tmp_path):
    refused(files.clam(tmp_path / "a.h5"), "should have unit length", normalised=True)
    unit = files.clam(tmp_path / "b.h5", features=files.vectors(unit=True))
    refused(unit, "other lengths than one", normalised=False)
    assert read_features(unit).normalised is True


def test_caller_and_file_disagree(tmp_path):
    refused(files.trident(tmp_path / "a.h5"), "patch_size_level0 is 512 by the file and 256", patch_size_level0=256)
    refused(files.trident(tmp_path / "a.h5"), "encoder is uni_v1x by the file and keep", encoder="keep")
    assert read_features(files.trident(tmp_path / "a.h5"), encoder="UNI_V1x").encoder == "uni_v1x"


def test_trident_attributes_that_contradict_the_coordinates(tmp_path):
    refused(files.trident(tmp_path / "a.h5", overlap=64), "512 level-0 pixels apart.*mean 384")
    refused(files.trident(tmp_path / "b.h5", patch_size_level0="wide"), "patch_size_level0: is not a positive number")


def test_a_sample_of_tiles_is_no_contradiction(tmp_path):
    """A few tiles of a grid of 256 lie 512 or 768 apart; two tiles prove nothing."""
    coords = np.array([(x, 0) for x in (0, 512, 1024, 1536, 2048, 2816, 3328, 3840, 4352, 4864)])
    assert read_features(files.clam(tmp_path / "a.h5", coords=coords), patch_size_level0=256).patch_size_level0 == 256
    two = files.clam(tmp_path / "b.h5", features=files.vectors()[:2], coords=np.array([(0, 0), (512, 0)]))
    assert read_features(two, patch_size_level0=256).patch_size_level0 == 256


def test_single_tile(tmp_path):
    path = files.clam(tmp_path / "a.h5", features=files.vectors()[:1], coords=files.COORDS[:1])
    assert len(read_features(path, patch_size_level0=256)) == 1


def test_stamp(tmp_path):
    refused(files.stamp(tmp_path / "a.h5"), "coordinates are micrometres.*pass level0_mpp")
    refused(files.stamp(tmp_path / "b.h5", unit=None), "does not say the unit", level0_mpp=0.25)
    refused(files.stamp(tmp_path / "c.h5", feat_type="slide"), "holds slide features")
    refused(files.stamp(tmp_path / "d.h5", unit="mm"), 'coordinates in "mm"', level0_mpp=0.25)
    refused(files.stamp(tmp_path / "e.h5", tile_size_um=64.0), "tenths of a micrometre", level0_mpp=0.25)
    refused(files.stamp(tmp_path / "f.h5"), "are outside the slide", level0_mpp=0.05, slide_size=files.SIZE)


def test_patches(tmp_path):
    features = files.clam(tmp_path / "a.h5")
    other = files.clam_patches(tmp_path / "p.h5", coords=files.COORDS[::-1])
    refused(features, "coordinates differ from those of the patches file", patches=other)
    short = files.clam_patches(tmp_path / "q.h5", coords=files.COORDS[1:])
    refused(files.plain(tmp_path / "a.pt", torch.ones(10, 4)), "9 coordinates for 10", patches=short)
    refused(short, "holds coordinates only.*patches=")


def test_files_that_are_not_there_or_damaged(tmp_path):
    refused(tmp_path / "none.h5", "file not found")
    refused(tmp_path / "..", "is a folder")
    empty = tmp_path / "empty.h5"
    empty.touch()
    refused(empty, "zero-byte file")
    noise = tmp_path / "noise.h5"
    noise.write_bytes(b"not a feature file" * 100)
    refused(noise, "neither HDF5 nor a PyTorch file")
    whole = files.clam(tmp_path / "whole.h5").read_bytes()
    for share in (0.1, 0.5, 0.9):
        cut = tmp_path / f"cut{share}.h5"
        cut.write_bytes(whole[: int(share * len(whole))])
        refused(cut, "damaged or truncated HDF5|cannot be")
    pt = files.plain(tmp_path / "whole.pt", torch.ones(10, 8))
    pt.write_bytes(pt.read_bytes()[:-200])
    refused(pt, "or damaged")


def test_no_code_is_run_from_a_pytorch_file(tmp_path):
    refused(files.plain(tmp_path / "a.pt", torch.nn.Linear(2, 2)), "file of tensors alone")
    refused(files.plain(tmp_path / "b.pt", [torch.ones(3)]), "holds a list")
    refused(files.plain(tmp_path / "c.pt", {"weights": torch.ones(3)}), "no tensor called features")
    refused(files.plain(tmp_path / "d.pt", torch.ones(3, 4).to_sparse()), "not a dense tensor|file of tensors alone")
    refused(files.plain(tmp_path / "e.pt", torch.ones(1, 1).expand(10**6, 10**6)), "over the limit")


def test_links_out_of_the_file_are_not_followed(tmp_path):
    secret = files.clam(tmp_path / "secret.h5")
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file["features"] = h5py.ExternalLink(str(secret), "/features")
    refused(tmp_path / "external.h5", "is an external link, which is not followed")
    with h5py.File(tmp_path / "soft.h5", "w") as file:
        file["features"] = h5py.SoftLink("/coords")
        file["coords"] = h5py.SoftLink("/features")
    refused(tmp_path / "soft.h5", "is a soft link, which is not followed")
    raw = tmp_path / "raw.bin"
    raw.write_bytes(b"\0" * 320)
    with h5py.File(tmp_path / "storage.h5", "w") as file:
        file.create_dataset("features", (10, 8), "f4", external=[(str(raw), 0, 320)])
    refused(tmp_path / "storage.h5", "keeps its data in other files")
    layout = h5py.VirtualLayout((10, 8), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "features", (10, 8))
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("features", layout)
    refused(tmp_path / "virtual.h5", "keeps its data in other files")


def test_absurd_declarations_are_refused_before_anything_is_allocated(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("features", (10**9, 768), "f4", chunks=(1, 768))
    refused(tmp_path / "huge.h5", "over the limit of")
    with h5py.File(tmp_path / "sparse.h5", "w") as file:
        features = file.create_dataset("features", (1000, 8), "f4", chunks=(10, 8))
        features[:10] = 1
    refused(tmp_path / "sparse.h5", "only 1 of 100 chunks were ever written")
    with h5py.File(tmp_path / "chunk.h5", "w") as file:
        file.create_dataset("features", (4, 8), "f4", chunks=(2**18, 2**11), maxshape=(None, None))
    refused(tmp_path / "chunk.h5", "absurdly large")
    refused(files.clam(tmp_path / "a.h5"), "over the limit of 100", max_bytes=100)


def test_object_types_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("features", (3,), h5py.vlen_dtype(np.float32))
    refused(tmp_path / "a.h5", "not numbers")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_group("features").create_dataset("0", data=files.vectors())
    refused(tmp_path / "b.h5", "is a group, not a dataset")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["other"] = 1
    refused(tmp_path / "c.h5", "no known layout .it holds other.")


def test_the_writer_refuses_what_it_cannot_describe(tmp_path):
    features = read_features(files.plain(tmp_path / "a.pt", torch.ones(3, 4)))
    with pytest.raises(DataError, match="a coordinate for each"):
        write(tmp_path / "out.h5", features)
    assert not (tmp_path / "out.h5").exists()
