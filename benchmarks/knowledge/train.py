"""Both trainings of an arm, on the library's own recipes, with frozen towers that meet each text once.

Which contrast is honest: all trained arms take equally many steps over equally many rows, with the same parts learning.
Stage 1 costs the same for every text encoder too: ``real`` reads names, definitions and hypernyms of the graph,
``permuted`` the same with "is a" rewired, ``bare`` each preferred name beside itself, which teaches nothing about any
concept. ``none`` then means that no fact of the graph reaches the arm anywhere: its text encoder read bare names, its
captions hold display names, and the loss knows no concept. An arm on the published encoder shows whether the bare
stage 1 does harm. Shape legend: M texts, L tokens, I tower width.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common.records import once
from benchmarks.knowledge.config import Arm, KnowledgeTableConfig
from benchmarks.knowledge.hierarchies import REAL, Hierarchies
from benchmarks.knowledge.sets import Prepared, says
from medvlp import __version__
from medvlp.config import load
from medvlp.encoders.text import TextEncoder
from medvlp.errors import DataError
from medvlp.io import MANIFEST, read_json, sha256_file
from medvlp.model import DualEncoder
from medvlp.training import align, knowledge
from medvlp.training.align import AlignConfig, AlignRecipe
from medvlp.training.features import tower_digest
from medvlp.training.loop import fit, make_fabric

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medvlp.training.text_augment import TextAugment

Memory = dict[bytes, Tensor]


def stage_1(config: KnowledgeTableConfig, name: str, seed: int, graph: Path, graph_digest: str, out: Path) -> Path:
    """Train one text encoder below ``out``, or find it there; return its folder."""
    overrides = [*config.stage_1_set, *config.stages_1[name], f"seed={seed}", f"graph={graph}"]
    settings = load(config.stage_1, overrides, kind="knowledge")
    assert isinstance(settings, knowledge.KnowledgeConfig)
    folder = out / f"{name}-seed-{seed}"
    weights = folder / "model.safetensors"

    def work() -> dict[str, Any]:
        run = out / f"{name}-seed-{seed}-run"
        for left in (run, folder):
            shutil.rmtree(left, ignore_errors=True)
        checkpoint = knowledge.train(settings, run)
        (checkpoint / knowledge.FOLDER).rename(folder)
        shutil.rmtree(run)  # the state of the optimiser is three times the encoder
        return {"weights_sha256": sha256_file(weights)}

    record = _record_of(folder)
    if not weights.is_file():
        record.unlink(missing_ok=True)
    once(record, [__version__, graph_digest, settings.model_dump(mode="json", exclude={"graph"})], work)
    return folder


def align_settings(
    config: KnowledgeTableConfig,
    arm: Arm,
    prepared: Prepared,
    seed: int,
    folders: Mapping[str, Path],
    hierarchies: Hierarchies,
) -> AlignConfig:
    """Return the configuration of one alignment.

    Args:
        config: The table.
        arm: What is trained.
        prepared: What it is trained on.
        seed: Seed of the run.
        folders: ``cache``, and each stage 1 the arm names.
        hierarchies: Gives the graph of an arm with knowledge, already rewired where it is ``permuted``.

    Raises:
        DataError: If the set has one semantic group only.
    """
    overrides = [
        *config.align_set,
        *arm.set,
        f"data={prepared.store.folder}",
        f"cache={folders['cache']}",
        f"seed={seed}",
        "model.text.weights=model",  # of the folder that model.text.model names
        f"text_augment.templates={prepared.settings.templates}",
    ]
    if arm.text is not None:
        overrides.append(f"model.text.model={folders[arm.text]}")
    if arm.knowledge_encoder is not None:
        overrides.append(f"knowledge_encoder={folders[arm.knowledge_encoder]}")
    plain = load(arm.align, overrides, kind="align")
    assert isinstance(plain, AlignConfig)
    graph = hierarchies.store(prepared, plain.knowledge, seed)
    overrides += ["graph=null"] if graph is None else [f"graph={graph}", f"knowledge={REAL}"]
    groups, instances = batch_shape(prepared, config.rows_per_step, config.max_groups)
    if plain.batches.name == "groups":
        batches = [f"batches.groups_per_batch={groups}", f"batches.instances={instances}", "batches.max_size=null"]
    else:
        batches = [f"batches.batch_size={groups * instances}"]
    settings = load(arm.align, [*overrides, *batches], kind="align")
    assert isinstance(settings, AlignConfig)
    return settings


def batch_shape(prepared: Prepared, rows: int, max_groups: int) -> tuple[int, int]:
    """Return semantic groups per step and images of each: the same number of rows for every arm of a set.

    Groups are whole classes, so that no group is a false negative of another, with knowledge or without.
    """
    train = prepared.store.split("train")
    num_groups = len(np.unique(train.column("group")))
    if num_groups < 2:
        raise DataError(
            "its training part has one semantic group", item=f"sets.{prepared.name}", remedy="use two classes or more"
        )
    rows = min(rows, len(train))
    groups = min(num_groups, max_groups, rows)
    return groups, rows // groups


def identity_of(settings: AlignConfig, prepared: Prepared, folders: Mapping[str, Path], arm: Arm) -> list[Any]:
    """Return what an alignment depends on, paths replaced by the digests of what lies there."""
    plain = settings.model_dump(mode="json", exclude={"data", "cache"})
    if settings.graph is not None:
        plain["graph"] = read_json(Path(settings.graph) / MANIFEST)["digest"]
    if arm.text is not None:
        plain["model"]["text"]["model"] = _weights_digest(folders[arm.text])
    if arm.knowledge_encoder is not None:
        plain["knowledge_encoder"] = _weights_digest(folders[arm.knowledge_encoder])
    return [__version__, prepared.store.digest, prepared.prompts.digest, sorted(prepared.hidden), arm.trained, plain]


def _weights_digest(encoder: Path) -> str:
    return str(read_json(_record_of(encoder))["weights_sha256"])


def _record_of(encoder: Path) -> Path:
    return encoder.parent / f"{encoder.name}.json"


class Silenced:
    """Caption augmentation that never says a held-out class: such a caption is replaced by the image's own."""

    def __init__(self, augment: TextAugment, hidden: frozenset[str]) -> None:
        self.augment, self.hidden, self.num_silenced = augment, hidden, 0

    def __call__(
        self, text: str, concepts: Sequence[int], label: str | None, rng: np.random.Generator
    ) -> tuple[str, bool]:
        """Return the caption for one step and whether it is a knowledge caption."""
        caption, from_graph = self.augment(text, concepts, label, rng)
        if says(caption, self.hidden):
            self.num_silenced += 1
            return text, False
        return caption, from_graph


