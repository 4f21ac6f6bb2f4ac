"""Calibration error, retrieval and overlap equal torchmetrics on 1,000 random cases each."""

import numpy as np
import pytest
import torch

from medvlp.metrics import calibration, overlap, ranking

pytestmark = pytest.mark.extras
CASES = range(1000)


@pytest.fixture(scope="module")
def oracle():
    from medvlp.torchvision_guard import install

    install()
    functional = pytest.importorskip("torchmetrics.functional", reason="torchmetrics is not installed")
    return functional.classification, functional.retrieval


def test_calibration_error(oracle):
    for seed in CASES:
        rng = np.random.default_rng([6, seed])
        # float32 there: values away from the edges of bins, where rounding would decide.
        confidence = (rng.integers(0, 15, int(rng.integers(1, 30))) + rng.uniform(0.1, 0.9)) / 15
        target = rng.random(len(confidence)) < 0.5
        found = oracle[0].binary_calibration_error(
            torch.tensor(confidence), torch.tensor(target).long(), n_bins=15, norm="l1"
        )
        assert calibration.expected_calibration_error(target, confidence) == pytest.approx(float(found), abs=1e-5)


def test_recall_and_reciprocal_rank(oracle):
    for seed in CASES:
        rng = np.random.default_rng([7, seed])
        num = int(rng.integers(2, 12))
        # Above zero: an item of score 0 is not looked at there.
        score, positive = (1 + rng.permutation(num)) / num, rng.random(num) < 0.3
        positive[rng.integers(num)] = True
        rank = ranking.similarity_ranks(score[None], positive[None]).realistic_Q
        there = torch.tensor(score), torch.tensor(positive)
        assert ranking.mean_reciprocal_rank(rank) == pytest.approx(float(oracle[1].retrieval_reciprocal_rank(*there)))
        assert ranking.recall_at(rank, 3) == float(oracle[1].retrieval_hit_rate(*there, top_k=3))


def test_overlap(oracle):
    for seed in CASES:
        rng = np.random.default_rng([8, seed])
        truth, found = rng.random((2, int(rng.integers(1, 20)))) < 0.5
        if truth.any():
            there = torch.tensor(found).long(), torch.tensor(truth).long()
            iou = oracle[0].binary_jaccard_index(*there)
            assert overlap.iou(truth, found) == pytest.approx(float(iou), abs=1e-6)
            f1 = oracle[0].binary_f1_score(*there)
            assert overlap.dice(truth, found) == pytest.approx(float(f1), abs=1e-6)
