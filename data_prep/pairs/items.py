"""What every source yields: one image to be read, with whatever is known about it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from medvlp.data.pairs import Text


@dataclass
class Item:
    """One image before it is read.

    Attributes:
        key: Unique name.
        path: The image's file, or None.
        load: Gives the image, or its encoded bytes, where it is no file of its own; called from several threads.
        frame: Which frame of a file with several.
        dicom: ``load`` gives a DICOM file.
        keep_bytes: Store the bytes of ``load`` as they are: they are those of a store already.
        label: Raw label.
        labels: Raw labels of an image that may have any number; ``label`` is then None.
        texts: Texts of the source, aspect ``caption`` unless it says otherwise.
        concepts: Concept ids the source itself gives.
        split: ``train``, ``dev`` or ``test`` if given.
        case: Patient, slide or case if given.
        group: Semantic group if given.
    """

    key: str
    path: Path | None = None
    load: Callable[[], Image.Image | bytes] | None = None
    frame: int | None = None
    dicom: bool = False
    keep_bytes: bool = False
    label: str | None = None
    labels: list[str] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    concepts: list[str] = field(default_factory=list)
    split: str | None = None
    case: str | None = None
    group: str | None = None

    @property
    def all_labels(self) -> list[str]:
        """Every raw label of the image."""
        return self.labels if self.label is None else [self.label]


@dataclass
class Listing:
    """Everything a source says before any image is read; ``open`` holds what stays open until the last one is."""

    items: list[Item]
    label_names: dict[str, str] = field(default_factory=dict)
    label_concepts: dict[str, list[str]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    dropped: list[tuple[str, str]] = field(default_factory=list)  # key, reason
    open: ExitStack = field(default_factory=ExitStack)

    def note(self, what: str, count: int = 1) -> None:
        """Count something the user should know of."""
        if count > 0:
            self.notes[what] = self.notes.get(what, 0) + count
