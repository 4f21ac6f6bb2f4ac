"""What a synthetic release says of each concept: a function of the concept's number and the seed alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import GraphError
from medvlp.io import require

if TYPE_CHECKING:
    import polars as pl

FULL_CONCEPTS = 3_375_000  # 13.5 M atoms and 43.9 M relations, about those of one real release
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
