"""One reader: the same tiles in the layout of each producer give the same tensors and facts."""

import feature_files as files
import numpy as np
import pytest
import torch

from medvlp.errors import DataError
from medvlp.slides.features import for_zero_shot, read_features

pytestmark = pytest.mark.extras
pytest.importorskip("h5py")

WRITERS = {
    "clam": (lambda folder: files.clam(folder / "slide.h5"), {"patch_size_level0": 512, "level0_mpp": 0.25}),
    "clam with patches": (
        lambda folder: files.clam(folder / "slide.h5"),
        {"patches": files.clam_patches, "level0_mpp": 0.25},
    ),
    "clam pt with patches": (
        lambda folder: files.plain(folder / "slide.pt", torch.from_numpy(files.vectors())),
        {"patches": files.clam_patches, "level0_mpp": 0.25},
    ),
    "trident": (lambda folder: files.trident(folder / "slide.h5"), {"level0_mpp": 0.25}),
    "gigapath": (
        lambda folder: files.clam(folder / "slide.h5", coords=files.COORDS.astype(np.float32)),
        {"patch_size_level0": 512, "level0_mpp": 0.25},
    ),
    "stamp": (lambda folder: files.stamp(folder / "slide.h5"), {"level0_mpp": 0.25}),
    "keep": (
        lambda folder: files.hdf5(
            folder / "slide.h5", {"features": files.vectors()[None], "coords": files.COORDS[None]}
        ),
        {"patch_size_level0": 512, "level0_mpp": 0.25},
    ),
    "dictionary": (
        lambda folder: files.plain(
            folder / "slide.pt",
            {"features": torch.from_numpy(files.vectors()), "coords": torch.from_numpy(files.COORDS)},
        ),
        {"patch_size_level0": 512, "level0_mpp": 0.25},
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_layout_gives_the_same_tensors(name, tmp_path):
    write, stated = WRITERS[name]
    options = dict(stated)
    if "patches" in options:
        options["patches"] = options["patches"](tmp_path / "patches.h5")
    features = read_features(write(tmp_path), **options)
    assert features.key == "slide"
    assert features.features_ND.dtype is torch.float32
    assert np.array_equal(features.features_ND.numpy(), files.vectors())
    assert features.coords_NX.dtype is torch.int64
    assert np.array_equal(features.coords_NX.numpy(), files.COORDS)
    assert (features.patch_size_level0, features.step_level0, features.level0_mpp) == (512, 512, 0.25)
    assert features.normalised is False


def test_facts_of_trident_are_kept(tmp_path):
    features = read_features(files.trident(tmp_path / "a.h5"), level0_mpp=0.25)
    assert (features.producer, features.slide_size, features.mpp) == ("trident", files.SIZE, 0.5)
    assert features.encoder == "uni_v1x"


def test_what_a_file_does_not_say_stays_unknown(tmp_path):
    features = read_features(files.clam(tmp_path / "a.h5"))
    assert (features.producer, features.step_level0) == ("clam", 512)
    unknown = ("patch_size_level0", "mpp", "level0_mpp", "encoder", "projected", "slide_size")
    assert [getattr(features, name) for name in unknown] == [None] * len(unknown)
    assert read_features(files.plain(tmp_path / "a.pt", torch.ones(3, 4))).coords_NX is None


def test_an_overlap_is_in_pixels_of_the_tile(tmp_path):
    path = files.trident(tmp_path / "a.h5", coords=files.GRID * 256, overlap=128)
    assert read_features(path).step_level0 == 256


def test_patches_at_a_lower_level_are_scaled(tmp_path):
    patches = files.clam_patches(tmp_path / "p.h5", downsample=2.0, patch_level=1, patch_size=256)
    features = read_features(files.clam(tmp_path / "a.h5"), patches=patches)
    assert (features.patch_size_level0, features.slide_size) == (512, None)


def test_stamp_micrometres_that_are_no_whole_pixels(tmp_path):
    features = read_features(files.stamp(tmp_path / "a.h5"), level0_mpp=0.2425)
    assert features.patch_size_level0 == round(128 / 0.2425)
    assert np.array_equal(features.coords_NX.numpy(), np.rint(files.GRID * 128 / 0.2425))
    assert features.step_level0 == round(128 / 0.2425)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(dtype, tmp_path):
    values = torch.from_numpy(files.vectors()).to(dtype)
    read = read_features(files.plain(tmp_path / "a.pt", values)).features_ND
    assert read.dtype is torch.float32
    assert torch.equal(read, values.float())


def test_half_and_big_endian_in_hdf5(tmp_path):
    for index, dtype in enumerate(("<f2", ">f4")):
        path = files.clam(tmp_path / f"{index}.h5", features=files.vectors().astype(dtype))
        assert np.allclose(read_features(path).features_ND.numpy(), files.vectors(), atol=2e-3)


def test_the_content_counts_not_the_name(tmp_path):
    path = files.clam(tmp_path / "slide.h5")
    moved = path.rename(tmp_path / "slide.pt")
    assert read_features(moved).producer == "clam"
    tensor = files.plain(tmp_path / "tensor.pt", torch.ones(3, 4)).rename(tmp_path / "tensor.h5")
    assert read_features(tensor).producer == "pt"


def test_a_user_block_in_front_is_no_obstacle(tmp_path):
    path = files.hdf5(tmp_path / "a.h5", {"features": files.vectors(), "coords": files.COORDS}, userblock_size=1024)
    assert len(read_features(path)) == len(files.COORDS)


def test_the_callers_word_on_the_producer(tmp_path):
    path = files.clam(tmp_path / "a.h5", features=files.vectors(unit=True, width=768))
    features = read_features(path, producer="keep")
    assert (features.producer, features.encoder, features.projected, features.normalised) == (
        "keep",
        "keep",
        True,
        True,
    )
    with pytest.raises(DataError, match="in the layout of clam, not of stamp"):
        read_features(path, producer="stamp")
    with pytest.raises(DataError, match='unknown producer "clamm"'):
        read_features(path, producer="clamm")
    with pytest.raises(DataError, match="vectors of 768 numbers, but gigapath gives 1536"):
        read_features(path, producer="gigapath")


def test_keep_from_trident_answers_zero_shot(tmp_path):
    path = files.trident(tmp_path / "a.h5", features=files.vectors(unit=True, width=768), encoder="keep")
    features = for_zero_shot(read_features(path), 768)
    assert features.normalised is True
    assert torch.allclose(features.features_ND.norm(dim=1), torch.ones(10), atol=1e-6)
    with pytest.raises(DataError, match="vectors of 768 numbers, the texts have 512"):
        for_zero_shot(features, 512)


def test_keep_that_is_not_of_unit_length_is_not_keep(tmp_path):
    path = files.trident(tmp_path / "a.h5", features=files.vectors(width=768), encoder="keep")
    with pytest.raises(DataError, match="should have unit length, theirs are"):
        read_features(path)


@pytest.mark.parametrize(("encoder", "width"), [("conch_v1", 512), ("musk", 1024), ("uni_v1", 1024), ("virchow2", 8)])
def test_vectors_from_before_the_projection_are_refused_with_the_reason(encoder, width, tmp_path):
    features = read_features(files.trident(tmp_path / "a.h5", features=files.vectors(width=width), encoder=encoder))
    assert features.projected is False
    reason = "before its projection" if encoder in ("conch_v1", "musk") else "never trained with text"
    with pytest.raises(DataError, match=reason):
        for_zero_shot(features, width)


def test_no_word_of_the_caller_gives_a_text_side_to_an_encoder_without_one(tmp_path):
    path = files.trident(tmp_path / "a.h5", features=files.vectors(width=1024), encoder="uni_v1")
    with pytest.raises(DataError, match="stated to be projected, but the encoder uni_v1 was never trained with text"):
        read_features(path, projected=True)


def test_unknown_encoders_must_be_stated(tmp_path):
    path = files.clam(tmp_path / "a.h5")
    with pytest.raises(DataError, match="nobody says whether"):
        for_zero_shot(read_features(path), files.WIDTH)
    features = for_zero_shot(read_features(path, projected=True), files.WIDTH)
    assert torch.allclose(features.features_ND.norm(dim=1), torch.ones(10), atol=1e-6)


def test_a_vector_of_zeros_has_no_direction(tmp_path):
    values = files.vectors()
    values[4] = 0
    features = read_features(files.clam(tmp_path / "a.h5", features=values), projected=True)
    with pytest.raises(DataError, match="tile 4 has no direction"):
        for_zero_shot(features, files.WIDTH)
