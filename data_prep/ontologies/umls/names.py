"""MRCONSO: the names of every kept concept, the preferred one first, each with its source and restriction level.

The preferred name is the atom with LAT=ENG (or the first language asked for), TS=P, STT=PF, ISPREF=Y; where that one
is suppressed, restricted or left out, the atom whose source and term type stand highest in MRRANK; then the shortest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from data_prep.ontologies.terms import curie
from data_prep.ontologies.umls import reference
from data_prep.ontologies.umls.codes import NUM_CUIS, Bools, check_known, concept_ids, drop_many
from data_prep.ontologies.umls.config import UmlsConfig
from data_prep.ontologies.umls.reference import Reader, Types
from data_prep.ontologies.umls.rrf import Block
from medvlp.errors import GraphError
from medvlp.io import require
from medvlp.ledger import Ledger

if TYPE_CHECKING:
    import polars as pl

SLICE_ROWS = 500_000
_RANK_BITS, _MAX_LANGUAGES = 20, 512
_NEEDED = "CUI LAT TS STT ISPREF SAB TTY CODE STR SRL SUPPRESS"
_UNRANKED = (1 << _RANK_BITS) - 1
_STAGES = (
    "concept without an atom in MRCONSO",
    "concept with suppressed names only",
    "concept without a name from the chosen sources and levels",
    "concept without a name in the chosen languages",
)


@dataclass
class Atoms:
    """What MRCONSO gave.

    Attributes:
        frames: Kept atoms by block: cui, priority (lower is better), text, SAB, level (-1 where not given).
        xrefs: Codes of kept atoms by block: cui, xref.
        met: Bool by concept number: it has an atom at all.
        reached: For each stage of the filters, bool by concept number: some atom got there.
        source_levels: Highest restriction level of each source, for tables that carry none.
        source_languages: The language of most atoms of each source.
    """

    frames: list[pl.DataFrame] = field(default_factory=list)
    xrefs: list[pl.DataFrame] = field(default_factory=list)
    met: Bools = field(default_factory=lambda: np.zeros(NUM_CUIS, dtype=bool))
    reached: list[Bools] = field(default_factory=lambda: [np.zeros(NUM_CUIS, dtype=bool) for _ in _STAGES])
    source_levels: dict[str, int] = field(default_factory=dict)
    source_languages: dict[str, Counter[str]] = field(default_factory=dict)


def read_atoms(reader: Reader, config: UmlsConfig, types: Types, ledger: Ledger) -> Atoms:
    """Read MRCONSO and keep what the configuration asks for.

    Raises:
        GraphError: A source or language in the configuration that no atom has.
    """
    pl = require("polars", "ontologies")
    rank = reference.ranks(reader)
    atoms = Atoms()
    languages: set[str] = set()
    for block in reader("MRCONSO", _NEEDED):
        _account(block.data, atoms, languages)
        _block(block, config, types, rank, atoms, ledger)
    check_known([*config.sources, *config.exclude_sources], atoms.source_languages, "source", "sources")
    check_known(config.languages, languages, "language", "languages")
    if not any(len(frame) for frame in atoms.frames):
        raise GraphError("no name is left", remedy="widen sources, languages, levels or semantic types")
    untyped = np.flatnonzero(atoms.met & ~types.known & ~types.selected)
    drop_many(ledger, "concept without a semantic type in MRSTY", len(untyped), untyped)
    for stage, reason in enumerate(_STAGES):
        before = types.selected & types.known if stage == 0 else atoms.reached[stage - 1]
        lost = np.flatnonzero(before & ~atoms.reached[stage])
        drop_many(ledger, reason, len(lost), lost)
    atoms.frames = [pl.concat(atoms.frames).sort("cui", maintain_order=True)]
    atoms.xrefs = [pl.concat(atoms.xrefs).unique().sort("cui", "xref")]
    return atoms


def _account(data: pl.DataFrame, atoms: Atoms, languages: set[str]) -> None:
    counted = data.group_by("SAB", "LAT", "SRL").len().sort("SAB", "LAT", "SRL")
    for source, language, level, count in counted.iter_rows():
        languages.add(language)
        atoms.source_languages.setdefault(source, Counter())[language] += count
        if level.isdigit():
            atoms.source_levels[source] = max(int(level), atoms.source_levels.get(source, 0))


def _block(block: Block, config: UmlsConfig, types: Types, rank: pl.DataFrame, atoms: Atoms, ledger: Ledger) -> None:
    pl = require("polars", "ontologies")
    data = block.data.with_columns(
        cui=pl.Series(block.cuis("CUI")), level=pl.col("SRL").cast(pl.Int16, strict=False).fill_null(-1)
    )
    cui = data["cui"].to_numpy()
    atoms.met[cui] = True
    data = data.filter(pl.Series(types.selected[cui]))
    wanted = pl.lit(True)
    if config.sources:
        wanted &= pl.col("SAB").is_in(config.sources)
    if config.exclude_sources:
        wanted &= ~pl.col("SAB").is_in(config.exclude_sources)
    if config.kept_levels is not None:
        wanted &= pl.col("level").is_in(sorted(config.kept_levels))
    steps = (
        (pl.lit(True), None),
        (pl.col("SUPPRESS").is_in(config.suppress), "suppressed atom"),
        (wanted, "atom of another source or level"),
        (
            pl.lit(True) if config.other_languages == "name" else pl.col("LAT").is_in(config.languages),
            "atom in another language",
        ),
    )
    for stage, (condition, reason) in enumerate(steps):
        before = len(data)
        data = data.filter(condition)
        if reason:
            drop_many(ledger, reason, before - len(data))
        atoms.reached[stage][data["cui"].to_numpy()] = True
    place = {language: number for number, language in enumerate(config.languages[:_MAX_LANGUAGES])}
    best = (pl.col("TS") == "P") & (pl.col("STT") == "PF") & (pl.col("ISPREF") == "Y")
    data = data.join(rank, on=["SAB", "TTY"], how="left", maintain_order="left").with_columns(
        language=pl.col("LAT").replace_strict(place, default=len(place), return_dtype=pl.Int32),
        standing=_UNRANKED - pl.col("rank").fill_null(0).clip(0, _UNRANKED),
    )
    priority = (pl.col("language") * 2 + (~best).cast(pl.Int32)) * (1 << _RANK_BITS) + pl.col("standing")
    atoms.frames.append(
        data.select(
            "cui", priority.alias("priority"), pl.col("STR").alias("text"), pl.col("SAB").cast(pl.Categorical), "level"
        )
    )
    atoms.xrefs.append(_xrefs(data, config))


def _xrefs(data: pl.DataFrame, config: UmlsConfig) -> pl.DataFrame:
    """Return the codes of the chosen sources as cross-references in the one spelling that all readers use."""
    pl = require("polars", "ontologies")
    code = pl.col("CODE")
    coded = data.filter(
        pl.col("SAB").is_in(config.xref_sources) & ~code.is_in(["", "NOCODE"]) & ~code.str.starts_with("MTHU")
    )
    prefix = {source: curie(source, "") for source in config.xref_sources}
    spelled = pl.when(code.str.contains(":", literal=True)).then(code)
    spelled = spelled.otherwise(pl.col("SAB").replace_strict(prefix, default="") + code)
    return coded.select("cui", xref=spelled).unique(maintain_order=True)


def slices(
    atoms: Atoms, config: UmlsConfig, types: Types, ledger: Ledger
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield rows of ``concepts`` and ``names``, some hundred thousand atoms at a time, by rising concept id.

    Names of a concept that differ by case or spacing only are kept once, the best-placed one.
    """
    pl = require("polars", "ontologies")
    rows, xrefs = atoms.frames[0], atoms.xrefs[0]
    cui_A, cui_X = rows["cui"].to_numpy(), xrefs["cui"].to_numpy()
    start = 0
    while start < len(rows):
        last = cui_A[min(start + SLICE_ROWS, len(rows)) - 1]
        end = int(np.searchsorted(cui_A, last, side="right"))
        first = cui_A[start]
        x = slice(*np.searchsorted(cui_X, [first, last + 1]))
        t = slice(*np.searchsorted(types.cui_T, [first, last + 1]))
        typed = pl.DataFrame({"cui": types.cui_T[t], "number": types.type_T[t]})
        part = rows[start:end]
        yield _finish(part, xrefs[x.start : x.stop], typed, config, types, ledger)
        start = end


