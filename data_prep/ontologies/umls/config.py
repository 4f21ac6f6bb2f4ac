"""What is taken from a UMLS release, as a configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medvlp.config import Config


class Hierarchy(Config):
    """Which rows of MRREL make the hierarchy."""

    sources: list[str] = Field(
        default=[],
        description="Take parents from these sources only, the first wins in cycles of equal votes; [] is all.",
    )
    broader: bool = Field(
        default=False, description="Also take broader and narrower rows (RB, RN), as edges that yield first in cycles."
    )


class UmlsConfig(Config):
    """A graph built from the RRF files of a UMLS release that the user has licensed."""

    kind: Literal["umls"] = Field(default="umls", description="Tells what this file configures.")
    rrf: str = Field(description="The folder with MRCONSO.RRF (plain, .gz, or parts such as .aa.gz); may hold ${VAR}.")
    sources: list[str] = Field(
        default=[], description="Use strings and relations of these sources (SAB) only; [] is all."
    )
    exclude_sources: list[str] = Field(default=[], description="Sources (SAB) to leave out.")
    languages: list[str] = Field(
        default=["ENG"], description="Languages (LAT) of names, by falling priority.", min_length=1
    )
    other_languages: Literal["drop", "name"] = Field(
        default="drop",
        description="A concept without a name in these languages: leave it out (counted), or name it from any other.",
    )
    semantic_groups: list[str] = Field(
        default=[], description="Keep concepts of these groups, such as DISO and ANAT; [] (with types []) is all."
    )
    semantic_types: list[str] = Field(
        default=[], description="Keep concepts of these types too, as T047 or by their name."
    )
    exclude_types: list[str] = Field(default=[], description="Types that do not count when concepts are kept.")
    suppress: list[Literal["N", "O", "E", "Y"]] = Field(
        default=["N"], description="Values of SUPPRESS to keep: N none, O obsolete, E by an editor, Y by the source."
    )
    levels: list[int] = Field(
        default=[], description="Source restriction levels (SRL) to keep, such as [0, 1, 2]; [] is all."
    )
    redistributable: bool = Field(
        default=False, description="Keep only strings and relations of restriction level 0, whatever `levels` says."
    )
    definition_sources: list[str] = Field(
        default=["NCI_BRIDG", "NCI_NCI-GLOSS", "NCI", "GO", "MSH", "NCI_FDA"],
        description="Sources of definitions by falling preference; all others follow by name.",
    )
    max_definitions: int | None = Field(
        default=None, ge=0, description="Keep at most this many definitions of a concept; null keeps all."
    )
    hierarchy: Hierarchy = Field(default=Hierarchy(), description="Which rows make the hierarchy.")
    relations: list[str] = Field(
        default=[],
        description='Further relations (RELA) to keep, in the direction named, such as has_finding_site; ["*"] is all.',
    )
    xref_sources: list[str] = Field(
        default=["SNOMEDCT_US", "NCI", "MSH", "ICD10CM", "ICD10", "HPO", "OMIM", "ORPHANET", "FMA", "GO"],
        description="Sources whose codes become cross-references.",
    )
    paths: bool = Field(
        default=False, description="Also write paths.parquet: every context of MRHIER as concepts from the root down."
    )
    on_row_count: Literal["error", "warn"] = Field(
        default="error", description="A file with other than the number of rows that MRFILES.RRF gives: stop, or warn."
    )

    @property
    def kept_levels(self) -> frozenset[int] | None:
        """Restriction levels to keep; None for all."""
        if self.redistributable:
            return frozenset({0})
        return frozenset(self.levels) or None
