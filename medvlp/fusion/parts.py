"""What slide encoders share: their output, softmax and sums over the tiles of each slide, small layers.

Shape letters: S slides, T tiles of all slides together, D slide width, H heads, E = D / H.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medvlp.errors import ConfigError, DataError
from medvlp.fusion.bag import TileBag


@dataclass(frozen=True)
class SlideOutput:
    """What a slide encoder gives.

    Attributes:
        slide_SD: One vector per slide.
        tile_TD: One vector per tile, as the encoder sees it; None if it keeps none.
        attention_T: Share of each tile in its slide's vector, averaged over heads; sums to 1 per slide. None where no
            such share is defined.
    """

    slide_SD: Tensor
    tile_TD: Tensor | None = None
    attention_T: Tensor | None = None


def segment_softmax(scores_TH: Tensor, owner_T: Tensor, slides: int) -> Tensor:
    """Softmax over the tiles of each slide, in float32 or wider; each slide's largest score is subtracted first."""
    wide_TH = scores_TH if scores_TH.dtype == torch.float64 else scores_TH.float()
    index_TH = owner_T[:, None].expand_as(wide_TH)
    lowest_SH = wide_TH.new_full((slides, wide_TH.shape[1]), -torch.inf)
    top_SH = lowest_SH.scatter_reduce(0, index_TH, wide_TH.detach(), "amax")
    weights_TH = (wide_TH - top_SH[owner_T]).exp()
    return weights_TH / segment_sum(weights_TH, owner_T, slides)[owner_T]


def segment_sum(values_TC: Tensor, owner_T: Tensor, slides: int) -> Tensor:
    """Sum over the tiles of each slide; trailing dimensions stay."""
    return values_TC.new_zeros(slides, *values_TC.shape[1:]).index_add(0, owner_T, values_TC)


def weighted_sum(values_TD: Tensor, weights_TH: Tensor, owner_T: Tensor, slides: int) -> Tensor:
    """Sum of tiles by weight, (S, D) in the weights' dtype; head h weighs the h-th part of the channels."""
    tiles, heads = weights_TH.shape
    parts_THE = values_TD.to(weights_TH.dtype).view(tiles, heads, -1) * weights_TH[:, :, None]
    return segment_sum(parts_THE, owner_T, slides).flatten(1)


def heads_of(x: Tensor, heads: int) -> Tensor:
    """Cut the channels (rows, D) into heads (rows, H, E)."""
    return x.view(len(x), heads, -1)


def check_heads(width: int, heads: int, item: str) -> None:
    """Raise a :class:`ConfigError` unless the width is a whole number of heads."""
    if width % heads:
        raise ConfigError(f"width {width} is no multiple of {heads} heads", item=item)


def check_width(bag: TileBag, width_in: int, item: str) -> None:
    """Raise a :class:`DataError` unless the tiles are as wide as the encoder was built for."""
    found = bag.features_TD.shape[1]
    if found != width_in:
        raise DataError(
            f"takes tiles of width {width_in}, got {found}", item=item, remedy="use the features it was built for"
        )


def centres_of(bag: TileBag, item: str) -> Tensor:
    """Return the centres of a pack.

    Raises:
        DataError: The pack holds none.
    """
    if bag.centres_um_TX is None:
        raise DataError(
            "needs the places of tiles", item=item, remedy="use features with coordinates, or position: none"
        )
    return bag.centres_um_TX


class FeedForward(nn.Sequential):
    """Two linear layers with GELU between them."""

    def __init__(self, width: int, ratio: float, dropout: float) -> None:
        hidden = int(width * ratio)
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width))


class QueryPool(nn.Module):
    """A learned query attends to the tiles of each slide, like the class token of a transformer, at linear cost."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query_HE = nn.Parameter(torch.randn(heads, width // heads))
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tile_TD: Tensor, owner_T: Tensor, slides: int) -> tuple[Tensor, Tensor]:
        """Return (S, D) and the mean weight of each tile over heads, (T,)."""
        key_TD, value_TD = self.key_value(tile_TD).chunk(2, 1)
        key_THE = heads_of(key_TD, len(self.query_HE))
        scores_TH = (key_THE * self.query_HE).sum(-1) / self.query_HE.shape[1] ** 0.5
        weights_TH = segment_softmax(scores_TH, owner_T, slides)
        pooled_SD = weighted_sum(value_TD, weights_TH, owner_T, slides)
        return self.out(pooled_SD), weights_TH.mean(1)
