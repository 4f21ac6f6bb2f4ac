"""Triples of texts in a run: tensors, hidden words, controls, mirrored images, cut runs."""

import numpy as np
import pytest
import torch
from asking_cases import asking_config

from medvlp.config import load
from medvlp.data.batch import NODES, Item, Triple
from medvlp.data.entities import Entities, Entity, Position
from medvlp.data.nodes import ATTRIBUTE, OBJECT, RELATION, nodes_of
from medvlp.data.swaps import Swaps
from medvlp.data.word_swaps import WordOrderSwaps, reordered
from medvlp.encoders.tokenizer import HfTokenizer, Tokenizer
from medvlp.errors import ConfigError, DataError, TrainingError
from medvlp.fusion.knowledge import TripleEncoder
from medvlp.fusion.query_decoder import QueryDecoder
from medvlp.objectives.clip import ClipObjective
from medvlp.objectives.ernie_vil import ErnieVilObjective
from medvlp.objectives.structure_clip import StructureClipObjective
from medvlp.training.align import AlignRecipe, Freezing, check, train
from medvlp.training.log import read_log
from medvlp.training.loop import Engine, make_fabric
from medvlp.training.optim import OptimizerConfig
from medvlp.training.triples import NodeTokens, TripleTokens, told_triples

STRUCTURE = StructureClipObjective.Config(
    encoder=TripleEncoder.Config(width=16, layers=1, heads=2), margin=1.0, swap_margin=1.0
)
ERNIE = ErnieVilObjective.Config(rate=0.9, fusion=QueryDecoder.Config(width=16, layers=1, heads=2))
METHODS = {"structure_clip": STRUCTURE, "ernie_vil": ERNIE}
SETTINGS = {"texts_per_image": 2, "swaps": Swaps.Config(per_image=2), "freeze": Freezing(), "steps": 4}
REPORT = "There is a small left pleural effusion . No nodule in the left lung . The effusion is new ."
SAID = (
    Triple("effusion", "is", "present"), Triple("effusion", "on side", "left"),
    Triple("effusion", "has severity", "small"), Triple("nodule", "is", "absent"),
    Triple("nodule", "located at", "left lung"),
)  # fmt: skip
each_method = pytest.mark.parametrize("method", METHODS)


def config_of(place, bert, method, **changes):
    objective = changes.pop("objective", METHODS[method])
    return asking_config(place, bert, objective, **{**SETTINGS, **changes})


def recipe_of(config):
    return AlignRecipe(config, make_fabric(config), None, use_cache=False)


def words_of(text, said, kind):
    node, kinds = nodes_of(text, said)
    return {
        number: "".join(letter if at == number else " " for letter, at in zip(text, node, strict=True)).split()
        for number in sorted(set(node[kinds == kind].tolist()))
    }


def test_nodes_are_findings_their_sides_and_severities_and_where_and_whether_they_are():
    assert len(NODES) == 3
    assert sorted(words_of(REPORT, SAID, OBJECT).values()) == [["effusion", "effusion"], ["nodule"]]
    assert sorted(words_of(REPORT, SAID, ATTRIBUTE).values()) == [["left", "left"], ["small"]]
    assert sorted(words_of(REPORT, SAID, RELATION).values()) == [["No"], ["There", "is", "a"], ["lung"]]
    assert nodes_of("", SAID)[0].shape == (0,)
    assert (nodes_of(REPORT, ())[0] == -1).all()
    assert (nodes_of("effusions , subeffusion", SAID)[0] == -1).all()  # whole words alone


def items(*texts):
    return [Item("k", 0, list(texts), triples=[SAID] * len(texts), told=[SAID] * len(texts))]


def test_tokens_know_their_node(bert):
    tokenizer = HfTokenizer(bert, 24)
    made = NodeTokens(tokenizer)
    told = made(items(REPORT, "the lung", ""))
    ids, mask = tokenizer([REPORT, "the lung", ""])
    node, kind = told["node_ML"], told["node_kind_ML"]
    assert node.shape == kind.shape == ids.shape
    assert torch.equal(node == -2, (mask == 0) | (ids == 2) | (ids == 3))
    assert torch.equal(kind >= 0, node >= 0)
    effusion = tokenizer.hf.convert_tokens_to_ids("effusion")
    assert len(set(node[0][ids[0] == effusion].tolist())) == 1
    assert set(kind[0][ids[0] == effusion].tolist()) == {OBJECT}
    assert set(kind[1].tolist()) == {-1}
    assert sorted(set(node[0][node[0] >= 0].tolist())) == list(range(int(node[0].max()) + 1))
    assert made.report()["nodes_per_text"] == (int(node[0].max()) + 1) / 3
    assert made.report() == {"nodes_per_text": 0.0}


