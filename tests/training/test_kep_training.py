"""KEP in training: the frozen encoder sees the step's captions, stays as it is, and is part of what a run is."""

import json
import shutil

import pytest
import torch
from training_cases import CONCEPTS, align_config, knowledge_config

import medvlp
from medvlp.config import dump, load
from medvlp.encoders.text import TextEncoder
from medvlp.errors import CheckpointError, ConfigError, TrainingError
from medvlp.objectives.base import Losses
from medvlp.objectives.kep import KepObjective
from medvlp.training import knowledge
from medvlp.training.align import AlignRecipe, Freezing, PairBatches, check, train
from medvlp.training.frozen_text import FrozenTextEncoder, encoder_folder
from medvlp.training.log import read_log
from medvlp.training.loop import make_fabric
from medvlp.training.optim import OptimizerConfig
from medvlp.training.text_augment import TextAugment

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def stage_1(place, tmp_path_factory):
    run = tmp_path_factory.mktemp("stage1") / "run"
    knowledge.train(knowledge_config(place, place / "bert", steps=4), run)
    return run


def kep_config(place, bert, stage_1, **changes):
    settings = {
        "knowledge": "none",
        "knowledge_encoder": str(stage_1),
        "objective": KepObjective.Config(),
        "batches": PairBatches(batch_size=8),
        "text_augment": None,
    }
    return align_config(place, bert, **{**settings, **changes})


def test_the_encoder_gives_the_vectors_of_stage_1_for_the_captions_of_the_step(place, bert, stage_1):
    augment = TextAugment.Config(drop=0.9, knowledge=0.3, templates="pathology")
    config = kep_config(place, bert, stage_1, text_augment=augment, knowledge="real")
    recipe = AlignRecipe(config, make_fabric(config), None, use_cache=False)
    batch = next(recipe.batches(3, 0, 1))
    knowledge_MD = recipe.inputs(batch)[0]["knowledge_MD"]
    alone = TextEncoder.load(stage_1)
    with torch.no_grad():
        expected = torch.cat([alone(*alone.tokenize([text])) for text in batch.texts])
    torch.testing.assert_close(knowledge_MD, torch.nn.functional.normalize(expected, dim=-1), atol=1e-5, rtol=1e-4)
    assert not knowledge_MD.requires_grad
    assert set(batch.texts) - {text for row in recipe.data.captions for text in row}  # augmented, for both towers


def test_equal_texts_are_encoded_once_and_cut_ones_are_counted(stage_1, monkeypatch):
    encoder = FrozenTextEncoder(str(stage_1), 32, CPU)
    seen, tokenize = [], encoder.encoder.tokenize
    monkeypatch.setattr(encoder.encoder, "tokenize", lambda texts: seen.append(texts) or tokenize(texts))
    long = "lung " * 60
    vectors = encoder(["lung", long, "lung", "colon"])
    assert seen == [["lung", long, "colon"]]
    assert torch.equal(vectors[0], vectors[2])
    assert not torch.equal(vectors[0], vectors[3])
    assert encoder.truncated_share() == pytest.approx(1 / 3)
    assert encoder.truncated_share() == 0


def test_a_run_trains_the_text_tower_and_neither_changes_nor_saves_the_encoder(place, bert, stage_1, tmp_path):
    config = kep_config(place, bert, stage_1)
    before = {path: path.read_bytes() for path in encoder_folder(str(stage_1)).iterdir()}
    recipe = AlignRecipe(config, make_fabric(config), None, use_cache=False)
    start = recipe.model.state_dict()
    recipe.begin_step(0)
    assert not recipe.knowledge_encoder.encoder.training
    assert not any(parameter.requires_grad for parameter in recipe.knowledge_encoder.encoder.parameters())
    checkpoint = train(config, tmp_path / "run")
    assert {path: path.read_bytes() for path in before} == before
    end = medvlp.load(checkpoint).state_dict()
    assert end.keys() == start.keys()  # the encoder is no part of the model
    assert any(not torch.equal(end[name], start[name]) for name in end if name.startswith("text."))
    record = [record for record in read_log(tmp_path / "run") if record["kind"] == "train"][-1]
    assert record["loss"] == pytest.approx((record["image_text"] + 0.3 * record["text_knowledge"]) / 1.3, rel=1e-5)
    assert record["knowledge_truncated_share"] == 0
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    assert manifest["knowledge_encoder_digest"] == recipe.knowledge_encoder.digest


def test_cached_features_give_the_same_run(place, bert, stage_1, tmp_path):
    freeze = Freezing(always=["image_tower"])
    config = kep_config(place, bert, stage_1, freeze=freeze, cached_features=True, cache=str(tmp_path / "cache"))
    train(config, tmp_path / "cached")
    train(config.model_copy(update={"cached_features": False}), tmp_path / "plain")
    cached, plain = ([r["loss"] for r in read_log(tmp_path / run) if "loss" in r] for run in ("cached", "plain"))
    assert cached == pytest.approx(plain, rel=1e-3)


