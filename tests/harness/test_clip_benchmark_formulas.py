"""CLIP_benchmark's numbers from our parts, against its documentation restated by brute force, ties included."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "references"))
import clip_benchmark as brute  # the reference, not the package

from benchmarks.harness import clip_benchmark as ours
from medvlp.errors import DataError

CASES = 250
RULES = ("pessimistic", "realistic", "topk", "optimistic")


def draw(seed):
    """Scores with many ties in half of the cases, few or none in the others."""
    rng = np.random.default_rng(seed)
    queries, items = int(rng.integers(2, 7)), int(rng.integers(2, 8))
    score = rng.normal(size=(queries, items)) if seed % 8 < 4 else rng.integers(0, 3, (queries, items)).astype(float)
    return rng, score.astype(np.float32)


@pytest.mark.parametrize("part", range(4))
def test_accuracies(part):
    tied = 0
    for seed in range(part, 4 * CASES, 4):
        rng, logit_NK = draw(seed)
        target_N = rng.integers(0, logit_NK.shape[1], len(logit_NK))
        found = {rule: ours.classification_scores(logit_NK, target_N, rule) for rule in RULES}
        for name, k in (("acc1", 1), ("acc5", 5)):
            values = [found[rule][name] for rule in RULES]
            if k == 5 and logit_NK.shape[1] < 5:
                assert all(math.isnan(value) for value in values)
                continue
            low, high = brute.top_k_accuracy(logit_NK.tolist(), target_N.tolist(), k)
            assert (values[0], values[-1]) == (low, high)
            assert values[0] <= values[1] <= values[-1]
            assert values[0] <= values[2] <= values[-1]
            tied += low != high
            asked = 5 if logit_NK.shape[1] >= 5 else 1  # the package's own call, in torch
            place = torch.from_numpy(logit_NK).topk(asked, 1, True, True)[1][:, :k]
            assert values[2] == float((place == torch.from_numpy(target_N)[:, None]).any(1).sum()) / len(target_N)
        wanted = brute.mean_per_class_recall(logit_NK.tolist(), target_N.tolist())
        assert found["topk"]["mean_per_class_recall"] == pytest.approx(wanted, abs=1e-15)
    assert tied > 20  # the cases would show a wrong rule


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_mean_per_class_recall_is_scikit_learns():
    from sklearn.metrics import balanced_accuracy_score

    for seed in range(0, 400, 4):
        rng, logit_NK = draw(seed)
        target_N = rng.integers(0, logit_NK.shape[1], len(logit_NK))
        wanted = balanced_accuracy_score(target_N, logit_NK.argmax(1)) if len(set(target_N)) > 1 else None
        found = ours.classification_scores(logit_NK, target_N)["mean_per_class_recall"]
        assert wanted is None or found == pytest.approx(wanted, abs=1e-15)


@pytest.mark.parametrize("part", range(4))
def test_retrieval_with_ties_and_several_captions(part):
    tied = 0
    for seed in range(part, 4 * CASES, 4):
        rng = np.random.default_rng(seed)
        images = int(rng.integers(2, 5))
        owner_T = np.concatenate([np.arange(images), rng.integers(0, images, int(rng.integers(0, 4)))])
        # Vectors of few values, so that cosines are equal to the last bit; copied rows stand for shared captions.
        image_ID = rng.integers(0, 2, (images, 3)) + (np.eye(3)[0] if seed % 2 else 0.5)
        text_TD = rng.integers(0, 2, (len(owner_T), 3)) + 0.5
        if seed % 3 == 0:
            text_TD[-1] = text_TD[0]
        unit = torch.nn.functional.normalize
        score_TI = unit(torch.tensor(text_TD).float(), dim=-1) @ unit(torch.tensor(image_ID).float(), dim=-1).T
        for k in range(1, images + 1):
            found = {rule: ours.retrieval_scores(image_ID, text_TD, owner_T, [k], rule) for rule in RULES}
            bounds = brute.retrieval(score_TI.tolist(), owner_T.tolist(), images, k)
            for name, (low, high) in zip(("image", "text"), bounds, strict=True):
                values = [found[rule][f"{name}_retrieval_recall@{k}"] for rule in RULES]
                assert (values[0], values[-1]) == (low, high)
                assert low <= values[1] <= high
                assert low <= values[2] <= high
                tied += low != high
            positive_TI = torch.tensor(owner_T)[:, None] == torch.arange(images)
            for name, score, right in (("image", score_TI, positive_TI), ("text", score_TI.T, positive_TI.T)):
                place = torch.topk(score, k, dim=1)[1]
                wanted = right.gather(1, place).any(1).float().mean().item()
                assert np.float32(found["topk"][f"{name}_retrieval_recall@{k}"]) == np.float32(wanted)
    assert tied > 100


def test_without_ties_all_rules_agree():
    rng = np.random.default_rng(0)
    image_ID, text_TD, owner_T = rng.normal(size=(30, 8)), rng.normal(size=(70, 8)), np.arange(70) % 30
    found = [ours.retrieval_scores(image_ID, text_TD, owner_T, [1, 5, 10], rule) for rule in RULES]
    assert found[0] == found[1] == found[2] == found[3]
    assert 0 < found[0]["image_retrieval_recall@10"] < 1


def test_class_vectors():
    table = {"the a": [3.0, 4.0], "a, stained": [0.0, 2.0], "the b": [-1.0, 0.0], "b, stained": [-1.0, -1.0]}
    asked = []

    class Model:
        def encode_text(self, texts):
            asked.append(list(texts))
            return torch.tensor([table[text] for text in texts])

    templates = ["the {c}", "{c}, stained"]
    found_DK = ours.class_matrix(Model(), ["a", "b"], templates)
    wanted = [brute.class_vector(table.__getitem__, name, templates) for name in "ab"]
    assert np.allclose(found_DK.T, wanted, atol=1e-6)
    assert asked == [["the a", "a, stained"], ["the b", "b, stained"]]
    logits = ours.class_logits(np.array([[0.0, 9.0]]), found_DK)
    assert logits.dtype == np.float32
    assert np.allclose(logits, [[100 * wanted[0][1], 100 * wanted[1][1]]], atol=1e-4)
    with pytest.raises(DataError, match=r"'a {}': no template says {c}"):
        ours.class_matrix(Model(), ["a"], ["a {}"])


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(DataError, match="recall at 4 of 3 items"):
        ours.retrieval_scores(np.eye(3), np.eye(3), [0, 1, 2], [4])
    with pytest.raises(DataError, match="2: a query has no right item"):
        ours.retrieval_scores(np.eye(3), np.eye(3)[:2], [0, 1], [1])
