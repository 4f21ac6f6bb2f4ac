"""ARL on the tiny store: it learns, goes on where it was cut, hides what it guesses, and differs by knowledge alone."""

import shutil

import numpy as np
import pytest
import torch
from asking_cases import asking_config, write_entities

from medvlp.data.entities import Entities, Entity
from medvlp.errors import ConfigError, TrainingError
from medvlp.fusion.graph_attention import GraphAttention
from medvlp.fusion.knowledge_stream import KnowledgeFusion
from medvlp.fusion.place_decoder import PlaceDecoder
from medvlp.knowledge.vectors import EntityVectors
from medvlp.objectives.arl import ArlObjective
from medvlp.training.align import AlignRecipe, Freezing, train
from medvlp.training.log import read_log
from medvlp.training.loop import Engine, make_fabric
from medvlp.training.optim import OptimizerConfig

SMALL = {
    "attention": GraphAttention.Config(width=32, hidden=8, heads=2),
    "fusion": KnowledgeFusion.Config(layers=2, heads=2, stream_heads=2),
    "decoder": PlaceDecoder.Config(width=16, layers=1, heads=2),
    "mask_tokens": 0.4,
}
METHODS = {
    "pixels": ArlObjective.Config(**SMALL),
    "places": ArlObjective.Config(**SMALL, reconstruct="places"),
    "own": ArlObjective.Config(**SMALL, projection="own", hops=1),
}
each_method = pytest.mark.parametrize("method", METHODS)
TERMS = {"arl_align", "arl_tokens", "arl_places", "arl_matching"}
CONCEPTS = {"lung": ("T:2",), "colon": ("T:3",), "nevus": ("gone", "T:4")}
UNUSED = ("model.decoder",)  # the query decoder, which ARL has not


@pytest.fixture(scope="module")
def place(place):
    """The tiny store with entities of which a text names two, and which the graph knows."""
    plain = Entities.load(write_entities(place / "arl_plain", place / "pairs"))
    entities = [Entity(one.name, CONCEPTS[one.name], one.descriptions) for one in plain.entities] + [Entity("tissue")]
    position_NQP = np.concatenate([plain.position_NQP, np.ones_like(plain.position_NQP[:, :1])], 1)
    Entities(entities, plain.positions, plain.keys, position_NQP).save(place / "arl")
    return place


def config_of(place, bert, method, **changes):
    changes = {"freeze": Freezing(), "texts_per_image": 2, "entities": str(place / "arl"), **changes}
    return asking_config(place, bert, METHODS[method], **changes)


def recipe_of(config, use_cache=False):
    return AlignRecipe(config, make_fabric(config), None, use_cache)


def losses_of(run):
    return {record["step"]: record["loss"] for record in read_log(run) if record["kind"] == "train"}


@pytest.mark.parametrize("method", ["pixels", "places"])
def test_a_cut_run_goes_on_as_if_it_had_not_been(place, bert, tmp_path, method):
    config = config_of(place, bert, method, steps=4)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config, whole)
    train(config, cut)
    last = sorted((cut / "checkpoints").glob("step-*"))[-1]
    assert (last / "objective.safetensors").is_file()
    shutil.rmtree(last)
    train(config, cut)
    assert losses_of(whole) == losses_of(cut)
    assert read_log(whole)[0].keys() >= TERMS


@each_method
def test_every_parameter_that_learns_gets_a_gradient(place, bert, method):
    recipe = recipe_of(config_of(place, bert, method))
    recipe.begin_step(0)
    seen = dict.fromkeys((name for name, p in recipe.module.named_parameters() if p.requires_grad), 0.0)
    stream = recipe.batches(0, 0, 1)
    engine = Engine(recipe, make_fabric(recipe.config))
    engine.module = recipe.module
    for _ in range(6):
        losses, _, total = engine._losses(next(stream))
        assert torch.isfinite(losses.total)
        recipe.module.zero_grad()
        total.backward()
        for name, parameter in recipe.module.named_parameters():
            if parameter.grad is not None:
                seen[name] += float(parameter.grad.abs().sum())
    unused = (*UNUSED, *(("model.image_head", "model.text_head", "model.logit") if method == "own" else ()))
    assert [name for name, size in seen.items() if size == 0 and not name.startswith(unused)] == []


@pytest.mark.slow
@each_method
def test_it_learns(place, bert, tmp_path, method):
    optimizer = OptimizerConfig(lr=3e-3, warmup_steps=2, weight_decay=0.01)
    train(config_of(place, bert, method, steps=60, optimizer=optimizer, batch_norm="batch"), tmp_path / "run")
    log = [record for record in read_log(tmp_path / "run") if record["kind"] == "train"]
    for term in ("loss", "arl_align", "arl_tokens"):
        assert np.mean([record[term] for record in log[-5:]]) < 0.9 * np.mean([record[term] for record in log[:5]]), (
            term
        )


