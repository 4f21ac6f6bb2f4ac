"""Methods that ask for entities: they learn, go on where they were cut, and differ by knowledge in texts alone."""

import shutil

import numpy as np
import pytest
import torch
from asking_cases import ENTITIES, asking_config

from medvlp.encoders.weights import read_state_dict
from medvlp.errors import ConfigError, TrainingError
from medvlp.objectives.base import Seen
from medvlp.objectives.clip import ClipObjective
from medvlp.objectives.devide import DevideObjective
from medvlp.objectives.kad import KadObjective
from medvlp.objectives.medklip import MedklipObjective
from medvlp.training.align import AlignRecipe, Freezing, check, train
from medvlp.training.log import read_log
from medvlp.training.loop import Engine, make_fabric
from medvlp.training.optim import OptimizerConfig

METHODS = {
    "medklip": MedklipObjective.Config(),
    "medklip published": MedklipObjective.Config(compat="published", queries="trained"),
    "medklip learned": MedklipObjective.Config(uncertain="learned"),
    "devide": DevideObjective.Config(threshold=0.0, retrieve=2),
    "devide trained": DevideObjective.Config(queries="trained", descriptions=1, threshold=0.0),
    "kad": KadObjective.Config(),
    "kad random": KadObjective.Config(memory="random", queries="trained", uncertain=0.3),
}
UNUSED = {
    "medklip": ["image_head", "logit_scale"],
    "kad": [],
    "devide": ["decoder"],
}  # the contrast's, which these methods have not
each_method = pytest.mark.parametrize("method", METHODS)
each_default = pytest.mark.parametrize("method", ["medklip", "kad", "devide"])


def config_of(place, bert, method, **changes):
    freeze = [] if METHODS[method].queries == "trained" else ["text_tower"]
    return asking_config(place, bert, METHODS[method], freeze=Freezing(always=freeze), **changes)


def recipe_of(config, use_cache=False):
    return AlignRecipe(config, make_fabric(config), None, use_cache)


def losses_of(run):
    return {record["step"]: record["loss"] for record in read_log(run) if record["kind"] == "train"}


@each_method
def test_a_cut_run_goes_on_as_if_it_had_not_been(place, bert, tmp_path, method):
    config = config_of(place, bert, method)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config, whole)
    train(config, cut)
    shutil.rmtree(cut / "checkpoints" / "step-00000006")
    train(config, cut)
    first, second = losses_of(whole), losses_of(cut)
    assert first.keys() == second.keys()
    assert {step: second[step] for step in (5, 6)} == {step: first[step] for step in (5, 6)}
    assert (cut / "checkpoints" / "step-00000006" / "objective.safetensors").is_file()


@each_method
def test_every_parameter_that_learns_gets_a_gradient(place, bert, method):
    recipe = recipe_of(config_of(place, bert, method))
    fabric = make_fabric(recipe.config)
    recipe.begin_step(0)
    seen = dict.fromkeys((name for name, p in recipe.module.named_parameters() if p.requires_grad), 0.0)
    stream = recipe.batches(0, 0, 1)
    engine = Engine(recipe, fabric)
    for _ in range(4):
        batch = next(stream)
        losses, _, total = _losses(recipe, engine, batch)
        assert torch.isfinite(losses.total)
        recipe.module.zero_grad()
        total.backward()
        for name, parameter in recipe.module.named_parameters():
            if parameter.grad is not None:
                seen[name] += float(parameter.grad.abs().sum())
    unused = tuple(f"model.{part}" for part in UNUSED[method.split()[0]])
    assert [name for name, size in seen.items() if size == 0 and not name.startswith(unused)] == []


def _losses(recipe, engine, batch):
    engine.module = recipe.module
    return engine._losses(batch)


@pytest.mark.slow
@each_method
def test_it_learns(place, bert, tmp_path, method):
    optimizer = OptimizerConfig(lr=3e-3, warmup_steps=2, weight_decay=0.01)
    train(config_of(place, bert, method, steps=40, optimizer=optimizer, batch_norm="batch"), tmp_path / "run")
    losses = list(losses_of(tmp_path / "run").values())
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])


@each_default
def test_cached_places_are_the_fresh_ones(place, bert, tmp_path, method):
    always = ["image_tower", "text_tower", "heads", "scale"]
    config = config_of(place, bert, method)
    frozen = config.model_copy(update={"freeze": Freezing(always=always), "cache": str(tmp_path / "cache")})
    cached = frozen.model_copy(update={"cached_features": True})
    out = []
    for recipe in (recipe_of(frozen), recipe_of(cached, use_cache=True)):
        recipe.module.eval()
        torch.manual_seed(0)
        made = recipe.module(*recipe.inputs(next(recipe.batches(0, 0, 1))))
        out.append(made[-1])
    assert out[0].keys() == out[1].keys()
    for name, tensor in out[0].items():
        torch.testing.assert_close(tensor, out[1][name], atol=1e-4, rtol=1e-3, msg=name)


@each_default
def test_a_rehearsal_works(place, bert, tmp_path, method):
    train(config_of(place, bert, method), tmp_path / "run", dry_run=True)
    assert not (tmp_path / "run").exists()


