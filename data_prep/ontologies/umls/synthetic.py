"""A synthetic UMLS release of any size, in the real layout and with the real traps, whose right answers are known.

Every value is a function of the concept's number and the seed, so a release is written in one pass, two runs give the
same bytes, and :mod:`data_prep.ontologies.umls.synthetic_truth` can say what a builder has to find. No UMLS content.

Example: python -m data_prep.ontologies.umls.synthetic data/META --fraction 0.01
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track

from data_prep.ontologies.umls.layout import DOCUMENTED
from data_prep.ontologies.umls.synthetic_world import (
    ATOM_SOURCES,
    LATER_BEST,
    NO_ENGLISH,
    RANKS,
    RESTRICTED_ALL,
    RESTRICTED_BEST,
    RETIRED,
    SOURCES,
    SUPPRESSED_ALL,
    SUPPRESSED_BEST,
    TYPES,
    Numbers,
    World,
    cui,
)
from medvlp.errors import GraphError
from medvlp.io import atomic_folder, require, write_manifest

if TYPE_CHECKING:
    import polars as pl

BATCH = 70_000


def _numbered(letter: str, number_I: Numbers) -> pl.Series:
    pl = require("polars", "ontologies")
    return letter + pl.Series(number_I).cast(pl.String)


def _atom(number_I: Numbers, atom: int = 0) -> pl.Series:
    return _numbered("A", 10_000_000 + number_I * 7 + atom)


def atoms(world: World, number_I: Numbers) -> pl.DataFrame:
    """Return rows of MRCONSO."""
    pl = require("polars", "ontologies")
    frames = []
    for atom, (source, kind) in enumerate(ATOM_SOURCES):
        some_I = number_I[world.num_atoms(number_I) > atom]
        role_I, num_I = world.role(some_I), world.num_atoms(some_I)
        flagged = np.where((role_I == LATER_BEST) & (num_I >= 2), atom == 1, atom == 0)
        restricted = (role_I == RESTRICTED_ALL) | ((role_I == RESTRICTED_BEST) & (atom == 0))
        suppressed = np.where(
            (role_I == SUPPRESSED_BEST) & (atom == 0), "O", np.where(role_I == SUPPRESSED_ALL, "E", "N")
        )
        spanish = (role_I == NO_ENGLISH) | (atom == 4)
        sab = np.where(restricted, "SNOMEDCT_US", source)
        frames.append(
            pl.DataFrame(
                {
                    "number": some_I,
                    "CUI": cui(some_I),
                    "LAT": np.where(spanish, "SPA", "ENG"),
                    "TS": np.where(flagged, "P", "S"),
                    "STT": np.where(flagged, "PF", "VO"),
                    "ISPREF": np.where(flagged, "Y", "N"),
                    "LUI": _numbered("L", 10_000_000 + some_I * 7 + atom),
                    "SUI": _numbered("S", 10_000_000 + some_I * 7 + atom),
                    "AUI": _atom(some_I, atom),
                    "SAB": sab,
                    "TTY": np.where(restricted & (atom == 0), "PT", np.where(restricted, "SY", kind)),
                    "SCUI": _numbered("X", some_I * 7 + atom),
                    "CODE": _numbered("X", some_I * 7 + atom),
                    "STR": world.text(some_I, atom),
                    "SRL": np.where(restricted, "9", str(SOURCES[source][0])),
                    "SUPPRESS": suppressed,
                }
            )
        )
    return pl.concat(frames).sort("number", maintain_order=True)


def relations(world: World, number_I: Numbers) -> pl.DataFrame:
    """Return rows of MRREL, 13 per concept; see the comments for what each teaches."""
    pl = require("polars", "ontologies")
    up, second, part = world.parent(number_I), world.second_parent(number_I), world.other(number_I, 8)
    grand, site, any_one, more = (
        world.parent(up),
        world.site(number_I),
        world.other(number_I, 9),
        world.other(number_I, 10),
    )
    fifth, closes, sick = number_I % 5 == 0, world.closes_cycle(number_I), number_I % 10 < 5
    rooted = number_I > 0
    frames = []

    def add(one: Numbers, rel: object, two: Numbers, rela: object, sab: str, suppress: str = "N") -> None:
        columns = {"REL": rel, "RELA": rela}
        texts = {
            name: np.broadcast_to(np.asarray(value, dtype=object), number_I.shape) for name, value in columns.items()
        }
        frames.append(
            pl.DataFrame(
                {
                    "number": number_I,
                    "CUI1": cui(one),
                    "AUI1": _atom(one),
                    "CUI2": cui(two),
                    "AUI2": _atom(two),
                    "RUI": _numbered("R", 100_000_000 + number_I * 13 + len(frames)),
                    **{name: pl.Series(value, dtype=pl.String) for name, value in texts.items()},
                }
            ).with_columns(
                SAB=pl.lit(sab), SL=pl.lit(sab), STYPE1=pl.lit("SCUI"), STYPE2=pl.lit("SCUI"), SUPPRESS=pl.lit(suppress)
            )
        )

    for sab in ("NCI", "SNOMEDCT_US"):  # the tree, by two sources, from both sides; the root is its own parent: a loop
        add(number_I, "PAR", up, "inverse_isa", sab)
        add(up, "CHD", number_I, "isa", sab)
    add(
        number_I, np.where(fifth & rooted, "PAR", "RB"), second, "", "MSH"
    )  # a second parent, or only a broader concept
    add(second, np.where(fifth & rooted, "CHD", "RN"), number_I, "", "MSH")
    add(site, "RO", number_I, np.where(sick, "has_finding_site", "may_treat"), "SNOMEDCT_US")  # RELA is said of CUI2
    add(number_I, "RO", site, np.where(sick, "finding_site_of", "may_be_treated_by"), "SNOMEDCT_US")
    add(number_I, "PAR", part, "part_of", "NCI")  # hierarchical, but no hypernym
    add(number_I, "SIB", any_one, "", "MSH")
    add(any_one, "SIB", number_I, "", "MSH")
    add(more, "PAR", number_I, "", "NCI", suppress="O")  # obsolete
    add(np.where(closes, grand, number_I), np.where(closes, "PAR", "RL"), np.where(closes, number_I, more), "", "MDR")
    return pl.concat(frames).sort("number", maintain_order=True)


def _small(world: World, number_I: Numbers) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield rows of MRSTY, MRDEF and MRHIER."""
    pl = require("polars", "ontologies")
    names = dict(TYPES)
    first, both = np.array([t for t, _ in TYPES])[number_I % 10], number_I[number_I % 20 == 0]
    number, kind = np.concatenate([number_I, both]), np.concatenate([first, np.full(len(both), 191)])
    yield (
        "MRSTY",
        pl.DataFrame(
            {
                "number": number,
                "CUI": cui(number),
                "TUI": "T" + pl.Series(1000 + kind).cast(pl.String).str.slice(1),
                "STN": _numbered("B2.2.1.2.", kind),
                "ATUI": _numbered("AT", 10_000_000 + number),
                "STY": pl.Series(kind).replace_strict(names, return_dtype=pl.String),
            }
        ).sort("number", maintain_order=True),
    )
    frames = []
    for source, every in (("MSH", 8), ("NCI", 24), ("MSHPOR", 16)):  # NCI is preferred, MSHPOR is Portuguese
        some_I = number_I[number_I % every == 0]
        text = f'{source} says "' + world.text(some_I, 0) + "."
        frames.append(
            pl.DataFrame({"number": some_I, "CUI": cui(some_I), "DEF": text}).with_columns(SAB=pl.lit(source))
        )
    yield "MRDEF", pl.concat(frames).sort("number", maintain_order=True).with_columns(SUPPRESS=pl.lit("N"))
    steps, above = [], number_I
    for _ in range(8):  # the tree is no deeper
        above = np.where(above > 0, world.parent(above), -1)
        steps.append(pl.when(pl.Series(above >= 0)).then(_atom(above)))
    path = pl.select(pl.concat_list(steps[::-1]).list.drop_nulls().list.join(".").alias("PTR"))
    yield (
        "MRHIER",
        path.with_columns(
            CUI=cui(number_I), AUI=_atom(number_I), CXN=pl.lit("1"), SAB=pl.lit("NCI"), HCD=_numbered("H", number_I)
        ),
    )