def test_cached_places_give_the_same_losses(place, bert, tmp_path):
    always = Freezing(always=["image_tower", "text_tower"])
    frozen = config_of(place, bert, "places", freeze=always, cache=str(tmp_path / "cache"))
    out = []
    for recipe in (recipe_of(frozen), recipe_of(frozen.model_copy(update={"cached_features": True}), use_cache=True)):
        recipe.module.eval()
        torch.manual_seed(0)
        out.append(recipe.module(*recipe.inputs(next(recipe.batches(0, 0, 1))))[-1])
    assert out[0].keys() == out[1].keys()
    for name, tensor in out[0].items():
        torch.testing.assert_close(tensor, out[1][name], atol=1e-4, rtol=1e-3, msg=name)


def test_texts_that_mention_nothing_are_learned_from_too(place, bert):
    recipe = recipe_of(config_of(place, bert, "places"))
    recipe.begin_step(0)
    batch = next(recipe.batches(0, 0, 1))
    torch.manual_seed(0)
    made = recipe.module(*recipe.inputs(batch))[-1]
    assert 0 < made["arl.mention_share"] <= 1
    ids_ML, mask_ML = recipe.model.tokenize(["x"] * len(batch.texts))
    given = {**recipe.module.given(batch), "token_ids_ML": ids_ML, "token_mask_ML": mask_ML}
    made = recipe.module(given)[-1]
    assert made["arl.mention_share"] == 0
    sum(value.sum() for value in made.values() if value.requires_grad).backward()
    stream = [p.grad for name, p in recipe.module.heads.named_parameters() if ".stream." in name]
    assert stream
    assert all(grad is not None and torch.isfinite(grad).all() for grad in stream)


def test_a_rehearsal_works(place, bert, tmp_path):
    train(config_of(place, bert, "pixels"), tmp_path / "run", dry_run=True)
    assert not (tmp_path / "run").exists()


def test_knowledge_changes_the_entity_graph_alone(place, bert):
    heads, sizes = {}, set()
    for knowledge in ("real", "permuted", "none"):
        recipe = recipe_of(config_of(place, bert, "places", knowledge=knowledge))
        heads[knowledge] = recipe.objective.heads
        sizes.add(len(recipe.batches(0, 0, 1).__next__().texts))
    assert len(sizes) == 1
    assert all(head.share == 0 for head in heads.values())  # no folder of vectors
    edges = {knowledge: head.nodes.edge_2E.T.tolist() for knowledge, head in heads.items()}
    assert edges["none"] == []
    assert [0, 5] in edges["real"]  # lung carcinoma and carcinoma, which is no entity
    assert edges["real"] != edges["permuted"]
    assert torch.equal(heads["real"].find.name_AW, heads["permuted"].find.name_AW)


def test_entity_vectors_start_from_a_folder_and_the_log_says_for_how_many(place, bert, tmp_path):
    numbers = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    vectors = EntityVectors(("T:1", "T:2", "T:3"), ("is_a",), numbers, numbers[:1], {})
    vectors.save(tmp_path / "vectors", {}, {})
    objective = ArlObjective.Config(**SMALL, reconstruct="places", vectors=str(tmp_path / "vectors"))
    unit = torch.nn.functional.normalize(torch.from_numpy(numbers), dim=1)
    starts = {}
    for knowledge in ("real", "permuted", "none"):
        config = config_of(place, bert, "places", knowledge=knowledge, steps=1).model_copy(
            update={"objective": objective}
        )
        starts[knowledge] = recipe_of(config).objective.heads.nodes.node_NX.detach()[:2]
        train(config, tmp_path / knowledge)
        share = 0.0 if knowledge == "none" else 0.5  # two of four entities
        assert read_log(tmp_path / knowledge)[0]["vectors_share"] == share
    torch.testing.assert_close(starts["real"], unit[1:])
    same = [[torch.allclose(row, one) for one in unit] for row in starts["permuted"]]
    assert [sum(row) for row in same] == [1, 1]
    assert not same[0][1]
    assert not same[1][2]
    assert not any(torch.allclose(row, one) for row in starts["none"] for one in unit)


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("places", {"entities": None}, "entities: objective arl asks for entities; name a folder of `medvlp entities`"),
        ("width", {}, "objective.attention.width: entity vectors of width 16 cannot be compared with embeddings of 32"),
        ("vectors", {}, "holds no entity vectors; make them with `medvlp vectors`"),
    ],
)
def test_what_does_not_fit_is_refused_at_the_start(place, bert, tmp_path, method, changes, message):
    others = {
        "width": ArlObjective.Config(**{**SMALL, "attention": GraphAttention.Config(width=16)}),
        "vectors": ArlObjective.Config(**SMALL, vectors=str(tmp_path / "none")),
    }
    config = config_of(place, bert, "places", **changes)
    config = config.model_copy(update={"objective": others.get(method, METHODS["places"])})
    with pytest.raises(ValueError) as caught:
        train(config, tmp_path / "run")
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_pixels_cannot_be_guessed_from_images_embedded_once(place, bert, tmp_path):
    always = Freezing(always=["image_tower", "text_tower"])
    config = config_of(place, bert, "pixels", freeze=always, cached_features=True, cache=str(tmp_path / "cache"))
    with pytest.raises((ConfigError, TrainingError), match="image_BCHW"):
        train(config, tmp_path / "run")
