"""Stage 2: the alignment, on cached features, by the shipped losses, plans, captions and optimiser.

The engine of ``medvlp.training`` opens stores and towers anew for each run; a grid of hundreds of runs of seconds would
be mostly that. So the loop is here, and everything it puts together is ``medvlp``'s own. All methods take equally many
steps and rows; a row's concept is what its caption says, right or wrong, since nothing else is known of it.

Shape legend: N training images, P places of an image, M texts, L tokens, I tower width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.controlled.captions import ROOT
from benchmarks.controlled.config import Method, Stage2
from benchmarks.controlled.context import make_context
from benchmarks.controlled.features import TextTable, Towers
from benchmarks.controlled.model import HeadPair
from benchmarks.controlled.said import IS_A, Said
from benchmarks.controlled.text_space import Taught
from benchmarks.controlled.told import Texts, Told, entities_of
from benchmarks.controlled.words import FewTokens, WordTable
from benchmarks.controlled.world import World
from medvlp.data.batch import FILLER, Batch, Item, collate
from medvlp.data.plan import GroupPlan, PairPlan, Plan
from medvlp.errors import TrainingError
from medvlp.ledger import Ledger
from medvlp.objectives import build
from medvlp.objectives.base import Objective, Outputs, check_needs
from medvlp.objectives.gather import LocalGather
from medvlp.training.align_model import AlignModel
from medvlp.training.optim import build_optimizer, rate, set_rate
from medvlp.training.triples import tensors_for

if TYPE_CHECKING:
    from benchmarks.controlled.config import Knowledge
    from medvlp.data.entities import Entities
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.model import DualEncoder

_DRAW = 3  # random stream: which text a step takes
_WORD_WIDTH = 128  # of words of which some are hidden


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
        num_texts: Likewise texts of images, swapped ones too, without the teacher's.
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
    knowledge: Knowledge,
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
        knowledge: The arm.
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
    said = Said(world, sub, hierarchy)
    if method.swaps:
        captions = {
            (concept, text) for concept, own in zip(pairs.said_N, pairs.captions_N, strict=True) for text in own
        }
        everything += [FILLER, *(text for one in sorted(captions) for text in said.swapped(*one))]
    table, tokens = _tables(method, [*everything, *asking], said, towers)
    code = {concept: number for number, concept in enumerate(sorted(set(pairs.said_N)))}
    group_N = np.array([code[concept] for concept in pairs.said_N])
    plan = _plan(method, config, group_N, seed)
    torch.manual_seed(seed)
    model = HeadPair.of(method, config, pairs.features_NI.shape[1], taught)
    model.read(table, tokens)
    objective = build(method.objective, hierarchy)
    asked: list[str] = []
    if entities is not None or tokens is not None:
        image_width = pairs.features_NI.shape[1]
        num_places = 0 if places_NPI is None else places_NPI.shape[1]
        context = make_context(method, model, entities, table, tokens, image_width, num_places, knowledge, seed, asked)
        objective.prepare(context)  # type: ignore[attr-defined]
    more = [] if tokens is None else tensors_for(objective, tokens)
    module = AlignModel(cast("DualEncoder", model), objective)
    parts = model.parts() | ({} if module.heads is None else {"objective": list(module.heads.parameters())})
    optimizer = build_optimizer(parts, config.optimizer)
    loss, num_texts = torch.tensor(float("nan")), 0
    for step in range(config.steps):
        rng = np.random.default_rng([seed, _DRAW, step])
        items = []
        for row in plan.batch(step).tolist():
            told = pool_N[row][rng.integers(len(pool_N[row]))]
            item = _item(row, told, pairs, places_NPI, int(group_N[row]), hierarchy, entities)
            items.append(_with_facts(item, method, said, pairs.said_N[row], step, row))
        fills = method.aspect_texts is not None
        batch = collate(items, table.tokenize, labels=hierarchy is not None, fills=fills, more=more)
        loss = _loss(method, module, objective, batch, taught, table)
        optimizer.zero_grad()
        loss.backward()
        set_rate(optimizer, rate(step, config.steps, config.optimizer))
        optimizer.step()
        num_texts += len(batch.texts) + sum(len(item.swaps) for item in items)
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


def _with_facts(item: Item, method: Method, said: Said, concept: str, step: int, row: int) -> Item:
    """Add the triples and the swapped caption that a method reads."""
    if method.reads_triples:
        item = replace(item, told=[said.told(concept, text) for text in item.texts])
    if method.hides_nodes:
        item = replace(item, triples=[said.nodes(concept, text) for text in item.texts])
    if method.swaps:
        item = replace(item, swaps=[said.swap(concept, item.texts[0], step, row)])
    return item


def _tables(method: Method, texts: list[str], said: Said, towers: Towers) -> tuple[TextTable, FewTokens | None]:
    """Features of texts, and the tokens of the world for a method that reads them."""
    table = towers.texts(texts, words="words" in method.reads and not method.hides_words)
    if not method.hides_words and not method.reads_triples:
        return table, None
    names = [name for own in said.names.values() for name in own]
    tokens = FewTokens(towers.text_tower, [*texts, *names, IS_A])
    if method.hides_words:
        width = None if "words" in method.reads else _WORD_WIDTH
        table = WordTable(list(table.row), table.features_UI, towers.text_tower, tokens, width)
    return table, tokens


def _loss(
    method: Method, module: AlignModel, objective: Objective, batch: Batch, taught: Taught, table: TextTable
) -> Tensor:
    check_needs(objective, batch)
    given = module.given(batch)
    if method.hides_nodes:
        given["image_tokens_BNI"] = module.model.image_head(given["image_tokens_BNI"])
    if method.needs_teacher:
        features_MI = table.pooled(batch.token_ids_ML, batch.token_mask_ML)
        given["knowledge_MD"] = normalize(taught.head(features_MI), dim=-1)
    return objective(Outputs(*module(given)), batch, LocalGather()).total


def _plan(method: Method, config: Stage2, group_N: NDArray[np.int64], seed: int) -> Plan:
    if method.batches == "groups":
        return GroupPlan(group_N, config.groups_per_batch, config.instances, seed)
    return PairPlan(len(group_N), config.rows, seed)
