"""Which cohorts, endpoints and models the survival benchmark compares."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from medvlp.config import Config
from medvlp.finetune.survival_config import Source, SurvivalModel


class Cohort(Config):
    """One cohort and its sources of features."""

    title: str = Field(description="How the table names it.")
    outcomes: str = Field(description="Table of times and censorship, with the columns of the public TCGA tables.")
    folds: str = Field(description="Folder of its split files.")
    sources: dict[str, Source] = Field(description="Features by short name.")


class Arm(Config):
    """One model on some of the features."""

    title: str = Field(description="Row of the table.")
    features: list[str] = Field(min_length=1, description="Short names of sources.")
    model: SurvivalModel = Field(description="The model.")
    permuted: bool = Field(False, description="Deal the training outcomes out anew.")
    repeats: int = Field(1, ge=1, description="Runs with different seeds; the row is their mean.")


class SurvivalBenchmarkConfig(Config):
    """Survival models on the same cases and folds; rows of a cohort differ in features and model alone."""

    kind: Literal["survival_benchmark"] = Field("survival_benchmark", description="Which schema this file follows.")
    cohorts: dict[str, Cohort] = Field(min_length=1, description="Cohorts by short name.")
    endpoints: list[Literal["os", "dss", "pfi"]] = Field(min_length=1, description="Endpoints.")
    arms: dict[str, Arm] = Field(min_length=1, description="Rows by short name, in the order of the table.")
    floor: str = Field(description="The arm that the others are compared with.")
    horizon: float = Field(60.0, gt=0, description="Months up to which Uno's concordance counts events.")
    seed: int = Field(0, ge=0, description="First seed.")
    num_draws: int = Field(2000, ge=100, description="Bootstrap draws of cases within each fold.")

    @model_validator(mode="after")
    def _known(self) -> SurvivalBenchmarkConfig:
        if self.floor not in self.arms:
            raise ValueError(f'floor "{self.floor}" is no arm')
        for name, cohort in self.cohorts.items():
            for arm in self.arms.values():
                for feature in arm.features:
                    if feature not in cohort.sources:
                        raise ValueError(f'cohort "{name}" has no source "{feature}"')
        return self
