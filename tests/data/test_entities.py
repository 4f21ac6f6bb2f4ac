"""What is present where: states, positions above one another, the folder, and everything that is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medvlp.data.batch import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN, Item, Swap, Triple, collate
from medvlp.data.entities import Entities, Entity, Position
from medvlp.errors import DataError

ENTITIES = [Entity("nodule", ("RID:1",), (("definition", "A round opacity."),)), Entity("effusion")]
POSITIONS = [
    Position("left lung"),
    Position("left lower lobe", ("left lung",)),
    Position("left base", ("left lower lobe",)),
]


def states() -> np.ndarray:
    position_NQP = np.full((3, 2, 3), NOT_MENTIONED)
    position_NQP[0, 0] = [NOT_MENTIONED, PRESENT, UNCERTAIN]
    position_NQP[0, 1] = [ABSENT, NOT_MENTIONED, NOT_MENTIONED]
    position_NQP[1, 0] = [ABSENT, UNCERTAIN, NOT_MENTIONED]
    return position_NQP


def make(**changes: object) -> Entities:
    given = {"entities": ENTITIES, "positions": POSITIONS, "keys": ["a", "b", "c"], "position_NQP": states()} | changes
    return Entities(**given)  # type: ignore[arg-type]


def test_an_entity_is_present_before_uncertain_before_absent_before_not_mentioned() -> None:
    assert make().label_NQ.tolist() == [[PRESENT, ABSENT], [UNCERTAIN, NOT_MENTIONED], [NOT_MENTIONED, NOT_MENTIONED]]


def test_positions_are_above_one_another_however_far() -> None:
    assert make().above_PP.tolist() == [[False, False, False], [True, False, False], [True, True, False]]


def test_a_folder_gives_back_what_was_written(tmp_path: Path) -> None:
    triples = {"a": {"nodule in the left lower lobe": [Triple("nodule", "located at", "left lower lobe")]}}
    made = make(triples=triples)
    again = Entities.load(made.save(tmp_path / "entities"))
    assert again.digest == made.digest
    assert again.entities == made.entities
    known = again.of("a")
    assert known.triples_of("nodule in the left lower lobe")[0].tail == "left lower lobe"
    assert known.triples_of("something else") == ()
    assert torch.equal(known.position_QP, torch.from_numpy(states()[0]))
    (tmp_path / "entities" / "labels.npy").write_bytes(b"x")
    with pytest.raises(DataError, match=r"labels\.npy"):
        Entities.load(tmp_path / "entities")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": ["a", "a", "b"]}, "a: the key comes twice"),
        ({"entities": [ENTITIES[0], ENTITIES[0]]}, "nodule: the entity comes twice"),
        ({"position_NQP": states()[:2]}, "states where"),
        ({"position_NQP": states() * 0 + 7}, "positions: states are"),
        ({"positions": [Position("x", ("y",)), *POSITIONS[1:]]}, "y: no such position"),
        ({"positions": [Position("x", ("y",)), Position("y", ("x",)), Position("z")]}, "is above itself"),
    ],
)
def test_what_cannot_be_is_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(**changes)


def test_an_image_the_set_does_not_have_is_named() -> None:
    with pytest.raises(DataError, match="d: the entities know nothing of this image"):
        make().of("d")


def test_a_batch_carries_swaps_aspects_entities_and_fillers() -> None:
    known = make()
    items = [
        Item(
            "a",
            0,
            ["left nodule", "no effusion"],
            aspects=["caption", "sentence"],
            swaps=[Swap("right nodule", "side", 0)],
        ),
        Item("b", 1, ["clear", ""], aspects=["report", ""], swaps=[Swap("not clear", "presence", 0)]),
    ]
    items = [
        Item(
            **{
                **vars(item),
                "entity_label_Q": known.of(item.key).label_Q,
                "entity_position_QP": known.of(item.key).position_QP,
            }
        )
        for item in items
    ]

    def tokenize(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(1, *(len(text.split()) for text in texts))
        ids = torch.tensor([[len(word) for word in text.split()] + [0] * (width - len(text.split())) for text in texts])
        return ids, (ids > 0).long()

    batch = collate(items, tokenize)
    assert batch.text_owner_M.tolist() == [0, 0, 1, 1]
    assert batch.text_valid_M is not None
    assert batch.text_valid_M.tolist() == [True, True, True, False]
    assert batch.text_aspect_M is not None
    assert batch.text_aspect_M.tolist() == [0, 2, 1, -1]
    assert batch.swap_of_K is not None
    assert batch.swap_of_K.tolist() == [0, 2]
    assert batch.swap_kind_K is not None
    assert batch.swap_kind_K.tolist() == [0, 2]
    assert batch.entity_label_BQ is not None
    assert batch.entity_label_BQ.tolist() == known.label_NQ[:2].tolist()
    assert collate([Item("c", 0, ["x"])], tokenize).swap_ids_KL is None
