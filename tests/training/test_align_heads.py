"""Objectives with learned parts of their own, in stage 2: training, resume, dry run, caches, texts that fill up."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from heads_cases import Asker, write_entities
from training_cases import align_config

from medvlp.config import dump
from medvlp.data.batch import ASPECTS, FILLER, NO_SWAP, Triple
from medvlp.data.entities import Entities, Entity, Position
from medvlp.data.swaps import Swaps
from medvlp.encoders.weights import read_state_dict
from medvlp.errors import DataError, TrainingError
from medvlp.fusion.query_decoder import QueryDecoder
from medvlp.training.align import AlignRecipe, Freezing, PairBatches, train
from medvlp.training.align_model import HEADS_FILE
from medvlp.training.draws import Draw
from medvlp.training.features import cached_tokens
from medvlp.training.log import read_log
from medvlp.training.loop import make_fabric

DECODER = QueryDecoder.Config(width=16, layers=1, heads=2, dropout=0.0)


@pytest.fixture(scope="module")
def entities(place, tmp_path_factory):
    return write_entities(tmp_path_factory.mktemp("heads") / "entities", place / "pairs")


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """The tiny text model without dropout, whose masks cannot be the same on one process and on two."""
    from tiny_models import write_bert

    folder = write_bert(tmp_path_factory.mktemp("calm") / "bert")
    settings = json.loads((folder / "config.json").read_text())
    settings.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def config_of(place, bert, entities, **changes):
    config = align_config(place, bert, entities=str(entities), batches=PairBatches(batch_size=8), **changes)
    return config.model_copy(update={"model": config.model.model_copy(update={"decoder": DECODER})})


def recipe_of(config, objective=None, use_cache=False):
    return AlignRecipe(config, make_fabric(config), Asker() if objective is None else objective, use_cache)


def everything(checkpoint):
    model = read_state_dict(checkpoint / "model.safetensors")
    return {**model, **{f"heads/{name}": t for name, t in read_state_dict(checkpoint / HEADS_FILE).items()}}


def test_heads_train_and_go_on_bit_for_bit(place, bert, entities, tmp_path):
    config = config_of(place, bert, entities, swaps=Swaps.Config(kinds=["side", "presence"]), steps=6)
    full = train(config, tmp_path / "full", objective=Asker())
    half = tmp_path / "full" / "checkpoints" / "step-00000004"
    resumed = train(config, tmp_path / "again", str(half), objective=Asker())
    first, second = everything(full), everything(resumed)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    start = recipe_of(config).module.heads.state_dict()
    assert all(not torch.equal(start[name], first[f"heads/{name}"]) for name in start)
    decoder = recipe_of(config).model.state_dict()
    assert not torch.equal(decoder["decoder.exists.weight"], first["decoder.exists.weight"])
    record = next(record for record in read_log(tmp_path / "full") if record["kind"] == "train")
    assert record["loss"] == pytest.approx(sum(record[name] for name in ("exists", "gap", "near", "swap")), rel=1e-5)
    assert "lr/objective" in record
    assert "lr/decoder" in record


def test_other_entities_are_another_run(place, bert, entities, tmp_path):
    config = config_of(place, bert, entities, steps=2)
    checkpoint = train(config, tmp_path / "run", objective=Asker())
    loaded = Entities.load(entities)
    flipped = 1 - np.clip(loaded.position_NQP, 0, 1)
    Entities(loaded.entities, loaded.positions, loaded.keys, flipped).save(tmp_path / "flipped")
    other = config.model_copy(update={"entities": str(tmp_path / "flipped")})
    with pytest.raises(TrainingError, match=r"entities \(content\) was"):
        train(other, tmp_path / "again", str(checkpoint), objective=Asker())


def test_a_dry_run_reads_the_heads_back(place, bert, entities, tmp_path, capsys):
    train(config_of(place, bert, entities), tmp_path / "run", dry_run=True, objective=Asker())
    assert "saved, read back, equal" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_an_objective_needs_and_data_lack_is_named(place, bert, entities, tmp_path):
    config = config_of(place, bert, entities).model_copy(update={"entities": None})
    with pytest.raises(TrainingError, match="needs the batch field 'entity_label_BQ'"):
        train(config, tmp_path / "run", objective=Asker())


def test_cached_places_are_the_fresh_ones(place, bert, entities, tmp_path):
    config = config_of(
        place, bert, entities, freeze=Freezing(always=["image_tower"]), cached_features=True,
        cache=str(tmp_path / "cache"), steps=3,
    )  # fmt: skip
    recipe = recipe_of(config, use_cache=True)
    tokens = cached_tokens(
        recipe.model, recipe.split, recipe.store.digest, tmp_path / "cache", torch.device("cpu"), batch_size=5
    )
    for row in (0, 7, 47):
        image = recipe.model.preprocess(recipe.split[row].image)[None]
        with torch.no_grad():
            pooled_BI, fresh_BNI = recipe.model.image_tokens(image)
        assert np.allclose(tokens[row], fresh_BNI[0].numpy(), atol=1e-5)
        item = recipe.data[Draw(step=0, slot=0, row=row)]
        assert torch.allclose(item.tokens_NI, fresh_BNI[0], atol=1e-5)
        assert torch.allclose(item.feature_I, pooled_BI[0], atol=1e-5)
    train(config, tmp_path / "cached", objective=Asker())
    train(config.model_copy(update={"cached_features": False}), tmp_path / "plain", objective=Asker())
    cached, plain = ([r["loss"] for r in read_log(tmp_path / run) if "loss" in r] for run in ("cached", "plain"))
    assert cached == pytest.approx(plain, rel=1e-3)


class Plain(Asker):
    """The same, but it counts texts that only fill up."""

    reads = Asker.reads - {"valid"}


def test_texts_that_fill_up_need_an_objective_that_leaves_them_out(place, bert, entities):
    config = config_of(place, bert, entities, texts_per_image=3, repeat_texts=False)
    with pytest.raises(DataError, match="an image has fewer than 3 captions"):
        recipe_of(config, Plain())
    batch = next(recipe_of(config).batches(0, 0, 1))
    assert batch.text_valid_M.tolist() == [True, True, False] * 8
    assert batch.texts[2::3] == [FILLER] * 8
    repeated = config.model_copy(update={"repeat_texts": True})
    batch = next(recipe_of(repeated, Plain()).batches(0, 0, 1))
    assert batch.text_valid_M is None
    assert FILLER not in batch.texts


def test_every_rank_knows_which_texts_count_or_none_does(place, bert, entities, tmp_path):
    from PIL import Image

    from medvlp.data.pairs import PairsStore, Row, Text

    image = Image.fromarray(np.full((24, 24, 3), 90, dtype=np.uint8))
    texts = [[Text("the lung"), Text("a lung")], [Text("the colon")]]
    rows = [Row(f"r{number}", image, texts[number == 0], "train", f"c{number}", number) for number in range(8)]
    PairsStore.write(tmp_path / "pairs", rows)
    known = Entities([Entity("x")], [Position("p")], [row.key for row in rows], np.zeros((8, 1, 1), dtype=int))
    config = config_of(
        place, bert, known.save(tmp_path / "entities"), data=str(tmp_path / "pairs"), texts_per_image=2,
        repeat_texts=False, text_augment=None,
    )  # fmt: skip
    recipe = recipe_of(config)
    masks = [next(recipe.batches(0, rank, 4)).text_valid_M.tolist() for rank in range(4)]
    assert sum(all(mask) for mask in masks) == 3
    assert sum(map(sum, masks)) == 15


def test_aspects_choose_captions_and_may_leave_none(place, bert, entities):
    config = config_of(place, bert, entities, aspects=["caption"], text_augment=None)
    batch = next(recipe_of(config).batches(0, 0, 1))
    assert set(batch.text_aspect_M.tolist()) == {ASPECTS.index("caption")}
    none = config.model_copy(update={"aspects": ["report"]})
    with pytest.raises(DataError, match="an image has fewer than 1 captions"):
        recipe_of(none, Plain())
    batch = next(recipe_of(none).batches(0, 0, 1))
    assert not batch.text_valid_M.any()


def test_swaps_are_equally_many_everywhere_and_change_no_other_draw(place, bert, entities):
    plain = config_of(place, bert, entities)
    config = plain.model_copy(update={"swaps": Swaps.Config(kinds=["presence", "severity"], per_image=2)})
    first, second = (recipe_of(one) for one in (plain, config))
    before, after = next(first.batches(1, 0, 1)), next(second.batches(1, 0, 1))
    assert before.texts == after.texts
    assert before.keys == after.keys
    assert len(after.swap_of_K) == 16
    for rank in (0, 1):
        assert len(next(second.batches(1, rank, 2)).swap_of_K) == 8
    counted = after.swap_of_K >= 0
    assert counted.any()
    owner_K = after.text_owner_M[after.swap_of_K.clamp(min=0)]
    assert owner_K[counted].tolist() == (torch.arange(16) // 2)[counted].tolist()
    again = next(recipe_of(config).batches(1, 0, 1))
    assert torch.equal(again.swap_ids_KL, after.swap_ids_KL)
    item = second.data[Draw(step=3, slot=1, row=5)]
    assert item.swaps == second.data[Draw(step=3, slot=1, row=5)].swaps
    assert item.swaps[1] == NO_SWAP or item.swaps[0].text != item.swaps[1].text


def test_swaps_of_a_mirrored_image_are_false_of_the_mirror_image(place, bert, entities, tmp_path):
    pytest.importorskip("albumentations", reason="needs the extra aug")
    from PIL import Image

    from medvlp.data.augment import Augment
    from medvlp.data.pairs import PairsStore, Row, Text

    image = Image.fromarray(np.full((64, 64, 3), 90, dtype=np.uint8))
    texts = [Text("effusion of the left lung")]
    PairsStore.write(tmp_path / "pairs", [Row(f"r{n}", image, texts, "train", f"c{n}", n) for n in range(8)])
    config = align_config(
        place, bert, data=str(tmp_path / "pairs"), batches=PairBatches(batch_size=8), text_augment=None,
        image_augment=Augment.Config(size=160, horizontal_flip=0.5, laterality="swap"),
        swaps=Swaps.Config(kinds=["side"]),
    )  # fmt: skip
    data = AlignRecipe(config, make_fabric(config), None, False).data
    items = [data[Draw(step=0, slot=slot, row=0)] for slot in range(16)]
    assert {item.texts[0] for item in items} == {"effusion of the left lung", "effusion of the right lung"}
    for item in items:
        assert {item.texts[0], item.swaps[0].text} == {"effusion of the left lung", "effusion of the right lung"}


def test_triples_follow_their_texts(place, bert, tmp_path):
    from medvlp.data.pairs import PairsStore

    keys = [key for name in ("train", "dev", "test") for key in PairsStore.load(place / "pairs").split(name).keys]
    triples = {key: {"the lung cell": [Triple("cell", "located at", "lung")]} for key in keys}
    made = Entities([Entity("x")], [Position("p")], keys, np.zeros((len(keys), 1, 1), dtype=int), None, triples)
    config = config_of(place, bert, made.save(tmp_path / "entities"), texts_per_image=2, text_augment=None)
    batch = next(recipe_of(config).batches(0, 0, 1))
    assert len(batch.triples) == len(batch.texts) == 16
    for text, found in zip(batch.texts, batch.triples, strict=True):
        assert bool(found) == (text == "the lung cell")


SCRIPT = """
import sys
sys.path[:0] = sys.argv[3:]
from heads_cases import Asker
from medvlp.config import load
from medvlp.training.align import train
train(load(sys.argv[1]), __import__("pathlib").Path(sys.argv[2]), objective=Asker())
"""


@pytest.mark.slow
def test_two_processes_with_heads_are_one(place, calm, entities, tmp_path):
    config = config_of(place, calm, entities, swaps=Swaps.Config(kinds=["presence"]), accumulate=2, steps=4)
    train(config, tmp_path / "one", objective=Asker())
    (tmp_path / "config.yaml").write_text(dump(config))
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(tmp_path / "script.py"), str(tmp_path / "config.yaml"), str(tmp_path / "two"), *sys.path[:2]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (
        [[r[name] for name in ("loss", "exists", "gap", "near", "swap", "gradient_norm")] for r in read_log(run)
         if r["kind"] == "train"]
        for run in (tmp_path / "one", tmp_path / "two")
    )  # fmt: skip
    for first, second in zip(one, two, strict=True):
        assert second == pytest.approx(first, rel=2e-3)
    heads = [everything(tmp_path / run / "checkpoints" / "step-00000004") for run in ("one", "two")]
    for name in heads[0]:
        assert torch.allclose(heads[0][name].float(), heads[1][name].float(), atol=2e-3), name
