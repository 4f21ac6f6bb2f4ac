"""The image sets as stores: prepared once, and with whole classes kept out of training where the protocol says so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common.records import once
from benchmarks.knowledge.config import ImageSet, KnowledgeTableConfig
from data_prep.pairs.config import Captions, FolderCsv, PackagedNuclei, PairsConfig
from data_prep.pairs.prepare import prepare
from medvlp import __version__
from medvlp.config import load
from medvlp.data.pairs import SPLITS, PairsStore, Row
from medvlp.errors import ConfigError, DataError
from medvlp.knowledge.names import normalise
from medvlp.zeroshot.prompts import PromptConfig, PromptSet, from_config

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph


@dataclass(frozen=True)
class Prepared:
    """One image set, ready to train on and to be asked about.

    Attributes:
        name: Short name.
        settings: What the configuration says of it.
        store: Its pairs store; held-out classes lie in its test part alone.
        prompts: Prompts of all its classes: display names in the set's wordings, nothing from the graph.
        hidden: Normalised names of held-out classes, which no training caption may say.
        has_cases: Whether the source says which images are of one patient; else near-duplicates are the units.
    """

    name: str
    settings: ImageSet
    store: PairsStore
    prompts: PromptSet
    hidden: frozenset[str]
    has_cases: bool

    @property
    def classes(self) -> list[str]:
        """The classes that are scored, in the store's order."""
        wanted = self.settings.classes
        return [label for label in self.store.classes if wanted is None or label in wanted]


def prepare_set(
    config: KnowledgeTableConfig, name: str, graph: DiseaseGraph, graph_folder: Path, out: Path
) -> Prepared:
    """Prepare one set of the table below ``out``, or open what is there.

    Captions are written from a class's display name and aliases alone: names from the graph are knowledge, so they
    reach training through the arms that have knowledge and through nothing else.

    Raises:
        ConfigError: If a class of the protocol is not one of the set's.
        DataError: If a held-out class could be read in the training captions, or a part is empty.
    """
    settings = config.sets[name]
    overrides = [*config.pairs_set, *settings.set, f"graph={graph_folder}", "captions.graph_names=false"]
    pairs = load(settings.pairs, overrides, kind="pairs")
    assert isinstance(pairs, PairsConfig)
    folder = out / name
    identity = [
        __version__, graph.digest, pairs.model_dump(mode="json", exclude={"graph"}), sorted(settings.held_out)
    ]  # fmt: skip

    def work() -> dict[str, Any]:
        if not settings.held_out:
            prepare(pairs, folder, settings.already_deidentified, overwrite=True)
        else:
            whole = prepare(pairs, out / f"{name}-whole", settings.already_deidentified, overwrite=True)
            hold_out(PairsStore.load(whole), settings.held_out, folder)
            shutil.rmtree(whole)
        return {}

    record = out / f"{name}.json"
    if not folder.is_dir():
        record.unlink(missing_ok=True)
    once(record, identity, work)
    store = PairsStore.load(folder)
    named = [*(settings.classes or []), *settings.held_out, *([settings.positive] if settings.positive else [])]
    unknown = [label for label in named if label not in store.classes]
    if unknown:
        raise ConfigError(
            "is not a class of the set", item=f"sets.{name}: {unknown[0]}", remedy=f"use {', '.join(store.classes)}"
        )
    hidden = hidden_names(settings, store, graph)
    check_parts(name, store, settings.held_out, hidden)
    wordings = PromptConfig(templates=settings.templates)
    prompts = from_config(wordings, None, {label: [] for label in store.classes}, seed=0)
    return Prepared(name, settings, store, prompts, hidden, has_case_ids(pairs))


def hold_out(store: PairsStore, classes: list[str], out: Path) -> PairsStore:
    """Write a store whose images of ``classes``, and all images of their cases, lie in the test part.

    Raises:
        ConfigError: If a class is not in the store.
    """
    unknown = [label for label in classes if label not in store.classes]
    if unknown:
        raise ConfigError("is not a class", item=f"held_out: {unknown[0]}", remedy=f"use {', '.join(store.classes)}")
    parts = {name: store.split(name) for name in SPLITS}
    cases = {
        case
        for part in parts.values()
        for case, label in zip(part.column("case"), part.column("label"), strict=True)
        if label in classes
    }

    def rows() -> Iterator[Row]:
        for name, part in parts.items():
            columns = {column: part.column(column) for column in ("texts", "concepts", "label", "group", "case")}
            for index, key in enumerate(part.keys):
                case = columns["case"][index]
                yield Row(
                    key=key,
                    image=part.image_bytes(index),
                    texts=columns["texts"][index],
                    split="test" if case in cases else name,
                    case=case,
                    group=int(columns["group"][index]),
                    label=columns["label"][index],
                    concepts=columns["concepts"][index],
                )

    header = {"kind": "pairs", "held_out": sorted(classes), "made_from": store.digest}
    return PairsStore.write(out, rows(), header, classes=store.class_concepts, replace=True)


def hidden_names(settings: ImageSet, store: PairsStore, graph: DiseaseGraph) -> frozenset[str]:
    """Return the normalised names of held-out classes: their labels and every name of their concepts."""
    concepts = [c for label in settings.held_out for c in store.class_concepts[label] if c in graph]
    texts = [*settings.held_out, *(text for concept in concepts for text in graph.texts(concept))]
    return frozenset(normalise(text) for text in texts)


def says(text: str, names: frozenset[str]) -> bool:
    """Tell whether a text holds one of some normalised names as whole words."""
    words = f" {normalise(text)} "
    return any(f" {name} " in words for name in names)


def check_parts(name: str, store: PairsStore, held_out: list[str], hidden: frozenset[str]) -> None:
    """Refuse a set whose held-out classes can be met in training, as label or as words, or that has an empty part.

    Raises:
        DataError: Naming the set and the class.
    """
    for part in ("train", "test"):
        if len(store.split(part)) == 0:
            raise DataError(f"its {part} part is empty", item=f"sets.{name}", remedy="change split in pairs_set")
    for part in (store.split("train"), store.split("dev")):
        for label, texts in zip(part.column("label"), part.column("texts"), strict=True):
            if label in held_out or any(says(text.text, hidden) for text in texts):
                raise DataError(
                    f"captions of {label!r} in its {part.name} part name a held-out class",
                    item=f"sets.{name}",
                    remedy="hold that class out too, or give it another name or fewer aliases",
                )


def has_case_ids(pairs: PairsConfig) -> bool:
    """Tell whether the source names the case of its images."""
    source = pairs.source
    if isinstance(source, FolderCsv):
        return source.columns.case is not None
    if isinstance(source, Captions):
        return source.case_column is not None
    return isinstance(source, PackagedNuclei)