class _FrozenOnce(AlignRecipe):
    """The alignment, without walking through all modules at every step to freeze what is frozen already."""

    def begin_step(self, step: int) -> None:
        """Freeze what the schedule freezes at this step."""
        if step in (0, self.config.freeze.steps):
            super().begin_step(step)


def train_arm(settings: AlignConfig, run: Path, hidden: frozenset[str], memories: dict[str, Memory]) -> DualEncoder:
    """Train one alignment and return the model; the run folder keeps its log and configuration, not its checkpoint.

    Args:
        settings: The run.
        run: Its folder; what an interrupted run left there goes.
        hidden: Normalised names that no training caption may say.
        memories: Texts that frozen towers have met, by the towers' digest; shared between runs.
    """
    align.check(settings)
    shutil.rmtree(run, ignore_errors=True)
    fabric = make_fabric(settings)
    recipe = _FrozenOnce(settings, fabric, None, use_cache=settings.cached_features)
    if hidden and recipe.data.texts is not None:
        recipe.data.texts = Silenced(recipe.data.texts, hidden)  # type: ignore[assignment]
    if "text_tower" in settings.freeze.always:
        remember(recipe.model.text, memories)
    if recipe.knowledge_encoder is not None:
        remember(recipe.knowledge_encoder.encoder, memories)
    checkpoint = fit(recipe, run, "never", fabric)
    shutil.rmtree(checkpoint.parent)
    return recipe.model.eval()


def start_model(settings: AlignConfig, memories: dict[str, Memory]) -> DualEncoder:
    """Return the model as its run would start."""
    torch.manual_seed(settings.seed)
    model = DualEncoder(settings.model).eval()
    remember(model.text, memories)
    return model


def remember(tower: Any, memories: dict[str, Memory]) -> None:
    """Let a text tower that never changes encode each text once; features equal its own up to rounding.

    Args:
        tower: Frozen tower; others than a :class:`TextEncoder` stay as they are.
        memories: Gains one entry per different tower.
    """
    if not isinstance(tower, TextEncoder):
        return
    memory, encode = memories.setdefault(tower_digest(tower), {}), tower.forward

    def forward(ids_ML: Tensor, mask_ML: Tensor) -> Tensor:
        assert not tower.training, "only a frozen tower may remember"
        keys = [ids_L[mask_L.bool()].numpy().tobytes() for ids_L, mask_L in zip(ids_ML, mask_ML, strict=True)]
        new = [row for row, key in enumerate(keys) if key not in memory]
        if new:
            with torch.no_grad():
                features_MI = encode(ids_ML[new], mask_ML[new])
            memory.update(zip((keys[row] for row in new), features_MI, strict=True))
        return torch.stack([memory[key] for key in keys])

    tower.forward = forward  # type: ignore[method-assign]
