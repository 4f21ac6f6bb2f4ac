"""Stage 1: a text encoder learns a graph, so that all texts of a concept meet and those of others stay apart.

Source: Zhou et al. 2024 (KEP) and 2026 (KEEP): batches of G concepts with M texts each under a metric loss.
Shape legend: G concepts, M texts, L tokens, D encoder width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from medvlp.config import Config, resolve_path
from medvlp.data.batch import Batch, Item, collate
from medvlp.data.plan import PairPlan
from medvlp.encoders.text import TextEncoder
from medvlp.encoders.weights import load_named, read_state_dict, write_state_dict
from medvlp.errors import ConfigError, GraphError, TrainingError
from medvlp.model import MAX_SCALE, MIN_SCALE
from medvlp.objectives import build
from medvlp.objectives.clip import ClipObjective
from medvlp.objectives.kad import ANSWERS, ASKS, KadPairObjective
from medvlp.objectives.kinship import KinshipObjective
from medvlp.objectives.knowledge_metric import KnowledgeMetricObjective
from medvlp.training import dry_run as rehearsal
from medvlp.training.buckets import encode_in_buckets
from medvlp.training.concept_pairs import ConceptPairs
from medvlp.training.concept_texts import ConceptTexts, Siblings, Views
from medvlp.training.hidden_tokens import hide_tokens
from medvlp.training.loop import fit, make_fabric
from medvlp.training.name_retrieval import evaluate_names
from medvlp.training.optim import OptimizerConfig
from medvlp.training.report_pairs import ReportPairs, Reports, ReportsHoldout, read_reports
from medvlp.training.resume import identity
from medvlp.training.settings import HARMLESS, RunConfig
from medvlp.training.statement_retrieval import evaluate_statements, unspelled

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.knowledge.splits import HeldOut

FOLDER, SCALE_FILE = "text_encoder", "scale.safetensors"
Loss = Annotated[
    KnowledgeMetricObjective.Config | KinshipObjective.Config | ClipObjective.Config | KadPairObjective.Config,
    Field(discriminator="name"),
]
_DRAW, _HIDE = 2, 5  # random streams of siblings and texts, and of hidden tokens, apart from the plan's


class Holdout(Config):
    """Names kept out of training, which validation asks for."""

    fraction: float = Field(0.1, ge=0, lt=1, description="Share of the names that are not preferred ones.")
    seed: int = Field(0, ge=0, description="Draws them; apart from the run's seed, so that runs are comparable.")
    kinds: list[str] = Field(["preferred", "exact"], description="Kinds of names used at all.")
    num_queries: int | None = Field(None, ge=1, description="Held-out names to validate on; all by default.")
    num_concepts: int | None = Field(None, ge=1, description="Concepts to search among; all by default.")


class KnowledgeConfig(RunConfig):
    """What stage 1 trains on what."""

    kind: Literal["knowledge"] = Field("knowledge", description="Which schema this file follows.")
    graph: str = Field(description="Folder of the graph store.")
    knowledge: Literal["none", "permuted", "real"] = Field(
        "real", description="Hierarchy used for hypernyms, siblings and exclusion: none, rewired, or the graph's."
    )
    reports: str | None = Field(None, description="Folder of reports whose sentences take part in kad_pairs, or none.")
    reports_holdout: ReportsHoldout = Field(ReportsHoldout(), description="Reports kept out of training.")
    text: TextEncoder.Config = Field(TextEncoder.Config(context_length=64), description="The encoder to train.")
    views: Views = Field(Views(), description="Texts of a concept that take part.")
    groups_per_batch: int = Field(32, ge=2, description="Concepts per batch over all processes.")
    instances: int = Field(8, ge=2, description="Texts per concept.")
    siblings: float = Field(0.0, ge=0, lt=1, description="Share of a batch drawn as siblings of the rest.")
    singletons: bool = Field(False, description="Also draw concepts that have one text only.")
    objective: Loss = Field(KnowledgeMetricObjective.Config(), description="The loss.")
    scale: float = Field(20.0, gt=0, description="Multiplier of cosines for the softmax contrasts.")
    learn_scale: bool = Field(False, description="The multiplier learns from that start on; else it is fixed.")
    holdout: Holdout = Field(Holdout(), description="Held-out names and validation.")
    optimizer: OptimizerConfig = Field(
        OptimizerConfig(lr=3e-5, betas=(0.9, 0.999), eps=1e-8), description="Optimiser, rates and schedule."
    )


def train(config: KnowledgeConfig, out: Path, resume: str = "auto", dry_run: bool = False) -> Path:
    """Train a text encoder on a graph.

    Args:
        config: What to train on what.
        out: Run folder.
        resume: ``auto``, ``never``, or the run or checkpoint to go on from.
        dry_run: Only one step, a save, a load and a memory estimate; ``out`` is not touched.

    Returns:
        The last checkpoint (``out`` after a dry run); its ``text_encoder/`` is a Hugging Face folder, and the run
        folder can be named as ``model.text.weights`` of stage 2.

    Raises:
        ConfigError: If settings contradict one another.
        TrainingError: If the graph is too small for a batch, or the run cannot go on; see :func:`loop.fit`.
    """
    fabric = make_fabric(config)
    recipe = KnowledgeRecipe(config)
    if dry_run:
        rehearsal.rehearse(recipe, fabric)
        return out
    return fit(recipe, out, resume, fabric)


class TextMetric(nn.Module):
    """The encoder with what the loss needs beside it: unit vectors and a scale, fixed or learned as its logarithm."""

    def __init__(self, encoder: TextEncoder, scale: float, *, learned: bool = False) -> None:
        super().__init__()
        self.scale: Tensor
        self.encoder = encoder
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        self.log_scale = nn.Parameter(torch.tensor(scale).log()) if learned else None

    def forward(self, ids_ML: Tensor, mask_ML: Tensor) -> tuple[None, Tensor, Tensor, None]:
        """Return (no images, unit vectors (M, D), scale, no bias)."""
        features_MD = encode_in_buckets(self.encoder, ids_ML, mask_ML)
        scale = self.scale if self.log_scale is None else self.log_scale.exp().clamp(MIN_SCALE, MAX_SCALE)
        return None, normalize(features_MD.float(), dim=-1), scale, None


class KnowledgeRecipe:
    """Stage 1 for the engine; see :class:`medvlp.training.recipe.Recipe`."""

    name = "knowledge"

    def __init__(self, config: KnowledgeConfig) -> None:
        from medvlp.knowledge.graph import DiseaseGraph

        self.config = config
        if config.views.hypernyms and config.knowledge == "none":
            raise ConfigError(
                "needs a hierarchy, but knowledge is none", item="views.hypernyms", remedy="set it to false"
            )
        if config.siblings > 0 and config.knowledge == "none":
            raise ConfigError("needs a hierarchy, but knowledge is none", item="siblings", remedy="set it to 0")
        self.graph = DiseaseGraph.load(resolve_path(config.graph))
        hierarchy = control_hierarchy(self.graph, config.knowledge, config.seed)
        self.heldout: HeldOut = self.graph.split_names(
            config.holdout.fraction, config.holdout.seed, config.holdout.kinds
        )
        self.texts = ConceptTexts(self.graph, self.heldout, config.views, hierarchy)
        self.rows = [
            row for row in range(len(self.graph)) if self.texts.num_views(row) > (0 if config.singletons else 1)
        ]
        if not self.rows:
            raise GraphError("no concept has two texts", item=config.graph, remedy="switch more views on")
        self.reports: Reports | None = None
        self.pairs = self._pairs()
        num_siblings = int(config.siblings * config.groups_per_batch)
        num_units = len(self.rows) if self.pairs is None else len(self.pairs)
        if num_units < config.groups_per_batch:
            have = "have enough texts" if self.pairs is None else "edges, definitions and sentences"
            what = "concepts" if self.pairs is None else "pairs"
            raise TrainingError(
                f"{config.groups_per_batch} {what} per batch, but only {num_units} {have}",
                item="groups_per_batch",
                remedy="lower it or switch more views on",
            )
        self.plan = PairPlan(num_units, config.groups_per_batch - num_siblings, config.seed)
        self.siblings = Siblings(hierarchy, self.rows) if config.siblings > 0 and hierarchy is not None else None
        torch.manual_seed(config.seed)
        self.encoder = TextEncoder(config.text)
        if self.encoder.tokenizer.mask_id is None and getattr(config.objective, "mask_texts", 0) > 0:
            raise ConfigError(
                "hides tokens, for which this tokenizer has no sign", item="objective.mask_texts", remedy="set it to 0"
            )
        if config.grad_checkpointing:
            self.encoder.set_grad_checkpointing()
        self.module = TextMetric(self.encoder, config.scale, learned=config.learn_scale)
        self.objective: Any = build(config.objective, hierarchy)
        self.header: dict[str, Any] = {"graph_digest": self.graph.digest, "texts": self.texts.counts()}
        harmless = HARMLESS | {"holdout.num_queries", "holdout.num_concepts"}
        facts: dict[str, str | None] = {"graph": self.graph.digest}
        if self.reports is None:  # what is not read decides nothing
            harmless |= {"reports", "reports_holdout", "objective.reports"}
        else:
            self.header["reports"] = self.reports.counts
            facts["reports"] = self.reports.digest
        self.identity: dict[str, Any] = identity(config, harmless, facts)

    def _pairs(self) -> ConceptPairs | None:
        """Return the pairs of KAD's objective; None for another one, which draws texts of concepts."""
        config, chosen = self.config, self.config.objective
        if not isinstance(chosen, KadPairObjective.Config):
            if config.reports is not None:
                raise ConfigError(
                    f"{chosen.name} learns from a graph alone", item="reports", remedy="use objective.name=kad_pairs"
                )
            return None
        if config.siblings > 0:
            raise ConfigError("pairs have none", item="siblings", remedy="set it to 0")
        sentences = None
        if config.reports is not None and chosen.reports:
            self.reports = read_reports(resolve_path(config.reports), config.reports_holdout)
            sentences = ReportPairs(self.reports, config.knowledge, config.seed, len(self.graph))
        return ConceptPairs(
            self.graph,
            self.texts,
            config.knowledge,
            config.seed,
            triples=chosen.triples,
            definitions=chosen.definitions,
            reports=sentences,
        )

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the encoder's parameters, and the scale's."""
        scale = self.module.log_scale
        parts = {"text_tower": list(self.encoder.parameters())}
        return parts if scale is None else {**parts, "scale": [scale]}

    def concepts(self, step: int) -> list[int]:
        """Return the graph rows of one step over all ranks, distinct."""
        drawn = [self.rows[number] for number in self.plan.batch(step)]
        if self.siblings is None:
            return drawn
        rng = np.random.default_rng([self.config.seed, _DRAW, step])
        return self.siblings.fill(drawn, self.config.groups_per_batch, rng)

    def batches(self, start: int, rank: int, world: int) -> Iterator[Batch]:
        """Yield batches of G / world concepts with ``instances`` texts each, or of as many pairs of texts."""
        num_groups, seed = self.config.groups_per_batch, self.config.seed
        if num_groups % world != 0:
            raise TrainingError(
                f"{num_groups} does not divide over {world} processes",
                item="groups_per_batch",
                remedy=f"choose a multiple of {world}",
            )
        size = num_groups // world
        step = start
        while True:
            drawn = self.concepts(step) if self.pairs is None else self.plan.batch(step)
            items = []
            for slot, number in enumerate(drawn[rank * size : (rank + 1) * size], rank * size):
                items.append(self._item(int(number), np.random.default_rng([seed, _DRAW, step, slot])))
            batch = collate(items, self.encoder.tokenize, labels=False)
            yield self._hidden(batch, [[seed, _HIDE, step, rank * size + slot] for slot in range(size)])
            step += 1

    def _hidden(self, batch: Batch, seeds: list[list[int]]) -> Batch:
        """Hide tokens of pairs, where the objective says so; ``seeds`` are those of the batch's rows."""
        chosen = self.config.objective
        if not isinstance(chosen, KadPairObjective.Config) or chosen.mask_texts == 0:
            return batch
        assert self.encoder.tokenizer.mask_id is not None, "checked when the recipe was built"
        assert batch.text_aspect_M is not None, "pairs have aspects"
        owners, kinds = batch.text_owner_M.tolist(), batch.text_aspect_M.tolist()
        ids_ML = hide_tokens(
            batch.token_ids_ML,
            batch.token_mask_ML,
            [np.random.default_rng([*seeds[owner], kind]) for owner, kind in zip(owners, kinds, strict=True)],
            share=chosen.mask_texts,
            rate=chosen.mask_rate,
            mask_id=self.encoder.tokenizer.mask_id,
            num_tokens=len(self.encoder.table_VI),
            special=self.encoder.tokenizer.special_ids,
        )
        return replace(batch, token_ids_ML=ids_ML)

    def _item(self, number: int, rng: np.random.Generator) -> Item:
        if self.pairs is None:
            texts = self.texts.draw(number, self.config.instances, rng)
            return Item(self.graph.ids[number], number, texts, (number,))
        pair = self.pairs.draw(number, rng)
        of_report = pair.row >= len(self.graph)  # its key is a number: neither words nor names of reports reach a log
        key = f"statement-{pair.row - len(self.graph)}" if of_report else self.graph.ids[pair.row]
        concepts = () if of_report else (pair.row,)
        return Item(key, pair.row, [pair.first, pair.second], concepts, aspects=[ASKS, ANSWERS])

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """Return token ids and mask."""
        return batch.token_ids_ML, batch.token_mask_ML

    def begin_step(self, step: int) -> None:
        """Switch dropout on."""
        self.module.train()

    def validate(self) -> dict[str, float]:
        """Return held-out-name retrieval and, with reports, retrieval by statement; empty if nothing is held out."""
        holdout, heldout, scores = self.config.holdout, self.heldout, {}
        if self.reports is not None and self.pairs is not None and self.pairs.reports is not None:
            scores = evaluate_statements(self.encoder, self.reports)
            heldout = unspelled(heldout, (text for pair in self.pairs.reports.pairs for text in pair[:2]))
        if not heldout.heldout:
            return scores
        names = evaluate_names(
            self.encoder,
            self.graph,
            heldout,
            num_queries=holdout.num_queries,
            num_concepts=holdout.num_concepts,
            seed=holdout.seed,
        )
        return {**names, **scores}

    def report(self) -> dict[str, float]:
        """Return the share of texts that were cut since the last call."""
        share = self.encoder.tokenizer.truncated_share
        self.encoder.tokenizer.reset_counts()
        return {"truncated_share": share}

    def save_model(self, folder: Path) -> None:
        """Write the encoder as a Hugging Face folder, and a learned scale beside it."""
        self.encoder.save(folder / FOLDER)
        if self.module.log_scale is not None:
            write_state_dict(folder / SCALE_FILE, {"log_scale": self.module.log_scale.detach()})

    def load_model(self, folder: Path) -> None:
        """Read the encoder's weights."""
        path = folder / FOLDER / "model.safetensors"
        load_named(self.encoder.transformer, read_state_dict(path), path)
        if self.module.log_scale is not None:
            with torch.no_grad():
                self.module.log_scale.copy_(read_state_dict(folder / SCALE_FILE)["log_scale"])


def control_hierarchy(graph: DiseaseGraph, knowledge: str, seed: int) -> DiseaseGraph | None:
    """Return the hierarchy a run may use: none, the rewired control, or the graph itself."""
    if knowledge == "none":
        return None
    return graph.permuted(seed) if knowledge == "permuted" else graph
