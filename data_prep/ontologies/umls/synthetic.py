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
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from data_prep.ontologies.umls.layout import DOCUMENTED
from medvlp.errors import GraphError
from medvlp.io import atomic_folder, require, write_manifest

if TYPE_CHECKING:
    import polars as pl

FULL_CONCEPTS, BATCH = 3_375_000, 70_000  # 13.5 M atoms and 43.9 M relations, about those of one real release
RETIRED = 5_000_000  # the first retired identifier
ADJECTIVES = ("acute", "chronic", "focal", "diffuse", "benign", "congenital", "recurrent", "primary")
FORMS = ("nodule", "effusion", "inflammation", "carcinoma", "fibrosis", "stenosis", "necrosis", "oedema", "cyst")
SITES = ("lung", "liver", "kidney", "colon", "breast", "pleura", "heart", "skin", "thyroid", "brain", "bone")
NOT_MISSING = ("NA", "None", "null", "NaN", "nan", "N/A")
TYPES = (
    *[(47, "Disease or Syndrome")] * 5,
    (191, "Neoplastic Process"),
    (33, "Finding"),
    (23, "Body Part, Organ, or Organ Component"),
    (121, "Pharmacologic Substance"),
    (61, "Therapeutic or Preventive Procedure"),
)
"""Semantic type by the last digit of the concept's number."""

SOURCES = {"NCI": (0, "ENG"), "MSH": (0, "ENG"), "HPO": (0, "ENG"), "SNOMEDCT_US": (9, "ENG"), "MDR": (3, "ENG"),
           "MSHSPA": (3, "SPA"), "MSHPOR": (3, "POR")}  # fmt: skip
RANKS = (("SNOMEDCT_US", "PT"), ("NCI", "PT"), ("MSH", "MH"), ("SNOMEDCT_US", "SY"), ("NCI", "SY"), ("MSH", "ET"),
         ("MDR", "LLT"), ("HPO", "SY"), ("MSHSPA", "MH"))  # fmt: skip
ATOM_SOURCES = (("NCI", "PT"), ("SNOMEDCT_US", "SY"), ("NCI", "SY"), ("MSH", "ET"), ("MSHSPA", "MH"), ("MDR", "LLT"),
                ("HPO", "SY"))  # fmt: skip
"""Source and term type of the atoms of a concept, in the order of MRRANK."""

NO_ENGLISH, SUPPRESSED_BEST, SUPPRESSED_ALL, RESTRICTED_BEST, RESTRICTED_ALL, LATER_BEST = range(6)
"""Roles of concepts; all others (6 to 49) are ordinary."""

Numbers = NDArray[np.int64]


def mix(number_I: Numbers, salt: int, below: int) -> Numbers:
    """Return numbers in [0, below) that depend on each input number and the salt only (splitmix64)."""
    with np.errstate(over="ignore"):
        x = number_I.astype(np.uint64) + np.uint64((salt + 1) * 0x9E3779B97F4A7C15 & (2**64 - 1))
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((x ^ (x >> np.uint64(31))) % np.uint64(below)).astype(np.int64)


