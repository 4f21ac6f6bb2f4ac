"""Which tokens are hidden in a step: those of nodes of triples, or as many others under a control.

Source: Yu et al. 2021 (ERNIE-ViL), scene-graph prediction: nodes of one kind are hidden whole while the other kinds
stay. Devlin et al. 2019 (BERT), section 3.1: what takes the place of a hidden token. All draws come from torch's
generator, which each step seeds by the run's seed and the step.
Shapes: M texts, L tokens, K kinds of nodes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.data.batch import NODES


def draw_nodes(node_ML: Tensor, kind_ML: Tensor, rate: float, counts_M: Tensor) -> Tensor:
    """Choose for each text one of the kinds of nodes it has, and hide each node of that kind at a rate.

    Args:
        node_ML: Node of each token, see :class:`medvlp.data.batch.Batch`.
        kind_ML: Its kind.
        rate: Chance of a node of the chosen kind.
        counts_M: False for texts of which nothing is hidden.

    Returns:
        True on hidden tokens (M, L).
    """
    kinds = torch.arange(len(NODES), device=kind_ML.device)
    has_MK = (kind_ML[:, :, None] == kinds).any(1)
    kind_M1 = torch.rand(has_MK.shape, device=kind_ML.device).masked_fill(~has_MK, -1.0).argmax(1, keepdim=True)
    # A text has no more nodes than tokens, so that one number for each token is enough.
    chance_ML = torch.rand(node_ML.shape, device=node_ML.device).gather(1, node_ML.clamp(min=0))
    return (chance_ML < rate) & (node_ML >= 0) & (kind_ML == kind_M1) & counts_M[:, None]


def redraw(hidden_ML: Tensor, kind_ML: Tensor, node_ML: Tensor, knowledge: str) -> tuple[Tensor, Tensor]:
    """Hide as many tokens of each text, counted as the same kinds, elsewhere.

    Args:
        hidden_ML: What :func:`draw_nodes` chose.
        kind_ML: Kind of each token's node.
        node_ML: Node of each token; negative for none, -2 for what is never hidden.
        knowledge: ``real`` changes nothing. ``permuted``: first where another text of the batch, by a random
            derangement, has nodes, then anywhere. ``none``: anywhere.

    Returns:
        True on hidden tokens (M, L), and the kind each counts as; -1 on others.
    """
    if knowledge == "real":
        return hidden_ML, torch.where(hidden_ML, kind_ML, -1)
    score_ML = torch.rand(node_ML.shape, device=node_ML.device)
    if knowledge == "permuted" and len(node_ML) > 1:
        shift = int(torch.randint(1, len(node_ML), ()))  # drawn on the CPU: no wait for the device
        score_ML = score_ML + (node_ML.roll(shift, 0) < 0)
    score_ML = score_ML.masked_fill(node_ML == -2, torch.inf)
    count_M1 = hidden_ML.sum(1, keepdim=True)
    rank_ML = score_ML.argsort(dim=1, stable=True).argsort(dim=1)
    elsewhere_ML = rank_ML < count_M1
    # The r-th of the new tokens counts as what the r-th of the old ones was.
    kinds_ML = kind_ML.gather(1, (~hidden_ML).long().argsort(dim=1, stable=True))
    return elsewhere_ML, torch.where(elsewhere_ML, kinds_ML.gather(1, rank_ML), -1)


def corrupt(
    ids_ML: Tensor, hidden_ML: Tensor, mask_id: int, vocabulary: int, *, masked: float = 0.8, random: float = 0.1
) -> Tensor:
    """Put the mask in the place of most hidden tokens, a random token in that of some, and leave the rest.

    Args:
        ids_ML: Token ids.
        hidden_ML: True on hidden tokens.
        mask_id: Id of the mask.
        vocabulary: Number of ids to draw from.
        masked: Share that becomes the mask.
        random: Share that becomes a random token.
    """
    chance_ML = torch.rand(ids_ML.shape, device=ids_ML.device)
    other_ML = torch.randint(vocabulary, ids_ML.shape, device=ids_ML.device)
    shown_ML = torch.where(chance_ML < masked, mask_id, torch.where(chance_ML < masked + random, other_ML, ids_ML))
    return torch.where(hidden_ML, shown_ML, ids_ML)


def wrong_images(ids_ML: Tensor, owner_M: Tensor, group_B: Tensor, counts_M: Tensor) -> tuple[Tensor, Tensor]:
    """Draw for each text an image it is not true of: of another group, and without an equal text.

    Args:
        ids_ML: Token ids.
        owner_M: Image of each text.
        group_B: Group of each image.
        counts_M: False for texts that count for nothing.

    Returns:
        Rows of images (M,), and whether there is any (M,).
    """
    equal_MM = (ids_ML[:, None] == ids_ML).all(2) & counts_M
    owned_MB = owner_M[:, None] == torch.arange(len(group_B), device=owner_M.device)
    says_MB = equal_MM.float() @ owned_MB.float() > 0
    wrong_MB = (group_B[owner_M][:, None] != group_B) & ~owned_MB & ~says_MB
    row_M = torch.rand(wrong_MB.shape, device=owner_M.device).masked_fill(~wrong_MB, -1.0).argmax(1)
    return row_M, wrong_MB.any(1) & counts_M
