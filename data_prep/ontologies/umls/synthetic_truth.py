"""What a builder has to find in a synthetic release, told by how the release was made and not by a builder's rules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.ontologies.umls.synthetic_world import RETIRED, SUPPRESSED_ALL, World, cui

Pairs = set[tuple[str, str]]


@dataclass
class Truth:
    """The right answers; concepts are identifiers such as ``UMLS:C0000001``.

    Attributes:
        preferred: Preferred name by concept; the others have none in English that is kept.
        num_names: All names, those that differ by case only counted once.
        parents: (child, parent) after cutting the cycles.
        cut: (child, parent) that had to go.
        sites: (disorder, body part) of has_finding_site.
        aliases: Concept by retired identifier.
        definitions: Sources of the definitions by concept, the preferred first.
        without_english: Concepts that only a naive reader names.
    """

    preferred: dict[str, str]
    num_names: int
    parents: Pairs
    cut: Pairs
    sites: Pairs
    aliases: dict[str, str]
    definitions: dict[str, list[str]]
    without_english: set[str]


def _ids(number_I: NDArray[np.int64]) -> list[str]:
    return [f"UMLS:{text}" for text in cui(number_I).to_list()]


def _pairs(one_I: NDArray[np.int64], two_I: NDArray[np.int64]) -> Pairs:
    return set(zip(_ids(one_I), _ids(two_I), strict=True))


def truth(world: World, *, free: bool = False, groups: bool = True) -> Truth:
    """Return the right answers for English names that are not suppressed.

    Args:
        world: What the release says.
        free: Of restriction level 0 only.
        groups: Of the semantic groups DISO and ANAT only.
    """
    number_I = np.arange(world.num_concepts)
    best_I = world.best(number_I, free)
    typed_I = world.disorder_or_anatomy(number_I) if groups else np.ones(len(number_I), dtype=bool)
    kept_I = (best_I >= 0) & typed_I
    names: dict[str, str] = {}
    for atom in range(3):
        some_I = number_I[kept_I & (best_I == atom)]
        names.update(zip(_ids(some_I), world.text(some_I, atom).to_list(), strict=True))
    up_I, second_I = world.parent(number_I), world.second_parent(number_I)
    tree_I = kept_I & kept_I[up_I] & (number_I > 0)
    fifth_I = kept_I & kept_I[second_I] & (number_I > 0) & (number_I % 5 == 0)
    closes_I = world.closes_cycle(number_I) & typed_I & (not free)
    site_I = world.site(number_I)
    sick_I = kept_I & kept_I[site_I] & (number_I % 10 < 5) & (not free)  # said by a source of level 9
    retired_K = np.arange(world.num_retired)
    digit_K = retired_K % 10
    end_K = np.where(digit_K == 5, retired_K - 5, np.where(digit_K == 6, retired_K - 6, retired_K)) % world.num_concepts
    alias_K = (digit_K < 7) & kept_I[end_K]
    defined = {
        source: set(_ids(number_I[kept_I & (number_I % every == 0)])) for source, every in (("NCI", 24), ("MSH", 8))
    }
    return Truth(
        preferred=names,
        num_names=_num_names(world, number_I[kept_I], free),
        parents=_pairs(number_I[tree_I], up_I[tree_I]) | _pairs(number_I[fifth_I], second_I[fifth_I]),
        cut=_pairs(world.parent(up_I)[closes_I], number_I[closes_I]),
        sites=_pairs(number_I[sick_I], site_I[sick_I]),
        aliases=dict(zip(_ids(retired_K[alias_K] + RETIRED), _ids(end_K[alias_K]), strict=True)),
        definitions={
            concept: [source for source, owners in defined.items() if concept in owners] for concept in defined["MSH"]
        },
        without_english=set(_ids(number_I[typed_I & (world.role(number_I) == 0)])),
    )


def _num_names(world: World, number_I: NDArray[np.int64], free: bool) -> int:
    """Count names: atom 2 repeats atom 0 in capitals, atom 4 is Spanish, 1 and 5 are not free."""
    role_I, num_I = world.role(number_I), world.num_atoms(number_I)
    assert not np.any(role_I == SUPPRESSED_ALL)
    has = [num_I > atom for atom in range(7)]
    first_I = has[0] & (role_I != 1) & ~(((role_I == 3) | (role_I == 4)) & free)
    second_I = has[1] & (not free)
    capitals_I = has[2] & ~first_I
    others = [has[3], has[5] & (not free), has[6]]
    return int(sum(kept.sum() for kept in (first_I, second_I, capitals_I, *others)))
