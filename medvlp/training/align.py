"""Stage 2: images and texts are aligned by a contrast that knows the graph, with KEEP's recipe as default.

Source: Zhou et al. 2026 (KEEP), vision-language alignment inside semantic groups.
Shape legend: B images, M texts, L tokens, C channels, H, W pixels, I image tower width, D embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.config import Config, resolve_path
from medvlp.data.augment import Augment
from medvlp.data.batch import Batch
from medvlp.data.entities import Entities
from medvlp.data.plan import GroupPlan, PairPlan, Plan, Sampling
from medvlp.data.swaps import Swaps
from medvlp.data.word_swaps import swaps_for
from medvlp.encoders.weights import load_named, read_state_dict, write_state_dict
from medvlp.errors import ConfigError, DataError, GraphError
from medvlp.model import PARTS, DualEncoder, Part, save_model
from medvlp.objectives import ObjectiveConfig, build
from medvlp.objectives.semantic_groups import GroupObjective
from medvlp.training import dry_run as rehearsal
from medvlp.training.align_check import check_knowledge_encoder
from medvlp.training.align_data import AlignData, batches, concept_rows, cut_groups
from medvlp.training.align_model import HEADS_FILE, AlignModel
from medvlp.training.aspects import AspectTexts
from medvlp.training.features import cached_features, cached_tokens
from medvlp.training.frozen_text import FrozenTextEncoder
from medvlp.training.knowledge import control_hierarchy
from medvlp.training.loop import fit, make_fabric
from medvlp.training.objective_context import make_context
from medvlp.training.resume import identity
from medvlp.training.settings import HARMLESS, RunConfig
from medvlp.training.start import starting_model
from medvlp.training.text_augment import TextAugment, concept_names
from medvlp.training.triples import tensors_for, told_triples
from medvlp.zeroshot.prompts import PromptConfig, PromptSet, from_config
from medvlp.zeroshot.quick import development_score, score_split

if TYPE_CHECKING:
    from medvlp.data.pairs import PairsStore
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.objectives.base import Objective


class Freezing(Config):
    """Parts of the model that do not learn, always or at first."""

    parts: list[Part] = Field(["image_tower", "text_tower"], description="Parts frozen at first.")
    steps: int = Field(0, ge=0, description="Optimiser steps for which they are frozen.")
    always: list[Part] = Field([], description="Parts frozen for the whole run.")


class Validation(Config):
    """Zero-shot score on the development split."""

    prompts: PromptConfig = Field(PromptConfig(), description="How prompts are made.")
    num_images: int | None = Field(None, ge=1, description="First images of the split to use; all by default.")


class GroupBatches(Config):
    """Batches of whole semantic groups."""

    name: Literal["groups"] = Field("groups", description="Equal numbers of images from distinct groups.")
    groups_per_batch: int = Field(32, ge=2, description="Groups per batch over all processes.")
    instances: int = Field(4, ge=1, description="Images per group.")
    max_size: int | None = Field(None, ge=1, description="Cut larger groups into even parts, at random; null never.")


class PairBatches(Config):
    """Batches of single pairs."""

    name: Literal["pairs"] = Field("pairs", description="Distinct images, whatever their group.")
    batch_size: int = Field(128, ge=2, description="Images per batch over all processes.")


class AlignConfig(RunConfig):
    """What stage 2 trains on what."""

    kind: Literal["align"] = Field("align", description="Which schema this file follows.")
    data: str = Field(description="Folder of the pairs store.")
    graph: str | None = Field(None, description="Folder of the graph store; not needed with knowledge none.")
    knowledge: Literal["none", "permuted", "real"] = Field(
        "real", description="Hierarchy that builds captions and decides false negatives: none, rewired, or the graph's."
    )
    model: DualEncoder.Config = Field(DualEncoder.Config(), description="The model to train.")
    start: str | None = Field(None, description="In place of `model`: a run, checkpoint or LAYOUT:PATH to go on from.")
    knowledge_encoder: str | None = Field(
        None, description="Stage-1 run whose frozen text encoder embeds the captions too, for objective kep."
    )
    objective: ObjectiveConfig | list[ObjectiveConfig] = Field(
        GroupObjective.Config(), description="The loss, or several that are added up."
    )
    batches: GroupBatches | PairBatches = Field(
        GroupBatches(), discriminator="name", description="What makes up a batch."
    )
    sampling: Sampling = Field("natural", description="How much frequent labels weigh in the order of data.")
    texts_per_image: int = Field(1, ge=1, description="Captions per image and step.")
    repeat_texts: bool = Field(
        True, description="Repeat the captions of an image that has fewer; else its share is filled with texts that "
        "count for nothing."
    )  # fmt: skip
    aspects: list[str] | None = Field(None, min_length=1, description="Kinds of captions to use; all by default.")
    aspect_texts: AspectTexts.Config | None = Field(
        None, description="Texts of several aspects made from an image's concepts, beside a caption; none by default."
    )
    entities: str | None = Field(None, description="Folder that says what is present where in each image.")
    entity_strings: bool = Field(
        False, description="Texts are what they say of findings (`effusion [SEP] present`) in place of their words."
    )
    swaps: Swaps.Config | None = Field(None, description="Captions with one fact exchanged, or none.")
    text_augment: TextAugment.Config | None = Field(TextAugment.Config(), description="Caption augmentation, or none.")
    image_augment: Augment.Config | None = Field(None, description="Image augmentation, or none.")
    freeze: Freezing = Field(Freezing(), description="Which parts do not learn, and how long.")
    batch_norm: Literal["fixed", "batch"] = Field(
        "fixed", description="Statistics of batch normalisation: those of the weights, or each batch's own."
    )
    cached_features: bool = Field(False, description="Embed each image once with the frozen tower, train the rest.")
    cache: str = Field("runs/features", description="Folder of cached features, shared by runs on the same data.")
    validation: Validation = Field(Validation(), description="Zero-shot score on the development split.")


def train(
    config: AlignConfig, out: Path, resume: str = "auto", dry_run: bool = False, objective: Objective | None = None
) -> Path:
    """Align images and texts.

    Args:
        config: What to train on what.
        out: Run folder.
        resume: ``auto``, ``never``, or the run or checkpoint to go on from.
        dry_run: Only one step, a save, a load and a memory estimate; neither ``out`` nor the cache is touched.
        objective: A loss of your own instead of the configured one: any callable
            ``(Outputs, Batch, Gather) -> Losses``.

    Returns:
        The last checkpoint (``out`` after a dry run), which :func:`medvlp.load` opens.

    Raises:
        ConfigError: If settings contradict one another.
        DataError: If the store holds no training row.
        GraphError: If no concept of the data is in the graph.
        TrainingError: If the data are too small for a batch, or the run cannot go on; see :func:`loop.fit`.
    """
    check(config, own_loss=objective is not None)
    fabric = make_fabric(config)
    recipe = AlignRecipe(config, fabric, objective, use_cache=config.cached_features and not dry_run)
    if dry_run:
        rehearsal.rehearse(recipe, fabric)
        return out
    return fit(recipe, out, resume, fabric)


def check(config: AlignConfig, *, own_loss: bool = False) -> None:
    """Refuse settings that contradict one another.

    Args:
        config: The settings.
        own_loss: A loss of the user's takes the place of the configured one.

    Raises:
        ConfigError: Naming the settings.
    """
    frozen = set(config.freeze.always)
    if config.knowledge != "none" and config.graph is None:
        raise ConfigError(f"knowledge {config.knowledge} needs a graph", item="graph", remedy="name its folder")
    if frozen >= set(PARTS) - ({"decoder"} if config.model.decoder is None else set()):
        raise ConfigError("every part is frozen, so nothing would learn", item="freeze.always")
    if config.cached_features and "image_tower" not in frozen:
        raise ConfigError(
            "needs an image tower that never changes", item="cached_features", remedy="add image_tower to freeze.always"
        )
    if config.cached_features and config.image_augment is not None:
        raise ConfigError(
            "cannot augment images that are embedded once", item="cached_features", remedy="set image_augment: null"
        )
    if config.entity_strings and config.entities is None:
        raise ConfigError("needs triples of the texts", item="entity_strings", remedy="name a folder as entities")
    if config.aspect_texts is not None:
        config.aspect_texts.check(config)
    if not own_loss:
        check_knowledge_encoder(config)


class AlignRecipe:
    """Stage 2 for the engine; see :class:`medvlp.training.recipe.Recipe`."""

    name = "align"

    def __init__(self, config: AlignConfig, fabric: Any, objective: Objective | None, use_cache: bool) -> None:
        from medvlp.data.pairs import PairsStore
        from medvlp.knowledge.graph import DiseaseGraph

        self.config, self.device = config, fabric.device
        self.store: PairsStore = PairsStore.load(resolve_path(config.data))
        self.split, self.development = self.store.split("train"), self.store.split("dev")
        if len(self.split) == 0:
            raise DataError("holds no training row", item=config.data, remedy="prepare it with a train split")
        self.graph = None if config.graph is None else DiseaseGraph.load(resolve_path(config.graph))
        hierarchy = None if self.graph is None else control_hierarchy(self.graph, config.knowledge, config.seed)
        torch.manual_seed(config.seed)
        self.model = starting_model(config.start, config.model)
        if config.grad_checkpointing:
            self.model.set_grad_checkpointing()
        self.autocast = fabric.autocast
        self.knowledge_encoder = None
        if config.knowledge_encoder is not None:
            self.knowledge_encoder = FrozenTextEncoder(config.knowledge_encoder, config.model.embed_dim, self.device)
        self.objective: Objective = build(config.objective, hierarchy) if objective is None else objective
        self.entities = None if config.entities is None else Entities.load(resolve_path(config.entities))
        if hasattr(self.objective, "prepare"):
            self.objective.prepare(make_context(self.model, config, self.entities))
        self.module = AlignModel(self.model, self.objective)
        concepts, unknown = concept_rows(self.split, self.store, hierarchy)
        if unknown and not any(concepts):
            raise GraphError(
                f"none of the {len(unknown)} concepts of {config.data} is in this graph",
                item=config.graph,
                remedy="use the graph the pairs store was prepared with",
            )
        self.features, self.dev_features, tokens = None, None, None
        if use_cache:
            cache = resolve_path(config.cache)
            # One process fills the cache, the others then only read it.
            with fabric.rank_zero_first():
                self.features = cached_features(self.model, self.split, self.store.digest, cache, self.device)
                if self.module.reads_places:
                    tokens = cached_tokens(self.model, self.split, self.store.digest, cache, self.device)
                if len(self.development) > 0:
                    self.dev_features = cached_features(
                        self.model, self.development, self.store.digest, cache, self.device
                    )
        self.data = AlignData(
            self.split,
            concepts,
            self.store.classes,
            self._text_augment(hierarchy),
            self.model.preprocess,
            None if config.image_augment is None else Augment(config.image_augment),
            self.features,
            config.texts_per_image,
            config.seed,
            tokens=tokens,
            aspects=config.aspects,
            repeat_texts=config.repeat_texts,
            entities=self.entities,
            swaps=swaps_for(config.swaps, config.knowledge),
            entity_strings=config.entity_strings,
            aspect_texts=AspectTexts.of_recipe(config, self.split, self.store, self.graph, hierarchy),
            told=told_triples(self.objective, self.entities, self.split.keys, config.knowledge, config.seed),
        )
        self.of_triples = tensors_for(self.objective, self.model.tokenizer)
        if self.data.fills and "valid" not in self.module.reads:
            fewest = 1 if config.repeat_texts else config.texts_per_image
            raise DataError(
                f"an image has fewer than {fewest} captions of these kinds",
                item=config.data,
                remedy="set repeat_texts: true, name more aspects, or use an objective that leaves texts out",
            )
        if isinstance(config.batches, GroupBatches) and config.batches.max_size is not None:
            self.data.groups = cut_groups(self.data.groups, config.batches.max_size, config.seed)
        self.plan = self._plan()
        self.prompts = self._prompts()
        digests = {
            "data": self.store.digest,
            "graph": None if self.graph is None else self.graph.digest,
            "knowledge_encoder": None if self.knowledge_encoder is None else self.knowledge_encoder.digest,
            "entities": None if self.entities is None else self.entities.digest,
        }
        own_loss = None if objective is None else getattr(objective, "__qualname__", type(objective).__qualname__)
        self.identity: dict[str, Any] = {
            **identity(config, HARMLESS | {"validation", "cache"}, digests),
            "objective (own)": own_loss,
        }
        self.header: dict[str, Any] = {
            "data_digest": digests["data"],
            "graph_digest": digests["graph"],
            "knowledge_encoder_digest": digests["knowledge_encoder"],
            "entities_digest": digests["entities"],
            "num_rows": len(self.split),
            "num_rows_with_concept": sum(bool(rows) for rows in concepts),
            "concepts_not_in_graph": unknown,
        }

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters by part; ``objective`` are those of the objective's own heads."""
        parts = {str(name): parameters for name, parameters in self.model.towers().items()}
        return parts if self.module.heads is None else {**parts, "objective": list(self.module.heads.parameters())}

    def batches(self, start: int, rank: int, world: int) -> Iterator[Batch]:
        """Yield this rank's batches from micro-step ``start`` on."""
        return batches(
            self.data,
            self.plan,
            self.model.tokenize,
            start,
            rank,
            world,
            self.config.num_workers,
            pin=self.device.type == "cuda",
            labels=self.config.knowledge != "none",
            more=self.of_triples,
        )

    def inputs(self, batch: Batch) -> tuple[dict[str, Tensor]]:
        """Return the tensors the module takes, by field name; with them what the frozen encoder makes of the texts."""
        given = self.module.given(batch)
        if self.knowledge_encoder is not None:
            with self.autocast():
                given["knowledge_MD"] = self.knowledge_encoder(batch.texts)
        return (given,)

    def begin_step(self, step: int) -> None:
        """Freeze what the schedule freezes at this step; batch statistics stay as they are if so configured."""
        freeze = self.config.freeze
        self.model.set_frozen([*freeze.always, *(freeze.parts if step < freeze.steps else [])])
        self.module.train()
        if self.config.batch_norm == "fixed":
            for module in self.model.modules():  # an objective's own heads have no published statistics to keep
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def validate(self) -> dict[str, float]:
        """Return the zero-shot score on the development split; empty if it has no labelled image."""
        if self.prompts is None:
            return {}
        count = self.config.validation.num_images
        if self.dev_features is None or self.model.decoder is not None:  # a decoder looks at places
            scores = score_split(self.model, self.development, self.prompts, num_images=count)
        else:
            features_NI = torch.from_numpy(self.dev_features[:count].copy())
            with torch.no_grad():
                image_ND = self.model.project_image(features_NI.to(self.device))
            labels = self.development.column("label")[:count]
            scores = development_score(self.model, image_ND, labels, self.prompts)
        return {f"zero_shot/{name}": value for name, value in scores.items()}

    def report(self) -> dict[str, float]:
        """Return the shares of texts that were cut since the last call, and what was read of their triples."""
        shares = {"truncated_share": self.model.tokenizer.truncated_share}
        self.model.tokenizer.reset_counts()
        if self.knowledge_encoder is not None:
            shares["knowledge_truncated_share"] = self.knowledge_encoder.truncated_share()
        for made in self.of_triples:
            shares |= made.report()
        return shares

    def save_model(self, folder: Path) -> None:
        """Write the dual encoder, and the objective's own heads beside it."""
        save_model(self.model, folder)
        if self.module.heads is not None:
            write_state_dict(folder / HEADS_FILE, self.module.heads.state_dict())

    def load_model(self, folder: Path) -> None:
        """Read what :meth:`save_model` wrote."""
        load_named(self.model, read_state_dict(folder / "model.safetensors"), folder / "model.safetensors")
        if self.module.heads is not None:
            load_named(self.module.heads, read_state_dict(folder / HEADS_FILE), folder / HEADS_FILE)

    def _plan(self) -> Plan:
        config, chosen = self.config, self.config.batches
        if isinstance(chosen, PairBatches):
            return PairPlan(len(self.data), chosen.batch_size, config.seed, config.sampling, self.data.labels)
        return GroupPlan(
            self.data.groups,
            chosen.groups_per_batch,
            chosen.instances,
            config.seed,
            config.sampling,
            self.data.labels,
        )

    def _text_augment(self, hierarchy: DiseaseGraph | None) -> TextAugment | None:
        """Without knowledge, captions about a class hold its bare name: as many of them, nothing from the graph."""
        config = self.config.text_augment
        if config is None:
            return None
        names = {} if hierarchy is None else concept_names(hierarchy)
        return TextAugment(config, names, hierarchy, self.config.validation.prompts.display_names)

    def _prompts(self) -> PromptSet | None:
        labels = [label for label in self.development.column("label") if label is not None]
        if not labels:
            return None
        found = self.store.class_concepts
        concepts = {
            label: [concept for concept in found[label] if self.graph is not None and concept in self.graph]
            for label in self.store.classes
        }
        return from_config(self.config.validation.prompts, self.graph, concepts, self.config.seed)
