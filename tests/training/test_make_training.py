"""MAKE and the word-region baseline in the engine: they train, resume exactly, and long texts arrive whole."""

import numpy as np
import pytest
import torch
from tiny_models import write_bert
from training_cases import align_config

import medvlp
from medvlp.config import load
from medvlp.encoders.text import TextEncoder
from medvlp.errors import ConfigError, DataError
from medvlp.objectives.base import Outputs
from medvlp.objectives.clip import ClipObjective
from medvlp.objectives.gather import LocalGather
from medvlp.objectives.local import LocalObjective
from medvlp.objectives.make import MakeObjective
from medvlp.training.align import AlignConfig, AlignRecipe, PairBatches, check, train
from medvlp.training.aspects import AspectTexts
from medvlp.training.log import read_log
from medvlp.training.loop import make_fabric

pytestmark = pytest.mark.extras
MAKE = {
    "objective": MakeObjective.Config(threshold=-1.0),
    "batches": PairBatches(batch_size=6),
    "texts_per_image": 6,
    "repeat_texts": False,
    "text_augment": None,
    "aspect_texts": AspectTexts.Config(num_sub=3),
    "steps": 4,
}
LOCAL = {
    "objective": [ClipObjective.Config(), LocalObjective.Config()],
    "batches": PairBatches(batch_size=6),
    "text_augment": None,
    "steps": 4,
}


def recipe_of(config):
    return AlignRecipe(config, make_fabric(config), None, use_cache=False)


@pytest.mark.parametrize(("settings", "terms"), [(MAKE, {"make_aspects", "make_local"}), (LOCAL, {"clip", "local"})])
def test_training_goes_on_exactly_where_it_stopped(place, bert, tmp_path, settings, terms):
    config = align_config(place, bert, "test_efficientnet", **settings)
    train(config, tmp_path / "whole")
    records = [record for record in read_log(tmp_path / "whole") if record["kind"] == "train"]
    assert terms <= records[-1].keys()
    assert all(np.isfinite(record["loss"]) for record in records)
    train(config, tmp_path / "again", resume=str(tmp_path / "whole" / "checkpoints" / "step-00000002"))
    one, other = (medvlp.load(tmp_path / name).state_dict() for name in ("whole", "again"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("settings", [MAKE, LOCAL])
def test_every_parameter_gets_a_gradient(place, bert, settings):
    recipe = recipe_of(align_config(place, bert, "test_efficientnet", **settings))
    batch = next(recipe.batches(0, 0, 1))
    losses = recipe.objective(Outputs(*recipe.module(*recipe.inputs(batch))), batch, LocalGather())
    losses.total.backward()
    silent = [
        name
        for name, parameter in recipe.module.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert [name for name in silent if "pooler" not in name and "position" not in name] == []


def test_each_kind_of_knowledge_gives_equally_many_texts_to_the_same_images(place, bert):
    batches = {
        kind: next(recipe_of(align_config(place, bert, knowledge=kind, **MAKE)).batches(0, 0, 1))
        for kind in ("real", "permuted", "none")
    }
    real = batches["real"]
    for other in (batches["permuted"], batches["none"]):
        assert other.keys == real.keys
        assert other.text_aspect_M.sort().values.tolist() == real.text_aspect_M.sort().values.tolist()
        assert (other.text_valid_M is None) == (real.text_valid_M is None)
    assert set(batches["none"].texts) != set(real.texts)
    assert not any("a kind of" in text for text in batches["none"].texts)
    assert batches["none"].label_B is None


def test_the_end_of_a_text_beyond_77_tokens_reaches_the_embedding(tmp_path):
    folder = write_bert(tmp_path / "bert", positions=160)
    texts = ["the " * 100 + end for end in ("lung", "colon")]
    apart = {}
    for length in (77, 128):
        encoder = TextEncoder(TextEncoder.Config(model=str(folder), context_length=length)).eval()
        with torch.no_grad():
            apart[length] = torch.dist(*encoder(*encoder.tokenize(texts))).item()
    assert apart[77] == 0
    assert apart[128] > 1e-3


def test_settings_that_spoil_aspect_texts_and_objectives_that_take_no_filling(place, bert):
    with pytest.raises(ConfigError, match="text_augment: would drop words of aspect texts"):
        check(align_config(place, bert, aspect_texts=AspectTexts.Config()))
    with pytest.raises(ConfigError, match="repeat_texts: would give an image a second ontology sentence"):
        check(align_config(place, bert, aspect_texts=AspectTexts.Config(), text_augment=None))
    with pytest.raises(DataError, match="use an objective that leaves texts out"):
        recipe_of(align_config(place, bert, **{**MAKE, "objective": ClipObjective.Config()}))


@pytest.mark.parametrize("name", ["make", "make_cpu", "local", "local_cpu"])
def test_the_shipped_recipes(name):
    config = load(name, kind="align")
    assert isinstance(config, AlignConfig)
    check(config)
    assert config.cached_features == name.endswith("_cpu")
    if name.startswith("make"):
        assert config.texts_per_image == 3 + config.aspect_texts.num_sub
        assert config.model.text.context_length > 77
    else:
        assert (config.knowledge, [one.name for one in config.objective]) == ("none", ["clip", "local"])


def test_make_has_the_papers_numbers():
    config = load("make")
    objective = config.objective
    assert (objective.multi_aspect, objective.local, objective.threshold, objective.guidance) == (1.0, 0.7, 0.3, True)
    assert (config.texts_per_image, config.batches.batch_size, config.aspect_texts.num_sub) == (11, 2048, 8)
    assert (config.optimizer.lr, config.optimizer.weight_decay, config.optimizer.warmup_steps) == (1e-4, 0.1, 1500)
