"""What the grid compares and how it is judged; every choice is made here, before the first comparison."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from benchmarks.controlled.world_config import WorldConfig
from medvlp.config import Config
from medvlp.encoders.heads import HeadName
from medvlp.encoders.image import EFFICIENTNET_LITE0, TimmImage
from medvlp.encoders.text import TextEncoder
from medvlp.fusion.query_decoder import QueryDecoder
from medvlp.objectives import ObjectiveConfig, build
from medvlp.objectives.kinship import KinshipObjective
from medvlp.objectives.knowledge_metric import KnowledgeMetricObjective
from medvlp.training.aspects import AspectTexts
from medvlp.training.concept_texts import Views
from medvlp.training.optim import OptimizerConfig
from medvlp.training.text_augment import TextAugment

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$")]
Knowledge = Literal["real", "permuted", "none"]
PromptKind = Literal["names", "synonyms", "definitions", "paths"]
BASE, TWIN = "base", "twin"


class Stage1(Config):
    """Knowledge into the text space: the text head learns the graph's texts on features of the frozen text tower."""

    steps: int = Field(150, ge=0, description="Optimiser steps; 0 keeps the published text space.")
    groups_per_batch: int = Field(32, ge=2, description="Concepts per step.")
    instances: int = Field(4, ge=2, description="Texts per concept and step.")
    siblings: float = Field(0.0, ge=0, lt=1, description="Share of a batch drawn as siblings; 0 without a hierarchy.")
    views: Views = Field(Views(), description="Texts of a concept; without a hierarchy its preferred name alone.")
    draws: int = Field(4, ge=1, description="Different draws of texts per concept, each encoded once.")
    objective: KnowledgeMetricObjective.Config | KinshipObjective.Config = Field(
        KnowledgeMetricObjective.Config(), discriminator="name", description="The loss between texts of concepts."
    )
    optimizer: OptimizerConfig = Field(OptimizerConfig(lr=1e-3, weight_decay=0.0), description="Rates and schedule.")


class Stage2(Config):
    """Alignment on features of the frozen image tower; equal for all methods."""

    steps: int = Field(300, ge=0, description="Optimiser steps.")
    groups_per_batch: int = Field(16, ge=2, description="Semantic groups per step of a method with groups.")
    instances: int = Field(4, ge=1, description="Images per group; a method with pairs takes as many rows in all.")
    image_head: HeadName = Field("linear", description="Head behind the image tower.")
    draws: int = Field(6, ge=1, description="Different knowledge captions per training caption, each encoded once.")
    optimizer: OptimizerConfig = Field(
        OptimizerConfig(lr=1e-3), description="Rates of image_head, text_head and scale (as part_lr), and schedule."
    )

    @property
    def rows(self) -> int:
        """Images per step."""
        return self.groups_per_batch * self.instances


class Method(Config):
    """One way of training."""

    title: str = Field(description="Row of the table.")
    objective: ObjectiveConfig | list[ObjectiveConfig] = Field(description="The loss, or several that are added up.")
    batches: Literal["pairs", "groups"] = Field("pairs", description="Distinct images, or whole semantic groups.")
    captions: TextAugment.Config | None = Field(None, description="Caption augmentation with the arm's graph, or none.")
    aspect_texts: AspectTexts.Config | None = Field(
        None, description="Texts of several aspects from the arm's graph beside each caption, or none."
    )
    decoder: QueryDecoder.Config | None = Field(None, description="Asks texts of an image's places, or none.")
    stage_1: Name = Field("metric", description="Which of stages_1 the text head starts from.")
    logit_scale_init: float = Field(1 / 0.07, ge=1, le=100, description="First multiplier of cosines.")
    logit_bias: float | None = Field(None, description="First additive bias of logits (sigmoid loss), or none.")
    prompts: PromptKind = Field("names", description="Texts that stand for a class in the scores.")

    @property
    def needs_teacher(self) -> bool:
        """Whether the loss reads what the frozen text space of stage 1 makes of the captions."""
        parts = self.objective if isinstance(self.objective, list) else [self.objective]
        return any(part.needs_knowledge for part in parts)

    @property
    def asks(self) -> bool:
        """Whether the loss asks texts of entities, beside those of an image."""
        return "entity_label_BQ" in self.needs

    @property
    def needs(self) -> frozenset[str]:
        """Fields of a batch that the loss needs."""
        found: frozenset[str] = getattr(build(self.objective), "needs", frozenset())
        return found

    @property
    def reads(self) -> frozenset[str]:
        """What the loss reads beside pooled features; see ``medvlp.objectives.base.READS``."""
        found: frozenset[str] = getattr(build(self.objective), "reads", frozenset())
        return found

    @property
    def hides_words(self) -> bool:
        """Whether the loss reads tokens, to hide some."""
        return "token_ids_ML" in self.needs

    @property
    def reads_triples(self) -> bool:
        """Whether the loss is told triples of a text."""
        return "triple_ids_MX3L" in self.needs

    @property
    def swaps(self) -> bool:
        """Whether the loss compares captions with false ones."""
        return "swap_ids_KL" in self.needs

    @property
    def hides_nodes(self) -> bool:
        """Whether the loss hides words of nodes; it then reads places behind the image head.

        With frozen towers, words recovered from outputs of the towers would teach nothing that answers.
        """
        return "node_ML" in self.needs

    @property
    def reads_places(self) -> bool:
        """Whether images are read by place."""
        return bool(self.reads & {"patches", "tokens"})


