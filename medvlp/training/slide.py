"""mSTAR: slides, reports and gene expression learn one embedding (stage 1), which then teaches the tile encoder (2).

Source: Xu et al. 2025 (mSTAR); what the paper leaves open is marked in :mod:`medvlp.objectives.mstar`.
Shape legend: B cases, M modalities (slide, report, genes), R cases that have a modality, T tiles, N tiles of a slide,
L tokens, G genes, I width of tile features, W tower width, X = 2 (x, y), D embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from rich.console import Console
from torch import Tensor, nn

from medvlp.case_model import CaseModel, Part, save_case_model
from medvlp.config import resolve_path
from medvlp.data.plan import PairPlan
from medvlp.encoders.text import TextEncoder
from medvlp.encoders.weights import load_named, read_state_dict
from medvlp.errors import DataError
from medvlp.fusion.bag import TileBag
from medvlp.metrics.ranking import median_rank, recall_at, retrieval_ranks
from medvlp.objectives import ramped
from medvlp.objectives.mstar import MODALITIES, PAIR_NAMES, PAIRS, CaseOutputs, MstarObjective
from medvlp.training import dry_run as rehearsal
from medvlp.training.buckets import encode_in_buckets
from medvlp.training.draws import Order, in_order
from medvlp.training.loop import fit, make_fabric
from medvlp.training.resume import identity
from medvlp.training.settings import HARMLESS, RunConfig
from medvlp.training.slide_data import Case, CaseBatch, CaseData, CaseItems, Cases, Tiles, collate, read_cases
from medvlp.training.slide_stage2 import SelfTaught, SelfTaughtRecipe
from medvlp.training.slide_texts import report_features

_SCORED = 64  # cases embedded at a time when scoring


class MstarConfig(RunConfig):
    """What one of mSTAR's two stages trains on what."""

    kind: Literal["mstar"] = Field("mstar", description="Which schema this file follows.")
    stage: Literal[1, 2] = Field(1, description="1: slides, reports and genes; 2: the tile encoder, taught by 1.")
    data: CaseData = Field(description="Cases with their slides, reports and genes.")
    model: CaseModel.Config = Field(CaseModel.Config(), description="The model of stage 1.")
    objective: MstarObjective.Config = Field(MstarObjective.Config(), description="Losses of stage 1.")
    batch_size: int = Field(32, ge=2, description="Cases per batch over all processes.")
    freeze: list[Part] = Field(["text"], description="Parts that do not learn; frozen text embeds each report once.")
    cache: str = Field("runs/features", description="Folder for features of reports by a frozen text tower.")
    self_taught: SelfTaught | None = Field(None, description="Settings of stage 2.")

    @model_validator(mode="after")
    def _stage_has_settings(self) -> MstarConfig:
        if (self.stage == 2) != (self.self_taught is not None):
            raise ValueError("stage 2 and self_taught come together")
        if set(self.freeze) >= {"slide", "text", "genes", "heads"}:
            raise ValueError("every part is frozen, so nothing would learn")
        return self


def train(config: MstarConfig, out: Path, resume: str = "auto", dry_run: bool = False) -> Path:
    """Train a stage.

    Args:
        config: What to train on what.
        out: Run folder.
        resume: ``auto``, ``never``, or the run or checkpoint to go on from.
        dry_run: Only one step, a save, a load and a memory estimate; ``out`` is not touched.

    Returns:
        The last checkpoint (``out`` after a dry run). :func:`medvlp.load` opens it: after stage 1 as a
        :class:`~medvlp.case_model.CaseModel`, after stage 2 as a :class:`~medvlp.tile_encoder.TileEncoder`.

    Raises:
        DataError: If the table cannot be used, or no two training cases share two modalities.
        TrainingError: If the data are too small for a batch, or the run cannot go on; see :func:`loop.fit`.
    """
    fabric = make_fabric(config)
    recipe: Any = MstarRecipe(config, fabric, dry_run) if config.stage == 1 else SelfTaughtRecipe(config, fabric)
    if dry_run:
        rehearsal.rehearse(recipe, fabric)
        return out
    return fit(recipe, out, resume, fabric)


