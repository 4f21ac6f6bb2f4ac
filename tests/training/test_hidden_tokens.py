"""Hidden tokens: the rates that are said, special tokens and padding untouched, nothing that hangs on neighbours."""

import numpy as np
import pytest
import torch
from training_cases import CONCEPTS, knowledge_config

from medvlp.errors import ConfigError
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.objectives.kad import KadPairObjective
from medvlp.training.hidden_tokens import hide_tokens
from medvlp.training.knowledge import KnowledgeRecipe

MASK, WORDS, SPECIAL = 3, 10_000, frozenset({0, 1, 2, 3})


def hidden(ids, mask, share=1.0, rate=0.15, seed=0):
    rngs = [np.random.default_rng([seed, text]) for text in range(len(ids))]
    return hide_tokens(ids, mask, rngs, share=share, rate=rate, mask_id=MASK, num_tokens=WORDS, special=SPECIAL)


def texts(count=400, length=100):
    ids = torch.from_numpy(np.random.default_rng(1).integers(4, WORDS, (count, length)))
    ids[:, 0], ids[:, -1] = 1, 2
    return ids, torch.ones_like(ids)


def test_the_rates_are_those_that_are_said():
    ids, mask = texts()
    found = hidden(ids, mask, rate=0.15)
    inner, before = found[:, 1:-1], ids[:, 1:-1]
    masked = (inner == MASK).double().mean()
    other = ((inner != before) & (inner != MASK)).double().mean()
    assert masked == pytest.approx(0.15 * 0.8, abs=0.01)
    assert other == pytest.approx(0.15 * 0.1, abs=0.004)
    lost = (hidden(ids, mask, share=0.5) != ids).any(1).double().mean()
    assert lost == pytest.approx(0.5, abs=0.08)
    assert torch.equal(hidden(ids, mask, share=0.0), ids)


def test_special_tokens_and_padding_stay():
    ids, mask = texts()
    ids[:, 60:], mask[:, 60:] = 0, 0
    found = hidden(ids, mask, rate=1.0)
    assert torch.equal(found[:, 0], ids[:, 0])
    assert torch.equal(found[:, 60:], ids[:, 60:])
    assert (found[:, 1:60] == MASK).double().mean() > 0.75


def test_padding_and_neighbours_change_nothing():
    ids, mask = texts(count=6, length=20)
    wide = torch.cat([ids, torch.zeros(6, 9, dtype=ids.dtype)], 1)
    wide_mask = torch.cat([mask, torch.zeros(6, 9, dtype=mask.dtype)], 1)
    assert torch.equal(hidden(wide, wide_mask)[:, :20], hidden(ids, mask))
    assert torch.equal(hidden(ids, mask)[:3], hidden(ids[:3], mask[:3]))


@pytest.fixture(scope="module")
def graph_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hidden") / "graph"
    DiseaseGraph.from_dict(CONCEPTS).save(folder)
    return folder


def ids_by_row(recipe, world):
    found = {}
    for rank in range(world):
        batch = next(recipe.batches(3, rank, world))
        for row, owner in enumerate(batch.text_owner_M.tolist()):
            length = int(batch.token_mask_ML[row].sum())
            key = (rank * len(batch) + owner, int(batch.text_aspect_M[row]))
            found[key] = batch.token_ids_ML[row, :length].tolist()
    return found


def recipe_of(graph_folder, bert, **settings):
    objective = KadPairObjective.Config(definitions=False, **settings)
    changes = {"graph": str(graph_folder), "objective": objective, "groups_per_batch": 4}
    return KnowledgeRecipe(knowledge_config(graph_folder.parent, bert, **changes))


def test_a_recipe_hides_the_same_on_any_number_of_processes(graph_folder, bert):
    plain = ids_by_row(recipe_of(graph_folder, bert), 1)
    recipe = recipe_of(graph_folder, bert, mask_texts=1.0, mask_rate=0.9)
    one = ids_by_row(recipe, 1)
    assert one == ids_by_row(recipe, 2) == ids_by_row(recipe, 1)
    assert one.keys() == plain.keys()
    assert any(one[key] != plain[key] for key in one)
    mask_id = recipe.encoder.tokenizer.mask_id
    assert any(mask_id in ids for ids in one.values())


def test_a_tokenizer_without_a_mask_is_refused(graph_folder, bert, monkeypatch):
    from medvlp.encoders.tokenizer import HfTokenizer

    monkeypatch.setattr(HfTokenizer, "mask_id", None)
    with pytest.raises(ConfigError, match="objective.mask_texts"):
        recipe_of(graph_folder, bert, mask_texts=0.5)
