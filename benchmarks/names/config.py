"""Which arms the held-out-name benchmark trains, and on how many seeds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medvlp.config import Config


class Arm(Config):
    """One way of training: overrides of the base config and what to call it."""

    title: str = Field(description="Row of the table.")
    set: list[str] = Field([], description="Overrides `a.b=c` of the base config.")


class NamesConfig(Config):
    """The held-out-name benchmark: arms differ in their knowledge alone, at equal steps and texts per step."""

    kind: Literal["names"] = Field("names", description="Which schema this file follows.")
    base: str = Field(description="Config of kind `knowledge` that every arm starts from.")
    set: list[str] = Field([], description="Overrides `a.b=c` for every arm.")
    arms: dict[str, Arm] = Field(description="Arms by short name, in the order of the table.")
    full: str = Field(description="Arm compared with the floors and with the control.")
    control: str = Field(description="The arm whose hierarchy is rewired.")
    seeds: list[int] = Field([0, 1, 2], min_length=1, description="Seeds of training; the held-out names stay.")
    num_draws: int = Field(2000, ge=100, description="Bootstrap draws, by concept.")
