"""Where is a gain lost? Three steps of one arm, each judged without the others: text space, alignment, prompts.

1. Text space: do unseen leaves lie near the seen leaves that look like them? (Spearman, text against true looks.)
2. Alignment: could the image embedding tell unseen leaves apart, were their class vectors perfect? (A ceiling: the
   class vector is the mean embedding of the leaf's other images.)
3. Prompts: which texts of a class serve best: its name, all names, definitions, or paths in the arm's own hierarchy?

Shape legend: N test images, L leaves, U unseen and S seen leaves, K unseen leaves, D embedding, F visual factors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.controlled.config import PromptKind
from benchmarks.controlled.measure import UNSEEN, Floats, macro_auroc
from benchmarks.controlled.text_space import class_vectors
from medvlp.training.text_augment import general_concepts
from medvlp.zeroshot.classifier import softmax, unit_vectors

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from benchmarks.controlled.features import Towers
    from benchmarks.controlled.model import Answers
    from benchmarks.controlled.world import World
    from medvlp.encoders.heads import Head
    from medvlp.knowledge.graph import DiseaseGraph

KINDS: tuple[PromptKind, ...] = ("names", "synonyms", "definitions", "paths")
_PATHS = 4


def prompt_texts(
    kind: PromptKind, leaves: Sequence[str], sub: DiseaseGraph, hierarchy: DiseaseGraph | None, templates: Sequence[str]
) -> list[list[str]] | None:
    """Return the texts of each leaf, or None for paths without a hierarchy.

    Args:
        kind: ``names`` (the preferred one), ``synonyms`` (all exact ones), ``definitions`` (each behind the preferred
            name, which stands alone where there is none), ``paths`` (general to special, at most four per leaf).
        leaves: Concepts.
        sub: Gives names and definitions.
        hierarchy: Gives paths: the arm's own, real or rewired.
        templates: Wordings with ``{name}``; definitions and paths are taken as they are.
    """

    def worded(names: Sequence[str]) -> list[str]:
        return [template.replace("{name}", name) for name in names for template in templates]

    if kind == "names":
        return [worded([sub.name(leaf)]) for leaf in leaves]
    if kind == "synonyms":
        exact = [[name.text for name in sub.names(leaf) if name.kind in ("preferred", "exact")] for leaf in leaves]
        return [worded(names) for names in exact]
    if kind == "definitions":
        told = [[f"{sub.name(leaf)}: {text}" for text in sub.definitions(leaf)] for leaf in leaves]
        return [texts or [sub.name(leaf)] for leaf, texts in zip(leaves, told, strict=True)]
    if hierarchy is None:
        return None
    general = general_concepts(hierarchy, 1)  # as in training: what is true of nearly all says nothing
    return [
        [
            " ".join(sub.name(concept) for concept in path if concept not in general)
            for path in hierarchy.hypernym_paths(leaf, _PATHS)
        ]
        for leaf in leaves
    ]


def text_agreement(class_LD: Floats, world: World) -> float:
    """Spearman over pairs of an unseen and a seen or rare leaf: cosine of texts against closeness of true factors."""
    unseen = np.asarray(world.group_L) == UNSEEN
    cosine_US = class_LD[unseen] @ class_LD[~unseen].T
    factor_LF = np.asarray(world.factors_LF, dtype=np.float64)
    apart_US = np.linalg.norm(factor_LF[unseen][:, None] - factor_LF[~unseen][None], axis=-1)
    return float(spearmanr(cosine_US.ravel(), -apart_US.ravel()).statistic)


def ceiling(image_ND: Floats, scale: float, target_N: NDArray[np.int64], world: World) -> float:
    """AUROC of unseen leaves alone when a class vector is the mean embedding of the leaf's other test images."""
    unseen_K = np.flatnonzero(np.asarray(world.group_L) == UNSEEN)
    rows = np.flatnonzero(np.isin(target_N, unseen_K))
    image_ND, target = unit_vectors(image_ND[rows], "image features"), np.searchsorted(unseen_K, target_N[rows])
    member_NK = (target[:, None] == np.arange(len(unseen_K))).astype(np.float64)
    total_KD, count_K = member_NK.T @ image_ND, member_NK.sum(0)
    cosine_NK = np.empty(member_NK.shape)
    for k in range(len(unseen_K)):
        own_N1 = member_NK[:, [k]]
        others_ND = (total_KD[k] - own_N1 * image_ND) / np.maximum(count_K[k] - own_N1, 1)
        norm_N = np.maximum(np.linalg.norm(others_ND, axis=1), 1e-12)
        cosine_NK[:, k] = (image_ND * others_ND).sum(1) / norm_N
    return macro_auroc(target, softmax(scale * cosine_NK), list(range(len(unseen_K))))[0]


def by_prompts(
    answers: Answers,
    target_N: NDArray[np.int64],
    world: World,
    sub: DiseaseGraph,
    hierarchy: DiseaseGraph | None,
    templates: Sequence[str],
) -> dict[str, float | None]:
    """Return AUROC of unseen leaves alone for each kind of prompts; None where an arm has none."""
    unseen_K = np.flatnonzero(np.asarray(world.group_L) == UNSEEN)
    rows = np.flatnonzero(np.isin(target_N, unseen_K))
    target, leaves = np.searchsorted(unseen_K, target_N[rows]), [world.leaves[k] for k in unseen_K]
    out: dict[str, float | None] = {}
    for kind in KINDS:
        texts = prompt_texts(kind, leaves, sub, hierarchy, templates)
        if texts is None:
            out[kind] = None
            continue
        out[kind] = macro_auroc(target, softmax(answers(texts, rows)), list(range(len(leaves))))[0]
    return out


def steps(
    answers: Answers,
    learned: Collection[str],
    tower_NI: torch.Tensor,
    target_N: NDArray[np.int64],
    taught: Head,
    world: World,
    sub: DiseaseGraph,
    hierarchy: DiseaseGraph | None,
    templates: Sequence[str],
    towers: Towers,
) -> dict[str, Any]:
    """Return the three steps of one arm.

    Args:
        answers: The trained model on the test images.
        learned: Its parts that learned; an image head that did not has no ceiling.
        tower_NI: Outputs of the frozen image tower for the same images.
        target_N: Number of each image's true leaf.
        taught: Text head after stage 1.
        world: The world.
        sub: The real sub-graph.
        hierarchy: The arm's hierarchy.
        templates: Wordings of prompts.
        towers: The frozen towers.
    """
    names = prompt_texts("names", world.leaves, sub, hierarchy, templates)
    assert names is not None
    heads = (taught, answers.model.text_map)
    before, after = (class_vectors(head, names, towers).double().numpy() for head in heads)
    scale = float(answers.model.scale())
    return {
        "text_after_stage_1": text_agreement(before, world),
        "text_after_stage_2": text_agreement(after, world),
        "ceiling_tower": ceiling(tower_NI.double().numpy(), scale, target_N, world),
        "ceiling": ceiling(answers.image_ND, scale, target_N, world) if "image_head" in learned else None,
        "prompts": by_prompts(answers, target_N, world, sub, hierarchy, templates),
    }
