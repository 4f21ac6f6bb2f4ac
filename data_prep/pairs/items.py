"""What every source yields: one image to be read, with whatever is known about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image


@dataclass
class Item:
    """One image before it is read; ``load`` replaces ``path`` where the image is cut out of a larger one."""

    key: str
    path: Path | None = None
    load: Callable[[], Image.Image] | None = None
    label: str | None = None
    texts: list[str] = field(default_factory=list)
    split: str | None = None
    case: str | None = None
    group: str | None = None


@dataclass
class Listing:
    """Everything a source says before any image is read."""

    items: list[Item]
    label_names: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    has_free_text: bool = False
    notes: dict[str, int] = field(default_factory=dict)
    dropped: list[tuple[str, str]] = field(default_factory=list)  # key, reason
