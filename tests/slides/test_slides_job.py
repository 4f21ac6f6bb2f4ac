"""The embedding job: what it writes, what it resumes, what it refuses."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from job_cases import SIDE, TILE, contents, job_config, speckled, write_slides
from PIL import Image
from pyramids import write_pyramid

from medvlp.errors import ConfigError, DataError
from medvlp.slides.reader import open_slide

pytestmark = pytest.mark.extras
pytest.importorskip("h5py")
pytest.importorskip("tifffile")
pytest.importorskip("openslide")

from data_prep.slides.encoder import open_encoder  # noqa: E402
from data_prep.slides.prepare import prepare  # noqa: E402
from medvlp.slides.features import read_features  # noqa: E402


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    return write_slides(tmp_path_factory.mktemp("slides"))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in the driver that is killed: the last bits of a sum depend on how many threads make it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def done(slides, one_thread, tmp_path_factory):
    """A job that was left alone."""
    return prepare(job_config(slides), tmp_path_factory.mktemp("job") / "out")


def state(folder, key):
    return json.loads((folder / "state" / f"{key}.json").read_text())


def test_what_a_job_leaves(done):
    assert sorted(contents(done)) == [
        *sorted(
            f"{place}/slide{index}.{kind}"
            for place, kind in (("features", "h5"), ("previews", "png"), ("state", "json"))
            for index in range(3)
        )[:3],
        "job.json",
        "ledger.json",
        "previews/empty.png",
        *(f"previews/slide{index}.png" for index in range(3)),
        "state/empty.json",
        *(f"state/slide{index}.json" for index in range(3)),
        "summary.md",
    ]
    ledger = json.loads((done / "ledger.json").read_text())
    assert ledger["slides"] == {"kept": 3, "dropped": {"no tissue": 1}, "examples": {"no tissue": ["empty"]}}
    assert ledger["tiles"]["embedded"] == sum(state(done, f"slide{index}")["tiles"] for index in range(3))
    assert state(done, "empty")["status"] == "empty"
    assert "4 slides: 3 done, 1 without tissue, 0 failed" in (done / "summary.md").read_text()
    times = [json.loads(line) for line in (done / "timings.jsonl").read_text().splitlines()]
    assert 0 < times[-1]["encoder_busy_share"] <= 1
    assert not list((done / "locks").glob("*.json"))


def test_vectors_are_those_of_the_encoder_on_those_tiles(done, slides):
    config = job_config(slides)
    encoder = open_encoder(config.encoder, device="cpu", precision="float32", seed=0)
    features = read_features(done / "features" / "slide1.h5")
    with open_slide(slides / "slide1.tif") as slide:
        squares = [slide.square(int(x), int(y), TILE, TILE) for x, y in features.coords_NX]
    batches = torch.stack([encoder.preprocess(Image.fromarray(square)) for square in squares]).split(8)
    expected = torch.cat([encoder(batch) for batch in batches])
    assert torch.equal(features.features_ND, expected)
    assert len(torch.unique(expected, dim=0)) == len(expected)
    assert (features.patch_size_level0, features.step_level0, features.mpp, features.level0_mpp) == (32, 32, 2.0, 2.0)
    assert (features.encoder, features.projected, features.slide_size) == ("test_efficientnet", False, (SIDE, SIDE))


@pytest.mark.parametrize(
    "changes", [{"num_workers": 1}, pytest.param({"workers": "processes"}, marks=pytest.mark.slow)]
)
def test_the_result_does_not_depend_on_the_readers(changes, slides, done, tmp_path):
    assert contents(prepare(job_config(slides, **changes), tmp_path / "out")) == contents(done)


def test_no_path_of_this_machine_is_in_any_file(done, slides):
    for name, data in contents(done).items():
        assert str(slides).encode() not in data, name
        assert str(done).encode() not in data, name


def test_finished_slides_are_skipped(slides, done, monkeypatch):
    before = contents(done)
    monkeypatch.setattr("data_prep.slides.prepare.plan", lambda *a, **k: pytest.fail("opened again"))
    prepare(job_config(slides), done)
    assert contents(done) == before


def test_more_slides_join_a_job(slides, done, tmp_path):
    out = prepare(job_config(slides=[str(slides / "slide0.tif")]), tmp_path / "out")
    assert contents(prepare(job_config(slides), out)) == contents(done)


def test_lost_features_are_made_again(slides, done, tmp_path):
    out = prepare(job_config(slides), tmp_path / "out")
    (out / "features" / "slide1.h5").write_bytes(b"half")
    (out / "features" / ".partial-01234567-slide1.h5").write_bytes(b"left over")
    assert contents(prepare(job_config(slides), out)) == contents(done)


def test_other_settings_are_refused_by_name(slides, done):
    before = contents(done)
    with pytest.raises(DataError, match=r"other settings \(settings.batch_size\)"):
        prepare(job_config(slides, batch_size=4), done)
    with pytest.raises(DataError, match=r"other settings \(encoder.digest, settings.seed\)"):
        prepare(job_config(slides, seed=1), done)
    assert contents(done) == before


def test_a_folder_of_something_else_is_not_touched(slides, tmp_path):
    (tmp_path / "thesis.docx").write_text("precious")
    with pytest.raises(DataError, match=r"holds other things \(thesis.docx\)"):
        prepare(job_config(slides), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_a_slide_that_changed_is_not_taken_for_finished(tmp_path):
    place = write_slides(tmp_path / "slides", 1)
    out = prepare(job_config(place), tmp_path / "out")
    write_pyramid(place / "slide0.tif", speckled(7, [(60, 60, 50)]), mpp=2.0, levels=1, tile=64)
    with pytest.raises(DataError, match="slide0: was finished with another bytes"):
        prepare(job_config(place), out)


def test_without_resolution_a_slide_fails_until_it_is_given(slides, tmp_path, capfd):
    place = write_slides(tmp_path / "slides", 1)
    write_pyramid(place / "unknown.tif", speckled(5, [(120, 120, 90)]), mpp=None, levels=1, tile=64)
    out = tmp_path / "out"
    with pytest.raises(DataError, match="1 of 3 slides failed"):
        prepare(job_config(place), out)
    assert state(out, "unknown")["status"] == "failed"
    assert "set mpp" in state(out, "unknown")["remedy"]
    assert "set mpp" in (out / "summary.md").read_text()
    assert state(out, "slide0")["status"] == "done"
    prepare(job_config(place, max_failed=1), out)
    prepare(job_config(place, mpp=2.0), out)
    assert (state(out, "unknown")["status"], state(out, "unknown")["mpp_source"]) == ("done", "given")
    assert state(out, "slide0")["mpp_source"] == "metadata"
    assert contents(out) == contents(prepare(job_config(place, mpp=2.0), tmp_path / "again"))
    with pytest.raises(DataError, match="unknown: was finished with another mpp"):
        prepare(job_config(place, mpp=1.0), out)


def test_unreadable_tiles_are_counted_and_left_out(slides, done, tmp_path, monkeypatch):
    from medvlp.slides.reader import Slide, UnreadableRegion

    square = Slide.square
    bad = tuple(read_features(done / "features" / "slide0.h5").coords_NX[5].tolist())

    def damaged(slide, x, y, *rest):
        if slide.key == "slide0" and (x, y) == bad:
            raise UnreadableRegion("pixels cannot be decoded", item=slide.path)
        return square(slide, x, y, *rest)

    monkeypatch.setattr(Slide, "square", damaged)
    out = prepare(job_config(slides, max_unreadable=0.5), tmp_path / "out")
    assert state(out, "slide0")["unreadable"] == 1
    assert json.loads((out / "ledger.json").read_text())["tiles"]["unreadable"] == 1
    before, after = (read_features(place / "features" / "slide0.h5") for place in (done, out))
    assert len(after) == len(before) - 1
    assert list(bad) not in after.coords_NX.tolist()
    assert (out / "features" / "slide1.h5").read_bytes() == (done / "features" / "slide1.h5").read_bytes()
    with pytest.raises(DataError, match="1 of 4 slides failed"):
        prepare(job_config(slides, max_unreadable=0.0), tmp_path / "strict")
    assert "tiles cannot be decoded" in state(tmp_path / "strict", "slide0")["problem"]
    assert not (tmp_path / "strict" / "features" / "slide0.h5").exists()


def test_a_full_disk_is_one_line_and_the_job_goes_on_later(slides, done, tmp_path, monkeypatch):
    write, count = Path.write_bytes, [0]

    def full(path, data):
        count[0] += "features" in str(path)
        if count[0] >= 2:
            write(path, data[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match="no space left on the disk") as caught:
        prepare(job_config(slides), tmp_path / "out")
    monkeypatch.undo()
    assert "\n" not in str(caught.value)
    assert not [name for name in contents(tmp_path / "out") if ".partial" in name or name.startswith("locks")]
    assert contents(prepare(job_config(slides), tmp_path / "out")) == contents(done)


def test_killed_in_the_middle_of_its_writes_and_resumed(slides, done, tmp_path):
    assert killed(slides, tmp_path / "out", "fuse", 8, 4) == {"killed": 8, "finished": True}
    assert contents(tmp_path / "out") == contents(done)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "kills", "stride"), [("fuse", 60, 1), ("random", 20, 0)])
def test_killed_at_every_write_and_at_random_times(slides, done, tmp_path, mode, kills, stride):
    report = killed(slides, tmp_path / "out", mode, kills, stride)
    assert report["finished"]
    assert report["killed"] >= 15
    assert contents(tmp_path / "out") == contents(done)


def killed(slides, out, mode, kills, stride):
    driver = Path(__file__).with_name("kill_slides_job.py")
    arguments = [str(slides), str(out), mode, str(kills), str(stride)]
    run = subprocess.run([sys.executable, "-W", "ignore", str(driver), *arguments], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_dry_run_writes_nothing(slides, tmp_path, capfd):
    prepare(job_config(slides), tmp_path / "out", dry_run=True)
    told = capfd.readouterr().err
    assert "slide0: 2 um/px (metadata), tissue" in told
    assert "empty: 2 um/px (metadata), tissue 0.0%, 0 tiles" in told
    assert not (tmp_path / "out").exists()


def test_options_of_other_jobs_are_refused(slides, tmp_path):
    with pytest.raises(ConfigError, match="are not of this job"):
        prepare(job_config(slides), tmp_path / "out", overwrite=True)


def test_an_encoder_that_gives_nan(slides, tmp_path, monkeypatch):
    from data_prep.slides.encoder import TileEncoder

    monkeypatch.setattr(TileEncoder, "__call__", lambda self, batch: torch.full((len(batch), 4), float(np.nan)))
    with pytest.raises(DataError, match="3 of 4 slides failed"):
        prepare(job_config(slides), tmp_path / "out")
    assert state(tmp_path / "out", "slide0")["problem"] == "the encoder gave NaN or infinity"
