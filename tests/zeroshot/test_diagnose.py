"""A slide to its answer: what is written, what is refused, and that nothing half-written remains."""

import errno
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "slides"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import medvlp
from medvlp.errors import DataError
from medvlp.io import verify_manifest
from medvlp.zeroshot import slide_results
from medvlp.zeroshot.slide import SlideRule

pytestmark = pytest.mark.extras
for _module in ("openslide", "tifffile", "h5py"):
    pytest.importorskip(_module)

PINK, PURPLE, GLASS = (230, 150, 190), (120, 60, 150), 243
CLASSES = ["carcinoma", "normal tissue"]
SMALL = {"tile_size": 64, "target_mpp": 0.5}


class StainModel:
    """Tells purple from pink: cosine 1 with the one, -1 with the other."""

    def __init__(self) -> None:
        self.seen = 0

    def encode_image(self, images):
        self.seen += len(images)
        mean = np.stack([np.asarray(image).reshape(-1, 3).mean(0) for image in images])
        middle = 0.51 * np.array(PINK) + 0.49 * np.array(PURPLE)  # half and half is purple, never nothing
        return torch.nn.functional.normalize(torch.tensor(mean - middle, dtype=torch.float32), dim=1)

    def encode_text(self, texts):
        axis = np.array(PINK, dtype=float) - PURPLE
        rows = np.stack([axis if "normal" in text else -axis for text in texts])
        return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=1)

    def scale(self):
        return torch.tensor(20.0)


def write_slide(path: Path, tumour: bool = True, tissue: bool = True, mpp: float | None = 0.5) -> Path:
    """Glass of 1024 x 768 px with 10 x 8 tiles of pink tissue, 4 x 4 of them purple."""
    from pyramids import write_pyramid

    rgb = np.full((768, 1024, 3), GLASS, dtype=np.uint8)
    if tissue:
        rgb[128:640, 128:768] = PINK
    if tumour:
        rgb[192:448, 256:512] = PURPLE
    return write_pyramid(path, rgb, mpp)


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    return write_slide(tmp_path_factory.mktemp("slide") / "case-7.tif")


