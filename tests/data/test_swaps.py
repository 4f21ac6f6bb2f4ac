"""Swapped captions: what is exchanged, what is left alone because it may be true, and that draws repeat."""

import numpy as np
import pytest
import torch

from medvlp.config import load_as
from medvlp.data.batch import NO_SWAP, SWAPS, Item, Swap, Triple, collate
from medvlp.data.swaps import KINDS, Swaps, severity_words, swaps_of

EFFUSION = "Small pleural effusion on the left."


@pytest.mark.parametrize(
    ("kind", "text", "swapped"),
    [
        ("side", EFFUSION, ["Small pleural effusion on the right."]),
        ("side", "LEFT-SIDED NODULE", ["RIGHT-SIDED NODULE"]),
        ("side", "Opacity in the LUL.", ["Opacity in the RUL."]),
        ("side", "Left effusion without pneumothorax.", ["Right effusion without pneumothorax."]),
        ("side", "Left effusion. Right nodule.", ["Right effusion. Left nodule."]),
        ("side", "Left effusion. No right nodule.", ["Right effusion. No right nodule."]),
        ("side", "Effusions, left greater than right.", ["Effusions, right greater than left."]),
        ("presence", "No pneumothorax.", ["Pneumothorax."]),
        ("presence", "There is no pneumothorax.", ["There is pneumothorax."]),
        ("presence", "There is a nodule.", ["There is no nodule."]),
        ("presence", EFFUSION, ["No small pleural effusion on the left."]),
        ("presence", "a nodule", ["no nodule"]),
        ("presence", "Effusion is seen on the left.", ["Effusion is not seen on the left."]),
        ("presence", "The lungs are clear.", ["The lungs are not clear."]),
        ("presence", "an H&E image of lung carcinoma", ["an H&E image without lung carcinoma"]),
        ("presence", "radiograph consistent with pneumonia.", ["radiograph not consistent with pneumonia."]),
        ("presence", "chest X-ray: pneumonia.", ["chest X-ray: no pneumonia."]),
        ("severity", EFFUSION, ["Large pleural effusion on the left."]),
        ("severity", "High-grade dysplasia", ["Low-grade dysplasia"]),
        ("anatomy", "Nodule in the left lower lobe.", ["Nodule in the left upper lobe."]),
        ("anatomy", "Lung nodule in the left lower lobe.", ["Lung nodule in the left upper lobe."]),
        ("anatomy", "Nodules in both lower lobes", ["Nodules in both upper lobes"]),
    ],
)
def test_one_fact_is_exchanged(kind: str, text: str, swapped: list[str]) -> None:
    assert swaps_of(text, kind) == swapped


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("side", "left and right effusion"),
        ("side", "right or left effusion"),
        ("side", "effusion in the left lung and in the right lung"),
        ("side", "Left effusion. Right effusion."),
        ("side", "left nodule, right nodule"),
        ("side", "Bilateral effusions."),
        ("side", "No left effusion."),
        ("side", "The right lung is clear."),
        ("side", "He left the ward."),
        ("side", "Nodule in the right middle lobe."),
        ("severity", "No large effusion."),
        ("severity", "small cell carcinoma"),
        ("severity", "small and large nodules"),
        ("severity", "Small bowel loops."),
        ("severity", "smallpox, enlarged heart"),
        ("anatomy", "a chest x-ray"),
        ("anatomy", "Upper lobe and lower lobe nodules"),
        ("anatomy", "The lungs are normal."),
        ("anatomy", "plunging"),
        ("presence", "The heart was followed over many years by several people who were there"),
    ],
)
def test_what_may_be_true_or_names_nothing_is_left_alone(kind: str, text: str) -> None:
    assert swaps_of(text, kind) == []


def test_the_places_of_two_findings_are_exchanged() -> None:
    text = "nodule in the left lower lobe and effusion in the right pleural space"
    triples = [
        Triple("nodule", "located at", "left lower lobe"),
        Triple("effusion", "located at", "right pleural space"),
    ]
    swapped = "nodule in the right pleural space and effusion in the left lower lobe"
    assert swaps_of(text, "anatomy", triples)[0] == swapped
    same = [Triple("nodule", triple.relation, triple.tail) for triple in triples]
    assert swapped not in swaps_of(text, "anatomy", same)
    denied = "nodule in the left lower lobe. No effusion in the right pleural space"
    assert all("nodule in the right pleural" not in swapped for swapped in swaps_of(denied, "anatomy", triples))
    both = [*triples, Triple("nodule", "located at", "right pleural space")]
    assert swapped not in swaps_of(text, "anatomy", both)


def test_draws_repeat_are_full_and_never_true() -> None:
    swaps = Swaps(Swaps.Config(per_image=5))
    texts = [EFFUSION, "", "xyz was 3"]
    drawn = [swaps(texts, np.random.default_rng(number)) for number in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert all(len(one) == 5 for one in drawn)
    assert {swap.kind for swap in drawn[0][:3]} == {"side", "presence", "severity"}
    assert drawn[0][3:] == [NO_SWAP] * 2
    assert {swap.of for swap in drawn[0]} == {0, -1}
    known = swaps(texts, np.random.default_rng(0), true=["small pleural effusion on the right"])
    assert "side" not in {swap.kind for swap in known}


def test_no_swap_comes_twice() -> None:
    drawn = Swaps(Swaps.Config(per_image=9))([EFFUSION, EFFUSION.lower()], np.random.default_rng(3))
    texts = [swap.text.lower() for swap in drawn if swap.of >= 0]
    assert len(texts) == len(set(texts)) == 3


def test_kinds_can_be_chosen_and_are_those_of_the_batch() -> None:
    assert KINDS == SWAPS
    swaps = Swaps(Swaps.Config(kinds=["side"], per_image=2))
    drawn = swaps([EFFUSION], np.random.default_rng(0))
    assert drawn == [Swap("Small pleural effusion on the right.", "side", 0), NO_SWAP]


def test_a_text_of_words_from_the_whole_table_never_comes_back_unchanged() -> None:
    from pathlib import Path

    import medvlp.data.swaps as module
    from medvlp.data.swaps import Rules

    rules = load_as(Rules, Path(module.__file__).with_suffix(".yaml"))
    groups = [*rules.anatomy, *rules.organs]
    phrases = [*rules.severity, *(place for group in groups for place in group), "left", "right"]
    for phrase in phrases:
        text = f"There is {phrase} thing."
        found = [swapped for kind in KINDS for swapped in swaps_of(text, kind)]
        assert len(found) >= 2, phrase
        assert text not in found
    for words, become in rules.severity.items():
        assert words not in become


def test_severity_words() -> None:
    text = "a small cell carcinoma with mild effusion"
    assert severity_words(text, 0, len(text)) == ["mild"]


def test_a_batch_marks_what_fills_up() -> None:
    items = [
        Item("a", 0, ["x", "y"], swaps=[Swap("no y", "presence", 1), NO_SWAP]),
        Item("b", 1, ["z"], swaps=[NO_SWAP, NO_SWAP]),
        Item("c", 1, ["z"], swaps=[Swap("no z", "presence", 0), NO_SWAP]),
    ]

    def tokenize(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.tensor([[len(text) + 1] for text in texts])
        return ids, torch.ones_like(ids)

    batch = collate(items, tokenize)
    assert batch.swap_of_K is not None
    assert batch.swap_kind_K is not None
    assert batch.swap_of_K.tolist() == [1, -1, -1, -1, 3, -1]
    assert batch.swap_kind_K.tolist() == [2, -1, -1, -1, 2, -1]