def _finish(
    part: pl.DataFrame, xrefs: pl.DataFrame, typed: pl.DataFrame, config: UmlsConfig, types: Types, ledger: Ledger
) -> tuple[pl.DataFrame, pl.DataFrame]:
    pl = require("polars", "ontologies")
    text = pl.col("text")
    part = part.with_columns(text=text.str.replace_all(r"\s+", " ").str.strip_chars())
    if config.other_languages == "name":
        other = pl.col("priority") >= len(config.languages) * 2 * (1 << _RANK_BITS)
        part = part.filter(~other | other.all().over("cui"))
    part = part.with_columns(folded=text.str.to_lowercase(), length=text.str.len_chars())
    part = part.filter(pl.col("length") > 0).sort("cui", "priority", "length", "text", "SAB")
    kept = part.unique(["cui", "folded"], keep="first", maintain_order=True)
    drop_many(ledger, "name that differs from another of the concept by case or spacing only", len(part) - len(kept))
    preferred = kept["cui"] != kept["cui"].shift(1)
    preferred = preferred.fill_null(True)
    source = "UMLS/" + kept["SAB"].cast(pl.String)
    level = pl.when(pl.col("level") < 0).then(pl.lit("unknown")).otherwise(pl.col("level").cast(pl.String))
    names = kept.select(
        concept=concept_ids(kept["cui"]),
        text="text",
        kind=pl.when(preferred).then(pl.lit("preferred")).otherwise(pl.lit("exact")),
        source=source,
        licence="UMLS " + pl.col("SAB").cast(pl.String) + " level " + level,
    )
    kinds = typed.select("cui", name=pl.col("number").replace_strict(types.names, return_dtype=pl.String))
    kinds = kinds.group_by("cui", maintain_order=True).agg(semantic_types=pl.col("name"))
    codes = xrefs.group_by("cui", maintain_order=True).agg(xrefs=pl.col("xref"))
    concepts = kept.filter(preferred).select("cui", name="text")
    concepts = concepts.join(kinds, on="cui", how="left", maintain_order="left")
    concepts = concepts.join(codes, on="cui", how="left", maintain_order="left")
    number = concepts["cui"]
    ids = concept_ids(number)
    return concepts.select(
        id=ids,
        name="name",
        semantic_types=pl.col("semantic_types").fill_null([]),
        cui=ids.str.slice(5),
        source=pl.lit("UMLS"),
        xrefs=pl.col("xrefs").fill_null([]),
        number=number,
    ), names
