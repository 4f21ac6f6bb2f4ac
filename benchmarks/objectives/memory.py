"""A frozen text tower that encodes each text once, for all runs of a process.

Shape legend: M texts, L tokens, I tower width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from medvlp.encoders.text import TextEncoder
from medvlp.training.features import tower_digest

MOST_POOLED, MOST_BY_TOKEN = 20_000, 5_000  # the last ones met: randomly masked texts never come back

_Memory = OrderedDict[bytes, Tensor]


class TextMemory:
    """What frozen text towers said, by the towers' digest."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[_Memory, _Memory]] = {}

    def attach(self, tower: Any) -> None:
        """Let a tower that never changes encode each text once; features equal its own up to rounding.

        Args:
            tower: Frozen tower in eval mode; others than a :class:`TextEncoder` stay as they are.
        """
        if not isinstance(tower, TextEncoder):
            return
        new: tuple[_Memory, _Memory] = OrderedDict(), OrderedDict()
        pooled, by_token = self._known.setdefault(tower_digest(tower), new)
        encode, with_tokens = tower.forward, tower.with_tokens

        def forward(ids_ML: Tensor, mask_ML: Tensor) -> Tensor:
            return torch.stack(_recall(pooled, MOST_POOLED, encode, ids_ML, mask_ML))

        def tokens(ids_ML: Tensor, mask_ML: Tensor) -> tuple[Tensor, Tensor]:
            def joined(ids_NL: Tensor, mask_NL: Tensor) -> Tensor:  # row 0 is the pooled vector, then one per token
                pooled_NI, words_NLI = with_tokens(ids_NL, mask_NL)
                return torch.cat([pooled_NI[:, None], words_NLI], 1)

            found = _recall(by_token, MOST_BY_TOKEN, joined, ids_ML, mask_ML, cut=True)
            words_MLI = found[0].new_zeros(*ids_ML.shape, found[0].shape[1])
            for row, (mask_L, one_LI) in enumerate(zip(mask_ML.bool(), found, strict=True)):
                words_MLI[row, mask_L] = one_LI[1:]
            return torch.stack([one_LI[0] for one_LI in found]), words_MLI

        tower.forward = forward  # type: ignore[method-assign]
        tower.with_tokens = tokens  # type: ignore[method-assign]


def _recall(
    known: _Memory,
    most: int,
    encode: Callable[[Tensor, Tensor], Tensor],
    ids_ML: Tensor,
    mask_ML: Tensor,
    *,
    cut: bool = False,
) -> list[Tensor]:
    """Return what is known of each text, after encoding the new ones; ``cut`` leaves padding out of what is kept."""
    keys = [ids_L[mask_L].numpy().tobytes() for ids_L, mask_L in zip(ids_ML, mask_ML.bool(), strict=True)]
    new = {key: row for row, key in enumerate(keys) if key not in known}
    if new:
        rows = list(new.values())
        with torch.no_grad():
            found = encode(ids_ML[rows], mask_ML[rows])
        for key, row, value in zip(new, rows, found, strict=True):
            if cut:
                first = torch.ones(1, dtype=torch.bool)
                value = value[torch.cat([first, mask_ML[row].bool()])]
            known[key] = value.clone()
    out = [known[key] for key in keys]
    for key in keys:
        known.move_to_end(key)
    while len(known) > most:
        known.popitem(last=False)
    return out
