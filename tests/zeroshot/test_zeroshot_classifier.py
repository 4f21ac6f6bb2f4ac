"""Class vectors, probabilities, thresholds, floors and the quick score, against arithmetic by hand."""

import numpy as np
import pytest
import torch

from medvlp.errors import DataError
from medvlp.zeroshot import classifier, floors, quick, task
from medvlp.zeroshot.prompts import build_prompts

CONCEPTS = {"adeno": ["T:4"], "squamous": ["T:5"], "wart": ["T:6"]}


class Table:
    """Texts with given embeddings, deliberately not normalised."""

    def __init__(self, rows):
        self.rows, self.asked = rows, []

    def encode_text(self, texts):
        self.asked += texts
        return torch.tensor([self.rows[text] for text in texts], dtype=torch.float32)

    def scale(self):
        return torch.tensor(10.0)


def test_class_vector_is_the_normalised_mean_of_normalised_texts():
    prompts = build_prompts(None, {"a": [], "b": []}, ["{name}", "the {name}"])
    table = Table({"a": [2, 0], "the a": [0, 5], "b": [-1, 0], "the b": [-3, 0]})
    vectors = classifier.class_vectors(table, prompts, batch_size=1)
    assert np.allclose(vectors, [[0.5**0.5, 0.5**0.5], [-1, 0]])
    assert sorted(table.asked) == ["a", "b", "the a", "the b"]


def test_prompts_that_cancel_or_blow_up_are_refused():
    prompts = build_prompts(None, {"a": [], "b": []}, ["{name}", "the {name}"])
    rows = {"a": [1, 0], "the a": [-1, 0], "b": [1, 0], "the b": [1, 0]}
    with pytest.raises(DataError, match="class vectors: an embedding is zero or not finite; check the model"):
        classifier.class_vectors(Table(rows), prompts)
    with pytest.raises(DataError, match="prompts: an embedding is zero or not finite"):
        classifier.class_vectors(Table({**rows, "a": [float("nan"), 0]}), prompts)
    with pytest.raises(DataError, match="has no prompts for absence"):
        classifier.class_vectors(Table(rows), prompts, absent=True)


def test_probabilities():
    image, classes = np.eye(2), np.eye(2)
    single = classifier.classify(torch.eye(2), classes, 2.0)
    assert np.allclose(single[0], [np.exp(2) / (np.exp(2) + 1), 1 / (np.exp(2) + 1)])
    assert np.allclose(classifier.classify(image, classes, 1e4).sum(1), 1)
    pairs = classifier.classify_multi(image, classes, 2.0, absent_KD=classes[::-1])
    assert np.allclose(pairs[0], [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))])
    assert np.allclose(classifier.classify_multi(image, classes, 2.0, bias=-1.0)[0, 0], 1 / (1 + np.exp(-1)))


def test_thresholds_refuse_test():
    target, score = np.eye(2, dtype=bool)[[0, 0, 1, 1]], np.array([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5], [0.2, 0.8]])
    assert classifier.fit_thresholds(target, score, "dev", specificity=0.95) == [0.6, 0.5]
    for name in ("test", "Test "):
        with pytest.raises(DataError, match="nothing may be fitted on the test split; fit on dev or train"):
            classifier.fit_thresholds(target, score, name)


def test_floors_refuse_test(store):
    held_out = task.build_task(store.split("test"), store.classes, store.class_concepts)
    with pytest.raises(DataError, match="nothing may be fitted on the test split"):
        floors.prior_floor(held_out, 3, 0)
    with pytest.raises(DataError, match="nothing may be fitted on the test split"):
        floors.colour_floor((store.split("test"), held_out), (store.split("test"), held_out), None, 0)


def test_untrained_copy_redraws_everything_and_repeats(encoder):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Flatten(), encoder.text)
    model[1].running_mean.fill_(3)
    model[1].weight.data.fill_(7)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, again, other = (floors.untrained_copy(model, seed) for seed in (0, 0, 1))
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)
    assert not torch.equal(first[0].weight, model[0].weight)
    assert first[1].weight.eq(1).all()
    assert first[1].running_mean.eq(0).all()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_development_score(store, graph, encoder):
    prompts = build_prompts(graph, CONCEPTS, "plain")
    split = store.split("dev")
    found = quick.score_split(encoder, split, prompts, batch_size=5)
    assert set(found) == {"accuracy", "balanced_accuracy", "macro_auroc", "num"}
    assert found["num"] == 36  # three rows have no label
    assert 1 / 3 < found["balanced_accuracy"] <= 1
    image = classifier.embed_images(encoder, split, 5)
    numbers = torch.tensor(quick.class_numbers(split.column("label"), prompts.classes))
    encoder.train()
    assert quick.development_score(encoder, torch.tensor(image), numbers, prompts) == pytest.approx(found)
    assert encoder.training


def test_development_score_bad_input(graph, encoder):
    prompts = build_prompts(graph, CONCEPTS, "plain")
    image = np.eye(3)
    with pytest.raises(DataError, match="the label 'nevus' has no prompts; add it to the classes"):
        quick.development_score(encoder, image, ["nevus", "wart", "wart"], prompts)
    with pytest.raises(DataError, match="2 labels for 3 embeddings"):
        quick.development_score(encoder, image, ["wart", "wart"], prompts)
    with pytest.raises(DataError, match="has no labelled image"):
        quick.development_score(encoder, image, [None] * 3, prompts)
    with pytest.raises(DataError, match=r"class number 7 is outside 0\.\.2"):
        quick.development_score(encoder, image, [7, 0, 0], prompts)