def retired(world: World, number_K: Numbers) -> pl.DataFrame:
    """Return rows of MRCUI, by last digit: 0-4 merged into a concept, 5-6 chains, 7-8 a ring, 9 deleted or mapped."""
    pl = require("polars", "ontologies")
    digit = number_K % 10
    deleted = (digit == 9) & (number_K % 20 == 9)
    onward = number_K + RETIRED + np.select([digit == 5, digit == 7], [-5, 1], -1)
    target = np.where((digit < 5) | (digit == 9), number_K % world.num_concepts, onward)
    return pl.DataFrame(
        {
            "CUI1": cui(number_K + RETIRED),
            "REL": np.select([deleted, digit == 9], ["DEL", "RO"], "SY"),
            "CUI2": cui(target),
        }
    ).with_columns(
        VER=pl.lit("2019AB"), CUI2=pl.when(pl.col("REL") == "DEL").then(pl.lit("")).otherwise("CUI2"), MAPIN=pl.lit("Y")
    )


class _Files:
    """The RRF files being written, and their counts of rows."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows = folder, dict[str, int]()

    def add(self, table: str, rows: pl.DataFrame) -> None:
        """Append rows; columns they do not have stay empty."""
        pl = require("polars", "ontologies")
        columns = DOCUMENTED[table].split()
        rows = rows.select(
            *(pl.col(name) if name in rows.columns else pl.lit("").alias(name) for name in columns),
            pl.lit("").alias("(end)"),
        )
        self.rows[table] = self.rows.get(table, 0) + len(rows)
        with (self.folder / f"{table}.RRF").open("ab") as stream:
            rows.write_csv(stream, separator="|", quote_style="never", include_header=False)

    def finish(self) -> None:
        """Write MRFILES.RRF."""
        lines = [
            f"{table}.RRF|Synthetic|{','.join(DOCUMENTED[table].split())}|{len(DOCUMENTED[table].split())}|{rows}|"
            f"{(self.folder / f'{table}.RRF').stat().st_size}|\n"
            for table, rows in sorted(self.rows.items())
        ]
        (self.folder / "MRFILES.RRF").write_text("".join(lines), encoding="utf-8")


def write(folder: Path, fraction: float, seed: int = 0, *, contexts: bool = True, overwrite: bool = False) -> World:
    """Write a release; the same arguments give the same bytes.

    Args:
        folder: The folder to create.
        fraction: Size, 1 for that of a real release (13.5 M rows of MRCONSO, 43.9 M of MRREL).
        seed: Another seed, other words and links.
        contexts: Write MRHIER too, one context per concept.
        overwrite: Replace a folder that is there.

    Returns:
        What the release says.
    """
    world = World(fraction, seed)
    with atomic_folder(folder, replace=overwrite) as partial:
        files = _Files(partial)
        starts = range(0, world.num_concepts, BATCH)
        for start in track(starts, "writing", console=Console(stderr=True), transient=True):
            number_I = np.arange(start, min(start + BATCH, world.num_concepts))
            files.add("MRCONSO", atoms(world, number_I))
            files.add("MRREL", relations(world, number_I))
            for table, rows in _small(world, number_I):
                if contexts or table != "MRHIER":
                    files.add(table, rows)
        for start in range(0, world.num_retired, BATCH * 4):
            files.add("MRCUI", retired(world, np.arange(start, min(start + BATCH * 4, world.num_retired))))
        _reference(files)
        files.finish()
        write_manifest(partial, {"format": "synthetic RRF", "fraction": fraction, "seed": seed})
    return world


def _reference(files: _Files) -> None:
    pl = require("polars", "ontologies")
    levels, languages = ([entry[place] for entry in SOURCES.values()] for place in (0, 1))
    sources = pl.DataFrame({"RSAB": list(SOURCES), "SRL": [str(level) for level in levels], "LAT": languages})
    files.add("MRSAB", sources.with_columns(VSAB="RSAB", CURVER=pl.lit("Y"), SABIN=pl.lit("Y")))
    ranks = {"RANK": [f"{900 - 10 * n:04d}" for n in range(len(RANKS))], "SAB": [s for s, _ in RANKS]}
    files.add("MRRANK", pl.DataFrame({**ranks, "TTY": [t for _, t in RANKS]}).with_columns(SUPPRESS=pl.lit("N")))
    pairs = (("has_finding_site", "finding_site_of"), ("may_treat", "may_be_treated_by"), ("isa", "inverse_isa"))
    both = [*pairs, *((two, one) for one, two in pairs)]
    inverses = pl.DataFrame({"VALUE": [one for one, _ in both], "EXPL": [two for _, two in both]})
    files.add("MRDOC", inverses.with_columns(DOCKEY=pl.lit("RELA"), TYPE=pl.lit("rela_inverse")))


def main() -> int:
    """Write a release as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.ontologies.umls.synthetic",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="the folder to create")
    parser.add_argument("--fraction", type=float, default=0.01, help="size; 1 is that of a real release")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-contexts", action="store_true", help="leave out MRHIER")
    parser.add_argument("--overwrite", action="store_true")
    arguments = parser.parse_args()
    try:
        write(
            arguments.folder,
            arguments.fraction,
            arguments.seed,
            contexts=not arguments.no_contexts,
            overwrite=arguments.overwrite,
        )
    except GraphError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
