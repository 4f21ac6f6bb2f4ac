"""Tiles of several slides, one after the other, without padding.

Shape letters: S slides, T tiles of all slides together, D feature width, X = 2 (x, y).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medvlp.errors import DataError


@dataclass(frozen=True)
class TileBag:
    """A pack of slides.

    Attributes:
        features_TD: float32 tiles, slide after slide.
        lengths_S: int64 tiles per slide, each at least 1; they sum to T.
        centres_um_TX: float32 centres of the tiles in micrometres from the slide's top-left corner; None if unknown.
    """

    features_TD: Tensor
    lengths_S: Tensor
    centres_um_TX: Tensor | None = None

    def __post_init__(self) -> None:
        tiles = int(self.lengths_S.sum())
        if self.features_TD.ndim != 2 or len(self.features_TD) != tiles:
            raise DataError(f"lengths sum to {tiles}, features are {tuple(self.features_TD.shape)}", item="bag")
        if len(self.lengths_S) == 0 or int(self.lengths_S.min()) < 1:
            raise DataError("a slide has no tiles", item="bag", remedy="leave slides without tissue out")
        if self.centres_um_TX is not None and self.centres_um_TX.shape != (tiles, 2):
            raise DataError(f"expected ({tiles}, 2) centres, got {tuple(self.centres_um_TX.shape)}", item="bag")

    @classmethod
    def pack(cls, features: Sequence[Tensor], centres_um: Sequence[Tensor] | None = None) -> TileBag:
        """Join slides, each (N, D) with centres (N, X)."""
        lengths = torch.tensor([len(slide_ND) for slide_ND in features], dtype=torch.int64)
        if not len(lengths) or int(lengths.min()) < 1:
            raise DataError("a slide has no tiles", item="bag", remedy="leave slides without tissue out")
        return cls(torch.cat(list(features)), lengths, None if centres_um is None else torch.cat(list(centres_um)))

    def __len__(self) -> int:
        return len(self.lengths_S)

    @property
    def owner_T(self) -> Tensor:
        """Slide of each tile, (T,) int64."""
        slides = torch.arange(len(self.lengths_S), device=self.features_TD.device)
        return slides.repeat_interleave(self.lengths_S.to(slides.device), output_size=len(self.features_TD))

    def to(self, device: torch.device | str) -> TileBag:
        """Return the pack on a device; the lengths stay where they are (they are read on the host)."""
        centres = None if self.centres_um_TX is None else self.centres_um_TX.to(device)
        return TileBag(self.features_TD.to(device), self.lengths_S, centres)
