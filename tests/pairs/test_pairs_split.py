"""Splits keep cases whole, follow the fractions and depend on the seed alone."""

from collections import Counter

import numpy as np
import pytest

from data_prep.pairs.split import check_given_splits, draw_splits
from medvlp.errors import DataError

FRACTIONS = {"train": 0.7, "dev": 0.1, "test": 0.2}


def test_whole_cases_and_balance():
    rng = np.random.default_rng(0)
    labels = [str(label) for label in rng.choice(["a", "b", "c"], size=600, p=[0.7, 0.2, 0.1])]
    cases = [f"{label}{rng.integers(60)}" for label in labels]
    splits = draw_splits(cases, labels, FRACTIONS, seed=0)
    assert all(len({s for s, c in zip(splits, cases, strict=True) if c == case}) == 1 for case in set(cases))
    for label in "abc":
        counts = Counter(s for s, found in zip(splits, labels, strict=True) if found == label)
        total = sum(counts.values())
        for split, share in FRACTIONS.items():
            assert abs(counts[split] / total - share) < 0.08, (label, split)


def test_seed_decides():
    cases = [str(i) for i in range(50)]
    labels = ["x"] * 50
    assert draw_splits(cases, labels, FRACTIONS, 0) == draw_splits(cases, labels, FRACTIONS, 0)
    assert draw_splits(cases, labels, FRACTIONS, 0) != draw_splits(cases, labels, FRACTIONS, 1)
    assert set(draw_splits(cases, labels, {"train": 1.0, "dev": 0.0, "test": 0.0}, 0)) == {"train"}


def test_single_image_of_a_class_goes_to_training():
    assert draw_splits(["one"], ["rare"], FRACTIONS, 3) == ["train"]


def test_case_in_two_given_splits():
    with pytest.raises(DataError, match="p7: the case is in both train and test; keep all its images in one split"):
        check_given_splits(["p6", "p7", "p7"], ["train", "train", "test"])
