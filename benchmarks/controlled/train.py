"""Stage 2: the alignment, on cached features, by the shipped losses, plans, captions and optimiser.

The engine of ``medvlp.training`` opens stores and towers anew for each run; a grid of hundreds of runs of seconds would
be mostly that. So the loop is here, and everything it puts together is ``medvlp``'s own. All methods take equally many
steps, rows and captions; a row's concept is what its caption says, right or wrong, since nothing else is known of it.

Shape legend: N training images, B images of a batch, M texts, L leaves, I tower width, D embedding.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from benchmarks.controlled.captions import ROOT, says
from benchmarks.controlled.config import Method, Stage2
from benchmarks.controlled.features import Towers
from benchmarks.controlled.text_space import Taught
from benchmarks.controlled.world import World
from medvlp.data.batch import Item, collate
from medvlp.data.plan import GroupPlan, PairPlan, Plan
from medvlp.encoders.heads import Head
from medvlp.errors import TrainingError
from medvlp.ledger import Ledger
from medvlp.model import MAX_SCALE, MIN_SCALE
from medvlp.objectives import build
from medvlp.objectives.base import Outputs
from medvlp.objectives.gather import LocalGather
from medvlp.training.optim import build_optimizer, rate, set_rate
from medvlp.training.text_augment import TextAugment, concept_names

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

_DRAW, _POOL = 3, 6  # random streams: which caption a step takes, what a knowledge caption says


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
        model: Both heads and the scale.
        num_steps: Optimiser steps.
        num_rows: Images that passed the head, repetitions counted.
        num_texts: Likewise texts, without the teacher's.
        last_loss: Loss of the last step; NaN without one.
        ledger: Knowledge captions that were used, and those replaced because they named an unseen leaf.
    """

    model: HeadPair
    num_steps: int
    num_rows: int
    num_texts: int
    last_loss: float
    ledger: Ledger


class HeadPair(nn.Module):
    """What learns of a dual encoder with frozen towers: two heads, the scale and perhaps a bias."""

    def __init__(self, image_head: Head, text_head: Head, scale: float, bias: float | None) -> None:
        super().__init__()
        self.image_head, self.text_head = image_head, text_head
        self.logit_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.logit_bias = None if bias is None else nn.Parameter(torch.tensor(bias))

    def scale(self) -> Tensor:
        """Return the multiplier of cosines."""
        return self.logit_scale.exp().clamp(MIN_SCALE, MAX_SCALE)

    def embed_images(self, features_NI: Tensor) -> Tensor:
        """Return unit vectors (N, D)."""
        return normalize(self.image_head(features_NI), dim=-1)

    def embed_texts(self, features_MI: Tensor) -> Tensor:
        """Return unit vectors (M, D)."""
        return normalize(self.text_head(features_MI), dim=-1)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters by the names that ``optimizer.part_lr`` uses."""
        scale = [self.logit_scale, *([] if self.logit_bias is None else [self.logit_bias])]
        return {
            "image_head": list(self.image_head.parameters()),
            "text_head": list(self.text_head.parameters()),
            "scale": scale,
        }


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
        world: Gives the seed and the names that no caption may say.
        sub: The real sub-graph.
        hierarchy: What the arm may use of it.
        taught: The text space of stage 1; it stays as it is, the run trains a copy.
        towers: The frozen towers.

    Raises:
        TrainingError: If there are fewer training images or groups than a batch takes.
    """
    seed = world.seed
    captions = _Captions(method, config, world, hierarchy, sub)
    pool_N = [captions.of(pairs, row) for row in range(len(pairs.said_N))]
    table = towers.texts(text for pool in pool_N for text in pool)
    code = {concept: number for number, concept in enumerate(sorted(set(pairs.said_N)))}
    group_N = np.array([code[concept] for concept in pairs.said_N])
    plan = _plan(method, config, group_N, seed)
    torch.manual_seed(seed)
    width = table.features_UI.shape[1]
    image_head = Head(config.image_head, pairs.features_NI.shape[1], width, "image")
    text_head = copy.deepcopy(taught.head).requires_grad_(True)
    model = HeadPair(image_head, text_head, method.logit_scale_init, method.logit_bias)
    objective = build(method.objective, hierarchy)
    optimizer = build_optimizer(model.parts(), config.optimizer)
    loss = torch.tensor(float("nan"))
    for step in range(config.steps):
        rng = np.random.default_rng([seed, _DRAW, step])
        items = []
        for row in plan.batch(step).tolist():
            concepts = () if hierarchy is None else (hierarchy.index(pairs.said_N[row]),)
            text = pool_N[row][rng.integers(len(pool_N[row]))]
            items.append(
                Item(
                    pairs.keys_N[row],
                    int(group_N[row]),
                    [text],
                    concepts,
                    label=int(group_N[row]),
                    feature_I=pairs.features_NI[row],
                )
            )
        batch = collate(items, table.tokenize, labels=hierarchy is not None)
        assert batch.image_features_BI is not None
        text_MI = table.features_UI[batch.token_ids_ML[:, 0]]
        teacher_MD = normalize(taught.head(text_MI), dim=-1) if method.needs_teacher else None
        image_BD, text_MD = model.embed_images(batch.image_features_BI), model.embed_texts(text_MI)
        bias = None if model.logit_bias is None else model.logit_bias * 1.0
        loss = objective(Outputs(image_BD, text_MD, model.scale(), bias, teacher_MD), batch, LocalGather()).total
        optimizer.zero_grad()
        loss.backward()
        set_rate(optimizer, rate(step, config.steps, config.optimizer))
        optimizer.step()
    if not math.isfinite(float(loss)) and config.steps > 0:
        raise TrainingError("the loss is not finite", item=method.title, remedy="lower the rates")
    num_rows = config.steps * config.rows
    return Trained(model.eval().requires_grad_(False), config.steps, num_rows, num_rows, float(loss), captions.ledger)


