"""Retrieval of texts by images and of images by texts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medvlp.config import Config as BaseConfig

ABILITIES = frozenset({"image", "text"})
FLOORS = ("random",)
FLOORS_OF_MODEL = ("untrained",)


class Config(BaseConfig):
    """Settings of retrieval."""

    name: Literal["retrieval"] = Field(description="Retrieval, both ways.")
