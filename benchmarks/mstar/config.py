"""Settings of the mSTAR benchmark."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medvlp.config import Config
from medvlp.encoders.image import EFFICIENTNET_LITE0, TimmImage
from medvlp.model import ImageConfig

Share = Annotated[float, Field(ge=0, le=1)]
Arm = Literal["mean", "abmil", "transformer", "perceiver", "shuffled pairs", "shuffled places"]


class TileKind(Config):
    """One kind of tile, how much of a case it makes up, and what reports call it."""

    files: str = Field(description="Pattern of image files below `images`.")
    limit: int = Field(20, ge=4, description="Images to use, drawn with the seed; half for training cases.")
    pathway: str = Field(description="Gene set whose score decides how much of a case this kind makes up.")
    names: list[str] = Field(min_length=1, description="What reports call it; one is drawn per case.")


class Relation(Config):
    """How slides and reports follow from gene expression; the whole truth about the cases."""

    kinds: dict[str, TileKind] = Field(min_length=2, description="Kinds of tiles by name.")
    strength: float = Field(1.5, gt=0, description="Factor of the standardised scores before the softmax.")
    arrangement: str = Field(description="Gene set whose unexplained part decides how tiles are laid out.")
    grid: int = Field(7, ge=2, description="Tiles along a side of a slide.")
    wrong: Share = Field(0.05, description="Chance that a report is wrong about whether a kind is worth a mention.")
    silent: Share = Field(0.1, description="Chance that a report leaves a kind, or the arrangement, out.")
    missing: Share = Field(0.2, description="Chance that a training case lacks its slide, its report, or its genes.")


class Teaching(Config):
    """The second stage and how its effect is measured."""

    config: str = Field("mstar/teach", description="Config of kind `mstar`, stage 2.")
    weights: list[float] = Field([0.6, 0.0], min_length=1, description="Weights of the similarity term to compare.")
    neighbours: int = Field(5, ge=1, description="Neighbours that vote on the kind of a held-out tile.")


class MstarBenchmarkConfig(Config):
    """Arms, seeds and data."""

    kind: Literal["mstar_benchmark"] = Field("mstar_benchmark", description="Which schema this file follows.")
    genes: list[str] = Field(min_length=1, description="Gene tables, one per cancer, with equal genes.")
    cancers: list[str] = Field(min_length=1, description="Names of the cancers, in the same order.")
    gene_sets: str = Field(description="Table of gene sets.")
    images: str = Field(description="Folder below which images of tiles lie.")
    relation: Relation = Field(description="How slides and reports follow from expression.")
    encoder: ImageConfig = Field(
        TimmImage.Config(model="tf_efficientnet_lite0", weights=EFFICIENTNET_LITE0, image_size=224),
        description="The tile encoder.",
    )
    cases: int | None = Field(None, ge=20, description="Use so many cases only, drawn with the seed; null for all.")
    split: tuple[Share, Share, Share] = Field((0.65, 0.1, 0.25), description="Shares of train, dev and test.")
    align: str = Field("mstar/align", description="Config of kind `mstar`, stage 1, that every arm trains with.")
    set: list[str] = Field([], description="Overrides `a.b=c` of that config, for every arm.")
    arms: list[Arm] = Field(
        ["mean", "abmil", "transformer", "perceiver", "shuffled pairs", "shuffled places"],
        min_length=1,
        description="What to train.",
    )
    teaching: Teaching | None = Field(Teaching(), description="The second stage; null for none.")
    data_seed: int = Field(0, ge=0, description="Decides cases, tiles and reports.")
    seeds: list[int] = Field([0, 1], min_length=1, description="Seeds of training; scores are means over them.")
    num_draws: int = Field(1000, ge=100, le=100_000, description="Bootstrap draws of cases.")
