"""Splits by case: no case in two splits, labels balanced as far as whole cases allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from medvlp.errors import DataError

SPLIT_NAMES = {
    "train": "train", "training": "train", "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev",
    "development": "dev", "tune": "dev", "test": "test", "testing": "test",
}  # fmt: skip


def given_split(name: str, item: str) -> str:
    """Return ``train``, ``dev`` or ``test`` for one of the names in use.

    Raises:
        DataError: Naming the item with another one.
    """
    if name.lower() not in SPLIT_NAMES:
        raise DataError(
            f"unknown split {name!r}", item=item, remedy="use train, dev or test, or leave the source's split out"
        )
    return SPLIT_NAMES[name.lower()]


def check_given_splits(cases: Sequence[str], splits: Sequence[str | None]) -> None:
    """Refuse a case whose images were given two splits.

    Raises:
        DataError: Naming the case.
    """
    seen: dict[str, str | None] = {}
    for case, split in zip(cases, splits, strict=True):
        if seen.setdefault(case, split) != split:
            raise DataError(
                f"the case is in both {seen[case]} and {split}", item=case, remedy="keep all its images in one split"
            )


def draw_splits(
    cases: Sequence[str], labels: Sequence[str | None], fractions: dict[str, float], seed: int
) -> list[str]:
    """Draw a split for every image such that whole cases stay together.

    Cases are taken label by label, the rarest label first and larger cases first, each into the split that lacks
    most images of that label; equal cases come in an order drawn from ``seed``.

    Args:
        cases: Case of every image.
        labels: Label of every image, or None.
        fractions: Wanted share of images by split name; zero means none.
        seed: Seed of the order among equal cases.

    Returns:
        Split name of every image.
    """
    members: dict[str, list[int]] = {}
    for index, case in enumerate(cases):
        members.setdefault(case, []).append(index)
    totals = Counter(labels)
    names = sorted(members)
    order = np.random.default_rng([seed]).permutation(len(names))
    rank = {name: int(place) for name, place in zip(names, order, strict=True)}

    def rarest_label(case: str) -> str | None:
        return min({labels[index] for index in members[case]}, key=lambda label: (totals[label], str(label)))

    label_of_case = {case: rarest_label(case) for case in names}
    names.sort(key=lambda c: (totals[label_of_case[c]], str(label_of_case[c]), -len(members[c]), rank[c]))
    wanted = {split: share for split, share in fractions.items() if share > 0}
    placed = {split: Counter[str | None]() for split in wanted}
    split_of_case: dict[str, str] = {}
    for case in names:
        label = label_of_case[case]
        split = max(wanted, key=lambda name: wanted[name] * totals[label] - placed[name][label])
        split_of_case[case] = split
        placed[split].update(labels[index] for index in members[case])
    return [split_of_case[case] for case in cases]
