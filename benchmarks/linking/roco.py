"""ROCO: which of the CUIs given for a caption does the linker find, beside those that the graph has at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.linking.config import LinkingConfig
from benchmarks.linking.corpora import Caption, read_roco
from benchmarks.linking.scores import f1_scores
from data_prep.text.linking import Linker, LinkerConfig
from data_prep.text.linking.identifiers import identifiers
from medvlp.config import load, resolve_path
from medvlp.errors import ConfigError
from medvlp.knowledge.graph import DiseaseGraph


def run(config: LinkingConfig, out: Path) -> dict[str, Any]:
    """Link all captions with the exact tier and with the linker as configured; return recall as JSON values.

    The CUIs were made by software from the whole of UMLS, all semantic types: most are outside any graph of diseases.
    """
    if config.captions is None:
        raise ConfigError("task roco needs the captions", item="captions", remedy="name ROCO's table")
    settings = load(config.linker, config.set, kind="linker")
    assert isinstance(settings, LinkerConfig)
    captions = read_roco(resolve_path(config.captions))
    graph = DiseaseGraph.load(resolve_path(settings.graph))
    ids_of = identifiers(graph, ["UMLS"])
    linker = Linker(graph, settings)
    known = frozenset(curie for row in linker.rows for curie in ids_of[row])
    found = [
        frozenset(curie for link in linker.link(caption.text) for curie in ids_of[graph.index(link.concept)])
        for caption in captions
    ]
    case_N = [caption.key for caption in captions]
    return {
        "task": "roco",
        "num_captions": len(captions),
        "num_ids": sum(len(caption.ids) for caption in captions),
        "tiers": settings.tiers,
        "ceiling": _recall(captions, [known] * len(captions), case_N, config.num_draws),
        "recall": _recall(captions, found, case_N, config.num_draws),
        "recall_of_reachable": _recall(captions, found, case_N, config.num_draws, known),
    }


def _recall(
    captions: Sequence[Caption],
    found: Sequence[frozenset[str]],
    case_N: Sequence[str],
    num_draws: int,
    known: frozenset[str] | None = None,
) -> dict[str, float]:
    wanted = [caption.ids if known is None else caption.ids & known for caption in captions]
    rows = [(len(ids & curies), len(curies), len(ids)) for ids, curies in zip(wanted, found, strict=True)]
    return f1_scores(np.array(rows, dtype=float), case_N, num_draws)["recall"]