def test_triples_are_laid_out_by_part_and_what_is_beyond_is_counted(bert):
    tokenizer = HfTokenizer(bert, 24)
    made = TripleTokens(tokenizer, 4, 2)
    told = made(items(REPORT, "x"))
    ids, mask = told["triple_ids_MX3L"], told["triple_mask_MX3L"]
    assert ids.shape == mask.shape == (2, 4, 3, 2)
    assert ids[0, 1, 2].tolist() == [tokenizer.hf.convert_tokens_to_ids("left"), 0]
    assert mask[0, 1].tolist() == [[1, 0], [1, 1], [1, 0]]
    assert made.report() == {"triples_left_out_share": 0.2}
    empty = made([Item("k", 0, ["x", ""])])
    assert not empty["triple_mask_MX3L"].any()


def known(count, alike=0):
    """Texts of which the first ``alike`` say the same."""
    keys = [f"k{number}" for number in range(count)]
    said = {
        key: {f"text {key}": [Triple("x" if number < alike else key, "is", "present")], "nothing": []}
        for number, key in enumerate(keys)
    }
    return Entities([Entity("x")], [Position("p")], keys, np.zeros((count, 1, 1), dtype=int), triples=said)


@pytest.mark.parametrize(("count", "alike"), [(2, 0), (3, 0), (40, 18)])
def test_permuted_tells_each_text_the_triples_of_another(count, alike):
    entities, structure = known(count, alike), StructureClipObjective(STRUCTURE)
    told = told_triples(structure, entities, entities.keys, "permuted", 5)
    own = {(key, text): said for key in entities.keys for text, said in entities.of(key).triples.items() if said}
    assert told.keys() == own.keys()
    assert sorted(map(repr, told.values())) == sorted(map(repr, own.values()))
    assert not any(told[text] == own[text] for text in own)
    assert told == told_triples(structure, entities, entities.keys, "permuted", 5)
    assert count == 2 or told != told_triples(structure, entities, entities.keys, "permuted", 7)
    some = told_triples(structure, entities, entities.keys[:2], "permuted", 5)
    assert {key for key, _ in some} == {"k0", "k1"}  # nothing of a test image is told


def test_where_most_say_the_same_no_text_is_told_its_own_but_the_same_may_be_said():
    entities = known(6, alike=5)
    told = told_triples(StructureClipObjective(STRUCTURE), entities, entities.keys, "permuted", 0)
    assert told["k5", "text k5"] == (Triple("x", "is", "present"),)
    assert len(told) == 6


def test_controls_that_there_is_nothing_to_control():
    entities, structure = known(4), StructureClipObjective(STRUCTURE)
    assert told_triples(structure, entities, entities.keys, "real", 0) is None
    assert told_triples(structure, entities, entities.keys, "none", 0) == {}
    assert told_triples(ClipObjective(), entities, entities.keys, "permuted", 0) is None
    with pytest.raises(DataError, match="triples: needs two texts to exchange"):
        told_triples(structure, entities, entities.keys[:1], "permuted", 0)


def test_without_knowledge_only_the_order_of_words_is_another():
    texts, draw = ["small left effusion", "no nodule on the right", "effusion"], np.random.default_rng
    plain, shuffled = Swaps(Swaps.Config(per_image=4)), WordOrderSwaps(Swaps.Config(per_image=4))
    for seed in range(10):
        real, none = plain(texts, draw(seed)), shuffled(texts, draw(seed))
        assert [(swap.kind, swap.of) for swap in none] == [(swap.kind, swap.of) for swap in real]
        for swap in none:
            if swap.of >= 0 and swap.of != 2:
                assert sorted(swap.text.split()) == sorted(texts[swap.of].split())
            assert swap.of < 0 or swap.text != texts[swap.of]
    assert reordered("effusion", draw(0)) == "ffusion"
    assert reordered("a b", draw(0)) == "b a"


