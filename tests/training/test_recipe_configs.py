"""Every shipped recipe loads, and its comments stay true to the defaults they quote."""

import pytest

from medvlp.config import load
from medvlp.training.align import AlignConfig, PairBatches, check
from medvlp.training.knowledge import KnowledgeConfig

STAGE_2 = ["keep", "clip", "siglip", "kep", "keep_cpu", "clip_cpu", "siglip_cpu", "kep_cpu"]


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


def test_kep_has_the_published_numbers():
    config = load("kep")
    assert (config.objective.image_text, config.objective.text_knowledge) == (1, 0.3)
    assert (config.model.logit_scale_init, config.batches.batch_size) == (25, 256)
    assert (config.optimizer.lr, config.optimizer.weight_decay, config.optimizer.warmup_steps) == (1e-5, 0.2, 3000)
    assert (config.knowledge, config.text_augment) == ("none", None)
    assert config.model.text.weights == config.knowledge_encoder


def test_the_arms_of_kep_differ_in_start_and_second_term_alone():
    arms = {name: load(f"kep_ablation/{name}") for name in ("none", "init", "distill", "full", "permuted")}
    real, permuted = "runs/knowledge", "runs/knowledge_permuted"
    for name, start, encoder, weight in (
        ("none", "model", None, 0.0),
        ("init", real, None, 0.0),
        ("distill", "model", real, 0.3),
        ("full", real, real, 0.3),
        ("permuted", permuted, permuted, 0.3),
    ):
        check(arms[name])
        model = arms["full"].model
        expected = arms["full"].model_copy(
            update={
                "model": model.model_copy(update={"text": model.text.model_copy(update={"weights": start})}),
                "knowledge_encoder": encoder,
                "objective": arms["full"].objective.model_copy(update={"text_knowledge": weight}),
            }
        )
        assert arms[name] == expected, name
    assert arms["full"] == load("kep_cpu")


@pytest.mark.parametrize(("name", "cls"), [("knowledge", KnowledgeConfig), ("keep", AlignConfig)])
def test_every_top_level_key_is_written_out(name, cls):
    from medvlp.config_files import find_config

    text = find_config(name).read_text()
    missing = [key for key in cls.model_fields if f"\n{key}:" not in text]
    assert not missing
