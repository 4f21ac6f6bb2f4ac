"""`medvlp prepare` for slides: options become settings, and only of jobs on slides."""

from pathlib import Path

import pytest

from data_prep.slides.config import OpenedModel
from medvlp.cli import run


@pytest.fixture
def noted(monkeypatch, tmp_path):
    calls = []

    def prepare(config, out, **options):
        calls.append((config, out, options))
        return tmp_path / "done"

    monkeypatch.setattr("data_prep.slides.prepare.prepare", prepare)
    return calls


@pytest.mark.parametrize("config", [[], ["slides"]])
def test_options_are_settings(config, noted, monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slides").mkdir()  # a folder of that name is not taken for images then
    command = ["prepare", *config, "--slides", "a/*.svs", "--slides", "b.svs", "--model", "runs/x", "--mpp", "0.25"]
    assert run([*command, "--out", "o", "--dry-run", "--set", "batch_size=3"]) == 0, capfd.readouterr().err
    settings, out, options = noted[0]
    assert settings.slides == ["a/*.svs", "b.svs"]
    assert settings.encoder == OpenedModel(model="runs/x")
    assert (settings.mpp, settings.batch_size, out, options["dry_run"]) == (0.25, 3, Path("o"), True)
    assert "dry run: nothing was written" in capfd.readouterr().out


def test_a_configuration(noted, tmp_path, capfd):
    (tmp_path / "job.yaml").write_text(
        "kind: slides\ntable: list.csv\nencoder: {name: timm, model: test_vit}\ngrid: {overlap: 64}\n"
    )
    assert run(["prepare", str(tmp_path / "job.yaml"), "--out", "o"]) == 0, capfd.readouterr().err
    assert (noted[0][0].table, noted[0][0].encoder.model, noted[0][0].grid.overlap) == ("list.csv", "test_vit", 64)
    assert run(["prepare", str(tmp_path / "job.yaml"), "--slides", "a.svs", "--out", "o"]) == 0
    assert (noted[1][0].table, noted[1][0].slides) == (None, ["a.svs"])


def test_options_of_slides_are_refused_elsewhere(noted, tmp_path, capfd):
    (tmp_path / "pairs.yaml").write_text("kind: pairs\n")
    assert run(["prepare", str(tmp_path / "pairs.yaml"), "--slides", "a.svs", "--out", "o"]) == 2
    assert 'a configuration of kind "slides" is needed here' in capfd.readouterr().err
    assert run(["prepare", "--slides", "a.svs", "--dataset", "pathmnist", "--out", "o"]) == 2
    assert "name one thing to prepare" in capfd.readouterr().err
    assert not noted
