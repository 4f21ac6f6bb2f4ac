"""The embedding job on the two real slides, one of them DICOM, and through the command line."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import tiny_model, write_bert

pytestmark = [pytest.mark.extras, pytest.mark.data]
pytest.importorskip("h5py")
pytest.importorskip("openslide")
WSI = Path(os.environ.get("MEDVLP_DATA", "/nowhere")) / "wsi"
if not WSI.is_dir():
    pytest.skip("MEDVLP_DATA is not set", allow_module_level=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from medvlp.model import save_model

    place = tmp_path_factory.mktemp("model")
    return save_model(tiny_model(write_bert(place / "bert")), place / "tiny")


def test_real_slides_become_vectors_that_answer_zero_shot(model, tmp_path, capfd):
    from medvlp.cli import run
    from medvlp.loading import load
    from medvlp.slides.features import for_zero_shot, read_features

    out = tmp_path / "out"
    command = ["prepare", "slides", "--slides", f"{WSI}/*.svs", "--slides", f"{WSI}/*.dcm", "--model", str(model)]
    command += ["--mpp", "0.5", "--set", "grid.overlap=64", "--out", str(out)]
    assert run(command) == 0, capfd.readouterr().err
    assert f"slides store: {out}" in capfd.readouterr().out
    states = {path.stem: json.loads(path.read_text()) for path in (out / "state").iterdir()}
    assert {state["status"] for state in states.values()} == {"done"}
    opened = load(model)
    classes_KD = opened.encode_text(["normal tissue", "carcinoma"])
    for key, state in states.items():
        features = read_features(out / "features" / f"{key}.h5", dim=32)
        assert len(features) == state["features"]["tiles"] == state["tiles"] > 10
        assert (features.encoder, features.projected, features.normalised) == ("tiny", True, True)
        assert features.step_level0 == round(192 * 0.5 / features.level0_mpp)
        cosine_NK = for_zero_shot(features, 32).features_ND @ classes_KD.T
        assert bool(torch.isfinite(cosine_NK).all())
        assert np.ptp(cosine_NK.numpy()) > 0


def test_without_resolution_the_slide_fails_with_the_remedy(model, tmp_path, capfd):
    import tifffile
    from PIL import Image

    image = np.asarray(Image.new("RGB", (600, 600), (180, 100, 160)))
    tifffile.imwrite(tmp_path / "bare.tif", image, tile=(256, 256), photometric="rgb")
    from medvlp.cli import run

    command = ["prepare", "--slides", str(tmp_path / "bare.tif"), "--model", str(model), "--out", str(tmp_path / "out")]
    assert run(command) == 2
    assert "1 of 1 slides failed; see summary.md" in capfd.readouterr().err
    assert "set mpp" in (tmp_path / "out" / "summary.md").read_text()
