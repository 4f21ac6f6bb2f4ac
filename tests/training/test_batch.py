"""The batch contract: owners, concepts, and what is absent."""

import torch

from medvlp.data.batch import Item, collate


def tokenize(texts):
    length = max(len(text) for text in texts)
    mask = torch.tensor([[1] * len(text) + [0] * (length - len(text)) for text in texts])
    return mask * 5, mask


def items():
    image = torch.zeros(3, 2, 2)
    return [
        Item("x", 4, ["ab", "c"], (7, 2), 1, image_CHW=image),
        Item("y", 4, ["d"], (), -1, image_CHW=image + 1),
    ]


def test_texts_know_their_image():
    batch = collate(items(), tokenize)
    assert batch.text_owner_M.tolist() == [0, 0, 1]
    assert batch.texts == ["ab", "c", "d"]
    assert batch.token_mask_ML.tolist() == [[1, 1], [1, 0], [1, 0]]
    assert batch.image_BCHW.shape == (2, 3, 2, 2)
    assert batch.image_features_BI is None


def test_unknown_concepts_are_minus_one_and_the_first_is_the_main_one():
    batch = collate(items(), tokenize)
    assert batch.concept_B.tolist() == [7, -1]
    assert batch.concepts == [(7, 2), ()]
    assert batch.label_B.tolist() == [1, -1]


def test_labels_stay_out_where_they_must_not_be_used():
    assert collate(items(), tokenize, labels=False).label_B is None


def test_texts_never_show_when_a_batch_is_printed():
    secret = Item("x", 0, ["secret words"])
    assert "secret" not in repr(collate([secret], tokenize))


def test_to_moves_tensors_and_keeps_the_rest():
    moved = collate(items(), tokenize).to(torch.device("meta"))
    assert moved.group_B.device.type == moved.image_BCHW.device.type == "meta"
    assert moved.keys == ["x", "y"]
