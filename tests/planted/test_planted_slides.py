"""Slides with planted tumour: pixels, masks and tables agree, held-out images stay held out, a job can be killed."""

import hashlib
import json
import os
from functools import partial

import numpy as np
import pytest
from PIL import Image
from planted_cases import CELL, NUMBERS, make_config, write_sources
from pyarrow import parquet

from data_prep.planted import simulate as planted
from data_prep.planted.compose import ramp
from data_prep.planted.images import list_images, read_cell, turned
from data_prep.planted.plan import GLASS, NORMAL, TUMOUR, draw_plan, tumour_regions
from data_prep.planted.store import PlantedSlides, square_means
from medvlp.config import load
from medvlp.errors import ConfigError, DataError
from medvlp.io import sha256_file, verify_manifest

pytestmark = pytest.mark.extras
openslide = pytest.importorskip("openslide", reason="needs the extra slides")
pytest.importorskip("tifffile", reason="needs the extra slides")


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp("tiles"))


@pytest.fixture(scope="session")
def make(sources):
    return partial(make_config, sources)


@pytest.fixture(scope="session")
def made(make, tmp_path_factory):
    return PlantedSlides(planted.simulate(make(), tmp_path_factory.mktemp("planted") / "set", preview_slides=2))


def pixels(slide, level=0):
    with openslide.OpenSlide(str(slide.path)) as opened:
        return np.asarray(opened.read_region((0, 0), level, opened.level_dimensions[level]))[..., :3]


def whole_mask(slide):
    return np.repeat(np.repeat(slide.read_mask(), slide.downsample, 0), slide.downsample, 1)


def cells(found, slide):
    return parquet.read_table(found.folder / "cells" / f"{slide.key}.parquet").to_pylist()


def test_every_pixel_is_that_of_the_image_the_table_names(made, sources):
    for slide in made.slides:
        shown, mask = pixels(slide), whole_mask(slide)
        seen = np.zeros(mask.shape, dtype=bool)
        for cell in cells(made, slide):
            here = (slice(cell["y"], cell["y"] + cell["side"]), slice(cell["x"], cell["x"] + cell["side"]))
            image = turned(read_cell(sources / cell["image"].removeprefix("tiles/"), CELL), cell["turn"])
            tissue = mask[here] != GLASS
            assert (shown[here][tissue] == image[tissue]).all()
            assert set(np.unique(mask[here])) <= {GLASS, TUMOUR if cell["tumour"] else NORMAL}
            assert cell["tumour"] == (cell["class"] == "carcinoma")
            assert cell["tissue"] == pytest.approx(tissue.mean())
            seen[here] = True
        assert (mask[~seen] == GLASS).all()
        assert shown[mask == GLASS].min() > 235
        assert shown[mask != GLASS].max() <= 200


def test_openslide_reads_levels_and_the_stated_resolution(made):
    for slide in made.slides:
        with openslide.OpenSlide(str(slide.path)) as opened:
            assert [round(one) for one in opened.level_downsamples] == [1, 2, 8]
            assert float(opened.properties[openslide.PROPERTY_NAME_MPP_X]) == pytest.approx(0.5)
            assert float(opened.properties[openslide.PROPERTY_NAME_MPP_Y]) == pytest.approx(0.5)
        full = pixels(slide).astype(float)
        for level, factor in ((1, 2), (2, 8)):
            height, width = full.shape[0] // factor, full.shape[1] // factor
            mean = full.reshape(height, factor, width, factor, 3).mean((1, 3))
            assert np.abs(pixels(slide, level) - mean).max() <= 0.5