@pytest.fixture(scope="module")
def answered(slide, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "answer"
    assert medvlp.diagnose(slide, StainModel(), CLASSES, out=out, **SMALL) == out
    return out


def read(out: Path) -> dict:
    value = json.loads((out / "results.json").read_text())
    slide_results.validate(value)
    return value


def test_the_answer_and_the_share_of_tumour(answered) -> None:
    value = read(answered)
    assert value["answer"]["label"] == "carcinoma"
    assert value["answer"]["tumour_score"] == 16 / 80
    assert value["answer"]["calibrated"] is False
    assert "no threshold fitted" in value["answer"]["statement"]
    assert value["grid"] | {"coordinates": ""} == {
        "tile_size": 64, "mpp": 0.5, "patch_size_level0": 64, "step_level0": 64, "num_tiles": 80, "num_scored": 80,
        "num_unreadable": 0, "coordinates": "",
    }  # fmt: skip
    assert value["slide"]["mpp_source"] == "metadata"
    assert [row["is_normal"] for row in value["classes"]] == [False, True]
    assert {entry["method"]: entry["floor"]["value"] for entry in value["methods"]}["tumour_ratio"] == 0.5
    assert value["tissue"]["share"] == pytest.approx(640 * 512 / (1024 * 768), abs=0.05)
    assert value["scale"] == 10.0
    assert value["prompts"]["names"]["carcinoma"] == ["carcinoma"]
    assert len(value["prompts"]["templates"]) == 22


def test_all_files_are_there_and_whole(answered) -> None:
    assert set(verify_manifest(answered)["files"]) == {
        "results.json", "tiles.parquet", "heatmap.png", "tiles.geojson", "regions.geojson", "report.html",
        "nearest_prompts.safetensors",
    }  # fmt: skip
    with Image.open(answered / "heatmap.png") as image:
        assert image.info == {}
        assert image.width > 300


def test_the_table_of_tiles(answered) -> None:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(answered / "tiles.parquet").to_pydict()
    assert list(table) == ["x", "y", *CLASSES]
    tumour = {(x, y) for x, y, p in zip(table["x"], table["y"], table["carcinoma"], strict=True) if p > 0.5}
    assert tumour == {(x, y) for x in range(256, 512, 64) for y in range(192, 448, 64)}
    assert len(table["x"]) == 80
    np.testing.assert_allclose(np.add(table["carcinoma"], table["normal tissue"]), 1, atol=1e-6)


def test_the_region_is_the_purple_square(answered) -> None:
    (region,) = json.loads((answered / "regions.geojson").read_text())["features"]
    assert region["properties"]["classification"]["name"] == "carcinoma"
    assert sorted(map(tuple, region["geometry"]["coordinates"][0][:-1])) == [
        (256, 192), (256, 448), (512, 192), (512, 448),
    ]  # fmt: skip
    assert len(json.loads((answered / "tiles.geojson").read_text())["features"]) == 80


def test_the_page_stands_alone_and_does_not_name_the_slide(answered) -> None:
    page = (answered / "report.html").read_text()
    assert "default-src 'none'; img-src data:" in page
    assert not re.search(r"<script|https?://|<link|<iframe", page)
    assert "case-7" not in page
    assert "Not calibrated, no threshold fitted" in page
    assert "carcinoma, H&amp;E stain" in page  # prompts, escaped
    assert page.count("data:image/jpeg") == 12


def test_the_heat_map_is_bright_where_the_tumour_is(answered) -> None:
    with Image.open(answered / "heatmap.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    expected = 0.45 * np.array(PURPLE) + 0.55 * np.array([253, 231, 37])
    bright = np.argwhere(np.abs(pixels - expected).sum(2) < 12)
    height, width = np.ptp(bright, axis=0) + 1
    assert width / height == pytest.approx(1.0, abs=0.03)
    assert len(bright) > 0.9 * width * height


def test_regions_of_overlapping_tiles_do_not_overlap(slide, tmp_path) -> None:
    out = medvlp.diagnose(slide, StainModel(), CLASSES, out=tmp_path / "out", overlap=32, **SMALL)
    assert read(out)["grid"]["step_level0"] == 32
    (region,) = json.loads((out / "regions.geojson").read_text())["features"]
    corners = np.array(region["geometry"]["coordinates"][0])
    assert (corners % 32 == 0).all()
    assert (np.abs(corners.min(0) - (256, 192)) <= 32).all()
    assert (np.abs(corners.max(0) - (512, 448)) <= 32).all()
    assert region["properties"]["measurements"]["tiles"] >= 64  # cells of 32 px: the square alone holds 64


def test_a_slide_without_tumour_is_normal(tmp_path) -> None:
    path = write_slide(tmp_path / "a.tif", tumour=False)
    out = medvlp.diagnose(
        path, StainModel(), CLASSES, out=tmp_path / "out", rule=SlideRule(smoothing="centred"), **SMALL
    )
    value = read(out)
    assert value["answer"]["label"] == "normal tissue"
    assert value["answer"]["is_normal"]
    assert {entry["decision"] for entry in value["methods"]} == {"normal tissue"}
    assert json.loads((out / "regions.geojson").read_text())["features"] == []


def test_the_same_call_gives_the_same_bytes(answered, slide, tmp_path) -> None:
    again = medvlp.diagnose(slide, StainModel(), CLASSES, out=tmp_path / "again", **SMALL)
    for name in ("tiles.parquet", "heatmap.png", "tiles.geojson", "regions.geojson"):
        assert (again / name).read_bytes() == (answered / name).read_bytes()
    assert {**read(again), "created": ""} == {**read(answered), "created": ""}


def test_tiles_that_cannot_be_read_are_counted(slide, tmp_path, monkeypatch) -> None:
    from medvlp.slides.reader import Slide, UnreadableRegion

    square = Slide.square

    def broken(self, x, y, side, size):
        if x < limit:
            raise UnreadableRegion("damaged", item="slide")
        return square(self, x, y, side, size)

    monkeypatch.setattr(Slide, "square", broken)
    limit = 256
    value = read(medvlp.diagnose(slide, StainModel(), CLASSES, out=tmp_path / "out", batch_size=7, **SMALL))
    assert (value["grid"]["num_scored"], value["grid"]["num_unreadable"]) == (64, 16)
    assert value["answer"]["tumour_score"] == 16 / 64
    assert any("16 of 80 tiles could not be decoded" in limit for limit in value["limits"])
    limit = 10_000
    with pytest.raises(DataError, match="none of 80 tiles can be read"):
        medvlp.diagnose(slide, StainModel(), CLASSES, out=tmp_path / "none", **SMALL)
    assert not (tmp_path / "none").exists()


def test_a_slide_without_tissue_says_what_to_do(tmp_path) -> None:
    path = write_slide(tmp_path / "empty.tif", tumour=False, tissue=False)
    with pytest.raises(DataError, match=r"no tile holds enough tissue.*--min-tissue") as error:
        medvlp.diagnose(path, StainModel(), CLASSES, out=tmp_path / "out", **SMALL)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.tif"]


def test_unknown_resolution_must_be_given_and_is_then_named(tmp_path) -> None:
    path = write_slide(tmp_path / "a.tif", mpp=None)
    with pytest.raises(DataError, match="--mpp"):
        medvlp.diagnose(path, StainModel(), CLASSES, out=tmp_path / "out", **SMALL)
    value = read(medvlp.diagnose(path, StainModel(), CLASSES, out=tmp_path / "out", mpp=0.5, **SMALL))
    assert value["slide"]["mpp_source"] == "given"
    assert any("given by hand" in limit for limit in value["limits"])


def test_what_exists_is_kept_and_a_full_disk_leaves_nothing(answered, slide, tmp_path, monkeypatch) -> None:
    with pytest.raises(DataError, match="already exists"):
        medvlp.diagnose(slide, StainModel(), CLASSES, out=answered, **SMALL)

    def full(path, features):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("medvlp.slides.geojson.write_geojson", full)
    with pytest.raises(DataError, match="no space left"):
        medvlp.diagnose(slide, StainModel(), CLASSES, out=tmp_path / "out", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_features_take_the_place_of_embedding(slide, answered, tmp_path) -> None:
    from medvlp.slides.features import write_features
    from medvlp.slides.grid import GridConfig, tile_grid
    from medvlp.slides.reader import open_slide
    from medvlp.slides.tissue import tissue_mask
    from medvlp.slides.types import SlideFeatures
    from medvlp.zeroshot.slide_embed import embed_tiles

    with open_slide(slide) as opened:
        grid = tile_grid(opened, tissue_mask(opened), GridConfig(tile_size=64, mpp=0.5))
        vectors, rows, _ = embed_tiles(opened, grid, StainModel())
    found = SlideFeatures(
        "case-7", vectors, torch.tensor(grid.coords_NX[rows]), 64, 64, 0.5, 0.5, "stain", projected=True,
        normalised=True, slide_size=grid.slide_size,
    )  # fmt: skip
    write_features(tmp_path / "a.h5", found, tile_size=64)
    model = StainModel()
    value = read(medvlp.diagnose(slide, model, CLASSES, out=tmp_path / "out", features=tmp_path / "a.h5"))
    assert model.seen == 0
    assert value["methods"] == read(answered)["methods"]
    assert value["features"]["encoder"] == "stain"
    assert value["tissue"] is None
    assert (tmp_path / "out" / "tiles.parquet").read_bytes() == (answered / "tiles.parquet").read_bytes()
    from dataclasses import replace

    write_features(tmp_path / "b.h5", replace(found, projected=False), tile_size=64)
    with pytest.raises(DataError, match="cannot be compared with texts"):
        medvlp.diagnose(slide, StainModel(), CLASSES, out=tmp_path / "b", features=tmp_path / "b.h5")
    torch.save(vectors, tmp_path / "c.pt")
    with pytest.raises(DataError, match="does not say coordinates"):
        medvlp.diagnose(slide, StainModel(), CLASSES, out=tmp_path / "c", features=tmp_path / "c.pt", projected=True)


def test_features_of_a_slide_of_unknown_resolution(tmp_path) -> None:
    """Nothing is measured then, and that is said."""
    from medvlp.slides.features import write_features
    from medvlp.slides.types import SlideFeatures

    path = write_slide(tmp_path / "a.tif", mpp=None)
    places = torch.tensor([[256, 192], [320, 192], [128, 128]])
    vectors = torch.nn.functional.normalize(StainModel().encode_text(["carcinoma", "carcinoma", "normal"]), dim=1)
    write_features(tmp_path / "a.h5", SlideFeatures("a", vectors, places, 64, 64, projected=True, normalised=True))
    value = read(medvlp.diagnose(path, StainModel(), CLASSES, out=tmp_path / "out", features=tmp_path / "a.h5"))
    assert value["answer"]["tumour_score"] == pytest.approx(2 / 3)
    assert value["slide"]["mpp"] is None
    assert any("micrometres per pixel are unknown" in limit for limit in value["limits"])
    assert any("Only 3 tiles" in limit for limit in value["limits"])


def test_prompts_are_screened_on_the_slide(slide, answered, tmp_path) -> None:
    value = read(medvlp.diagnose(slide, StainModel(), CLASSES, out=tmp_path / "out", screening="margin", **SMALL))
    assert value["screening"]["num_classifiers"] == 22
    assert value["screening"]["num_tiles"] == 80
    assert all("normal tissue" in row["normal tissue"] for row in value["screening"]["best"])
    assert value["answer"]["tumour_score"] == read(answered)["answer"]["tumour_score"]


@pytest.mark.parametrize(
    ("classes", "options", "problem"),
    [
        (["carcinoma"], {}, "2 classes are needed"),
        (CLASSES, {"normal": "healthy"}, "is none of the classes"),
        (["carcinoma", "normal skin", "normal lung"], {}, "could both be the normal class"),
        (["x", "normal"], {}, "cannot have this name"),
    ],
)
def test_classes_that_cannot_be_used(slide, tmp_path, classes, options, problem) -> None:
    with pytest.raises(DataError, match=problem):
        medvlp.diagnose(slide, StainModel(), classes, out=tmp_path / "out", **options, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_without_a_normal_class_that_is_said(slide, tmp_path) -> None:
    out = medvlp.diagnose(slide, StainModel(), ["carcinoma <b>", "not a normal word"], out=tmp_path / "out", **SMALL)
    value = read(out)
    assert value["answer"]["tumour_score"] is None
    assert any("No class is called normal" in limit for limit in value["limits"])
    assert "carcinoma <b>" not in (out / "report.html").read_text()
    assert "carcinoma &lt;b&gt;" in (out / "report.html").read_text()


def test_the_command_line(slide, tmp_path, capsys) -> None:
    from tiny_models import tiny_model, write_bert

    from medvlp.cli import run
    from medvlp.model import save_model

    save_model(tiny_model(write_bert(tmp_path / "bert")), tmp_path / "model")
    (tmp_path / "rule.yaml").write_text("method: top_k\nk: 5\nsource: development\nsplit: dev\nslide_threshold: -1.0\n")
    words = [
        "diagnose",
        str(slide),
        "-m",
        str(tmp_path / "model"),
        "--classes",
        "carcinoma,normal",
        "--tile-size",
        "64",
    ]
    assert run([*words, "--rule", str(tmp_path / "rule.yaml"), "--out", str(tmp_path / "out")]) == 0
    assert "fitted on" in capsys.readouterr().out
    value = read(tmp_path / "out")
    assert value["answer"]["method"] == "top_k"
    assert value["answer"]["label"] == "carcinoma"
    assert next(entry for entry in value["methods"] if entry["method"] == "top_k")["used_k"] == 5
    assert len(value["model"]["weights_sha256"]) == 64
    assert run([*words, "--rule", str(tmp_path / "rule.yaml"), "--method", "mean", "-o", str(tmp_path / "mean")]) == 0
    assert read(tmp_path / "mean")["rule"]["source"] == "fixed"
    (tmp_path / "bad.yaml").write_text("method: best\nsource: development\nsplit: test\n")
    assert run([*words, "--rule", str(tmp_path / "bad.yaml"), "--out", str(tmp_path / "bad")]) == 2
    assert "method" in capsys.readouterr().err
    assert run([*words, "--out", str(tmp_path / "out")]) == 2
    assert "already exists" in capsys.readouterr().err


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "options"), [("cmu-1-small-region.svs", {}), ("wsi_dicom_42frames.dcm", {"mpp": 0.5})]
)
def test_real_slides(name, options, tmp_path) -> None:
    import os

    place = Path(os.environ.get("MEDVLP_DATA", "/nowhere")) / "wsi" / name
    if not place.exists():
        pytest.skip("MEDVLP_DATA does not hold the slides")
    out = medvlp.diagnose(place, StainModel(), CLASSES, out=tmp_path / "out", target_mpp=1.0, **options)
    value = read(out)
    assert value["grid"]["num_scored"] >= 8
    assert 0.2 < value["tissue"]["share"] < 0.6
    assert value["slide"]["mpp"] == pytest.approx(0.5, abs=0.01)
    everything = b"".join(path.read_bytes() for path in out.iterdir() if path.suffix != ".png")
    assert b"Aperio" not in everything


@pytest.mark.slow
def test_reading_ahead_in_another_process_changes_nothing(slide, answered, tmp_path) -> None:
    out = medvlp.diagnose(slide, StainModel(), CLASSES, out=tmp_path / "out", workers=1, **SMALL)
    assert (out / "tiles.parquet").read_bytes() == (answered / "tiles.parquet").read_bytes()
