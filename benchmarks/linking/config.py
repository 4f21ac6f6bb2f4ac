"""What the linking benchmark reads and compares."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medvlp.config import Config


class LinkingConfig(Config):
    """One corpus and one linker with all its tiers; the other arms are that linker with fewer."""

    kind: Literal["linking"] = Field("linking", description="Tells what this file configures.")
    task: Literal["ncbi", "roco"] = Field(description="NCBI-disease spans and ids, or CUIs of ROCO captions.")
    linker: str = Field(description="Configuration of kind `linker` with all tiers.")
    set: list[str] = Field([], description="Overrides `a.b=c` of that configuration.")
    train: str | None = Field(None, description="File of the training part, on which everything is fitted.")
    development: str | None = Field(None, description="File of the part that is scored; nothing is fitted on it.")
    captions: str | None = Field(None, description="ROCO's table with captions and CUIs, for task roco.")
    scispacy: bool = Field(True, description="Also measure scispaCy's candidate generator and linker (extra nlp).")
    indexes: list[Literal["light", "own"]] = Field(
        ["light"],
        min_length=1,
        description="scispaCy's indexes to measure: light (M = 20, efConstruction = 100; built in seconds) or its own "
        "(100 and 2000; built in an hour or more of a core).",
    )
    recogniser: str | None = Field(
        None, description="Installed spaCy pipeline whose recogniser runs before scispaCy's linker in one timed arm."
    )
    num_draws: int = Field(2000, ge=100, description="Bootstrap draws, by document.")
    repeats: int = Field(3, ge=1, description="Timed passes over the documents; the fastest counts.")