def test_several_add_up_and_each_keeps_its_heads(place, bert, tmp_path):
    both = [METHODS["medklip"], ClipObjective.Config(positives="text"), METHODS["kad"]]
    train(asking_config(place, bert, both, steps=2), tmp_path / "run")
    terms = {"medklip_existence", "medklip_location", "clip", "kad_image", "kad_text", "kad_contrast"}
    assert read_log(tmp_path / "run")[0].keys() >= terms
    saved = read_state_dict(tmp_path / "run" / "checkpoints" / "step-00000002" / "objective.safetensors")
    assert set(saved) == {
        f"{owner}.{part}.{kind}"
        for owner, part in (("MedklipObjective", "place"), ("KadObjective", "text_place"))
        for kind in ("weight", "bias")
    }


def queries(place, bert, knowledge):
    recipe = recipe_of(asking_config(place, bert, METHODS["medklip"], knowledge=knowledge))
    heads = recipe.objective.heads
    return (
        heads.queries.feature_NI,
        heads.positions.feature_NI,
        heads.above_PP,
        sum(p.numel() for p in recipe.module.parameters()),
    )


def test_knowledge_changes_what_is_asked_and_the_hierarchy_alone(place, bert):
    real, permuted, none = (queries(place, bert, kind) for kind in ("real", "permuted", "none"))
    assert real[0].shape == permuted[0].shape == none[0].shape == (len(ENTITIES), 32)
    assert torch.equal(real[1], permuted[1])
    assert torch.equal(real[1], none[1])
    rows = {tuple(row.tolist()) for row in real[0]}
    assert {tuple(row.tolist()) for row in permuted[0]} == rows
    assert not any(torch.equal(a, b) for a, b in zip(real[0], permuted[0], strict=True))
    assert not rows & {tuple(row.tolist()) for row in none[0]}
    assert real[2].sum() == permuted[2].sum() == 2
    assert not torch.equal(real[2], permuted[2])
    assert none[2].sum() == 0
    assert real[3] == permuted[3] == none[3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entities": None}, "entities: objective medklip asks for entities; name a folder of `medvlp entities`"),
        ({"freeze": Freezing()}, "objective.queries: texts are encoded once, but the text tower learns"),
    ],
)
def test_what_does_not_fit_is_refused_at_the_start(place, bert, tmp_path, changes, message):
    with pytest.raises(ConfigError) as caught:
        train(asking_config(place, bert, METHODS["medklip"], **changes), tmp_path / "run")
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "run").exists()


def test_a_model_without_a_decoder_is_refused(place, bert, tmp_path):
    config = asking_config(place, bert, METHODS["medklip"])
    config = config.model_copy(update={"model": config.model.model_copy(update={"decoder": None})})
    with pytest.raises(ConfigError, match=r"^model.decoder: objective medklip asks through a query decoder"):
        train(config, tmp_path / "run")


def test_texts_can_be_what_they_say_of_findings(place, bert):
    config = asking_config(place, bert, METHODS["kad"], entity_strings=True, texts_per_image=2)
    batch = next(recipe_of(config).batches(0, 0, 1))
    for text, triples, owner in zip(batch.texts, batch.triples, batch.text_owner_M, strict=True):
        label = batch.keys[owner].split("-")[0]
        assert text == (f"{label} [SEP] present" if triples else f"an image of {label} tissue with s and x .")
    assert {bool(triples) for triples in batch.triples} == {True, False}
    with pytest.raises(ConfigError, match=r"^entity_strings: needs triples of the texts; name a folder as entities"):
        check(config.model_copy(update={"entities": None}))


def test_other_entities_are_refused_on_resume(place, bert, tmp_path):
    from medvlp.data.entities import Entities, Entity

    config = asking_config(place, bert, METHODS["medklip"], steps=2)
    train(config, tmp_path / "run")
    known = Entities.load(place / "entities")
    others = [Entity(one.name, one.concepts, (("definition", "x"),)) for one in known.entities]
    Entities(others, known.positions, known.keys, known.position_NQP).save(tmp_path / "others")
    with pytest.raises(TrainingError, match=r"entities \(content\) was .*the entities are others"):
        train(config.model_copy(update={"entities": str(tmp_path / "others")}), tmp_path / "run")


def test_the_text_tower_that_learns_is_asked_in_each_step(place, bert):
    recipe = recipe_of(config_of(place, bert, "medklip published"))
    heads = recipe.objective.heads
    assert heads.queries.feature_NI is None
    with torch.no_grad():
        text = recipe.model.eval().text_features(*recipe.model.tokenize([t[0] for t in ENTITIES.values()]))
        seen = Seen(None, None, None, None, None, {}, None, recipe.module._pooled_text)
        torch.testing.assert_close(heads.queries(seen), text, atol=1e-5, rtol=1e-4)


def test_devides_descriptions_go_where_a_class_that_is_asked_goes(place, bert):
    recipe = recipe_of(config_of(place, bert, "devide"))
    model, heads = recipe.model.eval(), recipe.objective.heads
    assert [name for name, _ in heads.named_parameters()] == ["bias_Q"]
    seen = Seen(None, None, None, None, None, {}, None, None, project_text=model.project_text)
    with torch.no_grad():
        description_ED = heads(seen)["devide.description_ED"]
    asked = model.encode_text([ENTITIES[name][0] for name in ENTITIES])
    near = description_ED @ asked.T
    assert near.max(0).values.allclose(torch.ones(len(ENTITIES)), atol=1e-5)
    apart = METHODS["devide"].model_copy(update={"projection": "own"})
    own = AlignRecipe(
        asking_config(place, bert, apart, freeze=Freezing(always=["text_tower"])),
        make_fabric(recipe.config),
        None,
        False,
    )
    assert {name for name, _ in own.objective.heads.named_parameters()} == {"bias_Q", "layer.weight", "layer.bias"}
