"""Stage 2: the alignment, on cached features, by the shipped losses, plans, captions and optimiser.

The engine of ``medvlp.training`` opens stores and towers anew for each run; a grid of hundreds of runs of seconds would
be mostly that. So the loop is here, and everything it puts together is ``medvlp``'s own. All methods take equally many
steps and rows; a row's concept is what its caption says, right or wrong, since nothing else is known of it.

Shape legend: N training images, P places of an image, M texts, L tokens, I tower width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.controlled.captions import ROOT
from benchmarks.controlled.config import Method, Stage2
from benchmarks.controlled.features import TextTable, Towers
from benchmarks.controlled.model import HeadPair
from benchmarks.controlled.text_space import Taught
from benchmarks.controlled.told import Texts, Told, entities_of
from benchmarks.controlled.world import World
from medvlp.data.batch import Batch, Item, collate
from medvlp.data.plan import GroupPlan, PairPlan, Plan
from medvlp.errors import TrainingError
from medvlp.ledger import Ledger
from medvlp.objectives import build
from medvlp.objectives.base import Objective, Outputs, check_needs
from medvlp.objectives.context import Context
from medvlp.objectives.gather import LocalGather
from medvlp.training.align_model import AlignModel
from medvlp.training.entity_texts import EntityTexts, entity_texts
from medvlp.training.optim import build_optimizer, rate, set_rate

if TYPE_CHECKING:
    from collections.abc import Collection

    from medvlp.data.entities import Entities
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.model import DualEncoder

_DRAW = 3  # random stream: which text a step takes


@dataclass(frozen=True)
class Pairs:
    """The training images of a world as the alignment sees them.

    Attributes:
        features_NI: Outputs of the frozen image tower.
        captions_N: Captions of each image; all of one image name the same concept.
        said_N: The concept they name, a leaf or the root.
        keys_N: Name of each image.
    """

    features_NI: Tensor
    captions_N: list[list[str]]
    said_N: list[str]
    keys_N: list[str]


@dataclass
class Trained:
    """A trained model and what it cost.

    Attributes:
        model: Heads, scale and decoder.
        learned: Parts that learned; the others are as they were drawn.
        num_steps: Optimiser steps.
        num_rows: Images that passed the head, repetitions counted.
        num_texts: Likewise texts of images, without the teacher's.
        num_asked: Likewise texts of entities.
        last_loss: Loss of the last step; NaN without one.
        ledger: Texts of the graph that were used, and those left out because they named an unseen leaf.
    """

    model: HeadPair
    learned: frozenset[str]
    num_steps: int
    num_rows: int
    num_texts: int
    num_asked: int
    last_loss: float
    ledger: Ledger


def training_pairs(world: World, features_NI: Tensor) -> Pairs:
    """Return the training part of a world, given the image features of all its images."""
    rows = world.rows("train")
    told = [world.config.root if named == ROOT else world.leaves[named] for named in world.named_N[rows].tolist()]
    keys = [str(world.case_N[row]) for row in rows]
    return Pairs(features_NI[torch.from_numpy(rows)], [world.captions_N[row] for row in rows], told, keys)


def train(
    method: Method,
    config: Stage2,
    pairs: Pairs,
    places_NPI: Tensor | None,
    world: World,
    sub: DiseaseGraph,
    hierarchy: DiseaseGraph | None,
    taught: Taught,
    towers: Towers,
) -> Trained:
    """Align images and texts.

    Args:
        method: How.
        config: For how long, at which rates.
        pairs: Training images with captions.
        places_NPI: Their features by place, for a method that reads them.
        world: Gives the seed and the names that no caption may say.
        sub: The real sub-graph.
        hierarchy: What the arm may use of it.
        taught: The text space of stage 1; it stays as it is, the run trains a copy.
        towers: The frozen towers.

    Raises:
        TrainingError: If there are fewer training images or groups than a batch takes, or the loss is not finite.
    """
    seed = world.seed
    texts = Texts(method, config, world, hierarchy, sub)
    pool_N = [texts.of(pairs, row) for row in range(len(pairs.said_N))]
    entities = entities_of(pairs.said_N, world, sub, hierarchy) if method.asks else None
    asking = [text for one in entities.entities for _, text in one.descriptions] if entities is not None else []
    asking += [one.name for one in entities.entities] if entities is not None else []
    everything = [text for pool in pool_N for told in pool for text in told.texts]
    table = towers.texts([*everything, *asking], words="words" in method.reads)
    code = {concept: number for number, concept in enumerate(sorted(set(pairs.said_N)))}
    group_N = np.array([code[concept] for concept in pairs.said_N])
    plan = _plan(method, config, group_N, seed)
    torch.manual_seed(seed)
    model = HeadPair.of(method, config, pairs.features_NI.shape[1], taught)
    model.read(table)
    objective = build(method.objective, hierarchy)
    asked: list[str] = []
    if entities is not None:
        objective.prepare(_context(model, entities, table, pairs.features_NI.shape[1], seed, asked))  # type: ignore[attr-defined]
    module = AlignModel(cast("DualEncoder", model), objective)
    parts = model.parts() | ({} if module.heads is None else {"objective": list(module.heads.parameters())})
    optimizer = build_optimizer(parts, config.optimizer)
    loss, num_texts = torch.tensor(float("nan")), 0
    for step in range(config.steps):
        rng = np.random.default_rng([seed, _DRAW, step])
        items = []
        for row in plan.batch(step).tolist():
            told = pool_N[row][rng.integers(len(pool_N[row]))]
            items.append(_item(row, told, pairs, places_NPI, int(group_N[row]), hierarchy, entities))
        batch = collate(items, table.tokenize, labels=hierarchy is not None, fills=method.aspect_texts is not None)
        loss = _loss(method, module, objective, batch, taught, table)
        optimizer.zero_grad()
        loss.backward()
        set_rate(optimizer, rate(step, config.steps, config.optimizer))
        optimizer.step()
        num_texts += len(batch.texts)
    last_loss = float(loss.detach())
    if not math.isfinite(last_loss) and config.steps > 0:
        raise TrainingError("the loss is not finite", item=method.title, remedy="lower the rates")
    learned = frozenset(name for name, own in model.parts().items() if any(one.grad is not None for one in own))
    return Trained(
        model.eval().requires_grad_(False),
        learned,
        config.steps,
        config.steps * config.rows,
        num_texts,
        config.steps * len(asked),
        last_loss,
        texts.ledger,
    )


def _item(
    row: int,
    told: Told,
    pairs: Pairs,
    places_NPI: Tensor | None,
    group: int,
    hierarchy: DiseaseGraph | None,
    entities: Entities | None,
) -> Item:
    said = pairs.said_N[row]
    return Item(
        pairs.keys_N[row],
        group,
        list(told.texts),
        () if hierarchy is None else (hierarchy.index(said),),
        label=group,
        feature_I=pairs.features_NI[row],
        tokens_NI=None if places_NPI is None else places_NPI[row].float(),
        aspects=list(told.aspects),
        entity_label_Q=None if entities is None else entities.of(said).label_Q,
    )


def _loss(
    method: Method, module: AlignModel, objective: Objective, batch: Batch, taught: Taught, table: TextTable
) -> Tensor:
    check_needs(objective, batch)
    given = module.given(batch)
    if method.needs_teacher:
        given["knowledge_MD"] = normalize(taught.head(table.features_UI[batch.token_ids_ML[:, 0]]), dim=-1)
    return objective(Outputs(*module(given)), batch, LocalGather()).total


def _plan(method: Method, config: Stage2, group_N: NDArray[np.int64], seed: int) -> Plan:
    if method.batches == "groups":
        return GroupPlan(group_N, config.groups_per_batch, config.instances, seed)
    return PairPlan(len(group_N), config.rows, seed)


def _context(
    model: HeadPair, entities: Entities, table: TextTable, image_width: int, seed: int, asked: list[str]
) -> Context:
    """What an objective is told once; every text it will ask in each step is added to ``asked``.

    The entities already say what the arm may know, so ``entity_texts`` exchanges nothing: in the rewired arm names and
    definitions are right, as everywhere in this grid.
    """

    def texts(count: int | None, aspects: Collection[str] | None) -> EntityTexts:
        return entity_texts(entities, "real", seed, count=count, aspects=aspects)

    def encode(wanted: list[str]) -> Tensor:
        asked.extend(wanted)
        with torch.no_grad():
            return model.in_space(table[wanted])

    return Context(
        texts=texts,
        positions=[],
        above_PP=torch.zeros(0, 0, dtype=torch.bool),
        tokenize=table.tokenize,
        encode=encode,
        text_width=table.features_UI.shape[1],
        place_width=image_width,
        embed_dim=table.features_UI.shape[1],
        state_width=None if model.decoder is None else model.decoder.config.width,
        text_frozen=True,  # tower and stage 1
    )