def batch_of(place, bert, method, knowledge):
    return next(recipe_of(config_of(place, bert, method, knowledge=knowledge)).batches(0, 0, 1))


def test_knowledge_changes_what_is_told_and_how_captions_are_swapped_alone(place, bert):
    real, permuted, none = (batch_of(place, bert, "structure_clip", kind) for kind in ("real", "permuted", "none"))
    assert real.texts == permuted.texts == none.texts
    assert real.swap_of_K.tolist() == permuted.swap_of_K.tolist() == none.swap_of_K.tolist()
    assert (real.swap_of_K >= 0).any()
    assert torch.equal(real.swap_ids_KL, permuted.swap_ids_KL)
    assert not torch.equal(real.swap_ids_KL, none.swap_ids_KL[:, : real.swap_ids_KL.shape[1]])
    assert real.triple_ids_MX3L.shape == permuted.triple_ids_MX3L.shape == none.triple_ids_MX3L.shape
    assert torch.equal(real.triple_mask_MX3L.any(3), permuted.triple_mask_MX3L.any(3))
    assert not torch.equal(real.triple_ids_MX3L, permuted.triple_ids_MX3L)
    assert not none.triple_mask_MX3L.any()
    assert real.node_ML is None


def test_nodes_are_the_same_whatever_the_knowledge(place, bert):
    real, permuted, none = (batch_of(place, bert, "ernie_vil", kind) for kind in ("real", "permuted", "none"))
    assert (real.node_ML >= 0).any()
    assert torch.equal(real.node_ML, permuted.node_ML)
    assert torch.equal(real.node_ML, none.node_ML)
    assert real.triple_ids_MX3L is None


@each_method
@pytest.mark.parametrize("knowledge", ["real", "none", "permuted"])
def test_a_cut_run_goes_on_as_if_it_had_not_been(place, bert, tmp_path, method, knowledge):
    config = config_of(place, bert, method, knowledge=knowledge)
    train(config, tmp_path / "whole")
    train(config, tmp_path / "again", resume=str(tmp_path / "whole" / "checkpoints" / "step-00000002"))
    whole, again = (
        {record["step"]: record["loss"] for record in read_log(tmp_path / name) if record["kind"] == "train"}
        for name in ("whole", "again")
    )
    assert {step: whole[step] for step in (3, 4)} == again
    assert all(np.isfinite(loss) for loss in whole.values())
    assert (tmp_path / "again" / "checkpoints" / "step-00000004" / "objective.safetensors").is_file()


@each_method
def test_every_parameter_gets_a_gradient(place, bert, method):
    recipe = recipe_of(config_of(place, bert, method))
    recipe.begin_step(0)
    engine, stream = Engine(recipe, make_fabric(recipe.config)), recipe.batches(0, 0, 1)
    engine.module = recipe.module
    size = dict.fromkeys((name for name, one in recipe.module.named_parameters() if one.requires_grad), 0.0)
    for _ in range(3):
        recipe.module.zero_grad()
        engine._losses(next(stream))[2].backward()
        for name, one in recipe.module.named_parameters():
            size[name] += 0.0 if one.grad is None else float(one.grad.abs().sum())
    unused = ("model.decoder", *(("model.logit_scale",) if method == "structure_clip" else ()))
    assert [name for name, total in size.items() if total == 0 and not name.startswith(unused)] == []


def test_a_mirrored_image_is_told_mirrored_triples(place, bert, tmp_path):
    """MedKLIP's, KAD's and MedCLIP's flips leave the sides in the labels."""
    from PIL import Image

    from medvlp.data.augment import Augment
    from medvlp.data.pairs import PairsStore, Row, Text

    image, text = Image.fromarray(np.full((24, 24, 3), 90, dtype=np.uint8)), "a left effusion"
    rows = [Row(f"r{number}", image, [Text(text)], "train", f"c{number}", number) for number in range(8)]
    PairsStore.write(tmp_path / "pairs", rows)
    said = {row.key: {text: [Triple("effusion", "on side", "left")]} for row in rows}
    states = np.zeros((8, 1, 1), dtype=int)
    keys = [row.key for row in rows]
    Entities([Entity("effusion")], [Position("chest")], keys, states, triples=said).save(tmp_path / "entities")
    config = config_of(
        place, bert, "structure_clip", data=str(tmp_path / "pairs"), entities=str(tmp_path / "entities"),
        image_augment=Augment.Config(size=64, horizontal_flip=0.5, laterality="swap"), texts_per_image=1,
    )  # fmt: skip
    batch = next(recipe_of(config).batches(0, 0, 1))
    assert set(batch.texts) == {"a left effusion", "a right effusion"}
    tail_ids = batch.triple_ids_MX3L[:, 0, 2, 0]
    for text, (triple,), tail_id in zip(batch.texts, batch.triples, tail_ids.tolist(), strict=True):
        assert triple.tail in text
        assert HfTokenizer(bert, 24).hf.convert_ids_to_tokens(tail_id) == triple.tail