class CaseStep(nn.Module):
    """The model as one forward pass over a batch of cases."""

    def __init__(self, model: CaseModel) -> None:
        super().__init__()
        self.model = model
        self.bucketed = isinstance(model.text, TextEncoder)

    def forward(
        self,
        num_cases: int,
        rows: tuple[Tensor, Tensor, Tensor],
        lengths: tuple[int, ...],
        features_TI: Tensor,
        centres_TX: Tensor | None,
        ids_RL: Tensor | None,
        mask_RL: Tensor | None,
        text_RW: Tensor | None,
        genes_RG: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """Return the fields of :class:`CaseOutputs`; embeddings of absent modalities are 0."""
        model = self.model
        made: list[Tensor | None] = [None, None, None]
        tiles_TW: Tensor | None = None
        lengths_S = torch.tensor(lengths, dtype=torch.int64)
        if lengths:
            made[0], tiles_TW = model.slides(TileBag(features_TI, lengths_S, centres_TX))
        if text_RW is None and ids_RL is not None and mask_RL is not None:
            text_RW = encode_in_buckets(model.text, ids_RL, mask_RL) if self.bucketed else model.text(ids_RL, mask_RL)
        if text_RW is not None:
            made[1] = model.project("text", text_RW)
        if genes_RG is not None and model.genes is not None:
            made[2] = model.project("genes", model.genes(genes_RG))
        blank_BD = features_TI.new_zeros(num_cases, model.config.embed_dim, dtype=torch.float32)
        placed = [
            blank_BD if unit_RD is None else blank_BD.index_copy(0, place_R, unit_RD)
            for place_R, unit_RD in zip(rows, made, strict=True)
        ]
        if model.decoder is None:
            return torch.stack(placed, 1), model.scale(), None, None, None
        # Detached: reading tiles off the encoder must not change what it learns.
        decoded_TI = features_TI if tiles_TW is None else model.decoder(tiles_TW.detach())
        return torch.stack(placed, 1), model.scale(), decoded_TI, features_TI, lengths_S


class MstarRecipe:
    """Stage 1 for the engine; see :class:`medvlp.training.recipe.Recipe`."""

    name = "mstar"
    outputs = CaseOutputs

    def __init__(self, config: MstarConfig, fabric: Any, dry_run: bool = False) -> None:
        self.config, self.device = config, fabric.device
        self.cases: Cases = read_cases(config.data)
        training, development = self.cases.split("train"), self.cases.split("dev")
        check_pairs(training, config)
        cancers = sorted({case.cancer for case in training if case.cancer is not None})
        tiles = Tiles(config.data, coordinates=config.model.coordinates)
        width = config.model.tile_width or first_width(tiles, training)
        tiles.width = width
        torch.manual_seed(config.seed)
        table = self.cases.genes
        genes = None if table is None else table.genes
        scale = "log" if table is None else table.scale
        self.model = CaseModel(config.model.model_copy(update={"tile_width": width}), genes, scale)
        values_CG = None
        if table is not None and self.model.genes is not None:
            known = [table.cases[case.gene_row] for case in training if case.gene_row is not None]
            self.model.genes.fit(table.take(known))
            values_CG = self.model.genes.align(table)
        self.model.set_frozen(config.freeze)
        self.module: nn.Module = CaseStep(self.model)
        self.objective: Any = ramped(MstarObjective(config.objective), config.objective)
        self.data = CaseItems(training, tiles, values_CG, cancers, config.seed)
        self.development = CaseItems(development, tiles, values_CG, cancers, config.seed)
        self.plan = PairPlan(len(self.data), config.batch_size, config.seed)
        self.text_features: Tensor | None = None
        if "text" in config.freeze:
            # One process fills the cache, the others then only read it.
            with fabric.rank_zero_first():
                self.text_features = self._embed_reports(training, dry_run)
        counts = {name: sum(case.present[place] for case in training) for place, name in enumerate(MODALITIES)}
        self.header: dict[str, Any] = {
            "data_digest": self.cases.digest,
            "cases": {name: len(self.cases.split(name)) for name in ("train", "dev", "test")},
            "training_cases_with": counts,
            "cancers": cancers,
            "ledger": self.cases.ledger.to_json(),
        }
        harmless = HARMLESS | {"cache", "data.cache_mib", "data.features", "data.genes"}
        self.identity: dict[str, Any] = identity(config, harmless, {"data.table": self.cases.digest})
        if fabric.global_rank == 0:
            Console(stderr=True).print(f"cases: {self.cases.ledger}", highlight=False, soft_wrap=True)

    def _embed_reports(self, cases: Sequence[Case], dry_run: bool) -> Tensor:
        """Return the frozen tower's features (cases, W), 0 for those without a report."""
        rows = [row for row, case in enumerate(cases) if case.report is not None]
        found = torch.zeros(len(cases), int(self.model.text.width))
        folder = None if dry_run else resolve_path(self.config.cache)
        found[rows] = report_features(self.model.to(self.device), [str(cases[row].report) for row in rows], folder)
        return found

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters by part."""
        return {str(name): parameters for name, parameters in self.model.parts().items()}

    def batches(self, start: int, rank: int, world: int) -> Iterator[CaseBatch]:
        """Yield this rank's batches from micro-step ``start`` on."""
        for items in in_order(self.data, Order(self.plan, start, rank, world), self.config.num_workers):
            yield self._collate(items, tokens=self.text_features is None)

    def _collate(self, items: Sequence[Any], *, tokens: bool) -> CaseBatch:
        width = self.model.config.tile_width
        assert width is not None
        return collate(items, lambda texts: self.model.tokenizer(texts, False), width=width, tokens=tokens)

    def inputs(self, batch: CaseBatch) -> tuple[Any, ...]:
        """Return what :class:`CaseStep` takes, with kept features of the reports that the batch did not tokenise."""
        text_RW = None
        if self.text_features is not None and batch.token_ids_RL is None and len(batch.rows[1]) > 0:
            chosen = torch.tensor(batch.case_rows)[batch.rows[1].cpu()]
            text_RW = self.text_features[chosen].to(batch.features_TI.device)
        return (
            len(batch),
            batch.rows,
            batch.lengths,
            batch.features_TI,
            batch.centres_TX,
            batch.token_ids_RL,
            batch.token_mask_RL,
            text_RW,
            batch.genes_RG,
        )

    def begin_step(self, step: int) -> None:
        """Switch dropout on, except in frozen parts."""
        self.module.train()

    @torch.no_grad()
    def embed(self, data: CaseItems) -> tuple[Tensor, Tensor]:
        """Return embeddings (cases, M, D) and what is present (cases, M) of all cases of a split, in eval mode."""
        training = self.module.training
        self.module.eval()
        parts, marks = [], []
        for start in range(0, len(data), _SCORED):
            items = [data.item(row) for row in range(start, min(start + _SCORED, len(data)))]
            batch = self._collate(items, tokens=True).to(self.device)
            made = self.module(*self.inputs(batch))
            parts.append(made[0].cpu())
            marks.append(batch.present_BM.cpu())
        self.module.train(training)
        return torch.cat(parts), torch.cat(marks)

    def validate(self) -> dict[str, float]:
        """Return retrieval between modalities on the development split; empty if no two of its cases share a pair."""
        if len(self.development) < 2:
            return {}
        embedding_BMD, present_BM = self.embed(self.development)
        return retrieval(embedding_BMD.numpy(), present_BM.numpy())

    def report(self) -> dict[str, float]:
        """Return the share of reports that were cut since the last call."""
        share = self.model.tokenizer.truncated_share
        self.model.tokenizer.reset_counts()
        return {"truncated_share": share}

    def save_model(self, folder: Path) -> None:
        """Write the model of a case."""
        save_case_model(self.model, folder)

    def load_model(self, folder: Path) -> None:
        """Read its weights."""
        load_named(self.model, read_state_dict(folder / "model.safetensors"), folder / "model.safetensors")


def check_pairs(cases: Sequence[Case], config: MstarConfig) -> None:
    """Refuse a training split in which no two cases have the same two modalities.

    Raises:
        DataError: With the number of cases per modality.
    """
    most = max(sum(case.present[a] and case.present[b] for case in cases) for a, b in PAIRS)
    if most < 2:
        counts = ", ".join(
            f"{sum(case.present[place] for case in cases)} with {name}" for place, name in enumerate(MODALITIES)
        )
        raise DataError(
            f"no two of the {len(cases)} training cases have two modalities in common ({counts})",
            item=config.data.table,
            remedy="check the columns, the folder of features and the names in the gene table",
        )


def first_width(tiles: Tiles, cases: Sequence[Case]) -> int:
    """Return the width of the first feature file, 1 if there is none (then no slide is ever read)."""
    files = [file for case in cases for file in case.slides]
    return tiles.slide(files[0])[0].shape[1] if files else 1


def retrieval(embedding_BMD: Any, present_BM: Any) -> dict[str, float]:
    """Return, per pair of modalities, recall at 1 and median rank, means over both directions.

    Args:
        embedding_BMD: Unit vectors.
        present_BM: Which count.
    """
    values = {}
    for (left, right), name in zip(PAIRS, PAIR_NAMES, strict=True):
        both_B = present_BM[:, left] & present_BM[:, right]
        if both_B.sum() < 2:
            continue
        one, other, target = embedding_BMD[both_B, left], embedding_BMD[both_B, right], np.arange(both_B.sum())
        ranks = [retrieval_ranks(a, b, target).realistic_Q for a, b in ((one, other), (other, one))]
        values[f"{name}/recall@1"] = float(np.mean([recall_at(rank, 1) for rank in ranks]))
        values[f"{name}/median_rank"] = float(np.mean([median_rank(rank) for rank in ranks]))
    return values
