"""MRCUI: identifiers that are gone, followed through every merger to the concept that stands for them now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from data_prep.ontologies.umls.codes import NUM_CUIS, Bools, concept_ids, drop_many
from data_prep.ontologies.umls.reference import Reader
from medvlp.io import require
from medvlp.ledger import Ledger

if TYPE_CHECKING:
    import polars as pl


def read_aliases(reader: Reader, kept: Bools, known: Bools, ledger: Ledger) -> pl.DataFrame:
    """Return rows of ``aliases``: each retired identifier whose mergers (REL=SY) lead to a concept of the graph.

    Where an identifier was merged more than once, the way that ends soonest counts, then the latest release, then the
    smallest target. Deleted identifiers, mappings that are no mergers (RB, RN, RO), and rings of identifiers that lead
    to each other make no alias and are counted.

    Args:
        reader: Yields the blocks.
        kept: Bool by concept number: it is in the graph.
        known: Bool by concept number: it is in the release.
        ledger: Counts what is left out.
    """
    pl = require("polars", "ontologies")
    frames = [pl.DataFrame(schema={"old": pl.Int32, "new": pl.Int32, "VER": pl.String})]
    for block in reader("MRCUI", "CUI1 VER REL CUI2"):
        data = block.data.with_row_index("row")
        gone = data.filter(pl.col("REL") == "DEL")
        drop_many(ledger, "identifier deleted", len(gone))
        merged = data.filter(pl.col("REL") == "SY")
        drop_many(ledger, "identifier mapped to a related one only", len(data) - len(gone) - len(merged))
        frames.append(
            merged.select(
                old=pl.Series(block.cuis("CUI1", merged)), new=pl.Series(block.cuis("CUI2", merged)), VER="VER"
            )
        )
    rows = pl.concat(frames).unique().sort(["old", "VER", "new"], descending=[False, True, False])
    old_R, new_R = rows["old"].to_numpy(), rows["new"].to_numpy()
    alive = known[old_R] | kept[old_R]
    drop_many(ledger, "retired identifier that is in use again", len(np.unique(old_R[alive])), np.unique(old_R[alive]))
    old_R, new_R = old_R[~alive], new_R[~alive]
    target_N = np.full(NUM_CUIS, -1, dtype=np.int32)
    ends = np.flatnonzero(known | kept)
    target_N[ends] = ends
    waiting = np.ones(len(old_R), dtype=bool)
    while True:
        ready = np.flatnonzero(waiting & (target_N[new_R] >= 0))
        if not len(ready):
            break
        first = ready[np.unique(old_R[ready], return_index=True)[1]]  # rows are by falling preference
        target_N[old_R[first]] = target_N[new_R[first]]
        waiting &= target_N[old_R] < 0
    old = np.unique(old_R)
    target = target_N[old]
    lost = old[target < 0]
    drop_many(ledger, "retired identifier whose mergers lead to no concept (a ring, or a deleted one)", len(lost), lost)
    found = target >= 0
    outside = found & ~kept[np.where(found, target, 0)]
    drop_many(ledger, "retired identifier of a concept outside the graph", int(outside.sum()), old[outside])
    found &= ~outside
    return pl.DataFrame(
        {"alias": concept_ids(pl.Series(old[found])), "concept": concept_ids(pl.Series(target[found]))}
    ).with_columns(reason=pl.lit("replaced_by"))
