"""Which survival model is fitted on which features of a case, and how it is scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medvlp.config import Config
from medvlp.data.survival_table import SurvivalColumns


class Outcome(Config):
    """Times and events."""

    table: str = Field(description="Table of times and events; several rows of a case have to agree.")
    endpoint: Literal["os", "dss", "pfi"] | None = Field(
        None, description="Endpoint of the public TCGA tables; or name the columns."
    )
    columns: SurvivalColumns | None = Field(None, description="Which columns hold what, for other tables.")

    @model_validator(mode="after")
    def _one_of_two(self) -> Outcome:
        if (self.endpoint is None) == (self.columns is None):
            raise ValueError("name exactly one of endpoint and columns")
        return self


class _Source(Config):
    components: int | None = Field(
        None, ge=1, description="Principal components to keep, fitted on the training part; all columns by default."
    )


class Clinical(_Source):
    """Columns of a table: numbers as they are, words by their place in a list."""

    name: Literal["clinical"] = Field("clinical", description="Columns of a clinical table.")
    table: str = Field(description="The table; several rows of a case have to agree.")
    case: str = Field("case_id", description="Column of the case.")
    numbers: list[str] = Field([], description="Columns of numbers.")
    ordered: dict[str, list[str]] = Field({}, description="Columns of words, with their order from low to high.")


class Genes(_Source):
    """A gene table."""

    name: Literal["genes"] = Field("genes", description="Expression of all genes of a table.")
    table: str = Field(description="The gene table; linear values are taken as log2(value + 1).")
    rows: Literal["cases", "genes"] | None = Field(None, description="What the rows are; recognised by default.")
    ids: Literal["as_is", "tcga_case"] = Field("as_is", description="Case keys as they are, or cut to TCGA's case.")


class Pathways(Genes):
    """Gene sets of a gene table: the mean standardised expression of each set's genes."""

    name: Literal["pathways"] = Field("pathways", description="Mean standardised expression of gene sets.")  # type: ignore[assignment]
    sets: str = Field(description="File of the gene sets.")
    share: float = Field(0.9, gt=0, le=1, description="Share of a set's genes that have to be measured.")
    min_genes: int = Field(1, ge=1, description="Genes that a set has to have.")


class Vectors(_Source):
    """One or more vectors per case from elsewhere, such as slide vectors."""

    name: Literal["vectors"] = Field("vectors", description="Vectors in files named by case or slide.")
    folder: str = Field(description="Folder of .npy files, each (D,) or (n, D); files of one case are averaged.")
    ids: Literal["as_is", "tcga_case"] = Field(
        "as_is", description="The file's stem is the case, or starts with TCGA's case."
    )


class Noise(_Source):
    """Normal random numbers: what a model of this width makes of nothing."""

    name: Literal["noise"] = Field("noise", description="Random numbers.")
    width: int = Field(16, ge=1, description="Numbers per case.")


Source = Annotated[Clinical | Genes | Pathways | Vectors | Noise, Field(discriminator="name")]


class Cox(Config):
    """Cox proportional hazards with a ridge penalty, through lifelines (extra `survival`)."""

    name: Literal["cox"] = Field("cox", description="Cox proportional hazards, through lifelines.")
    penalties: list[float] = Field(
        [0.01, 0.1, 1.0, 10.0], min_length=1, description="Ridge penalties; the best of the inner folds is taken."
    )
    inner_folds: int = Field(3, ge=2, description="Folds of the training part on which the penalty is chosen.")


class Hazard(Config):
    """A small network for the hazard of each of a few time bins (Zadeh and Schmid 2020)."""

    name: Literal["hazard"] = Field("hazard", description="Hazard by time bin.")
    bins: int = Field(4, ge=2, description="Time bins, at quantiles of the training part's event times.")
    hidden: int = Field(32, ge=0, description="Width of the hidden layer; 0 for a linear model.")
    dropout: float = Field(0.25, ge=0, lt=1, description="Dropout behind the hidden layer.")
    learning_rate: float = Field(0.003, gt=0, description="Learning rate of Adam.")
    weight_decay: float = Field(0.01, ge=0, description="Weight decay, decoupled from the rate of learning.")
    epochs: int = Field(200, ge=1, description="Most epochs; each is one step on all cases.")
    patience: int = Field(20, ge=1, description="Epochs without a better inner loss before stopping.")
    inner_share: float = Field(0.25, gt=0, lt=1, description="Share of the training part that stopping is chosen on.")
    members: int = Field(3, ge=1, description="Networks, each with an inner part of its own; their risks are averaged.")


SurvivalModel = Annotated[Cox | Hazard, Field(discriminator="name")]
Control = Literal["noise", "permuted"]


class SurvivalConfig(Config):
    """A survival model on the features of each case, cross-validated on given folds."""

    kind: Literal["survival"] = Field("survival", description="Which schema this file follows.")
    title: str = Field("Survival", description="Heading of the results.")
    outcome: Outcome = Field(description="Times and events.")
    folds: str = Field(description="Folder of split files, splits_0.csv and so on.")
    train: str = Field("train", description="Column of a split file to fit on.")
    test: str = Field("val", description="Column of a split file to score on; no choice is made there.")
    features: list[Source] = Field(min_length=1, description="What the model sees, side by side.")
    clinical: list[Clinical] = Field(
        [], description="Clinical columns of a floor that has nothing else, fitted by a Cox model; empty for none."
    )
    model: SurvivalModel = Field(Cox(), description="The model.")
    controls: list[Control] = Field(
        ["noise", "permuted"], description="Random features of the same width; training outcomes dealt out anew."
    )
    repeats: int = Field(3, ge=1, description="Draws of each control; its score is their mean.")
    horizon: float = Field(60.0, gt=0, description="Months up to which Uno's concordance counts events.")
    seed: int = Field(0, ge=0, description="Seed of everything that is drawn.")
    num_draws: int = Field(1000, ge=100, le=100_000, description="Bootstrap draws of cases within each fold.")
    level: float = Field(0.95, gt=0, lt=1, description="Coverage of the intervals.")