@each_method
def test_entities_without_triples_are_refused_at_the_start(place, bert, tmp_path, method):
    config = config_of(place, bert, method)
    known = Entities.load(config.entities)
    Entities(known.entities, known.positions, known.keys, known.position_NQP).save(tmp_path / "bare")
    for entities in (None, str(tmp_path / "bare")):
        with pytest.raises(
            ConfigError, match=f"^entities: objective {method} reads triples of the texts; name a folder"
        ):
            train(config.model_copy(update={"entities": entities}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_without_swapped_captions_is_refused(place, bert, tmp_path):
    with pytest.raises(TrainingError, match="needs the batch field 'swap_ids_KL'"):
        train(config_of(place, bert, "structure_clip", swaps=None), tmp_path / "run")


def test_both_add_up_with_a_contrast(place, bert, tmp_path):
    both = [STRUCTURE, ClipObjective.Config(), ERNIE]
    train(asking_config(place, bert, both, **{**SETTINGS, "steps": 2, "repeat_texts": True}), tmp_path / "run")
    terms = {"structure_contrast", "structure_swap", "clip", "ernie_object", "ernie_matching", "ernie_contrast"}
    assert read_log(tmp_path / "run")[0].keys() >= terms | {"triples_left_out_share", "nodes_per_text"}


class Plain(Tokenizer):
    """A tokenizer that knows neither parts nor places of texts."""

    def _encode(self, texts, fixed):
        ids = torch.ones(len(texts), 1, dtype=torch.long)
        return ids, ids, 0

    def save(self, folder):
        """Write nothing."""


def test_a_tokenizer_that_cannot_tell_says_so(bert):
    plain = Plain(8)
    assert plain.mask_id is None
    assert HfTokenizer(bert, 24).mask_id == 4
    for made in (TripleTokens(plain, 2, 2), NodeTokens(plain)):
        with pytest.raises(ConfigError, match=r"^model\.text: .*use text: \{name: hf\}"):
            made(items(REPORT))


@pytest.mark.parametrize("name", ["structure_clip", "structure_clip_cpu", "ernie_vil", "ernie_vil_cpu"])
def test_the_shipped_recipes(name):
    config = load(name, kind="align")
    check(config)
    assert config.objective.name == name.removesuffix("_cpu")
    assert config.cached_features == name.endswith("_cpu")
    assert config.text_augment is None
    if name == "structure_clip":
        default = StructureClipObjective.Config()
        assert (config.batches.batch_size, config.optimizer.lr, config.optimizer.weight_decay) == (64, 5e-6, 0.1)
    else:
        default = ErnieVilObjective.Config()
    if not name.endswith("_cpu"):
        assert config.objective == default


@pytest.mark.slow
@each_method
def test_it_learns(place, bert, tmp_path, method):
    """Words of the hidden class are recovered from the image; captions with another order of words rank lower."""
    optimizer = OptimizerConfig(lr=3e-3, warmup_steps=2, weight_decay=0.01)
    objective = STRUCTURE.model_copy(update={"margin": 0.2, "hardest": False}) if method == "structure_clip" else ERNIE
    config = config_of(
        place, bert, method, steps=60, optimizer=optimizer, batch_norm="batch", objective=objective
    )  # fmt: skip
    train(config, tmp_path / "run")
    records = [record for record in read_log(tmp_path / "run") if record["kind"] == "train"]
    for name in {"structure_clip": ["structure_contrast", "structure_swap"], "ernie_vil": ["ernie_object"]}[method]:
        losses = [record[name] for record in records]
        assert np.mean(losses[-8:]) < 0.7 * np.mean(losses[:8]), name
