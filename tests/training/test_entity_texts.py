"""What is asked with: descriptions, bare names, others' descriptions; equally many texts whatever the knowledge."""

import numpy as np
import pytest
import torch

from medvlp.data.entities import Entities, Entity, Position
from medvlp.errors import DataError
from medvlp.training.entity_texts import derangement, entity_texts, position_hierarchy, position_texts

ENTITIES = [
    Entity("nodule", (), (("definition", "round"), ("appearance", "white spot"), ("name", "nodule"))),
    Entity("effusion", (), (("definition", "fluid"),)),
    Entity("fracture"),
]
POSITIONS = [Position("lung"), Position("left_lung", ("lung",)), Position("left_base", ("left_lung",))]


def some(entities=ENTITIES):
    return Entities(entities, POSITIONS, ["a"], np.zeros((1, len(entities), 3), dtype=np.int64))


def test_real_knowledge_is_each_entity_s_own_repeated():
    texts = entity_texts(some(), "real", 0)
    assert texts.by_entity == (("round", "white spot", "nodule"), ("fluid",) * 3, ("fracture",) * 3)
    assert texts.flat[3] == "fluid"
    assert texts.entity_E.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert entity_texts(some(), "real", 0, count=1).by_entity == (("round",), ("fluid",), ("fracture",))
    chosen = entity_texts(some(), "real", 0, aspects=["appearance"])
    assert chosen.by_entity == (("white spot",), ("effusion",), ("fracture",))


@pytest.mark.parametrize("seed", range(5))
def test_the_control_asks_the_same_texts_none_its_own(seed):
    real, permuted = (entity_texts(some(), kind, seed) for kind in ("real", "permuted"))
    assert sorted(permuted.by_entity) == sorted(real.by_entity)
    assert all(a != b for a, b in zip(real.by_entity, permuted.by_entity, strict=True))
    assert permuted == entity_texts(some(), "permuted", seed)
    assert len({entity_texts(some(), "permuted", number).digest for number in range(9)}) == 2


def test_without_knowledge_names_are_asked_as_often():
    texts = entity_texts(some(), "none", 0)
    assert texts.by_entity == tuple((name,) * 3 for name in ("nodule", "effusion", "fracture"))
    assert {len(entity_texts(some(), kind, 0).flat) for kind in ("none", "permuted", "real")} == {9}


def test_one_entity_has_nothing_to_exchange():
    with pytest.raises(DataError, match="needs two to exchange"):
        entity_texts(some(ENTITIES[:1]), "permuted", 0)


def test_positions_keep_their_names_and_lose_or_change_their_order():
    assert position_texts(some()) == ["lung", "left lung", "left base"]
    real = position_hierarchy(some(), "real", 0)
    assert real.tolist() == some().above_PP.tolist()
    assert not position_hierarchy(some(), "none", 0).any()
    permuted = position_hierarchy(some(), "permuted", 0)
    assert permuted.sum() == real.sum()
    assert not torch.equal(permuted, real)


def test_derangements_move_everything():
    for seed in range(50):
        order = derangement(4, [seed])
        assert sorted(order) == [0, 1, 2, 3]
        assert (order != np.arange(4)).all()
