"""MRDEF: definitions in the chosen languages, by preference of their source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_prep.ontologies.umls.codes import Bools, concept_ids, drop_many
from data_prep.ontologies.umls.config import UmlsConfig
from data_prep.ontologies.umls.reference import Reader, wanted_sources
from medvlp.io import require
from medvlp.ledger import Ledger

if TYPE_CHECKING:
    import polars as pl


def read_definitions(
    reader: Reader,
    config: UmlsConfig,
    kept: Bools,
    allowed: frozenset[str] | None,
    languages: dict[str, str],
    levels: dict[str, int],
    ledger: Ledger,
) -> pl.DataFrame:
    """Return rows of ``definitions``, by rising concept id, the preferred source first.

    MRDEF tells neither language nor restriction level, so both are those of the source: without that look-up, a
    Portuguese or a restricted definition would pass.

    Args:
        reader: Yields its blocks.
        config: What to keep.
        kept: Bool by concept number: it is in the graph.
        allowed: Sources whose restriction level is kept; None for all.
        languages: Language by source.
        levels: Restriction level by source.
        ledger: Counts what is left out.
    """
    pl = require("polars", "ontologies")
    frames = []
    for block in reader("MRDEF", "CUI SAB DEF SUPPRESS"):
        data = block.data.with_columns(cui=pl.Series(block.cuis("CUI")))
        language = pl.col("SAB").replace_strict(languages, default="")
        wanted = wanted_sources(config, allowed)
        for condition, reason in (
            (pl.Series(kept[data["cui"].to_numpy()]), "definition of a concept outside the graph"),
            (pl.col("SUPPRESS").is_in(config.suppress), "suppressed definition"),
            (wanted, "definition of another source or level"),
            (language.is_in(["", *config.languages]), "definition in another language"),
        ):
            before = len(data)
            data = data.filter(condition)
            drop_many(ledger, reason, before - len(data))
        frames.append(data.select("cui", "SAB", "DEF"))
    empty = pl.DataFrame(schema={"cui": pl.Int32, "SAB": pl.String, "DEF": pl.String})
    place = {source: number for number, source in enumerate(config.definition_sources)}
    rows = pl.concat([empty, *frames]).with_columns(
        text=pl.col("DEF").str.replace_all(r"\s+", " ").str.strip_chars(),
        place=pl.col("SAB").replace_strict(place, default=len(place), return_dtype=pl.Int32),
    )
    rows = rows.filter(pl.col("text") != "").sort("cui", "place", "SAB", "text")
    rows = rows.with_columns(folded=pl.col("text").str.to_lowercase())
    distinct = rows.unique(["cui", "folded"], keep="first", maintain_order=True)
    drop_many(ledger, "definition that repeats another of the concept", len(rows) - len(distinct))
    if config.max_definitions is not None:
        first = distinct.filter(pl.int_range(pl.len()).over("cui") < config.max_definitions)
        drop_many(ledger, "definition beyond max_definitions", len(distinct) - len(first))
        distinct = first
    level = pl.col("SAB").replace_strict(
        {source: str(level) for source, level in levels.items()}, default="unknown", return_dtype=pl.String
    )
    return distinct.select(
        concept=concept_ids(distinct["cui"]),
        text="text",
        source="UMLS/" + pl.col("SAB"),
        licence="UMLS " + pl.col("SAB") + " level " + level,
    )
