"""One set, ready for every method: store, entities, the part of the graph it reaches, and everything that is asked.

Shape legend: N test images, K classes, G distinct texts of test images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.records import once
from benchmarks.harness.protocols.masks import Item, items_of, read_masks
from benchmarks.objectives.config import Method, ObjectiveTableConfig, TableSet
from benchmarks.simulation.questions import Question, questions
from data_prep.entities import build as entities_job
from data_prep.entities.config import EntitiesConfig
from data_prep.pairs.config import PairsConfig
from data_prep.pairs.prepare import prepare
from data_prep.simulation.config import SimulationConfig
from data_prep.simulation.side_files import read_scenes
from data_prep.simulation.simulate import simulate
from medvlp import __version__
from medvlp.config import load
from medvlp.data.entities import Entities
from medvlp.data.pairs import PairsSplit, PairsStore
from medvlp.errors import ConfigError, DataError
from medvlp.io import sha256_json
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.zeroshot import templates as wordings
from medvlp.zeroshot.consistency import SwappedCaption, swapped_captions

SEEN, UNSEEN = "seen", "unseen"
_SWAP_SEED = 0  # the same swapped captions for every run


@dataclass(frozen=True)
class Prepared:
    """A set.

    Attributes:
        name: Short name.
        settings: Its section of the configuration.
        store: Images and texts.
        entities: What is present where.
        folders: ``graph``, ``entities``, and ``triples`` for methods that read them, on disk.
        labels: K classes that are asked, by label.
        names: Names of each class by wording: ``seen`` in training texts, and perhaps ``unseen``.
        questions: Which test images count for which class; they share ``labels``' columns by ``kinds``.
        graph_digest: Sha256 over the part of the graph that the runs read.
        kinds: Short names of ``labels``, as the questions use them.
    """

    name: str
    settings: TableSet
    store: PairsStore
    entities: Entities
    folders: Mapping[str, Path]
    labels: tuple[str, ...]
    kinds: tuple[str, ...]
    names: Mapping[str, tuple[tuple[str, ...], ...]]
    questions: tuple[Question, ...]
    graph_digest: str

    @cached_property
    def test(self) -> PairsSplit:
        """The scored part."""
        return self.store.split("test")

    @cached_property
    def cases(self) -> list[str]:
        """Case of each test image."""
        return list(self.test.column("case"))

    @cached_property
    def prompts(self) -> dict[str, list[list[str]]]:
        """Texts of each class, by wording."""
        chosen = wordings.load(self.settings.prompts)
        return {
            key: [[wordings.fill(wording, name) for name in own for wording in chosen] for own in names]
            for key, names in self.names.items()
        }

    @cached_property
    def gallery(self) -> Gallery | None:
        """The texts to retrieve, or None."""
        return None if self.settings.aspect is None else gallery_of(self.asked_rows, self.test, self.settings.aspect)

    @cached_property
    def asked_rows(self) -> NDArray[np.int64]:
        """Test images of the first question: those of the classes that training knows."""
        return np.flatnonzero(self.questions[0].counts_NK.any(1))

    @cached_property
    def marked(self) -> dict[str, list[Item]]:
        """Masks by split, of the classes of the first question; empty without masks."""
        if self.settings.simulation is None:
            return {}
        masks = read_masks(self.store.folder, self.store)
        labels = [self.labels[self.kinds.index(kind)] for kind in self.questions[0].kinds]
        found = {part: items_of(masks, self.store, part, labels, None) for part in ("train", "dev", "test")}
        rows = set(self.asked_rows.tolist())
        return {**found, "test": [item for item in found["test"] if item.row in rows]}

    @cached_property
    def swaps(self) -> list[SwappedCaption]:
        """Captions of the asked test images with one fact exchanged; none where no text holds one."""
        texts, rows = self.test.column("texts"), self.asked_rows.tolist()
        known = [self.entities.of(self.test.keys[row]) for row in rows]
        found = swapped_captions(
            [[text.text for text in texts[row]] for row in rows],
            _SWAP_SEED,
            triples=lambda place, text: known[place].triples_of(text),
        )
        return [SwappedCaption(rows[one.row], one.true, one.swapped, one.kind) for one in found]

    def entities_of(self, method: Method) -> Path:
        """Return the folder of the entities that a method gets."""
        return self.folders["triples" if method.triples else "entities"]

    @cached_property
    def digest(self) -> str:
        """Sha256 over everything that is asked and shown."""
        asked = {key: [list(map(list, texts))] for key, texts in self.prompts.items()}
        made_from = [self.store.digest, self.entities.digest, self.graph_digest]
        return sha256_json([*made_from, asked, list(self.kinds), self.settings.aspect])


@dataclass(frozen=True)
class Gallery:
    """Distinct texts, and whose they are: ``own_RG`` for the test images ``rows_R``."""

    rows_R: NDArray[np.int64]
    texts: tuple[str, ...]
    own_RG: NDArray[np.bool_]


def gallery_of(rows: Iterable[int], split: PairsSplit, aspect: str) -> Gallery:
    """Return the texts of one aspect; images without any are left out.

    Raises:
        DataError: If there are fewer than two texts.
    """
    own = {int(row): [text.text for text in split.column("texts")[row] if text.aspect == aspect] for row in rows}
    own = {row: texts for row, texts in own.items() if texts}
    place = {text: number for number, text in enumerate(dict.fromkeys(t for texts in own.values() for t in texts))}
    if len(place) < 2:
        raise DataError(f"has fewer than two texts of the aspect {aspect!r}", item=split.name, remedy="name another")
    own_RG = np.zeros((len(own), len(place)), dtype=bool)
    for number, texts in enumerate(own.values()):
        own_RG[number, [place[text] for text in texts]] = True
    return Gallery(np.array(list(own), dtype=np.int64), tuple(place), own_RG)


def prepare_set(
    config: ObjectiveTableConfig, name: str, graph: DiseaseGraph, graph_folder: Path, out: Path
) -> Prepared:
    """Make a set below ``out``, or open what is there.

    Raises:
        ConfigError: If a class is not one of the set's.
    """
    settings = config.sets[name]
    folders = {part: out / name / part for part in ("images", "entities", "triples", "graph")}
    _images(settings, folders, graph_folder, graph.digest, missing(folders["images"]))
    _entities(settings.entities, folders["entities"], folders["images"], graph_folder, graph.digest)
    if settings.triples is None:
        folders["triples"] = folders["entities"]
    else:
        _entities(settings.triples, folders["triples"], folders["images"], graph_folder, graph.digest)
    store, entities = PairsStore.load(folders["images"]), Entities.load(folders["entities"])

    def cut() -> dict[str, Any]:
        near(graph, store).save(folders["graph"], overwrite=True)
        return {}

    once(record_of(folders["graph"]), [__version__, graph.digest, store.digest], cut)
    found = simulated(store) if settings.simulation is not None else labelled(store, settings)
    labels, kinds, names, asked = found
    digest = DiseaseGraph.load(folders["graph"]).digest
    return Prepared(name, settings, store, entities, folders, labels, kinds, names, asked, digest)


def near(graph: DiseaseGraph, store: PairsStore) -> DiseaseGraph:
    """Return a set's concepts, all that is above them, and all below their parents: enough to rewire among.

    A run on ``permuted`` rewires its graph; among a handful of ancestors alone much would stay as it is.
    """
    named = {concept for concepts in store.class_concepts.values() for concept in concepts if concept in graph}
    own = {graph.ids[graph.index(concept)] for concept in named}
    kept = set(own)
    for concept in own:
        kept |= graph.ancestors(concept)
        for parent in graph.parents(concept):
            kept |= graph.descendants(parent)
    return graph.subset(kept)


def record_of(folder: Path) -> Path:
    """Return the record of the work that made a folder."""
    return folder.with_name(f"{folder.name}.json")


def missing(folder: Path) -> Path:
    """Forget the record of a folder that is gone; return the record's file."""
    if not folder.is_dir():
        record_of(folder).unlink(missing_ok=True)
    return record_of(folder)


