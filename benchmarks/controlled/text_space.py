"""Stage 1: what the arm knows goes into the text space, a head on features of the frozen text tower.

Real, permuted and no knowledge take equally many steps over equally many concepts and texts. Without knowledge a
concept is its preferred name beside itself; permuted has the right names and definitions, but rewired "is a". All
concepts of the sub-graph take part, unseen leaves too: a graph knows diseases nobody has shown a picture of.

Shape legend: G concepts, M texts, U distinct texts, I tower width, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from benchmarks.controlled.config import Knowledge, Stage1
from benchmarks.controlled.features import Towers
from medvlp.data.batch import Item, collate
from medvlp.data.plan import PairPlan
from medvlp.encoders.heads import Head
from medvlp.errors import TrainingError
from medvlp.objectives import build
from medvlp.objectives.base import Outputs
from medvlp.objectives.gather import LocalGather
from medvlp.training.concept_texts import ConceptTexts, Siblings, Views
from medvlp.training.knowledge import control_hierarchy
from medvlp.training.optim import build_optimizer, rate, set_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medvlp.knowledge.graph import DiseaseGraph

_DRAW, _POOL = 2, 5  # random streams: which draw a step takes, what a draw holds
_KINDS = ("preferred", "exact")
_BARE = Views(synonyms=False, definitions=False, hypernyms=False)


@dataclass(frozen=True)
class Taught:
    """A text space and what it cost.

    Attributes:
        head: Maps tower features (M, I) to the embedding (M, D).
        num_steps: Optimiser steps.
        num_texts: Texts that passed the head, repetitions counted.
        last_loss: Loss of the last step; NaN without one.
    """

    head: Head
    num_steps: int
    num_texts: int
    last_loss: float


def hierarchy_of(sub: DiseaseGraph, knowledge: Knowledge, seed: int) -> DiseaseGraph | None:
    """Return the sub-graph itself, rewired within itself, or None."""
    return control_hierarchy(sub, knowledge, seed)


def new_head(width: int) -> Head:
    """Return a linear head that starts as the identity, so that its text space starts as the published one."""
    head = Head("linear", width, width, "text")
    assert head.first is not None
    nn.init.eye_(head.first.weight)
    return head


def teach(config: Stage1, sub: DiseaseGraph, hierarchy: DiseaseGraph | None, seed: int, towers: Towers) -> Taught:
    """Train a text head on what an arm knows.

    Args:
        config: What to train.
        sub: The real sub-graph.
        hierarchy: What the arm may use of it; see :func:`hierarchy_of`.
        seed: Order and draws of texts.
        towers: The frozen towers.

    Raises:
        TrainingError: If the sub-graph has fewer concepts than a batch.
    """
    if len(sub) < config.groups_per_batch:
        raise TrainingError(
            f"{config.groups_per_batch} concepts per step, but the sub-graph has {len(sub)}",
            item="stages_1.groups_per_batch",
            remedy="lower it or take more leaves",
        )
    views = _BARE if hierarchy is None else config.views
    texts = ConceptTexts(sub, sub.split_names(0.0, 0, _KINDS), views, hierarchy)
    pool = [
        [texts.draw(row, config.instances, np.random.default_rng([seed, _POOL, row, k])) for k in range(config.draws)]
        for row in range(len(sub))
    ]
    table = towers.texts(text for draws in pool for drawn in draws for text in drawn)
    head = new_head(table.features_UI.shape[1])
    siblings = None if hierarchy is None or config.siblings == 0 else Siblings(hierarchy, range(len(sub)))
    num_siblings = 0 if siblings is None else int(config.siblings * config.groups_per_batch)
    plan = PairPlan(len(sub), config.groups_per_batch - num_siblings, seed)
    own = config.objective
    objective = build(own, hierarchy)
    optimizer = build_optimizer({"text_head": list(head.parameters())}, config.optimizer)
    loss = torch.tensor(float("nan"))
    for step in range(config.steps):
        rng = np.random.default_rng([seed, _DRAW, step])
        rows = plan.batch(step).tolist()
        if siblings is not None:
            rows = siblings.fill(rows, config.groups_per_batch, rng)
        items = [Item(sub.ids[row], row, pool[row][rng.integers(config.draws)], (row,)) for row in rows]
        batch = collate(items, table.tokenize, labels=False)
        text_MD = normalize(head(table.features_UI[batch.token_ids_ML[:, 0]]), dim=-1)
        loss = objective(Outputs(None, text_MD, 1.0), batch, LocalGather()).total
        optimizer.zero_grad()
        loss.backward()
        set_rate(optimizer, rate(step, config.steps, config.optimizer))
        optimizer.step()
    num_texts = config.steps * config.groups_per_batch * config.instances
    return Taught(head.eval().requires_grad_(False), config.steps, num_texts, float(loss.detach()))


def class_vectors(head: Callable[[Tensor], Tensor], texts_K: Sequence[Sequence[str]], towers: Towers) -> Tensor:
    """Return one unit vector (K, D) per class: the mean of its texts' unit vectors, as in ``medvlp.zeroshot``."""
    table = towers.texts(text for texts in texts_K for text in texts)
    with torch.no_grad():
        return normalize(torch.stack([normalize(head(table[texts]), dim=-1).mean(0) for texts in texts_K]), dim=-1)