def test_resume_ends_with_the_same_bits_and_refuses_another_encoder(place, bert, stage_1, tmp_path):
    config = kep_config(place, bert, stage_1, text_augment=TextAugment.Config())
    train(config, tmp_path / "whole")
    middle = tmp_path / "whole" / "checkpoints" / "step-00000004"
    shutil.copytree(stage_1, tmp_path / "moved")
    again = train(config.model_copy(update={"knowledge_encoder": str(tmp_path / "moved")}), tmp_path / "again",
                  resume=str(middle))  # fmt: skip
    whole = tmp_path / "whole" / "checkpoints" / again.name
    assert (again / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    other = tmp_path / "other"
    knowledge.train(knowledge_config(place, bert, steps=2), other)
    with pytest.raises(TrainingError) as caught:
        train(config.model_copy(update={"knowledge_encoder": str(other)}), tmp_path / "again")
    assert "knowledge_encoder (content) was" in str(caught.value)
    assert str(caught.value).endswith("the frozen encoder is another one; start a new run with another --out")


def test_a_dry_run_leaves_nothing(place, bert, stage_1, tmp_path, capsys):
    train(kep_config(place, bert, stage_1), tmp_path / "run", dry_run=True)
    assert "dry run of align: one step on 8 items" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_loss_of_ones_own_may_read_it(place, bert, stage_1, tmp_path):
    def distance(out, batch, gather):
        return Losses({"distance": (1 - (out.text_MD * out.knowledge_MD).sum(1)).mean()}, {})

    from medvlp.objectives.clip import ClipObjective

    config = kep_config(place, bert, stage_1, objective=ClipObjective.Config(), steps=30, log_every=29)
    train(config, tmp_path / "run", objective=distance)
    first, last = (record["distance"] for record in read_log(tmp_path / "run") if record["kind"] == "train")
    assert last < first


def test_the_second_term_pulls_the_text_tower_to_its_encoder_and_permuted_knowledge_elsewhere(place, bert, tmp_path):
    """The control learns the same names, handed to other concepts."""
    from medvlp.knowledge.graph import DiseaseGraph

    synonyms = [entry.get("synonyms", []) for entry in CONCEPTS.values()]
    moved = synonyms[3:] + synonyms[:3]
    permuted = {key: {**entry, "synonyms": moved[row]} for row, (key, entry) in enumerate(CONCEPTS.items())}
    optimizer = OptimizerConfig(lr=3e-3, warmup_steps=5, weight_decay=0.0)
    texts = ["lung carcinoma", "colon adenoma", "nevus", "lung squamous x", "pleural effusion"]
    towers, targets = {}, {}
    for kind, concepts in (("real", CONCEPTS), ("permuted", permuted)):
        DiseaseGraph.from_dict(concepts).save(tmp_path / kind / "graph")
        stage_1 = knowledge_config(tmp_path / kind, bert, steps=40, optimizer=optimizer, checkpoint={"every": 0})
        knowledge.train(stage_1, tmp_path / kind / "run")
        objective = KepObjective.Config(image_text=0.0, text_knowledge=1.0, positives="text")
        config = kep_config(
            place, bert, tmp_path / kind / "run", knowledge="real", objective=objective, optimizer=optimizer,
            text_augment=TextAugment.Config(knowledge=1, path=0), steps=60, checkpoint={"every": 0},
        )  # fmt: skip
        towers[kind] = medvlp.load(train(config, tmp_path / f"to-{kind}")).encode_text(texts)
        targets[kind] = FrozenTextEncoder(str(tmp_path / kind / "run"), 32, CPU)(texts)
    cosine = {(a, b): float((towers[a] * targets[b]).sum(1).mean()) for a in towers for b in targets}
    for kind, other in (("real", "permuted"), ("permuted", "real")):
        assert cosine[kind, kind] > cosine[other, kind] + 0.1, cosine


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"knowledge_encoder": None},
            "knowledge_encoder: objective kep needs a frozen knowledge encoder; "
            "name a stage-1 run, or set objective.text_knowledge to 0",
        ),
        (
            {"objective": KepObjective.Config(text_knowledge=0.0)},
            "knowledge_encoder: no objective reads it; use objective kep, or remove it",
        ),
        (
            {"freeze": Freezing(always=["text_tower"])},
            "freeze.always: the text side is frozen, so nothing could learn from the knowledge encoder; "
            "train text_tower, or set objective.text_knowledge to 0",
        ),
    ],
)
def test_contradictions_are_refused(place, bert, stage_1, changes, message):
    with pytest.raises(ConfigError) as caught:
        check(kep_config(place, bert, stage_1, **changes))
    assert str(caught.value) == message


def test_a_wrong_folder_is_named(place, bert, stage_1, tmp_path):
    with pytest.raises(CheckpointError, match="knowledge_encoder: runs/nowhere: no such folder; train it first"):
        FrozenTextEncoder("runs/nowhere", 32, CPU)
    with pytest.raises(CheckpointError, match=r"holds no text_encoder\.json, so it is no text encoder of stage 1"):
        FrozenTextEncoder(str(bert), 32, CPU)
    with pytest.raises(CheckpointError, match=r"no config\.json in this folder"):
        FrozenTextEncoder(str(tmp_path), 32, CPU)
    with pytest.raises(
        ConfigError, match="gives 32 features, but the model's embedding has 48; set model.embed_dim to 32"
    ):
        FrozenTextEncoder(str(stage_1), 48, CPU)
    shutil.copytree(stage_1, tmp_path / "run")
    path = encoder_folder(str(tmp_path / "run")) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: differs from its sha256"):
        FrozenTextEncoder(str(tmp_path / "run"), 32, CPU)


def test_a_config_file_says_the_same_as_the_object(place, bert, stage_1, tmp_path):
    config = kep_config(place, bert, stage_1)
    (tmp_path / "own.yaml").write_text(dump(config))
    assert load(tmp_path / "own.yaml") == config
