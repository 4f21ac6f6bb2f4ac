"""The job behind ``medvlp entities``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console

from data_prep.entities import from_classes, from_reports, from_simulation
from data_prep.entities.config import ClassesSource, EntitiesConfig, ReportsSource
from data_prep.entities.descriptions import Describer
from data_prep.entities.found import Found
from medvlp.config import resolve_path
from medvlp.data.batch import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN
from medvlp.data.entities import Entities
from medvlp.data.pairs import PairsStore
from medvlp.errors import DataError
from medvlp.io import full_disk_told
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.ledger import Ledger

_STATES = {"present": PRESENT, "absent": ABSENT, "uncertain": UNCERTAIN, "not mentioned": NOT_MENTIONED}


def build(config: EntitiesConfig, out: str | Path, *, overwrite: bool = False, dry_run: bool = False) -> Path:
    """Write what is present where in each image of a pairs store, as :class:`medvlp.data.entities.Entities` reads it.

    Args:
        config: The store, the source, the graph.
        out: Folder to write.
        overwrite: Exchange an existing folder.
        dry_run: Read and count everything, write nothing.

    Returns:
        The folder, or where it would have been.

    Raises:
        DataError: If the folder exists, or the store does not hold what the source reads.
        ConfigError: If a table or vocabulary cannot be read.
    """
    out = Path(out)
    if out.exists() and not overwrite and not dry_run:
        raise DataError("already exists", item=out, remedy="choose another name, or pass --overwrite")
    store = PairsStore.load(resolve_path(config.data))
    graph = None if config.graph is None else DiseaseGraph.load(resolve_path(config.graph))
    ledger = Ledger()
    found = _find(config, store, graph, ledger)
    describer = Describer(graph, config.appearance, config.definitions, found.hidden, ledger)
    entities = Entities(
        [
            describer.entity(name, concepts, look_up=name not in found.plain)
            for name, concepts in zip(found.names, found.concepts, strict=True)
        ],
        found.positions,
        found.keys,
        found.state_NQP,
        found.label_NQ,
        found.triples,
    )
    unknown_N = (entities.label_NQ == NOT_MENTIONED).all(1)
    ledger.keep(int((~unknown_N).sum()))
    if not isinstance(config.source, ClassesSource):  # which counts them itself, with the reason
        for row in np.flatnonzero(unknown_N):
            ledger.drop(entities.keys[row], "image of which nothing is known")
    counts = {name: int((entities.label_NQ == state).sum()) for name, state in _STATES.items()}
    header = {
        "kind": "entities",
        "config": config.model_dump(mode="json"),
        "data_digest": store.digest,
        "graph_digest": None if graph is None else graph.digest,
        "num_entities": len(entities.entities),
        "num_positions": len(entities.positions),
        "num_images": len(entities.keys),
        "num_texts_with_triples": sum(len(texts) for texts in found.triples.values()),
        "states": counts,
        "ledger": ledger.to_json(),
        **found.header,
    }
    if not dry_run:
        with full_disk_told(out):
            entities.save(out, header, replace=overwrite)
    _tell(entities, counts, ledger)
    return out


def _find(config: EntitiesConfig, store: PairsStore, graph: DiseaseGraph | None, ledger: Ledger) -> Found:
    if isinstance(config.source, ClassesSource):
        return from_classes.find(config.source, store, graph, ledger)
    if isinstance(config.source, ReportsSource):
        return from_reports.find(config.source, store)
    return from_simulation.find(store)


def _tell(entities: Entities, counts: dict[str, int], ledger: Ledger) -> None:
    console = Console(stderr=True, highlight=False)
    size = f"{len(entities.entities)} entities, {len(entities.positions)} positions, {len(entities.keys):,} images"
    states = ", ".join(f"{count:,} {state}" for state, count in counts.items())
    console.print(f"{size}: {states}", markup=False, soft_wrap=True)
    console.print(f"  images: {ledger}", markup=False, soft_wrap=True)
