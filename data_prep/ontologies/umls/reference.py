"""The small tables: sources and their restriction levels, ranks of term types, inverse relations, types of concepts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from data_prep.ontologies.umls.codes import NUM_CUIS, Bools, Ints, check_known
from data_prep.ontologies.umls.config import UmlsConfig
from data_prep.ontologies.umls.rrf import Block
from data_prep.ontologies.umls.semantic_types import tui
from medvlp.errors import GraphError
from medvlp.io import require

if TYPE_CHECKING:
    import polars as pl

Reader = Callable[[str, str], Iterator[Block]]
"""Yields the blocks of a table (name without .RRF, needed columns); nothing where the release lacks it."""

_IRREGULAR = {
    "isa": "inverse_isa",
    "due_to": "cause_of",
    "occurs_in": "has_occurrence",
    "interprets": "is_interpreted_by",
    "occurs_after": "occurs_before",
    "uses": "used_by",
    "consists_of": "constitutes",
}


@dataclass(frozen=True)
class Source:
    """One row of MRSAB: the restriction level (None if not a number) and the language of a source."""

    level: int | None
    language: str


def sources(reader: Reader) -> dict[str, Source]:
    """Return the sources by abbreviation (RSAB); the current version wins where there are several."""
    found: dict[str, Source] = {}
    current: set[str] = set()
    for block in reader("MRSAB", "RSAB SRL LAT CURVER"):
        for name, level, language, version in block.data.iter_rows():
            if name not in found or (version == "Y" and name not in current):
                found[name] = Source(int(level) if level.isdigit() else None, language)
            if version == "Y":
                current.add(name)
    return found


def ranks(reader: Reader) -> pl.DataFrame:
    """Return MRRANK as columns SAB, TTY, rank (int32, higher is better); empty if the release lacks it.

    Raises:
        GraphError: A rank that is not a number, with its line.
    """
    pl = require("polars", "ontologies")
    frames = []
    for block in reader("MRRANK", "RANK SAB TTY"):
        rank = block.data["RANK"].cast(pl.Int32, strict=False)
        if rank.null_count():
            row = int(rank.is_null().arg_true()[0])
            raise block.error(row, f"RANK is {block.data['RANK'][row][:20]!r}, not a number")
        frames.append(block.data.select("SAB", "TTY", rank=rank))
    empty = pl.DataFrame(schema={"SAB": pl.String, "TTY": pl.String, "rank": pl.Int32})
    return pl.concat([empty, *frames]).group_by("SAB", "TTY").agg(pl.col("rank").max()).sort("SAB", "TTY")


class Inverses:
    """Which relation says the same from the other side: by MRDOC, else by the usual spelling.

    Attributes:
        listed: All relations that MRDOC lists.
    """

    def __init__(self, reader: Reader) -> None:
        self._of: dict[str, str] = {}
        self.listed: set[str] = set()
        for block in reader("MRDOC", "DOCKEY VALUE TYPE EXPL"):
            for key, value, kind, inverse in block.data.iter_rows():
                if key == "RELA":
                    self.listed.add(value)
                if (key, kind) == ("RELA", "rela_inverse"):
                    self._of[value] = inverse
        for one, two in _IRREGULAR.items():
            self._of.setdefault(one, two)
            self._of.setdefault(two, one)

    def of(self, relation: str) -> str | None:
        """Return the inverse of a relation, None where nothing tells it."""
        if relation in self._of:
            return self._of[relation]
        if relation.startswith("inverse_"):
            return relation.removeprefix("inverse_")
        if relation.startswith("has_"):
            return f"{relation.removeprefix('has_')}_of"
        return f"has_{relation.removesuffix('_of')}" if relation.endswith("_of") else None

    def canonical(self, relation: str) -> str:
        """Return the one of two inverse names under which both are stored: that with ``has_``, else the first."""
        pair = sorted({relation, self.of(relation) or relation}, key=lambda name: (not name.startswith("has_"), name))
        return pair[0]


@dataclass
class Types:
    """The semantic types of all concepts.

    Attributes:
        cui_T: Concept numbers, sorted, one per pair.
        type_T: Type numbers.
        names: Type names by number, as the release spells them.
        selected: Bool by concept number: it has a wanted type; true for all, typed or not, where any type will do.
        known: Bool by concept number: it has any type.
    """

    cui_T: Ints
    type_T: Ints
    names: dict[int, str]
    selected: Bools = field(repr=False)
    known: Bools = field(repr=False)


def wanted_sources(config: UmlsConfig, allowed: frozenset[str] | None) -> pl.Expr:
    """Return which rows come from a source that is asked for and, where ``allowed`` is given, free to pass on."""
    pl = require("polars", "ontologies")
    wanted = pl.lit(True)
    if config.sources:
        wanted &= pl.col("SAB").is_in(config.sources)
    if config.exclude_sources:
        wanted &= ~pl.col("SAB").is_in(config.exclude_sources)
    if allowed is not None:
        wanted &= pl.col("SAB").is_in(sorted(allowed))
    return wanted


def wanted_types(config: UmlsConfig, names: dict[int, str], groups: dict[str, set[int]]) -> set[int] | None:
    """Return the type numbers that keep a concept; None for all.

    Raises:
        GraphError: An unknown group or type.
    """
    by_text = {text: number for number, name in names.items() for text in (name, tui(number))}
    check_known(config.semantic_groups, groups, "semantic group", "semantic_groups")
    check_known(config.semantic_types, by_text, "semantic type", "semantic_types")
    check_known(config.exclude_types, by_text, "semantic type", "exclude_types")
    if not (config.semantic_groups or config.semantic_types or config.exclude_types):
        return None
    wanted = {number for group in config.semantic_groups for number in groups[group]}
    wanted |= {by_text[text] for text in config.semantic_types}
    if not (config.semantic_groups or config.semantic_types):
        wanted = set(names)
    return wanted - {by_text[text] for text in config.exclude_types}


def types(reader: Reader, wanted: set[int] | None, names: dict[int, str]) -> Types:
    """Read MRSTY.

    Raises:
        GraphError: A type identifier that is not T and a number, with its line.
    """
    pl = require("polars", "ontologies")
    known, selected = np.zeros(NUM_CUIS, dtype=bool), np.full(NUM_CUIS, wanted is None)
    keys, spelled = [np.zeros(0, dtype=np.int64)], dict(names)
    for block in reader("MRSTY", "CUI TUI STY"):
        cui = block.cuis("CUI")
        number = block.data["TUI"].str.slice(1).cast(pl.Int32, strict=False)
        bad = (number.is_null() | ~block.data["TUI"].str.starts_with("T") | (number < 0) | (number > 999)).arg_true()
        if len(bad):
            raise block.error(int(bad[0]), f"TUI is {block.data['TUI'][int(bad[0])][:20]!r}, not T and three digits")
        for value, name in block.data.select(number.alias("n"), "STY").unique().sort("n", "STY").iter_rows():
            spelled.setdefault(value, name)
        type_B = number.to_numpy()
        known[cui] = True
        if wanted is not None:
            selected[cui[np.isin(type_B, list(wanted))]] = True
        keys.append(cui.astype(np.int64) * 1000 + type_B)
    pairs = np.unique(np.concatenate(keys))
    if not len(pairs):
        raise GraphError("MRSTY.RRF holds no row", remedy="restore it from the release")
    return Types((pairs // 1000).astype(np.int32), (pairs % 1000).astype(np.int32), spelled, selected, known)
