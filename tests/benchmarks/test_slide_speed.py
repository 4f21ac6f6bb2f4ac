"""The generated slide has the outline it says, and the benchmark measures, compares and tells failures in one line."""

import importlib.util
import re
import sys

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.speed import slides
from benchmarks.speed.slides_pyramid import CELL, field, write_slide
from medvlp.errors import ConfigError
from medvlp.slides.reader import open_slide

pytest.importorskip("openslide", reason="needs the extra slides")
pytest.importorskip("tifffile", reason="needs the extra slides")
no_tissue = importlib.util.find_spec("histolytics") is None
pytestmark = [pytest.mark.extras, pytest.mark.skipif(no_tissue, reason="the data package histolytics is not installed")]
SIDE = 2048


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("speed")
    write_slide(out / f"slide-{SIDE}.tif", SIDE)
    return out


def test_the_slide_has_the_outline_it_says(folder):
    truth = field(SIDE)[0] > 0
    with open_slide(folder / f"slide-{SIDE}.tif") as slide:
        assert [level.size[0] for level in slide.levels] == [SIDE, SIDE // 4, SIDE // CELL]
        assert slide.mpp == 0.5
        small = slide.read(0, 0, SIDE // CELL, SIDE // CELL, level=2).astype(int)
        full = slide.read(0, 0, SIDE, SIDE).reshape(SIDE // CELL, CELL, SIDE // CELL, CELL, 3).mean((1, 3))
    assert 0.2 < truth.mean() < 0.4
    glass = ~ndimage.binary_dilation(truth, iterations=2)  # JPEG lets colour run a little over the outline
    assert (np.ptp(full[glass], axis=-1) < 5).all()
    assert (np.ptp(full[truth], axis=-1) > 12).mean() > 0.9
    grey, small_grey = full.mean(-1), small.mean(-1)
    apart = [np.abs(np.roll(grey, shift, axis=(0, 1)) - small_grey).mean() for shift in ((0, 0), (1, 0), (0, 1))]
    assert apart[0] < 0.5 * min(apart[1:])
    with pytest.raises(ConfigError, match="multiple of 256"):
        write_slide(folder / "odd.tif", 1000)


def test_the_command_measures_and_finds_the_outline(folder, monkeypatch, capsys):
    page = folder / "page.md"
    page.write_text("<!-- slides speed: begin -->\n<!-- slides speed: end -->\n")
    words = ["--side", str(SIDE), "--repeats", "1", "--read", "3", "--out", str(folder), "--page", str(page)]
    monkeypatch.setattr("sys.argv", ["slides", *words])
    assert slides.main() == 0
    said = capsys.readouterr().out
    (row,) = re.findall(r"^\| medvlp \| (\d+) \| ([\d.]+) \| 1.000 \| 1.000 \| 1.000 \|$", said, re.M)
    assert int(row[0]) > 10
    assert float(row[1]) > 0.9
    assert said.strip() in page.read_text()


def test_areas_and_masks_are_compared():
    coords = np.array([[0, 0], [256, 256]])
    area = slides.covered(coords, 32)
    assert area.sum() == 2 * 16 * 16
    assert area[0, 0]
    assert not area[0, 16]
    assert slides.overlap(area, slides.covered(coords[:1], 32)) == 0.5
    half = np.array([[True, False]])
    assert slides.fitted(half, 4).tolist() == [[True, True, False, False]] * 4


def test_bad_peers_are_told_in_one_line(folder, monkeypatch, capsys):
    for word, problem in [("other=/bin/true", "is no known peer"), ("histolab=/no/such", "no such Python")]:
        monkeypatch.setattr("sys.argv", ["slides", "--peer", word, "--out", str(folder)])
        assert slides.main() == 2
        assert problem in capsys.readouterr().err
    words = ["--peer", f"histolab={sys.executable}", "--side", str(SIDE), "--repeats", "1", "--out", str(folder)]
    monkeypatch.setattr("sys.argv", ["slides", *words])
    assert slides.main() == 2
    assert re.search(r"error: histolab: failed \(exit code 1\): .*histolab", capsys.readouterr().err)
