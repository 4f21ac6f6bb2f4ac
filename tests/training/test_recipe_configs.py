"""Every shipped recipe loads, and its comments stay true to the defaults they quote."""

import pytest

from medvlp.config import load
from medvlp.training.align import AlignConfig, PairBatches, check
from medvlp.training.knowledge import KnowledgeConfig

STAGE_2 = ["keep", "clip", "siglip", "keep_cpu", "clip_cpu", "siglip_cpu"]


@pytest.mark.parametrize("name", ["knowledge", "knowledge_cpu"])
def test_stage_1(name):
    config = load(name, kind="knowledge")
    assert isinstance(config, KnowledgeConfig)
    assert config.objective.name == "knowledge_metric"


@pytest.mark.parametrize("name", STAGE_2)
def test_stage_2(name):
    config = load(name, kind="align")
    assert isinstance(config, AlignConfig)
    check(config)
    assert config.objective.name == {"keep": "semantic_groups"}.get(name.partition("_")[0], name.partition("_")[0])
    assert isinstance(config.batches, PairBatches) == (not name.startswith("keep"))
    assert config.cached_features == name.endswith("_cpu")


def test_keep_has_the_papers_numbers():
    config = load("keep")
    assert (config.batches.groups_per_batch, config.batches.instances) == (32, 4)
    assert config.objective.variant == "lhp-hn"
    assert config.model.logit_scale_init == 25
    assert (config.optimizer.lr, config.optimizer.betas, config.optimizer.eps) == (1e-5, (0.9, 0.98), 1e-6)
    augment = config.text_augment
    assert (augment.drop, augment.drop_share, augment.knowledge, augment.path) == (0.5, 0.4, 0.5, 0.5)


@pytest.mark.parametrize(("name", "cls"), [("knowledge", KnowledgeConfig), ("keep", AlignConfig)])
def test_every_top_level_key_is_written_out(name, cls):
    from medvlp.config_files import find_config

    text = find_config(name).read_text()
    missing = [key for key in cls.model_fields if f"\n{key}:" not in text]
    assert not missing
