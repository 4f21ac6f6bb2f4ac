"""Gene encoders: expression of named genes to one vector per case, whatever the order of a table, genes missing or not.

Both standardise each gene by mean and deviation over the training part, which are kept in the model. The token form
follows mSTAR (Xu et al. 2025): a learned vector per gene plus one per bin of its expression; its attention of a few
learned queries over all genes is ours (the paper uses a Performer).

Shape letters: B cases, C cases of a table, G genes of the model, W width, Q queries, H heads, K tokens of all cases,
T queries of all cases, D width of a head.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.config import Config as BaseConfig
from medvlp.data.genes import GeneTable, Scale
from medvlp.errors import CheckpointError, ConfigError, DataError
from medvlp.fusion.attention import packed_attention
from medvlp.io import read_json, write_json
from medvlp.ledger import Ledger

FILE = "genes.json"
_SMALLEST_DEVIATION = 1e-6
_OUTERMOST = 3.0  # deviations; beyond it lies the first or last bin


class GeneSettings(BaseConfig):
    """Fields that every gene encoder has."""

    width: int = Field(256, ge=1, description="Width of the vector of a case.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of hidden units dropped in training.")
    drop_genes: float = Field(0.2, ge=0, lt=1, description="Share of genes taken away from a case in training.")
    min_found: float = Field(0.5, gt=0, le=1, description="Refuse a table with a smaller share of the model's genes.")


class GeneEncoder(nn.Module, ABC):
    """What both forms share: names of genes, statistics of the training part, reading a table by name.

    Attributes:
        genes: Names of the G genes, in the order of the inputs.
        scale: Scale of the table the statistics were taken of, ``log`` or ``linear``.
        width: W.
        ledger: Genes of the last table that :meth:`align` did not know or found missing.
    """

    def __init__(self, config: GeneSettings, genes: Sequence[str], scale: Scale) -> None:
        super().__init__()
        if not genes or len(set(genes)) != len(genes):
            raise DataError("expected distinct gene names, at least one", item="genes")
        self.settings, self.genes, self.scale, self.width = config, list(genes), scale, config.width
        self.ledger = Ledger()
        self.mean_G: Tensor
        self.deviation_G: Tensor
        self.register_buffer("mean_G", torch.zeros(len(genes)))
        self.register_buffer("deviation_G", torch.ones(len(genes)))

    def fit(self, table: GeneTable) -> None:
        """Take mean and deviation of each gene from the training part.

        Raises:
            DataError: If the table holds fewer than two cases or lacks a gene.
        """
        if len(table.cases) < 2:
            raise DataError(f"{len(table.cases)} case gives no deviation", item="gene table", remedy="add cases")
        values_CG = torch.from_numpy(table.align(self.genes).to_log().values_CG).double()
        self.mean_G.copy_(values_CG.mean(0))
        deviation_G = values_CG.std(0)
        # A gene that never varied says nothing; dividing by its rounding error would make it shout.
        self.deviation_G.copy_(torch.where(deviation_G > _SMALLEST_DEVIATION, deviation_G, 1.0))

    def align(self, table: GeneTable) -> Tensor:
        """Return (C, G) on a log scale, in the model's order; NaN where the table has no such gene.

        Genes the model does not know and genes the table lacks are counted in :attr:`ledger`.

        Raises:
            DataError: If the table has another scale than that of training, or too few of the model's genes.
        """
        if table.scale != self.scale:
            raise DataError(
                f"values are on a {table.scale} scale, the model was trained on a {self.scale} one",
                item="gene table",
                remedy="convert the table, or name its scale when reading it",
            )
        known, given = set(self.genes), set(table.genes)
        self.ledger = Ledger()
        for gene in table.genes:
            if gene in known:
                self.ledger.keep()
            else:
                self.ledger.drop(gene, "gene unknown to the model")
        for gene in self.genes:
            if gene not in given:
                self.ledger.drop(gene, "gene missing from the table")
        share = self.ledger.kept / len(self.genes)
        if share < self.settings.min_found:
            raise DataError(
                f"holds {self.ledger.kept} of the model's {len(self.genes)} genes, {share:.1%}",
                item="gene table",
                remedy=f"give at least {self.settings.min_found:.0%} of them, by the same kind of name",
            )
        return torch.from_numpy(table.align(self.genes, fill=float("nan")).to_log().values_CG)

    def standardise(self, values_BG: Tensor) -> tuple[Tensor, Tensor]:
        """Return deviations from the mean (0 where missing) and where values are present.

        In training, ``drop_genes`` of them are taken away.

        Raises:
            DataError: If a case has no gene at all.
        """
        present_BG = torch.isfinite(values_BG)
        if not bool(present_BG.any(1).all()):
            raise DataError("a case has no gene at all", item="gene batch", remedy="leave its genes out as missing")
        if self.training and self.settings.drop_genes > 0:
            kept_BG = present_BG & (torch.rand(values_BG.shape, device=values_BG.device) >= self.settings.drop_genes)
            present_BG = torch.where(kept_BG.any(1, keepdim=True), kept_BG, present_BG)
        deviations_BG = (values_BG - self.mean_G) / self.deviation_G
        return torch.where(present_BG, deviations_BG, 0.0), present_BG

    @abstractmethod
    def forward(self, values_BG: Tensor) -> Tensor:
        """Return (B, W) of values on a log scale (B, G), NaN where a gene is missing."""

    def save_architecture(self, folder: Path) -> None:
        """Write the names of the genes and the scale; statistics are among the weights."""
        write_json(folder / FILE, {"genes": self.genes, "scale": self.scale})


class GeneMlp(GeneEncoder):
    """Two layers over all genes; a missing gene counts as one at its mean."""

    class Config(GeneSettings):
        """What builds a :class:`GeneMlp`."""

        name: Literal["mlp"] = Field("mlp", description="A perceptron over all genes.")
        hidden: int = Field(512, ge=1, description="Width of the hidden layer.")

    def __init__(self, config: GeneMlp.Config, genes: Sequence[str], scale: Scale) -> None:
        super().__init__(config, genes, scale)
        self.layers = nn.Sequential(
            nn.Linear(len(self.genes), config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.width),
        )

    def forward(self, values_BG: Tensor) -> Tensor:
        """Return (B, W)."""
        deviations_BG, _ = self.standardise(values_BG)
        return cast(Tensor, self.layers(deviations_BG))


class GeneTokens(GeneEncoder):
    """A vector per gene plus one per bin of expression, read by learned queries; missing genes are not there at all."""

    class Config(GeneSettings):
        """What builds a :class:`GeneTokens`."""

        name: Literal["tokens"] = Field("tokens", description="A token per gene, read by attention.")
        token_width: int = Field(64, ge=1, description="Width of a gene's token.")
        bins: int = Field(16, ge=2, description="Bins of expression between -3 and 3 deviations; the outer are open.")
        queries: int = Field(8, ge=1, description="Learned queries.")
        heads: int = Field(4, ge=1, description="Heads of attention; they share the width of a token.")

    def __init__(self, config: GeneTokens.Config, genes: Sequence[str], scale: Scale) -> None:
        super().__init__(config, genes, scale)
        if config.token_width % config.heads:
            raise ConfigError(f"{config.token_width} is no multiple of {config.heads} heads", item="genes.token_width")
        self.config = config
        width = config.token_width
        self.gene = nn.Embedding(len(self.genes), width)
        self.level = nn.Embedding(config.bins, width)
        self.query = nn.Parameter(torch.randn(config.queries, width) * width**-0.5)
        self.norm_in, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_query, self.to_both = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.after = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.queries * width, config.width)

    def bins(self, deviations: Tensor) -> Tensor:
        """Return the bin of each deviation: equal steps from -3 to 3, the outer bins open."""
        inner = torch.linspace(-_OUTERMOST, _OUTERMOST, self.config.bins - 1, device=deviations.device)
        return torch.bucketize(deviations, inner)

    def forward(self, values_BG: Tensor) -> Tensor:
        """Return (B, W)."""
        deviations_BG, present_BG = self.standardise(values_BG)
        num_cases, config = len(values_BG), self.config
        case_K, gene_K = present_BG.nonzero(as_tuple=True)
        tokens_KW = self.gene(gene_K) + self.level(self.bins(deviations_BG[case_K, gene_K]))
        key_KW, value_KW = self.to_both(self.norm_in(tokens_KW)).chunk(2, dim=-1)
        query_QW = self.to_query(self.query)
        read_THD = packed_attention(
            self._heads(query_QW.repeat(num_cases, 1)),
            self._heads(key_KW),
            self._heads(value_KW),
            torch.full((num_cases,), config.queries, dtype=torch.int64),
            present_BG.sum(1).cpu(),
        )
        read_BQW = self.query + self.dropout(self.after(read_THD.reshape(num_cases, config.queries, -1)))
        return cast(Tensor, self.head(self.norm_out(read_BQW).flatten(1)))

    def _heads(self, tokens_KW: Tensor) -> Tensor:
        return tokens_KW.view(len(tokens_KW), self.config.heads, -1)


GeneConfig = Annotated[GeneMlp.Config | GeneTokens.Config, Field(discriminator="name")]


def build_gene_encoder(config: GeneMlp.Config | GeneTokens.Config, genes: Sequence[str], scale: Scale) -> GeneEncoder:
    """Build the encoder of a configuration for these genes; statistics follow by ``fit`` or with the weights."""
    return GeneMlp(config, genes, scale) if isinstance(config, GeneMlp.Config) else GeneTokens(config, genes, scale)


def read_genes(folder: Path) -> tuple[list[str], Scale]:
    """Read what :meth:`GeneEncoder.save_architecture` wrote.

    Raises:
        CheckpointError: If the file is missing or holds something else.
    """
    saved = read_json(folder / FILE) if (folder / FILE).is_file() else None
    genes = saved.get("genes") if isinstance(saved, dict) else None
    scale = saved.get("scale") if isinstance(saved, dict) else None
    named = isinstance(genes, list) and all(isinstance(gene, str) for gene in genes)
    if not named or scale not in ("log", "linear"):
        raise CheckpointError("no list of genes in this folder", item=folder / FILE, remedy="use another checkpoint")
    return cast(list[str], genes), cast(Scale, scale)
