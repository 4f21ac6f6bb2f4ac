"""Splits by concept and by name in which no name seen in training can answer for a held-out one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medvlp.errors import GraphError
from medvlp.knowledge.names import KINDS, Name, normalise


@dataclass(frozen=True)
class HeldOut:
    """(id, text) pairs parted by name; no normalised text occurs in two of the lists.

    Attributes:
        train: Every concept's preferred name and the names left for training.
        heldout: Names never seen in training that belong to one concept each; one text per normalised name.
        ambiguous: Names never seen in training that belong to several concepts, one pair per concept: no single
            right answer exists, so they are counted apart.
    """

    train: list[tuple[str, str]]
    heldout: list[tuple[str, str]]
    ambiguous: list[tuple[str, str]]


def _check_fraction(fraction: float, item: str) -> None:
    if not 0 <= fraction <= 1:
        raise GraphError(f"fraction {fraction} is outside [0, 1]", item=item, remedy="give a share such as 0.1")


def split_concepts(
    ids: Sequence[str], texts: Sequence[Sequence[str]], fractions: Mapping[str, float], seed: int
) -> dict[str, list[str]]:
    """Part the concepts so that concepts which share a normalised name fall into the same part.

    Args:
        ids: All concepts.
        texts: The name strings of each.
        fractions: Share of the concepts per part; together 1.
        seed: Same seed, same parts.

    Returns:
        The ids of each part in the order of ``ids``. Sizes differ from the shares by at most the largest cluster of
        concepts tied by shared names.

    Raises:
        GraphError: Shares outside [0, 1] or not together 1.
    """
    for part, fraction in fractions.items():
        _check_fraction(fraction, part)
    if not fractions or abs(sum(fractions.values()) - 1) > 1e-6:
        raise GraphError("the fractions of the parts do not sum to 1", item=", ".join(fractions) or "(none)")
    cluster_N = _clusters(texts)
    members: dict[int, list[int]] = {}
    for row, number in enumerate(cluster_N):
        members.setdefault(number, []).append(row)
    clusters = list(members.values())
    rng = np.random.default_rng([seed, len(ids)])
    shuffled = [clusters[i] for i in rng.permutation(len(clusters))]
    shuffled.sort(key=len, reverse=True)  # stable: large clusters first, random among equals
    wanted = {part: fraction * len(ids) for part, fraction in fractions.items() if fraction > 0}
    rows: dict[str, list[int]] = {part: [] for part in fractions}
    for cluster in shuffled:
        part = max(wanted, key=lambda p: (wanted[p] - len(rows[p])) / wanted[p])
        rows[part].extend(cluster)
    return {part: [ids[row] for row in sorted(found)] for part, found in rows.items()}


def _clusters(texts: Sequence[Sequence[str]]) -> list[int]:
    """Number of the cluster of each concept: connected components of "shares a normalised name"."""
    parent = list(range(len(texts)))

    def find(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[str, int] = {}
    for row, names in enumerate(texts):
        for text in names:
            key = normalise(text)
            if key and (other := first.setdefault(key, row)) != row:
                low, high = sorted((find(other), find(row)))
                parent[high] = low
    return [find(row) for row in range(len(texts))]


def split_names(
    ids: Sequence[str],
    names: Sequence[Sequence[Name]],
    fraction: float,
    seed: int,
    kinds: Sequence[str] | None = None,
) -> HeldOut:
    """Hold out a share of the names that no concept has as its preferred one.

    Args:
        ids: All concepts.
        names: The names of each.
        fraction: Share of the normalised non-preferred names to hold out, those of several concepts included.
        seed: Same seed, same names.
        kinds: Kinds of names to use at all, ``preferred`` always among them; all kinds if left out.

    Returns:
        The three lists. Definitions are not looked at: one may spell out a held-out name.

    Raises:
        GraphError: A fraction outside [0, 1] or an unknown kind.
    """
    _check_fraction(fraction, "held-out names")
    unknown = sorted(set(kinds or ()) - set(KINDS))
    if unknown:
        raise GraphError("unknown kind of name", item=unknown[0], remedy=f"use some of {', '.join(KINDS)}")
    used = set(KINDS if kinds is None else kinds) | {"preferred"}
    owners: dict[str, dict[str, str]] = {}  # normalised name -> concept -> first text
    preferred: set[str] = set()
    for concept, entries in zip(ids, names, strict=True):
        for name in entries:
            key = normalise(name.text)
            if name.kind in used:
                owners.setdefault(key, {}).setdefault(concept, name.text)
            if name.kind == "preferred":
                preferred.add(key)
    candidates = [key for key in owners if key and key not in preferred]
    rng = np.random.default_rng([seed, len(candidates)])
    chosen = {candidates[i] for i in rng.permutation(len(candidates))[: round(fraction * len(candidates))]}
    train = [
        (concept, name.text)
        for concept, entries in zip(ids, names, strict=True)
        for name in entries
        if name.kind in used and normalise(name.text) not in chosen
    ]
    picked = [(key, list(owners[key].items())) for key in candidates if key in chosen]
    return HeldOut(
        train=train,
        heldout=[pairs[0] for _, pairs in picked if len(pairs) == 1],
        ambiguous=[pair for _, pairs in picked if len(pairs) > 1 for pair in pairs],
    )
