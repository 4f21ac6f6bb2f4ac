"""MRHIER: the place of every atom in its source's tree, as the concepts from the root down to the parent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from data_prep.ontologies.umls.codes import Bools, concept_ids, drop_many
from data_prep.ontologies.umls.config import UmlsConfig
from data_prep.ontologies.umls.reference import Reader
from medvlp.io import require
from medvlp.ledger import Ledger

if TYPE_CHECKING:
    import polars as pl


def read_paths(
    reader: Reader, config: UmlsConfig, kept: Bools, allowed: frozenset[str] | None, ledger: Ledger
) -> Iterator[pl.DataFrame]:
    """Yield rows of ``paths``: concept, source, code (HCD), path (concept ids, the root first; empty at a root).

    PTR names atoms, so MRCONSO is read once more for the concept of each. A context with an atom that MRCONSO lacks
    is left out and counted. Concepts on a path need not be in the graph.
    """
    pl = require("polars", "ontologies")
    numbers, owners = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for block in reader("MRCONSO", "CUI AUI"):
        numbers.append(_atoms(block.data["AUI"]))
        owners.append(block.cuis("CUI"))
    atom_A, owner_A = np.concatenate(numbers), np.concatenate(owners)
    order = np.argsort(atom_A, kind="stable")
    atom_A, owner_A = atom_A[order], owner_A[order]
    for block in reader("MRHIER", "CUI SAB PTR HCD"):
        data = block.data.with_columns(cui=pl.Series(block.cuis("CUI")))
        wanted = pl.Series(kept[data["cui"].to_numpy()])
        if config.sources:
            wanted &= data["SAB"].is_in(config.sources)
        if config.exclude_sources:
            wanted &= ~data["SAB"].is_in(config.exclude_sources)
        if allowed is not None:
            wanted &= data["SAB"].is_in(sorted(allowed))
        drop_many(ledger, "context of a concept or source outside the graph", int((~wanted).sum()))
        data = data.filter(wanted).with_row_index("row")
        steps = data.select("row", step=pl.col("PTR").str.split(".")).explode("step").filter(pl.col("step") != "")
        step_S = _atoms(steps["step"])
        place = np.minimum(np.searchsorted(atom_A, step_S), len(atom_A) - 1)
        steps = steps.with_columns(id=concept_ids(pl.Series(owner_A[place])), found=pl.Series(atom_A[place] == step_S))
        whole = steps.group_by("row", maintain_order=True).agg(path=pl.col("id"), found=pl.col("found").all())
        data = data.join(whole, on="row", how="left", maintain_order="left")
        known = pl.col("found").fill_null(True)
        drop_many(ledger, "context with an atom that MRCONSO lacks", int(data.select((~known).sum()).item()))
        data = data.filter(known)
        yield data.select(
            concept=concept_ids(data["cui"]),
            source="UMLS/" + pl.col("SAB"),
            code=pl.col("HCD"),
            path=pl.col("path").fill_null([]),
        )


def _atoms(texts: pl.Series) -> np.ndarray:
    """Return the numbers of atom identifiers (A and digits), -1 for others."""
    pl = require("polars", "ontologies")
    return texts.str.slice(1).cast(pl.Int32, strict=False).fill_null(-1).to_numpy()
