"""What the knowledge table compares; every choice is made here, before any test image is scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medvlp.config import Config

FLOOR = "floor"
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$")]
ClassMetric = Literal["balanced_accuracy", "auroc", "hierarchical_accuracy"]


class ImageSet(Config):
    """One set of images under one protocol: class names seen in training, or whole classes held out of it."""

    title: str = Field(description="Heading in the table.")
    pairs: str = Field(description="Config of kind `pairs`.")
    set: list[str] = Field([], description="Overrides `a.b=c` of that config.")
    already_deidentified: bool = Field(False, description="The user's word that its texts hold no identifying data.")
    templates: str = Field("general", description="Wordings of knowledge captions and of prompts.")
    classes: list[str] | None = Field(None, description="Classes that are scored; all by default.")
    held_out: list[str] = Field([], description="Classes whose images and captions are kept out of training.")
    positive: str | None = Field(None, description="The one class that AUROC is about; all by default.")
    metrics: list[ClassMetric] = Field(
        ["balanced_accuracy", "auroc", "hierarchical_accuracy"], min_length=1, description="Scores; the first leads."
    )
    retrieval: bool = Field(False, description="Also retrieve the images' free texts, both ways.")

    @model_validator(mode="after")
    def _known_classes(self) -> ImageSet:
        if len(self.held_out) == 1:
            raise ValueError("hold out two classes or more, so that they can be told apart")
        if self.classes is not None and not set(self.held_out) <= set(self.classes):
            raise ValueError("held_out names a class that is not scored")
        return self


class Arm(Config):
    """One way of training, or the model before any."""

    title: str = Field(description="Row of the table.")
    align: str = Field(description="Config of kind `align`.")
    trained: bool = Field(True, description="Whether it trains; else the model is scored as it starts.")
    set: list[str] = Field([], description="Overrides `a.b=c` of that config.")
    text: str | None = Field(None, description="Stage 1 whose text encoder it uses; the published one by default.")
    knowledge_encoder: str | None = Field(None, description="Stage 1 whose encoder is KEP's frozen teacher.")


class Comparison(Config):
    """A difference to look at, named in advance."""

    first: str = Field(description="Arm.")
    second: str = Field(description="Arm, or `floor` for the better floor of each score.")
    asks: str = Field(description="What the difference tells.")


class KnowledgeTableConfig(Config):
    """The table; see ``configs/knowledge_table.yaml`` for what each arm stands for."""

    kind: Literal["knowledge_benchmark"] = Field("knowledge_benchmark", description="Which schema this file follows.")
    graph: str = Field(description="Config of kind `graph`.")
    stage_1: str = Field(description="Config of kind `knowledge` that every stage 1 starts from.")
    stage_1_set: list[str] = Field([], description="Overrides of every stage 1.")
    stages_1: dict[Name, list[str]] = Field({}, description="Overrides of each stage 1, by name.")
    pairs_set: list[str] = Field([], description="Overrides of every pairs config, before the set's own.")
    sets: dict[Name, ImageSet] = Field(min_length=1, description="Image sets by short name, in the order of the table.")
    align_set: list[str] = Field([], description="Overrides of every alignment, before the arm's own.")
    arms: dict[Name, Arm] = Field(min_length=1, description="Arms by short name, in the order of the table.")
    comparisons: list[Comparison] = Field([], description="Differences to print, with the smallest detectable one.")
    rows_per_step: int = Field(48, ge=2, description="Images per step, or the size of the training part if less.")
    max_groups: int = Field(16, ge=2, description="Most semantic groups per step.")
    seeds: list[int] = Field([0, 1, 2], min_length=1, description="Seeds of both trainings and of the rewired graph.")
    num_draws: int = Field(2000, ge=100, description="Bootstrap draws of cases.")

    @model_validator(mode="after")
    def _names_exist(self) -> KnowledgeTableConfig:
        for name, arm in self.arms.items():
            for stage in (arm.text, arm.knowledge_encoder):
                if stage is not None and stage not in self.stages_1:
                    raise ValueError(f"arm {name} names the stage 1 {stage!r}, which stages_1 does not have")
        for comparison in self.comparisons:
            for name in (comparison.first, comparison.second):
                if name not in self.arms and not (name == FLOOR and name == comparison.second):
                    raise ValueError(f"a comparison names the arm {name!r}, which arms does not have")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("a seed comes twice, which would count one run as two")
        return self