class World:
    """What is said about every concept; I numbers of concepts, 0 to ``num_concepts`` - 1."""

    def __init__(self, fraction: float, seed: int = 0) -> None:
        """Set the size.

        Raises:
            GraphError: A fraction outside (0, 1].
        """
        if not 0 < fraction <= 1:
            raise GraphError(f"fraction {fraction} is outside (0, 1]", remedy="give a share such as 0.01")
        self.seed = seed
        self.num_concepts = max(round(FULL_CONCEPTS * fraction / 700), 1) * 700
        self.num_retired = self.num_concepts * 8 // 10

    def num_atoms(self, number_I: Numbers) -> Numbers:
        """Return 1 to 7."""
        return 1 + number_I % 7

    def role(self, number_I: Numbers) -> Numbers:
        """Return the role, 0 to 49."""
        return number_I // 7 % 50

    def best(self, number_I: Numbers, free: bool = False) -> Numbers:
        """Return which atom must become the preferred name, -1 where the concept must be left out.

        Args:
            number_I: Concepts.
            free: Of restriction level 0 only: atoms 0, 2, 3 and 6 of ordinary concepts.
        """
        role_I, num_I = self.role(number_I), self.num_atoms(number_I)
        second, third = np.where(num_I >= 2, 1, -1), np.where(num_I >= 3, 2, -1)
        best_I = np.zeros_like(number_I)
        best_I = np.where(role_I == SUPPRESSED_BEST, third if free else second, best_I)
        best_I = np.where((role_I == LATER_BEST) & (num_I >= 2) & (not free), 1, best_I)
        best_I = np.where((role_I == RESTRICTED_BEST) & free, third, best_I)
        gone = (role_I == NO_ENGLISH) | (role_I == SUPPRESSED_ALL) | ((role_I == RESTRICTED_ALL) & free)
        return np.where(gone, -1, best_I)

    def disorder_or_anatomy(self, number_I: Numbers) -> NDArray[np.bool_]:
        """Tell which concepts have a type of the groups DISO or ANAT."""
        return number_I % 10 < 8

    def parent(self, number_I: Numbers) -> Numbers:
        """Return the parent on which two sources agree; 0 is the root."""
        return number_I // 8

    def second_parent(self, number_I: Numbers) -> Numbers:
        """Return another concept with a smaller number, a parent by one source where 5 divides the number."""
        return mix(number_I, self.seed * 16 + 1, 1 << 40) % np.maximum(number_I, 1)

    def other(self, number_I: Numbers, salt: int) -> Numbers:
        """Return any concept."""
        return mix(number_I, self.seed * 16 + salt, self.num_concepts)

    def site(self, number_I: Numbers) -> Numbers:
        """Return the body part (number ending in 7) where a disorder is found."""
        return mix(number_I, self.seed * 16 + 2, self.num_concepts // 10) * 10 + 7

    def closes_cycle(self, number_I: Numbers) -> NDArray[np.bool_]:
        """Tell which concepts are, by one source, also a parent of their own grandparent."""
        line = (number_I, self.parent(number_I), self.parent(self.parent(number_I)))
        sound = np.logical_and.reduce([(self.best(n) >= 0) & self.disorder_or_anatomy(n) for n in line])
        return sound & (mix(number_I, self.seed * 16 + 3, 100) == 0) & (number_I >= 64)

    def text(self, number_I: Numbers, atom: int) -> pl.Series:
        """Return the strings of one atom of each concept."""
        pl = require("polars", "ontologies")
        words = {
            name: pl.Series(vocabulary).gather(mix(number_I, self.seed * 16 + salt, len(vocabulary)))
            for salt, (name, vocabulary) in enumerate((("adjective", ADJECTIVES), ("form", FORMS), ("site", SITES)), 4)
        }
        missing = pl.Series(NOT_MISSING).gather(number_I % len(NOT_MISSING))
        data = pl.DataFrame({**words, "n": number_I, "missing": missing, "role": self.role(number_I)})
        plain = pl.format("{} {} {} NOS", "site", "adjective", "n")
        base = pl.format("{} {} of {} {}", "adjective", "form", "site", "n")
        spanish = pl.format("{}o de {} {}", "form", "site", "n")
        wording = (
            pl.when(pl.col("role") == NO_ENGLISH).then(spanish).otherwise(base),
            pl.format("{} {}, {} {}", "site", "form", "adjective", "n"),
            base.str.to_uppercase(),
            pl.format("{} {} ({})", "form", "n", "site"),
            spanish,
            pl.format('{}" {}', "n", "form"),
            pl.when(pl.col("n") % 11 == 0).then(pl.col("missing")).otherwise(plain),
        )
        return data.select(text=wording[atom])["text"]


def cui(number_I: Numbers) -> pl.Series:
    """Return ``C0000001`` for concept 0, and so on."""
    pl = require("polars", "ontologies")
    return "C" + (pl.Series(number_I) + 10_000_001).cast(pl.String).str.slice(1)


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
