"""Which diseases the world has, how they are related, and which of them are held out.

Shape legend: L leaves of the world, A shared ancestors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import ConfigError
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.knowledge.names import normalise

SEEN, RARE, UNSEEN = "seen", "rare", "unseen"
LEAVES_PER_BRANCH = 4
_MOST_BELOW = 12  # descendants of a leaf of the world: more would make it a chapter, not a disease
_SHORTEST_NAME, _MOST_WORDS = 5, 5
_GENERIC = {"cancer", "carcinoma", "tumor", "tumour", "neoplasm", "malignant", "primary", "type", "and", "the"}
_NOT_A_LOOK = {"adult", "childhood", "pediatric", "juvenile", "congenital", "familial", "hereditary", "with"}


@dataclass(frozen=True)
class Leaves:
    """The leaves of a world.

    Attributes:
        ids: Concept ids (L), branch by branch.
        branch_L: Number of the branch, a shared parent, of each leaf.
        branches: Concept id of each branch's parent.
    """

    ids: tuple[str, ...]
    branch_L: NDArray[np.int64]
    branches: tuple[str, ...]


def choose_leaves(graph: DiseaseGraph, root: str, num_leaves: int) -> Leaves:
    """Choose leaves by a rule that depends on the graph alone.

    A candidate has two names or more, none shorter than five letters, a preferred name of at most five plain words,
    and at most twelve descendants. A branch is a parent with four candidate children or more. Branches are visited in
    turn over the parts of the hierarchy two levels below the root (organ systems, cell types), in each part the branch
    with most opaque names first; a branch gives four leaves, by turns one with an opaque name and one with several
    parents (an organ and a cell type). No leaf is above another, and no name of a leaf contains a name of another, so
    that a name can be kept from training.

    Raises:
        GraphError: If the graph lacks the root.
        ConfigError: If there are not enough leaves of this kind.
    """
    below = graph.descendants(root)
    candidates = [concept for concept in sorted(below) if _is_candidate(graph, concept)]
    opaque = {concept for concept in candidates if is_opaque(graph, root, concept)}
    queues = _branches_by_part(graph, root, candidates, opaque)
    chosen: dict[str, int] = {}
    branches: list[str] = []
    while any(queues.values()) and len(chosen) < num_leaves:
        for queue in queues.values():
            if not queue or len(chosen) >= num_leaves:
                continue
            parent, members = queue.pop(0)
            added = _from_branch(graph, members, opaque, chosen)
            if len(added) == LEAVES_PER_BRANCH:
                chosen.update(dict.fromkeys(added, len(branches)))
                branches.append(parent)
    if len(chosen) < num_leaves:
        raise ConfigError(
            f"only {len(chosen)} fitting diseases below {root}", item="num_leaves", remedy="ask for fewer or widen root"
        )
    return Leaves(tuple(chosen), np.array(list(chosen.values()), dtype=np.int64), tuple(branches))


def subgraph(graph: DiseaseGraph, root: str, leaves: Sequence[str]) -> DiseaseGraph:
    """Return the graph of the leaves, the root and everything between them."""
    return graph.subset(_members(graph, root, leaves))


def shared_ancestors(graph: DiseaseGraph, root: str, leaves: Sequence[str]) -> NDArray[np.bool_]:
    """Return bool (L, A): which ancestors are above which leaf.

    Only ancestors that part the leaves count: above two of them or more, and not above all. Ancestors above the same
    leaves count once, so that a long chain of single children weighs no more than one step.
    """
    above = [_proper(graph, root, leaf) for leaf in leaves]
    columns = {tuple(ancestor in own for own in above) for ancestor in sorted(frozenset().union(*above))}
    kept = sorted(column for column in columns if 2 <= sum(column) < len(leaves))
    return np.array(kept, dtype=bool).reshape(len(kept), len(leaves)).T


def draw_groups(
    branch_L: NDArray[np.int64], num_unseen: int, num_rare: int, rng: np.random.Generator
) -> NDArray[np.str_]:
    """Draw which leaves are seen, rare or unseen, spread over the branches.

    Every leaf held out is taken from a branch of which least is held out yet, and each branch keeps a seen leaf.
    More unseen leaves with the same generator are a superset of fewer.

    Raises:
        ConfigError: If the branches cannot spare so many.
    """
    group_L = np.full(len(branch_L), SEEN, dtype="<U6")
    order_L = rng.permutation(len(branch_L))
    for kind in [UNSEEN] * num_unseen + [RARE] * num_rare:
        left = {b: int(((branch_L == b) & (group_L == SEEN)).sum()) for b in np.unique(branch_L).tolist()}
        held = {b: int(((branch_L == b) & (group_L != SEEN)).sum()) for b in left}
        free = [row for row in order_L.tolist() if group_L[row] == SEEN and left[int(branch_L[row])] > 1]
        if not free:
            raise ConfigError(
                "no branch can spare another leaf", item="share_unseen, share_rare", remedy="hold out a smaller share"
            )
        group_L[min(free, key=lambda row: held[int(branch_L[row])])] = kind
    return group_L


def is_opaque(graph: DiseaseGraph, root: str, concept: str, seen: Iterable[str] = ()) -> bool:
    """Tell whether a preferred name gives no hint in words of what the disease is related to.

    No content word of it is a word of a proper ancestor's names, or of the names of ``seen`` concepts, or holds such a
    word or lies in one ("sarcoma" in "liposarcoma"); cancer, carcinoma, tumor, neoplasm and malignant are no content.
    """
    mine = _content_words(graph.name(concept))
    others = {
        word
        for other in (*_proper(graph, root, concept), *seen)
        for text in graph.texts(other)
        for word in _content_words(text)
    }
    return bool(mine) and not any(_share(word, other) for word in mine for other in others)


def _share(a: str, b: str) -> bool:
    return a == b or (min(len(a), len(b)) >= _SHORTEST_NAME and (a in b or b in a))


def _content_words(text: str) -> list[str]:
    return [word for word in normalise(text).split() if word not in _GENERIC and len(word) > 2]


def _is_candidate(graph: DiseaseGraph, concept: str) -> bool:
    names = {normalise(text) for text in graph.texts(concept)}
    words = normalise(graph.name(concept)).split()
    return (
        len(names) >= 2
        and min(map(len, names)) >= _SHORTEST_NAME
        and len(words) <= _MOST_WORDS
        and all(word.isalpha() for word in words)
        and not _NOT_A_LOOK.intersection(words)
        and len(graph.descendants(concept)) <= _MOST_BELOW
    )


def _branches_by_part(
    graph: DiseaseGraph, root: str, candidates: Sequence[str], opaque: set[str]
) -> dict[str, list[tuple[str, list[str]]]]:
    """Branches of every part of the hierarchy, those with most opaque names first; a branch is in its first part."""
    below = graph.descendants(root)
    members: dict[str, list[str]] = {}
    for concept in candidates:
        for parent in graph.parents(concept):
            if parent in below:
                members.setdefault(parent, []).append(concept)
    parts = sorted({part for top in graph.children(root) for part in graph.children(top)})
    queues: dict[str, list[tuple[str, list[str]]]] = {part: [] for part in parts}
    for parent, own in sorted(members.items()):
        part = next((part for part in parts if part == parent or part in graph.ancestors(parent)), None)
        if part is not None and len(own) >= LEAVES_PER_BRANCH:
            queues[part].append((parent, own))
    for queue in queues.values():
        queue.sort(key=lambda branch: (-min(2, len(opaque.intersection(branch[1]))), -len(branch[1]), branch[0]))
    return queues


def _from_branch(graph: DiseaseGraph, members: Sequence[str], opaque: set[str], chosen: Iterable[str]) -> list[str]:
    dark = [concept for concept in members if concept in opaque]
    plain = [concept for concept in members if concept not in opaque]
    plain.sort(key=lambda concept: (-len(graph.parents(concept)), concept))
    by_turns = [concept for pair in zip(dark, plain, strict=False) for concept in pair]
    taken: list[str] = []
    for concept in dict.fromkeys([*by_turns, *dark, *plain]):
        others = [*chosen, *taken]
        if (
            len(taken) < LEAVES_PER_BRANCH
            and not _above_or_below(graph, concept, others)
            and not _names_clash(graph, concept, others)
        ):
            taken.append(concept)
    return taken


def _above_or_below(graph: DiseaseGraph, concept: str, others: Iterable[str]) -> bool:
    above, below = graph.ancestors(concept), graph.descendants(concept)
    return any(other == concept or other in above or other in below for other in others)


def _names_clash(graph: DiseaseGraph, concept: str, others: Iterable[str]) -> bool:
    own = [normalise(text) for text in graph.texts(concept)]
    theirs = [normalise(text) for other in others for text in graph.texts(other)]
    return any(a in b or b in a for a in own for b in theirs)


def _proper(graph: DiseaseGraph, root: str, concept: str) -> frozenset[str]:
    """Ancestors of a concept that lie below the root."""
    return graph.ancestors(concept) & graph.descendants(root)


def _members(graph: DiseaseGraph, root: str, leaves: Sequence[str]) -> set[str]:
    return {root, *leaves}.union(*(_proper(graph, root, leaf) for leaf in leaves))