def test_half_of_the_slides_are_negative_and_the_rest_as_asked(make):
    config = make(slides={"dev": 0, "test": 40}, sides=[12], ratios=[0.1, 0.5], regions=[1, 1])
    images = list_images(config)
    plans = [draw_plan(config, images, "test", number) for number in range(40)]
    positive = [plan for plan in plans if plan.tumour]
    assert len(positive) == 20
    assert all(plan.ratio == 0 for plan in plans if not plan.tumour)
    assert sorted({plan.wanted for plan in positive}) == [0.1, 0.5]
    # one cell is about 1/70 of the tissue, and the nearest number of cells is taken
    assert max(abs(plan.ratio - plan.wanted) for plan in positive) < 0.02
    few = [plan for plan in positive if plan.wanted == 0.1]
    # one seed grows one region; the outline of the tissue may nick a piece off, pieces of tissue may part it
    assert np.median([tumour_regions(plan) for plan in few]) <= 2


def test_the_tumour_is_a_blob_and_no_salt_and_pepper(make):
    config = make(slides={"dev": 0, "test": 1}, sides=[20], ratios=[0.25], regions=[1, 1], negatives=0.0)
    plan = draw_plan(config, list_images(config), "test", 0)
    inside = plan.tumour_RC
    neighbours = sum(np.roll(inside, shift, axis) & inside for axis in (0, 1) for shift in (1, -1))
    assert neighbours[inside].mean() > 2.5  # drawn at random, a quarter of cells would have one of their own beside


def test_composition_and_grid_do_not_coincide_unless_asked(make):
    images = list_images(make())
    config = make(slides={"dev": 0, "test": 30})
    origins = {draw_plan(config, images, "test", number).origin for number in range(30)}
    assert len(origins) > 10
    assert all(0 < x < CELL and 0 < y < CELL and x % 4 == 0 and y % 4 == 0 for x, y in origins)
    assert draw_plan(make(aligned=True), images, "test", 0).origin == (0, 0)


def test_images_of_slides_are_held_out(made):
    split = {image["image"]: image["split"] for image in made.images}
    used = {
        part: {cell["image"] for slide in made.part(part) for cell in cells(made, slide)} for part in ("dev", "test")
    }
    for part, images in used.items():
        assert images
        assert {split[image] for image in images} == {part}
    cases = {name: {row["case"] for row in made.images if row["split"] == name} for name in ("train", "dev", "test")}
    assert not cases["train"] & cases["test"]
    assert not cases["train"] & cases["dev"]
    assert not cases["dev"] & cases["test"]
    hashes = [row["sha256"] for row in made.images]
    assert len(set(hashes)) == len(hashes) == 2 * NUMBERS


def test_numbers_that_follow_each_other_are_one_case(made):
    case = {row["image"]: row["case"] for row in made.images}
    for label in "TN":
        for block in range(0, NUMBERS, 10):
            assert len({case[f"tiles/{label}_400x_{number}.png"] for number in range(block, block + 10)}) == 1
    assert len(set(case.values())) == 2 * NUMBERS // 10


def test_a_mirrored_copy_joins_two_cases(make, sources, tmp_path):
    table = (sources / "table.csv").read_text(encoding="utf-8") + "copy_400x_9999.png,N,400x\n"
    copy = turned(np.asarray(Image.open(sources / "N_400x_3.png")), 5)
    Image.fromarray(copy).save(sources / "copy_400x_9999.png")
    (tmp_path / "table.csv").write_text(table, encoding="utf-8")
    source = make().model_dump(mode="json")["sources"]["tiles"] | {"table": str(tmp_path / "table.csv")}
    case = {image.key: image.case for image in list_images(make(sources={"tiles": source}))}
    assert case["tiles/copy_400x_9999.png"] == case["tiles/N_400x_3.png"]
    assert case["tiles/copy_400x_9999.png"] != case["tiles/N_400x_13.png"]


def test_no_slide_is_made_of_training_images(make):
    with pytest.raises(DataError, match="held-out"):
        draw_plan(make(), list_images(make()), "train", 0)


def test_magnifications_are_never_mixed(make):
    source = make().model_dump(mode="json")["sources"]["tiles"] | {"where": {}}
    with pytest.raises(DataError, match=r"100x and 400x.*where"):
        list_images(make(sources={"tiles": source}))