def _images(settings: TableSet, folders: Mapping[str, Path], graph: Path, graph_digest: str, record: Path) -> None:
    folder, overrides = folders["images"], [f"graph={graph}", *settings.set]
    made: SimulationConfig | PairsConfig
    if settings.simulation is not None:
        made = load(settings.simulation, overrides, kind="simulation")  # type: ignore[assignment]
    else:
        assert settings.pairs is not None, "checked by the configuration"
        made = load(settings.pairs, [*overrides, "captions.graph_names=false"], kind="pairs")  # type: ignore[assignment]

    def work() -> dict[str, Any]:
        if isinstance(made, SimulationConfig):
            simulate(made, folder, overwrite=True)
        else:
            prepare(made, folder, settings.already_deidentified, overwrite=True)
        return {}

    once(record, [__version__, graph_digest, made.model_dump(mode="json", exclude={"graph", "num_workers"})], work)


def _entities(name: str, folder: Path, images: Path, graph: Path, graph_digest: str) -> None:
    made = load(name, [f"data={images}", f"graph={graph}"], kind="entities")
    assert isinstance(made, EntitiesConfig)
    identity = [
        __version__, graph_digest, PairsStore.load(images).digest,
        made.model_dump(mode="json", exclude={"graph", "data"}),
    ]  # fmt: skip

    def work() -> dict[str, Any]:
        entities_job.build(made, folder, overwrite=True)
        return {}

    once(missing(folder), identity, work)


_Asked = tuple[tuple[str, ...], tuple[str, ...], dict[str, tuple[tuple[str, ...], ...]], tuple[Question, ...]]


def simulated(store: PairsStore) -> _Asked:
    """Findings by the names of training texts and by those held back, and every question the scenes allow."""
    held_out, findings = store.manifest["held_out"], store.manifest["config"]["findings"]
    kinds = tuple(store.manifest["names"])
    scenes = {scene["scene"]: scene for scene in read_scenes(store.folder)}
    asked = questions([scenes[key] for key in store.split("test").keys], held_out, kinds)
    labels = tuple(findings[kind]["label"] for kind in kinds)
    seen, unseen = store.manifest["names"], held_out["names"]
    names = {key: tuple(tuple(found[kind]) for kind in kinds) for key, found in ((SEEN, seen), (UNSEEN, unseen))}
    return labels, kinds, names, tuple(asked)


def labelled(store: PairsStore, settings: TableSet) -> _Asked:
    """Classes by their labels, one question: images of the asked classes, each class against the others."""
    labels = tuple(settings.classes if settings.classes is not None else store.classes)
    for label in labels:
        if label not in store.classes:
            known = ", ".join(store.classes)
            raise ConfigError("is not a class of the set", item=f"classes: {label}", remedy=f"use {known}")
    own: Sequence[Sequence[str]] = store.split("test").column("labels")
    present_NK = np.array([[label in of_image for label in labels] for of_image in own], dtype=bool)
    counts_NK = np.repeat(present_NK.any(1)[:, None], len(labels), axis=1)
    question = Question("scenes", "test images", labels, present_NK, counts_NK)
    return labels, labels, {SEEN: tuple((label,) for label in labels)}, (question,)