class Level(Config):
    """One setting of the world, beside the base."""

    title: str = Field(description="Row of the table.")
    axis: Literal["base", "noise", "rarity", "unseen", "world"] = Field(description="Which curve it is a point of.")
    world: dict[str, Any] = Field({}, description="Keys of the world that differ from the base.")
    templates: list[str] | None = Field(None, min_length=1, description="Wordings of prompts; the grid's by default.")


class Axis(Config):
    """One curve: the value of a world's key from left to right, the base among them."""

    key: str = Field(description="Key of the world that is drawn from left to right.")
    title: str = Field(description="Label of that axis.")


class ControlledConfig(Config):
    """The grid; see ``configs/controlled/grid.yaml``."""

    kind: Literal["controlled"] = Field("controlled", description="Which schema this file follows.")
    world: WorldConfig = Field(description="The base world.")
    levels: dict[Name, Level] = Field({}, description="Further settings of the world, one factor at a time.")
    axes: dict[Name, Axis] = Field({}, description="Curves, by the axis that levels name.")
    image: TimmImage.Config = Field(
        TimmImage.Config(model="tf_efficientnet_lite0", weights=EFFICIENTNET_LITE0, image_size=128),
        description="Frozen image tower; every image passes it once.",
    )
    text: TextEncoder.Config = Field(TextEncoder.Config(), description="Frozen text tower; every text passes it once.")
    stages_1: dict[Name, Stage1] = Field({"metric": Stage1()}, description="Ways of teaching the text space.")
    stage_2: Stage2 = Field(Stage2(), description="The alignment.")
    methods: dict[Name, Method] = Field(min_length=1, description="Methods by short name, in the order of the table.")
    graphs: list[Knowledge] = Field(["real", "permuted", "none"], min_length=1, description="Kinds of knowledge.")
    templates: list[str] = Field(["{name}"], min_length=1, description="Wordings of prompts, the same for all arms.")
    seeds: list[int] = Field([0, 1, 2, 3, 4], min_length=1, description="Seeds of world, weights, order, rewiring.")

    @model_validator(mode="after")
    def _fits_together(self) -> ControlledConfig:
        if BASE in self.levels:
            raise ValueError(f"the level {BASE!r} is the world itself")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("a seed comes twice, which would count one run as two")
        for name, method in self.methods.items():
            if method.stage_1 not in self.stages_1:
                raise ValueError(f"method {name} names the stage 1 {method.stage_1!r}, which stages_1 does not have")
            if method.captions is not None and method.aspect_texts is not None:
                raise ValueError(f"method {name} augments captions and has aspect texts; choose one")
        for level in self.levels:
            self.world_of(level)
        return self

    def world_of(self, level: str) -> WorldConfig:
        """Return the world of a level."""
        if level == BASE:
            return self.world
        return WorldConfig.model_validate({**self.world.model_dump(), **self.levels[level].world})

    def templates_of(self, level: str) -> list[str]:
        """Return the wordings of prompts at a level."""
        own = None if level == BASE else self.levels[level].templates
        return self.templates if own is None else own

    def level_names(self) -> list[str]:
        """Return all levels, the base first."""
        return [BASE, *self.levels]