def digest(folder):
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: sha256_file(folder / name) for name in names}


def test_twice_the_same_bytes_and_more_slides_begin_with_the_same(make, made, tmp_path):
    again = planted.simulate(make(), tmp_path / "set", preview_slides=2)
    assert digest(again) == digest(made.folder)
    more = planted.simulate(make(slides={"dev": 1, "test": 3}), tmp_path / "more")
    for slide in made.slides:
        assert sha256_file(more / "slides" / slide.path.name) == sha256_file(slide.path)
    other = planted.simulate(make(seed=1), tmp_path / "other")
    assert sha256_file(other / "slides" / "test_0000.tiff") != sha256_file(made.folder / "slides" / "test_0000.tiff")


def test_a_killed_job_goes_on_where_it_stopped(make, made, tmp_path, monkeypatch):
    write, done = planted.write_pyramid, []

    def dying(path, *rest):
        if len(done) == 1:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        done.append(path)
        write(path, *rest)

    monkeypatch.setattr(planted, "write_pyramid", dying)
    with pytest.raises(KeyboardInterrupt):
        planted.simulate(make(), tmp_path / "set", preview_slides=2)
    assert not (tmp_path / "set").exists()
    assert [path.name for path in (tmp_path / ".set.slides").glob("*_*")] == ["dev_0000"]

    def counting(path, *rest):
        done.append(path)
        write(path, *rest)

    monkeypatch.setattr(planted, "write_pyramid", counting)
    planted.simulate(make(), tmp_path / "set", preview_slides=2)
    assert len(done) == len(made.slides)
    assert digest(tmp_path / "set") == digest(made.folder)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_slides_of_another_configuration_are_not_taken_over(make, tmp_path):
    work = tmp_path / ".set.slides"
    (work / "dev_0000").mkdir(parents=True)
    (work / "identity.json").write_text(json.dumps({"identity": "of another"}), encoding="utf-8")
    found = PlantedSlides(planted.simulate(make(), tmp_path / "set"))
    assert len(found.slides) == 3
    assert found.part("dev")[0].path.stat().st_size > 0


def test_an_existing_folder_is_kept(make, made):
    before = hashlib.sha256((made.folder / "manifest.json").read_bytes()).hexdigest()
    with pytest.raises(DataError, match="--overwrite"):
        planted.simulate(make(), made.folder)
    assert hashlib.sha256((made.folder / "manifest.json").read_bytes()).hexdigest() == before


def test_a_dry_run_writes_nothing(make, tmp_path, capsys):
    planted.simulate(make(), tmp_path / "set", dry_run=True)
    assert list(tmp_path.iterdir()) == []
    said = " ".join(capsys.readouterr().err.split())
    assert "dry run of 3 slides" in said
    assert "test: 2 slides" in said
    with pytest.raises(ConfigError, match="preview"):
        planted.simulate(make(), tmp_path / "set", dry_run=True, preview_slides=1)


def test_seams_fade_and_stay_where_the_mask_says(make, sources, tmp_path):
    config = make(cell=40, blend=8, slides={"dev": 1, "test": 1}, negatives=0.0)
    ramp_P = ramp(config)
    np.testing.assert_allclose(ramp_P[32:] + ramp_P[:8], 1, atol=1e-6)
    found = PlantedSlides(planted.simulate(config, tmp_path / "set"))
    for slide in found.slides:
        shown, mask = pixels(slide).astype(int), whole_mask(slide)
        for cell in cells(found, slide):
            image = turned(read_cell(sources / cell["image"].removeprefix("tiles/"), 40), cell["turn"]).astype(int)
            core = (slice(cell["y"] + 4, cell["y"] + 28), slice(cell["x"] + 4, cell["x"] + 28))
            tissue = mask[core] != GLASS
            assert (shown[core][tissue] == image[8:32, 8:32][tissue]).all()
            whole = mask[cell["y"] : cell["y"] + 32, cell["x"] : cell["x"] + 32]
            assert set(np.unique(whole)) <= {GLASS, TUMOUR if cell["tumour"] else NORMAL}


