"""Training goes on from published weights, imported or named directly."""

import pytest
import torch
from published_folders import write_hf_clip
from tiny_models import pictures

import medvlp
from medvlp.errors import ConfigError
from medvlp.model import DualEncoder
from medvlp.published import import_weights
from medvlp.training.align import AlignConfig, train

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def plip(clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "plip"
    write_hf_clip(folder, own_vocabulary=True)
    return folder


def recipe(store, **changes):
    values = {
        "data": str(store.folder), "knowledge": "none", "steps": 2, "objective": {"name": "clip"},
        "batches": {"name": "pairs", "batch_size": 4}, "text_augment": None, "freeze": {"parts": []},
    }  # fmt: skip
    return AlignConfig.model_validate({**values, **changes})


def test_from_an_import_and_from_the_published_folder(store, plip, tmp_path):
    import_weights(plip, tmp_path / "own")
    published = medvlp.load(tmp_path / "own")
    trained = []
    for name, start in (("a", str(tmp_path / "own")), ("b", f"hf_clip:{plip}")):
        checkpoint = train(recipe(store, start=start), tmp_path / name)
        trained.append(medvlp.load(checkpoint).encode_image(pictures(2)))
    before = published.encode_image(pictures(2))
    assert 0 < (trained[0] - before).abs().max() < 0.2  # two small steps away from the published weights
    assert torch.equal(trained[0], trained[1])


def test_model_and_start_together(store, plip, tmp_path):
    config = recipe(store, start=f"hf_clip:{plip}", model=DualEncoder.Config(embed_dim=8).model_dump())
    with pytest.raises(ConfigError, match=r"start: `model` and `start` both say what to train; leave one of them out"):
        train(config, tmp_path / "run")