def _plan(method: Method, config: Stage2, group_N: NDArray[np.int64], seed: int) -> Plan:
    if method.batches == "groups":
        return GroupPlan(group_N, config.groups_per_batch, config.instances, seed)
    return PairPlan(len(group_N), config.rows, seed)


class _Captions:
    """The captions an image may get: its own as they are, or ``draws`` augmented ones for each of them.

    Without a hierarchy the augmentation says the bare name of the concept, as often as it says names and paths with
    one. Draws go by concept and not by image, so that each text is encoded once for all images of a leaf.
    """

    def __init__(
        self, method: Method, config: Stage2, world: World, hierarchy: DiseaseGraph | None, sub: DiseaseGraph
    ) -> None:
        self.seed, self.draws, self.unseen = world.seed, config.draws, world.unseen_names
        self.hierarchy, self.sub, self.ledger = hierarchy, sub, Ledger()
        self.augment: TextAugment | None = None
        if method.captions is not None:
            names = {} if hierarchy is None else concept_names(hierarchy)
            self.augment = TextAugment(method.captions, names, hierarchy, {leaf: sub.name(leaf) for leaf in sub.ids})

    def of(self, pairs: Pairs, row: int) -> list[str]:
        own, concept = pairs.captions_N[row], pairs.said_N[row]
        if self.augment is None:
            return own
        concepts = () if self.hierarchy is None else (self.hierarchy.index(concept),)
        out = []
        for text in own:
            for draw in range(self.draws):
                rng = np.random.default_rng([self.seed, _POOL, self.sub.index(concept), draw])
                caption, from_graph = self.augment(text, concepts, concept, rng)
                if from_graph and says(caption, self.unseen):
                    self.ledger.drop(pairs.keys_N[row], "knowledge caption names an unseen leaf")
                    caption = text
                elif from_graph:
                    self.ledger.keep()
                out.append(caption)
        return out
