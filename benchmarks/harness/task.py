"""A task as data: which images or slides, which classes, how it is asked, what is known to be wrong with it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from benchmarks.harness.protocols.settings import ProtocolSettings
from medvlp.config import Config
from medvlp.zeroshot.prompts import PromptConfig

SplitName = Literal["train", "dev", "test"]


class PairsData(Config):
    """Images that become, or already are, a pairs store."""

    form: Literal["pairs"] = Field("pairs", description="Images with classes, texts and cases.")
    config: str | None = Field(None, description="Config of kind `pairs`; the store is made once below the output.")
    set: list[str] = Field([], description="Overrides `a.b=c` of that config (or of `simulation`).")
    simulation: str | None = Field(None, description="Config of kind `simulation`, instead of `config`.")
    store: str | None = Field(None, description="Folder of a ready pairs store, instead of either.")
    already_deidentified: bool = Field(False, description="The user's word that its texts hold no identifying data.")


class SlidesData(Config):
    """Whole slides: a list from a standard set's adapter or a planted set, and the tiles' vectors per model."""

    form: Literal["slides"] = Field("slides", description="Whole slides with a label each.")
    source: dict[str, object] | None = Field(None, description="Adapter of a standard set: `name` and its options.")
    table: str | None = Field(None, description="Table with columns slide, label, case, split (and outline).")
    planted: str | None = Field(None, description="Config of kind `planted_slides`, or a folder already made of one.")
    set: list[str] = Field([], description="Overrides `a.b=c` of the planted config.")


class FilesData(Config):
    """Inputs that a protocol reads itself, by name."""

    form: Literal["files"] = Field("files", description="Named files and folders.")
    files: dict[str, str] = Field({}, description="Path of each input.")


Data = Annotated[PairsData | SlidesData | FilesData, Field(discriminator="form")]


class Expect(Config):
    """What the scored data has to be; anything else stops the run."""

    num: dict[SplitName, int] = Field({}, description="Labelled rows of each split.")
    classes: dict[str, int] = Field({}, description="Rows of each class in the scored split.")
    sha256: str | None = Field(None, description="Digest of keys, cases and truth of the scored split.")


class Subgroups(Config):
    """Where age, sex, site or scanner of each image stands."""

    table: str = Field(description="CSV with one row per image.")
    key: str = Field(description="Its column with the image's key.")
    columns: dict[str, Literal["category"] | list[float]] = Field(
        description="Columns to group by: `category`, or edges of number ranges."
    )


class TaskConfig(Config):
    """One data set with the protocols it is scored by."""

    kind: Literal["task"] = Field("task", description="Which schema this file follows.")
    title: str = Field(description="Heading.")
    citation: str = Field(description="Whom to cite, in one line.")
    licence: str = Field(description="Licence of the data.")
    homepage: str | None = Field(None, description="Where the data is.")
    defects: list[str] = Field([], description="What is known to be wrong with the set.")
    dataset: str | None = Field(None, description="Its name in the table of what encoders have seen.")
    data: Data = Field(description="The images, slides or files.")
    graph: str | None = Field(None, description="Graph of this task instead of the grid's.")
    split: SplitName = Field("test", description="Split to score.")
    fit_split: SplitName = Field("dev", description="Split that thresholds and temperatures are fitted on; never test.")
    mode: Literal["single", "multi"] = Field("single", description="One class per image, or any number.")
    classes: list[str] | None = Field(None, description="Classes to score; all of the store's by default.")
    class_concepts: dict[str, list[str]] = Field({}, description="Concept ids per class, over those of the store.")
    positive: str | None = Field(None, description="The one class that ranking scores are about.")
    prompts: PromptConfig = Field(default_factory=PromptConfig, description="How prompts are made.")
    subgroups: Subgroups | None = Field(None, description="Groups whose scores are compared.")
    expect: Expect = Field(default_factory=Expect, description="What the data has to be.")
    protocols: list[ProtocolSettings] = Field(min_length=1, description="How it is asked; each is a row of the grid.")
