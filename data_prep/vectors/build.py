"""The job behind ``medvlp vectors``."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from safetensors.numpy import load_file

from data_prep.vectors.config import VectorsConfig
from data_prep.vectors.scores import answers, chance, filtered_ranks, frequencies, summary
from data_prep.vectors.transe import train_transe
from data_prep.vectors.triples import Triples, find_triples
from medvlp.config import resolve_path
from medvlp.errors import ConfigError, DataError, MissingExtraError, TrainingError
from medvlp.io import full_disk_told, read_json, write_json, write_text
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.knowledge.vectors import EntityVectors
from medvlp.ledger import Ledger

_SCRIPT = Path(__file__).with_name("pykeen_train.py")
_SPLITS = ("dev", "test")
Vectors = tuple[NDArray[np.float32], NDArray[np.float32], dict[str, Any]]


def build(config: VectorsConfig, out: str | Path, *, overwrite: bool = False, dry_run: bool = False) -> Path:
    """Learn vectors of a graph's concepts and write them with their scores on held-out triples.

    Args:
        config: Graph, model, settings.
        out: Folder to write; :class:`medvlp.knowledge.vectors.EntityVectors` reads it.
        overwrite: Exchange an existing folder.
        dry_run: Read, split and count, train and write nothing.

    Returns:
        The folder, or where it would have been.

    Raises:
        ConfigError: If the backend does not have the model or a setting, or its interpreter is not named or found.
        DataError: If the folder exists.
        GraphError: If the graph has no such triples.
        MissingExtraError: If the interpreter's environment has no PyKEEN.
        TrainingError: If PyKEEN fails.
    """
    out, started = Path(out), time.monotonic()
    if out.exists() and not overwrite and not dry_run:
        raise DataError("already exists", item=out, remedy="choose another name, or pass --overwrite")
    check(config)
    graph, ledger = DiseaseGraph.load(resolve_path(config.graph)), Ledger()
    triples = find_triples(graph, config.relations, dev=config.dev, test=config.test, seed=config.seed, ledger=ledger)
    counts = {name: len(rows) for name, rows in triples.parts.items()}
    console = Console(stderr=True, highlight=False)
    size = f"{len(triples.ids):,} concepts, {len(triples.relations)} relations"
    shown = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    console.print(f"{size}, triples: {shown}", markup=False, soft_wrap=True)
    console.print(f"  triples: {ledger}", markup=False, soft_wrap=True)
    if dry_run:
        return out
    entity_NX, relation_RX, facts = (
        _train_torch(config, triples) if config.backend == "torch" else _pykeen(config, triples)
    )
    vectors = EntityVectors(triples.ids, triples.relations, entity_NX, relation_RX, {})
    scores = score(config, triples, vectors)
    for name in _SPLITS:
        if scores[name]["questions"]:
            found, floor = scores[name], scores["floors"][name]
            console.print(
                f"  {name}: filtered MRR {found['mrr']:.3f}, hits@10 {found['hits@10']:.3f} "
                f"(by frequency {floor['mrr']:.3f}, {floor['hits@10']:.3f})",
                markup=False,
                soft_wrap=True,
            )
    header = {
        "kind": "vectors",
        "config": config.model_dump(mode="json"),
        "graph_digest": graph.digest,
        "num_concepts": len(triples.ids),
        "num_triples": counts,
        "ledger": ledger.to_json(),
        "seconds": round(time.monotonic() - started, 1),
        **facts,
    }
    with full_disk_told(out):
        vectors.save(out, header, scores, replace=overwrite)
    return out


def check(config: VectorsConfig) -> None:
    """Refuse what the backend cannot do.

    Raises:
        ConfigError: Naming the setting.
    """
    if config.backend == "pykeen":
        if config.python is None:
            raise ConfigError(
                "PyKEEN runs in an environment of its own, whose interpreter is not named",
                item="python",
                remedy="`pip install pykeen safetensors` in a new environment and pass --python",
            )
        if not resolve_path(config.python).is_file():
            raise ConfigError("no such interpreter", item=config.python, remedy="name the file bin/python of it")
        return
    if config.model != "transe":
        raise ConfigError(f"plain torch has no {config.model}", item="model", remedy="set backend: pykeen")
    for name, value, only in (("optimizer", config.optimizer, "sgd"), ("adversarial", config.adversarial, None)):
        if value != only:
            raise ConfigError("plain torch has margin and sgd alone", item=name, remedy="set backend: pykeen")


def score(config: VectorsConfig, triples: Triples, vectors: EntityVectors) -> dict[str, Any]:
    """Return filtered scores on the held-out splits, and floors; ``test`` is for reporting, ``dev`` for choosing."""
    answer = answers(config.model, vectors.entity_NX, vectors.relation_RY)
    often = frequencies(triples.of("train"), len(triples.ids), len(triples.relations))
    found = {name: summary(filtered_ranks(answer, triples.of(name), triples.all_T3)) for name in _SPLITS}
    floors = {name: summary(filtered_ranks(often, triples.of(name), triples.all_T3)) for name in _SPLITS}
    return {"model": config.model, **found, "floors": {**floors, "chance_mrr": chance(len(triples.ids))}}


def _train_torch(config: VectorsConfig, triples: Triples) -> Vectors:
    entity_NX, relation_RX, losses = train_transe(
        torch.from_numpy(triples.of("train")),
        len(triples.ids),
        len(triples.relations),
        dim=config.dim,
        epochs=config.epochs,
        batches=config.batches,
        negatives=config.negatives,
        margin=config.margin,
        lr=config.lr,
        seed=config.seed,
    )
    return entity_NX.numpy(), relation_RX.numpy(), {"losses": _few(losses)}


def _pykeen(config: VectorsConfig, triples: Triples) -> Vectors:
    """Train in another environment's process, which gets a folder of texts and gives back vectors."""
    assert config.python is not None, "checked"
    with tempfile.TemporaryDirectory(prefix="medvlp-vectors-") as name:
        folder = Path(name)
        settings = {**config.model_dump(mode="json"), "device": "cuda" if torch.cuda.is_available() else "cpu"}
        write_json(folder / "settings.json", settings)
        for file, names in (("entities.txt", triples.ids), ("relations.txt", triples.relations)):
            write_text(folder / file, "".join(f"{one}\n" for one in names))
        for split in triples.parts:
            lines = [
                f"{triples.ids[head]}\t{triples.relations[said]}\t{triples.ids[tail]}\n"
                for head, said, tail in triples.of(split).tolist()
            ]
            write_text(folder / f"{split}.tsv", "".join(lines))
        done = subprocess.run(
            [str(resolve_path(config.python)), str(_SCRIPT), str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            if last.startswith("ModuleNotFoundError"):
                raise MissingExtraError(
                    f"its environment lacks a package ({last})",
                    item=config.python,
                    remedy="pip install pykeen safetensors",
                )
            raise TrainingError(f"PyKEEN failed ({last})", item="vectors", remedy="lower lr or batches")
        found, said_by_pykeen = load_file(folder / "vectors.safetensors"), read_json(folder / "pykeen.json")
    losses = said_by_pykeen.pop("losses")
    return found["entity"], found["relation"], {"losses": _few(losses), "pykeen": said_by_pykeen}


def _few(losses: Sequence[float]) -> list[float]:
    """Return at most ten of them, evenly spaced, the last one included."""
    places = np.unique(np.linspace(0, len(losses) - 1, min(10, len(losses))).round().astype(int))
    return [round(float(losses[place]), 6) for place in places]
