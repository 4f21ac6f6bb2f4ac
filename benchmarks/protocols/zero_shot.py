"""Zero-shot diagnosis, one class per image or several findings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medvlp.config import Config as BaseConfig

ABILITIES = frozenset({"image", "text"})
FLOORS = ("prior", "colour-histogram")
FLOORS_OF_MODEL = ("untrained", "text-only", "permuted-graph")


class Config(BaseConfig):
    """Settings of zero-shot diagnosis."""

    name: Literal["zero_shot"] = Field(description="Zero-shot diagnosis.")
