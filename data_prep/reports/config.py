"""What `medvlp prepare` reads reports from, and how it reads them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from data_prep.text.sections import DESCRIBES
from medvlp.config import Config

SectionName = Literal[
    "indication",
    "history",
    "family_history",
    "comparison",
    "technique",
    "findings",
    "impression",
    "addendum",
    "header",
    "recommendation",
    "closing",
    "body",
    "other",
]


class TableSource(Config):
    """One report per row of a CSV, TSV or Parquet file."""

    name: Literal["table"] = Field("table", description="A CSV, TSV or Parquet file.")
    file: str = Field(description="The file; may hold ${VAR}.")
    key: str | None = Field(None, description="Column that names the report; by default the number of its row.")
    texts: dict[str, str] = Field(
        min_length=1, description="Columns of text in order, each with the heading to put above it (may be empty)."
    )


class TextsSource(Config):
    """One report per text file of a folder and those below it."""

    name: Literal["texts"] = Field("texts", description="A folder of text files.")
    folder: str = Field(description="The folder; may hold ${VAR}.")
    suffixes: list[str] = Field([".txt"], description="Endings of the files to read.")


class OpenIXmlSource(Config):
    """One report per XML file of Open-I, in a folder or its tar archive."""

    name: Literal["openi_xml"] = Field("openi_xml", description="Open-I's XML files.")
    path: str = Field(description="The folder, or the .tgz as it is distributed; may hold ${VAR}.")


class RadGraphSource(Config):
    """Reports annotated in RadGraph JSON (v1 or XL): their entities instead of our own rules."""

    name: Literal["radgraph"] = Field("radgraph", description="A RadGraph JSON file.")
    file: str = Field(description="The file; may hold ${VAR}.")
    labeler: str | None = Field(None, description="Which annotation of doubly annotated reports, as in labeler_1.")


Source = Annotated[TableSource | TextsSource | OpenIXmlSource | RadGraphSource, Field(discriminator="name")]


class WindowRelation(Config):
    """Findings are related to places by rules over a window of words."""

    name: Literal["window"] = Field("window", description="Rules; needs no model.")


class DependencyRelationConfig(Config):
    """Findings are related to places along a dependency tree, by the rules where the tree says nothing."""

    name: Literal["dependency"] = Field("dependency", description="The dependency parse of a spaCy model.")
    model: str = Field(description="An installed spaCy pipeline with a parser.")


class ReportsConfig(Config):
    """Reports into mentions, triplets (entity, position, existence) and the matrix of positions and entities."""

    kind: Literal["reports"] = Field("reports", description="Which schema this file follows.")
    source: Source = Field(description="Where the reports are.")
    vocabulary: str = Field("radiology", description="A shipped vocabulary, or a YAML file of your own.")
    graph: str | None = Field(None, description="Graph store whose concepts are linked; without it findings alone.")
    exclude: list[str] = Field([], description="Concepts of the graph that are not linked, nor any below them.")
    relation: Annotated[WindowRelation | DependencyRelationConfig, Field(discriminator="name")] = Field(
        WindowRelation(), description="How a finding is related to the place it is at."
    )
    sections: list[SectionName] = Field(
        [section.value for section in DESCRIBES],
        min_length=1,
        description="Sections whose findings become triplets.",
    )
    max_chars: int = Field(2_000_000, ge=1, description="Longer reports are left out and counted.")
    shard_size: int = Field(500, ge=1, description="Reports between two points from which the job goes on.")
