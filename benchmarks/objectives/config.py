"""What the table of objectives compares."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medvlp.config import Config
from medvlp.training.report_pairs import ReportsHoldout

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$")]
Knowledge = Literal["real", "permuted", "none"]


class TableSet(Config):
    """One set of images with texts."""

    title: str = Field(description="Heading in the table.")
    simulation: str | None = Field(None, description="Config of kind `simulation`; or `pairs`.")
    pairs: str | None = Field(None, description="Config of kind `pairs`; or `simulation`.")
    set: list[str] = Field([], description="Overrides `a.b=c` of that config.")
    already_deidentified: bool = Field(False, description="The user's word that its texts hold no identifying data.")
    entities: str = Field(description="Config of kind `entities`.")
    triples: str | None = Field(
        None, description="Config of kind `entities` for methods that read triples of the texts; `entities` by default."
    )
    templates: str = Field("general", description="Wordings of captions made of names while training.")
    prompts: str = Field("plain", description="Wordings of the classes that are asked.")
    aspect: str | None = Field(None, description="Kind of texts to retrieve; none by default.")
    classes: list[str] | None = Field(None, description="Classes that are asked; all by default.")
    methods: list[Name] | None = Field(None, description="Methods that run on it; all by default.")
    align_set: list[str] = Field([], description="Overrides of alignments on it, between the table's and the method's.")

    @model_validator(mode="after")
    def _one_source(self) -> TableSet:
        if (self.simulation is None) == (self.pairs is None):
            raise ValueError("name one of simulation and pairs")
        return self


class Method(Config):
    """One objective with its recipe."""

    title: str = Field(description="Row of the table.")
    align: str = Field(description="Config of kind `align`.")
    triples: bool = Field(False, description="It reads triples of the texts: entities are the set's `triples`.")
    set: list[str] = Field([], description="Overrides `a.b=c` of that config, after the table's.")


class Codes(Config):
    """Findings of reports as people coded them: headings with qualifiers behind slashes, parted by semicolons."""

    column: str = Field("mesh_major", description="Column of the reports' table.")
    normal: str = Field("normal", description="The code of a report without findings, which is not asked for.")
    not_coded: str = Field("No Indexing", description="The code of reports that nobody coded; they are left out.")
    left_out: list[str] = Field([], description="Headings that are no findings.")
    fewest: int = Field(10, ge=1, description="Held-out reports a heading must have.")


class TextMethod(Config):
    """A recipe that learns from texts alone."""

    title: str = Field(description="Row of the table.")
    knowledge: str = Field(description="Config of kind `knowledge` with `reports`.")
    set: list[str] = Field([], description="Overrides `a.b=c` of that config.")


class TextSet(Config):
    """Reports without images."""

    title: str = Field(description="Heading in the table.")
    reports: str = Field(description="Config of kind `reports`, with a table as its source.")
    set: list[str] = Field([], description="Overrides `a.b=c` of that config.")
    already_deidentified: bool = Field(False, description="The user's word that its texts hold no identifying data.")
    holdout: ReportsHoldout = Field(ReportsHoldout(), description="Reports that are asked about.")
    codes: Codes = Field(Codes(), description="What people found in them.")
    methods: dict[Name, TextMethod] = Field(min_length=1, description="Recipes by short name.")


class ObjectiveTableConfig(Config):
    """The table; see ``configs/objective_table.yaml``."""

    kind: Literal["objective_table"] = Field("objective_table", description="Which schema this file follows.")
    graph: str = Field(description="Config of kind `graph`.")
    sets: dict[Name, TableSet] = Field(min_length=1, description="Sets by short name, in the order of the table.")
    texts: dict[Name, TextSet] = Field({}, description="Reports without images by short name, after the sets.")
    align_set: list[str] = Field([], description="Overrides of every alignment, before the method's own.")
    methods: dict[Name, Method] = Field(min_length=1, description="Methods by short name, in the order of the table.")
    arms: list[Knowledge] = Field(["real", "permuted", "none"], min_length=1, description="Kinds of knowledge.")
    seeds: list[int] = Field([0, 1, 2], min_length=1, description="Seeds of training and of both controls.")
    compare: list[str] = Field(
        ["auroc", "auroc_names", "recall_at_5", "pointing", "consistency"],
        min_length=1,
        description="Scores whose gain by knowledge is judged, so far as a set has them.",
    )
    num_draws: int = Field(1000, ge=100, description="Bootstrap draws of cases.")

    @model_validator(mode="after")
    def _names_exist(self) -> ObjectiveTableConfig:
        for name, one in self.sets.items():
            for method in one.methods or ():
                if method not in self.methods:
                    raise ValueError(f"set {name} names the method {method!r}, which methods does not have")
        if both := sorted(self.sets.keys() & self.texts.keys()):
            raise ValueError(f"{both[0]} names both a set and texts")
        for what, values in (("seed", self.seeds), ("arm", self.arms)):
            if len(set(values)) != len(values):
                raise ValueError(f"one {what} comes twice, which would count one run as two")
        return self

    def methods_of(self, set_name: str) -> list[str]:
        """Return the methods that run on a set, in the order of the table."""
        if set_name in self.texts:
            return list(self.texts[set_name].methods)
        wanted = self.sets[set_name].methods
        return [name for name in self.methods if wanted is None or name in wanted]

    def title_of(self, set_name: str, method: str) -> str:
        """Return a method's row."""
        found = self.texts[set_name].methods[method] if set_name in self.texts else self.methods[method]
        return found.title
