"""Which sets, starts and methods the fine-tuning table compares."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medvlp.config import Config


class Set(Config):
    """One data set."""

    title: str = Field(description="Column of the table.")
    pairs: str = Field(description="Config of kind `pairs` that prepares it.")
    set: list[str] = Field([], description="Overrides `a.b=c` of that config.")
    classes: list[str] | None = Field(None, description="Labels to learn; all by default.")
    other: str = Field(description="The set whose aligned export is the start of the rows `other`.")
    align: list[str] = Field([], description="Overrides of the alignment on this set's training part.")


class Row(Config):
    """One method."""

    title: str = Field(description="Row of the table.")
    config: str = Field(description="Config of kind `finetune` to start from.")
    set: list[str] = Field([], description="Overrides `a.b=c` of that config.")
    seeds: list[int] = Field([0], min_length=1, description="Runs; few-shot draws its own seeds within one run.")
    sets: list[str] | None = Field(None, description="Sets the method runs on; all by default.")


class FinetuneTableConfig(Config):
    """The fine-tuning table: rows differ in their start alone, everything else is fixed in advance."""

    kind: Literal["finetune_table"] = Field("finetune_table", description="Which schema this file follows.")
    sets: dict[str, Set] = Field(min_length=1, description="Sets by short name, in the order of the table.")
    align: str = Field(description="Config of kind `align` that makes the exports.")
    align_set: list[str] = Field([], description="Overrides `a.b=c` of that config for every set.")
    image_size: int = Field(96, ge=16, description="Side of the input in pixels, for every start.")
    methods: dict[str, Row] = Field(min_length=1, description="Methods by short name, in the order of the table.")
    num_draws: int = Field(2000, ge=100, description="Bootstrap draws, by case and seed.")
