"""Which folders and slides the viewer takes, the command line, and the library it ships."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from viewer_slides import HOT, SIDE

import medvlp.viewer
from medvlp.errors import DataError
from medvlp.io import write_manifest
from medvlp.viewer.answers import find_answers, read_answer
from medvlp.viewer.server import ViewerServer, open_viewer
from medvlp.viewer.site import BytesCache

pytestmark = pytest.mark.extras
STATIC = Path(medvlp.viewer.__file__).parent / "static"


@pytest.fixture
def copied(answer, tmp_path):
    """A copy that a test may spoil."""
    return Path(shutil.copytree(answer, tmp_path / "answers" / "one"))


def changed(folder: Path, **slide: object) -> Path:
    """Change what results.json says of the slide, manifest and all."""
    path = folder / "results.json"
    value = json.loads(path.read_text())
    value["slide"] |= slide
    path.write_text(json.dumps(value))
    manifest = json.loads((folder / "manifest.json").read_text())
    write_manifest(folder, {"format": manifest["format"]})
    return folder


def test_an_answer_is_read(answer, slide) -> None:
    (found,), ledger = find_answers(answer)
    assert found.slide_path == slide
    assert found.probability_NK.shape == (48, 2)
    assert found.place_NX[found.tile_at(HOT[0] + 5, HOT[1] + 5)].tolist() == list(HOT)
    assert found.tile_at(HOT[0] + SIDE, HOT[1]) != found.tile_at(*HOT)
    assert found.tile_at(0, 0) is None
    assert (ledger.kept, dict(ledger.dropped)) == (1, {})


def test_several_answers_and_one_that_is_damaged(copied, answer, tmp_path) -> None:
    shutil.copytree(answer, copied.parent / "two")
    spoilt = Path(shutil.copytree(answer, copied.parent / "three"))
    (spoilt / "tiles.parquet").write_bytes(b"PAR1")
    found, ledger = find_answers(copied.parent)
    assert (len(found), ledger.kept) == (2, 2)
    assert dict(ledger.dropped) == {"differs from its sha256 in manifest.json": 1}
    with open_viewer(copied.parent) as server:
        assert server.url.count("/") == 4  # the list of slides
        assert b"Slide 2" in server.site.reply("/").body
        assert server.site.reply("/2/") is not None
        assert server.site.reply("/3/") is None


def test_a_link_out_of_the_folder_is_left_out(copied, answer, tmp_path) -> None:
    (copied.parent / "linked").symlink_to(answer, target_is_directory=True)
    found, ledger = find_answers(copied.parent)
    assert len(found) == 1
    assert dict(ledger.dropped) == {"is a link that leads out of the folder": 1}
    secret = tmp_path / "secret"
    secret.mkdir()
    shutil.move(copied / "tiles.parquet", secret / "tiles.parquet")
    (copied / "tiles.parquet").symlink_to(secret / "tiles.parquet")
    with pytest.raises(DataError, match="outside the store"):
        find_answers(copied)
    (copied.parent / "secret").symlink_to(secret, target_is_directory=True)
    with open_viewer(answer) as server:
        assert server.site.reply("/secret/") is None
        assert server.site.reply("/secret/tiles.parquet") is None


def test_the_slide_is_found_by_name_in_a_folder(copied, slide, tmp_path) -> None:
    changed(copied, path="no/such/place/DOE_JANE.tif")
    with pytest.raises(DataError, match=r"its slide is not where it was; name the slide's folder with --slides"):
        read_answer(copied)
    assert read_answer(copied, slide.parent).slide_path == slide
    (tmp_path / "slides").mkdir()
    with pytest.raises(DataError, match="its slide is not there"):
        read_answer(copied, tmp_path / "slides")
    for ending in ("svs", "ndpi"):
        (tmp_path / "slides" / f"DOE_JANE.{ending}").touch()
    with pytest.raises(DataError, match="several files could be its slide"):
        read_answer(copied, tmp_path / "slides")
    changed(copied, key="../DOE_JANE", path="../../DOE_JANE.tif")
    with pytest.raises(DataError, match="several|not there|not where"):
        read_answer(copied, tmp_path / "slides" / "..")


def test_another_slide_is_refused(copied) -> None:
    changed(copied, size=[704, 577])
    with pytest.raises(DataError, match="is not the slide that was diagnosed"):
        open_viewer(copied)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda folder: shutil.rmtree(folder), "no such folder"),
        (lambda folder: (folder / "results.json").unlink(), "holds no results.json"),
        (lambda folder: (folder / "manifest.json").unlink(), "no manifest.json"),
        (lambda folder: (folder / "tiles.parquet").unlink(), "listed in manifest.json but missing"),
        (lambda folder: (folder / "results.json").write_text("{}"), "differs from its sha256"),
    ],
)
def test_folders_that_are_no_answer(copied, spoil, problem) -> None:
    spoil(copied)
    with pytest.raises(DataError, match=problem) as error:
        open_viewer(copied)
    assert "\n" not in str(error.value)


def test_results_of_something_else_are_refused(copied) -> None:
    (copied / "results.json").write_text('{"format": "other"}')
    write_manifest(copied, {})
    with pytest.raises(DataError, match="is no answer about a slide"):
        open_viewer(copied)


def test_a_port_that_is_taken_is_said(answer) -> None:
    with open_viewer(answer) as server, pytest.raises(DataError, match="cannot listen there.*another port"):
        open_viewer(answer, port=server.server_address[1])


def test_the_command_line(answer, capsys, monkeypatch) -> None:
    from medvlp.cli import run

    def interrupted(self, poll_interval=0.5):
        raise KeyboardInterrupt

    monkeypatch.setattr(ViewerServer, "serve_forever", interrupted)
    assert run(["serve", str(answer)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("open http://127.0.0.1:")
    assert said.out.endswith("stopped\n")
    assert "warning" not in said.err
    assert run(["serve", str(answer), "--host", "0.0.0.0"]) == 0
    assert "can see the slides" in capsys.readouterr().err
    assert run(["serve", str(answer / "nothing")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_memory_for_pictures_is_bounded() -> None:
    cache = BytesCache(10)
    for number in (1, 2, 1, 3):
        assert cache.get((number,), lambda number=number: bytes([number]) * 4) == bytes([number]) * 4
    assert cache.num_bytes == 8
    assert cache.get((1,), lambda: b"new") == b"\x01" * 4  # used again, so kept
    assert cache.get((2,), lambda: b"new") == b"new"
    assert cache.get((9,), lambda: b"x" * 99) == b"x" * 99
    assert cache.num_bytes <= 10


def test_the_shipped_library_is_the_recorded_one() -> None:
    record = json.loads((STATIC / "openseadragon.json").read_text())
    script = (STATIC / "openseadragon.min.js").read_bytes()
    assert hashlib.sha256(script).hexdigest() == record["sha256"]
    assert script.startswith(f"//! openseadragon {record['version']}\n".encode())
    assert record["licence"] == "BSD-3-Clause"
    licence = (STATIC / "openseadragon.LICENSE.txt").read_text()
    assert "OpenSeadragon contributors" in licence
    assert "Redistributions in binary form must reproduce" in licence
