"""Hidden tokens as augmentation: some texts of a step lose a part of their tokens.

Source: Zhang et al. 2023 (KAD), first stage: half of the texts, 15 % of their tokens, of these 80 % the mask, 10 %
another token, 10 % as they are. Shapes: M texts, L tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from torch import Tensor

MASKED, RANDOM = 0.8, 0.1


def hide_tokens(
    ids_ML: Tensor,
    mask_ML: Tensor,
    rngs: Sequence[np.random.Generator],
    *,
    share: float,
    rate: float,
    mask_id: int,
    num_tokens: int,
    special: Collection[int],
) -> Tensor:
    """Return token ids (M, L) of which some are hidden.

    Args:
        ids_ML: Token ids.
        mask_ML: 1 on real tokens.
        rngs: One generator for each text, so that what it loses hangs neither on its neighbours nor on padding.
        share: Chance of a text to lose any.
        rate: Chance of each of its tokens.
        mask_id: Id of the mask.
        num_tokens: Size of the vocabulary.
        special: Ids that always stay.
    """
    out_ML = ids_ML.clone()
    for text, rng in enumerate(rngs):
        length = int(mask_ML[text].sum())
        ids_L = ids_ML[text, :length].numpy()
        chosen, chance_2L, other_L = (
            rng.random() < share,
            rng.random((2, length)),
            rng.integers(num_tokens, size=length),
        )
        if chosen:
            hidden_L = (chance_2L[0] < rate) & ~np.isin(ids_L, list(special))
            shown_L = np.where(chance_2L[1] < MASKED, mask_id, ids_L)
            shown_L = np.where((chance_2L[1] >= MASKED) & (chance_2L[1] < MASKED + RANDOM), other_L, shown_L)
            out_ML[text, :length] = out_ML.new_tensor(np.where(hidden_L, shown_L, ids_L))
    return out_ML
