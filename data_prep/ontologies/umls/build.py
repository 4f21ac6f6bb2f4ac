"""The job behind ``medvlp graph build`` for a configuration of kind ``umls``: RRF files in, one graph store out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from data_prep.ontologies.umls import definitions, names, paths, reference, relations, retired
from data_prep.ontologies.umls.codes import NUM_CUIS, Bools, check_known, drop_many
from data_prep.ontologies.umls.config import UmlsConfig
from data_prep.ontologies.umls.layout import Release
from data_prep.ontologies.umls.names import Atoms
from data_prep.ontologies.umls.rrf import Account, Block, read
from data_prep.ontologies.umls.semantic_types import read_groups
from data_prep.ontologies.umls.write import StoreWriter, counts, digest
from medvlp.config import resolve_path
from medvlp.errors import GraphError
from medvlp.io import atomic_folder, full_disk_told, write_manifest
from medvlp.knowledge.store import FORMAT, VERSION
from medvlp.ledger import Ledger

MAX_LISTED = 100
_REQUIRED = ("MRSTY", "MRCONSO", "MRREL")


class Job:
    """Reads the tables of one release and keeps account of what it read and dropped."""

    def __init__(self, config: UmlsConfig, progress: Progress) -> None:
        """Find the files.

        Raises:
            GraphError: See :class:`data_prep.ontologies.umls.layout.Release`.
        """
        self.config, self.progress = config, progress
        self.release = Release(resolve_path(config.rrf))
        self.accounts: dict[str, Account | None] = {}
        self.ledgers: dict[str, Ledger] = {}

    def blocks(self, table: str, needed: str) -> Iterator[Block]:
        """Yield the blocks of a table; nothing where an optional one is absent, which the manifest says."""
        find = self.release.need if table in _REQUIRED else self.release.find
        file = find(table, needed)
        if file is None:
            self.accounts.setdefault(f"{table}.RRF", None)
            return
        account = Account()
        task = self.progress.add_task(f"reading {file.name}", total=file.num_bytes)
        strict = self.config.on_row_count == "error"
        yield from read(file, needed, account, lambda size: self.progress.advance(task, size), strict)
        self.progress.remove_task(task)
        self.accounts[file.name] = account
        if file.num_rows is not None and account.rows != file.num_rows:
            self.progress.console.print(
                f"warning: {file.name} has {account.rows:,} rows, but MRFILES.RRF gives {file.num_rows:,}"
            )

    def ledger(self, table: str) -> Ledger:
        """Return the ledger of a table."""
        return self.ledgers.setdefault(table, Ledger())

    def run(self, out: StoreWriter) -> dict[str, Any]:
        """Read everything in order and return what the manifest says about it."""
        type_names, groups, origin = read_groups(self.release.folder)
        wanted = reference.wanted_types(self.config, type_names, groups)
        sources = reference.sources(self.blocks)
        types = reference.types(self.blocks, wanted, type_names)
        drop_many(self.ledger("MRSTY"), "concept of another semantic type", int((types.known & ~types.selected).sum()))
        kept = np.zeros(NUM_CUIS, dtype=bool)
        ledger = self.ledger("MRCONSO")
        atoms = names.read_atoms(self.blocks, self.config, types, ledger)
        for concept_rows, name_rows in names.slices(atoms, self.config, types, ledger):
            out.add("concepts", concept_rows)
            out.add("names", name_rows)
            kept[concept_rows["number"].to_numpy()] = True
        atoms.frames.clear()
        atoms.xrefs.clear()
        ledger.keep(out.rows["names"])
        levels = _levels(sources, atoms)
        allowed = self._allowed(levels)
        edges = self._relations(out, kept, allowed)
        languages = {name: found.most_common(1)[0][0] for name, found in atoms.source_languages.items()}
        languages.update({name: source.language for name, source in sources.items() if source.language})
        ledger = self.ledger("MRDEF")
        rows = definitions.read_definitions(self.blocks, self.config, kept, allowed, languages, levels, ledger)
        out.add("definitions", rows)
        ledger.keep(len(rows))
        aliases = retired.read_aliases(self.blocks, kept, types.known | atoms.met, self.ledger("MRCUI"))
        out.add("aliases", aliases)
        self.ledger("MRCUI").keep(len(aliases))
        if self.config.paths:
            for part in paths.read_paths(self.blocks, self.config, kept, allowed, self.ledger("MRHIER")):
                out.add("paths", part)
        return {
            "layout": self.release.layout,
            "semantic_groups": origin,
            "levels": dict(sorted(levels.items())),
            **edges,
        }

    def _allowed(self, levels: dict[str, int]) -> frozenset[str] | None:
        """Return the sources whose level is kept; one without a known level is not, None if all levels are kept."""
        chosen = self.config.kept_levels
        return None if chosen is None else frozenset(name for name, level in levels.items() if level in chosen)

    def _relations(self, out: StoreWriter, kept: Bools, allowed: frozenset[str] | None) -> dict[str, Any]:
        ledger, inverses = self.ledger("MRREL"), reference.Inverses(self.blocks)
        found = relations.read_relations(self.blocks, self.config, kept, allowed, inverses, ledger)
        if self.config.hierarchy.sources:
            check_known(self.config.hierarchy.sources, found.sources, "source of parents", "hierarchy.sources")
        hierarchy = relations.cut(found, self.config)
        for rows in relations.rows(found, hierarchy):
            out.add("edges", rows)
        out.add("edge_sources", hierarchy.votes)
        out.add("broken_edges", hierarchy.broken)
        drop_many(ledger, "edge cut because it closes a cycle", len(hierarchy.broken))
        ledger.keep(out.rows["edges"])
        listed = [
            f"{head} is_a {tail} (votes {votes}, {source}, tangle {cycle})"
            for head, tail, votes, source, cycle in hierarchy.broken.head(MAX_LISTED).iter_rows()
        ]
        return {"broken_edges": {"count": len(hierarchy.broken), "file": "broken_edges.parquet", "first": listed}}


def _levels(sources: dict[str, reference.Source], atoms: Atoms) -> dict[str, int]:
    """Return the restriction level by source: MRSAB's, else the highest among the source's atoms."""
    found = dict(atoms.source_levels)
    found.update({name: source.level for name, source in sources.items() if source.level is not None})
    return found


def build(config: UmlsConfig, out: Path, overwrite: bool = False) -> Path:
    """Build a graph store; the same files and configuration give the same bytes.

    Args:
        config: Where the release lies and what is taken from it.
        out: The store's folder.
        overwrite: Replace a store that is there.

    Returns:
        ``out``.

    Raises:
        GraphError: ``out`` exists, or the release has a mistake (file and line).
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise GraphError("already exists", item=out, remedy="remove it, choose another folder, or pass --overwrite")
    with full_disk_told(out, GraphError), atomic_folder(out, replace=overwrite) as partial:
        header = {"format": FORMAT, "format_version": VERSION, **_read(config, partial)}
        write_manifest(partial, {**header, "digest": digest(partial), "counts": counts(partial)})
    return out


def survey(config: UmlsConfig) -> dict[str, Any]:
    """Read, check and count everything without writing; returns the manifest's account, rows by table included."""
    return _read(config, None)


def _read(config: UmlsConfig, folder: Path | None) -> dict[str, Any]:
    with Progress(console=Console(stderr=True), transient=True) as progress, StoreWriter(folder) as writer:
        job = Job(config, progress)
        facts = job.run(writer)
    files = {
        name: "not in the release" if account is None else account.to_json()
        for name, account in sorted(job.accounts.items())
    }
    licence = "UMLS Metathesaurus licence; source and restriction level stand beside each string"
    return {
        "params": config.model_dump(mode="json"),
        "sources": [{"id": "UMLS", "licence": licence, "layout": facts.pop("layout"), "files": files}],
        **facts,
        "rows": writer.rows,
        "dropped": {table: ledger.to_json() for table, ledger in job.ledgers.items()},
    }
