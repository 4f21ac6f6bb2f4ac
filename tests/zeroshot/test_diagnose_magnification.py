"""One piece of tissue scanned at 40x, 20x and 10x: the same tiles in micrometres, the same heat map."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import medvlp
from medvlp.io import read_json
from medvlp.model import DualEncoder
from medvlp.slides.heatmap import paint

pytestmark = pytest.mark.extras
for _module in ("openslide", "tifffile", "pyarrow"):
    pytest.importorskip(_module)

MPP = {"40x": 0.25, "20x": 0.5, "10x": 1.0}
CLASSES = ["high-grade serous carcinoma", "normal stroma"]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Answer folder per magnification; tiles of 64 px at 1 um per pixel, so none is enlarged."""
    import torch
    from slides.pyramids import halved, he_crop, write_pyramid

    folder = tmp_path_factory.mktemp("magnification")
    torch.manual_seed(0)
    model = DualEncoder().eval()
    rgb, found = he_crop(0, 0, 1280, 1024), {}
    for name, mpp in MPP.items():
        slide = write_pyramid(folder / f"{name}.tif", rgb, mpp, levels=2)
        options = {"tile_size": 64, "target_mpp": 1.0, "normal": "normal stroma", "min_tissue": 0.0}
        found[name] = medvlp.diagnose(slide, model, CLASSES, out=folder / name, **options)
        rgb = halved(rgb)
    return found


def tiles(folder: Path, mpp: float) -> tuple[np.ndarray, np.ndarray]:
    """Micrometres (N, 2) and the probability of carcinoma (N,)."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "tiles.parquet").to_pydict()
    place_NX = np.column_stack([table["x"], table["y"]]) * mpp
    return place_NX, np.array(table["high-grade serous carcinoma"])


@pytest.mark.parametrize("name", ["40x", "10x"])
def test_tiles_lie_and_score_alike(answers, name) -> None:
    place_NX, probability_N = tiles(answers["20x"], MPP["20x"])
    other_NX, other_N = tiles(answers[name], MPP[name])
    assert len(place_NX) == 20
    np.testing.assert_array_equal(place_NX, other_NX)
    spread = probability_N.max() - probability_N.min()
    assert spread > 0.1  # else equal maps would say nothing
    assert np.abs(probability_N - other_N).max() < 0.1 * spread
    assert np.corrcoef(probability_N, other_N)[0, 1] > 0.99


@pytest.mark.parametrize("name", ["40x", "10x"])
def test_the_painted_maps_are_alike(answers, name) -> None:
    maps = []
    for one in ("20x", name):
        grid = read_json(answers[one] / "results.json")["grid"]
        size = read_json(answers[one] / "results.json")["slide"]["size"]
        place_NX, probability_N = tiles(answers[one], MPP[one])
        maps.append(paint(probability_N, place_NX / MPP[one], grid["patch_size_level0"], size, (80, 100)))
    assert np.isfinite(maps[0]).all()
    assert np.abs(maps[0] - maps[1]).max() < 0.03
