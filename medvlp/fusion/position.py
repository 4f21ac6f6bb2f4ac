"""Where a tile lies, told to attention in micrometres: 2-D rotary position, and a distance bias for small bags.

Shape letters: T tiles of all bags together, S bags, X = 2 (x, y), H heads, D width of a head, F = D / 4 wavelengths,
n tiles of one bag.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medvlp.errors import ConfigError
from medvlp.fusion.attention import MAX_BIASED_TILES, too_large_for_bias

SHORTEST_UM = 100.0  # about one tile of 256 pixels at 0.5 um: neighbours differ by more than a full turn
LONGEST_UM = 100_000.0  # longer than a glass slide (75 mm): on it the slowest channels never come round
TILE_UM = 128.0


def rotary(
    centres_um_TX: Tensor, head_width: int, shortest_um: float = SHORTEST_UM, longest_um: float = LONGEST_UM
) -> Tensor:
    """Turns of channel pairs of queries and keys (RoFormer, Su et al. 2021, eq. 15, here for two axes).

    The first half of a head's channels turns with x, the second with y; each half holds F pairs whose wavelengths form
    a geometric series between the two limits, which lie in micrometres: tiles of any size and magnification share one
    scale. A score of two turned vectors depends on the difference of their places alone.

    Args:
        centres_um_TX: Centres of tiles, micrometres.
        head_width: D, a multiple of 4.
        shortest_um: Distance along an axis over which the fastest pair turns once.
        longest_um: The same for the slowest pair.

    Returns:
        float32 (T, 2, X, F): cosines, then sines, for :func:`rotate`. Computed in float32; at 100 mm from the corner an
        angle is exact to about 4e-4.

    Raises:
        ConfigError: ``head_width`` is no multiple of 4, or the limits are not ordered.
    """
    if head_width < 4 or head_width % 4:
        raise ConfigError(f"heads are {head_width} wide, rotary position needs a multiple of 4", item="position")
    if not 0 < shortest_um <= longest_um:
        raise ConfigError(f"wavelengths from {shortest_um} to {longest_um} um are not in order", item="position")
    steps_F = torch.linspace(0.0, 1.0, head_width // 4, dtype=torch.float32, device=centres_um_TX.device)
    waves_um_F = shortest_um * torch.exp(steps_F * math.log(longest_um / shortest_um))
    angles_TXF = 2 * math.pi * (centres_um_TX.float()[:, :, None] / waves_um_F)
    return torch.stack((angles_TXF.cos(), angles_TXF.sin()), 1)


def rotate(x_THD: Tensor, turns_T2XF: Tensor) -> Tensor:
    """Turn queries or keys by what :func:`rotary` returned; computed in float32, returned in the input's dtype.

    Every backend sees queries and keys that are turned already, so position means the same on all of them.
    """
    tiles, heads, width = x_THD.shape
    cos_T1XF, sin_T1XF = turns_T2XF[:, None].unbind(2)
    first, second = x_THD.float().view(tiles, heads, 2, 2, width // 4).unbind(3)
    turned = (first * cos_T1XF - second * sin_T1XF, first * sin_T1XF + second * cos_T1XF)
    return torch.stack(turned, 3).view(tiles, heads, width).to(x_THD.dtype)


def alibi_bias(centres_um_TX: Tensor, lengths_S: Tensor, heads: int, tile_um: float = TILE_UM) -> list[Tensor]:
    """Penalty on the distance of tiles, one matrix per bag (ALiBi, Press et al. 2022; over two axes as in TITAN).

    Head h = 1..H subtracts 2 ** (-8 h / H) for each ``tile_um`` of straight distance.

    Args:
        centres_um_TX: Centres of tiles, micrometres.
        lengths_S: int64 on the host, tiles per bag.
        heads: H.
        tile_um: The distance that counts as 1, micrometres.

    Returns:
        For each bag a float32 (H, n, n), to be passed to ``packed_attention(bias=...)``.

    Raises:
        DataError: A bag has more than ``MAX_BIASED_TILES`` tiles: the matrix of a whole slide does not fit in memory.
    """
    lengths: list[int] = lengths_S.tolist()
    if max(lengths) > MAX_BIASED_TILES:
        raise too_large_for_bias(max(lengths))
    slopes_H = torch.exp2(-8.0 * torch.arange(1, heads + 1, device=centres_um_TX.device) / heads)
    distances = [_distance(bag_nX) / tile_um for bag_nX in centres_um_TX.float().split(lengths)]
    return [-slopes_H[:, None, None] * distance_nn for distance_nn in distances]


def _distance(centres_nX: Tensor) -> Tensor:
    # the faster mode multiplies matrices, which at 50 mm from the corner is off by whole tiles
    return torch.cdist(centres_nX, centres_nX, compute_mode="donot_use_mm_for_euclid_dist")