def test_jpeg_pixels_are_near_those_of_deflate(make, made, tmp_path):
    found = PlantedSlides(planted.simulate(make(compression="jpeg", quality=95), tmp_path / "set"))
    for lossy, exact in zip(found.slides, made.slides, strict=True):
        difference = np.abs(pixels(lossy).astype(int) - pixels(exact))
        assert difference.mean() < 2.5
        assert (lossy.read_mask() == exact.read_mask()).all()


@pytest.mark.parametrize("downsample", [1, 4])
def test_truth_of_squares_that_fit_no_raster(downsample):
    rng = np.random.default_rng(0)
    mask = rng.random((9, 12)) < 0.5
    large = np.repeat(np.repeat(mask, downsample, 0), downsample, 1)
    coords = np.stack([rng.integers(0, large.shape[1] - 7, 30), rng.integers(0, large.shape[0] - 7, 30)], axis=1)
    expected = [large[y : y + 7, x : x + 7].mean() for x, y in coords]
    np.testing.assert_allclose(square_means(mask, coords, 7, downsample), expected, atol=1e-12)
    beyond = square_means(np.ones((2, 2), dtype=bool), np.array([[1, 0]]), 2, 1)
    assert beyond.tolist() == [0.5]


def test_training_images_come_with_a_configuration_that_prepares_them(made, tmp_path, monkeypatch):
    from data_prep.pairs.prepare import prepare
    from medvlp.data.pairs import PairsStore

    monkeypatch.setenv("PLANTED", str(made.folder))
    store = PairsStore.load(prepare(load(made.folder / "pairs.yaml", kind="pairs"), tmp_path / "pairs"))
    images = {name: [row for row in made.images if row["split"] == name] for name in ("train", "dev", "test")}
    assert [len(store.split(name)) for name in ("train", "dev", "test")] == [
        len(images["train"]),
        len(images["dev"]),
        0,
    ]
    assert store.classes == ["carcinoma", "mucosa"]


def test_a_changed_file_is_noticed(make, tmp_path):
    folder = planted.simulate(make(), tmp_path / "set")
    mask = folder / "masks" / "test_0000.png"
    mask.write_bytes(mask.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"test_0000\.png"):
        PlantedSlides(folder)
    assert verify_manifest(planted.simulate(make(), folder, overwrite=True))["kind"] == "planted_slides"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"blend": 30}, "blend"),
        ({"levels": [3]}, "does not divide"),
        ({"levels": [8, 2]}, "rise"),
        ({"classes": {"a": {"source": "tiles", "label": "T"}, "b": {"source": "tiles", "label": "N"}}}, "tumour"),
        ({"regions": [3, 1]}, "regions"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, changes, said):
    with pytest.raises(ValueError, match=said):
        make(**changes)


def test_the_verb_takes_both_kinds_of_configuration(make, made, tmp_path):
    from typer.testing import CliRunner

    from medvlp.cli import app
    from medvlp.config import dump

    (tmp_path / "planted.yaml").write_text(dump(make()), encoding="utf-8")
    done = CliRunner().invoke(app, ["simulate", str(tmp_path / "planted.yaml"), "--out", str(tmp_path / "set")])
    assert done.exit_code == 0, done.output
    assert [path.name for path in sorted((tmp_path / "set" / "slides").iterdir())] == [
        slide.path.name for slide in made.slides
    ]


@pytest.mark.data
def test_shipped_configurations_split_the_real_images():
    if not os.environ.get("MEDVLP_DATA"):
        pytest.skip("MEDVLP_DATA is not set")
    images = list_images(load("slides/planted", kind="planted_slides"))
    assert len(images) == 153 + 381
    assert {image.magnification for image in images} == {"400x"}
    with pytest.raises(DataError, match="100x and 400x"):
        list_images(
            load("slides/planted", ["sources.oral.where.magnification=['100x', '400x']"], kind="planted_slides")
        )
