"""What ``medvlp entities`` reads, and which descriptions it writes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medvlp.config import Config


class SimulationSource(Config):
    """Planted findings of simulated scenes: the truth, not what a text says."""

    name: Literal["simulation"] = Field("simulation", description="A store of `medvlp simulate`.")


class ReportsSource(Config):
    """What the texts of each image say, by the rules of `data_prep.text`."""

    name: Literal["reports"] = Field("reports", description="The texts of a pairs store.")
    vocabulary: str = Field("radiology", description="A shipped vocabulary, or a YAML file of your own.")
    aspects: list[str] | None = Field(None, min_length=1, description="Kinds of texts to read; all by default.")
    entities: list[str] | None = Field(
        None, min_length=2, description="Columns of the vocabulary to keep; by default those mentioned at least once."
    )


class ClassesSource(Config):
    """Class labels and what the graph has above them; no places."""

    name: Literal["classes"] = Field("classes", description="The labels of a pairs store.")
    ancestors: int = Field(2, ge=0, description="How many steps above a class further entities are taken from.")


class EntitiesConfig(Config):
    """Entities by position for the images of a pairs store, with descriptions."""

    kind: Literal["entities"] = Field("entities", description="Which schema this file follows.")
    data: str = Field(description="Folder of the pairs store; may hold ${VAR}.")
    source: Annotated[SimulationSource | ReportsSource | ClassesSource, Field(discriminator="name")] = Field(
        description="Where it is known from."
    )
    graph: str | None = Field(None, description="Folder of the graph store: definitions, and what is a kind of what.")
    appearance: str | None = Field(
        "shipped", description="Table of how entities look: `shipped`, a YAML file of your own, or none."
    )
    definitions: int = Field(2, ge=0, description="Most definitions per entity.")
