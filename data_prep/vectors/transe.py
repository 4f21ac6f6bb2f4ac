"""TransE in plain torch: what ARL starts from, without another library.

Source: Bordes et al. 2013 (TransE); L1 distance, vectors normalised in the distance, margin, Bernoulli corruption (Wang
et al. 2014) and sizes as in Chen et al. 2022 (ARL). Shapes: N concepts, R relations, T triples, K corruptions, X width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


def distance(head_TX: Tensor, relation_TX: Tensor, tail_TX: Tensor) -> Tensor:
    """L1 length of ``h + r - t`` of vectors brought to length 1; broadcasts, width last."""
    head_TX, relation_TX, tail_TX = (normalize(part, dim=-1) for part in (head_TX, relation_TX, tail_TX))
    return (head_TX + relation_TX - tail_TX).abs().sum(-1)


def margin_loss(true_T: Tensor, false_TK: Tensor, margin: float) -> Tensor:
    """Mean over corruptions of ``max(0, margin + d(true) - d(false))``."""
    return (margin + true_T[:, None] - false_TK).clamp(min=0).mean()


def head_chances(triples_T3: Tensor, num_relations: int) -> Tensor:
    """Chance (R,) that a corruption exchanges the head: tails per head over that plus heads per tail.

    So the side with fewer true answers is exchanged more often, where a corruption is less often true by accident.
    """
    chances = torch.full((num_relations,), 0.5)
    for relation in range(num_relations):
        own_T3 = triples_T3[triples_T3[:, 1] == relation]
        if len(own_T3):
            per_head = len(own_T3) / len(own_T3[:, 0].unique())
            per_tail = len(own_T3) / len(own_T3[:, 2].unique())
            chances[relation] = per_head / (per_head + per_tail)
    return chances


def corrupt(
    triples_T3: Tensor, chance_R: Tensor, num_entities: int, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Exchange head or tail of each triple by a random concept, ``count`` times; return heads and tails (T, K)."""
    shape = (len(triples_T3), count)
    other_TK = torch.randint(num_entities, shape, generator=generator)
    heads_TK = torch.rand(shape, generator=generator) < chance_R[triples_T3[:, 1]][:, None]
    head_TK = torch.where(heads_TK, other_TK, triples_T3[:, :1])
    return head_TK, torch.where(heads_TK, triples_T3[:, 2:], other_TK)


def train_transe(
    triples_T3: Tensor,
    num_entities: int,
    num_relations: int,
    *,
    dim: int,
    epochs: int,
    batches: int,
    negatives: int,
    margin: float,
    lr: float,
    seed: int,
) -> tuple[Tensor, Tensor, list[float]]:
    """Learn vectors by stochastic gradient descent.

    Args:
        triples_T3: Training triples, int64.
        num_entities: N.
        num_relations: R.
        dim: X.
        epochs: Passes.
        batches: Batches per pass.
        negatives: Corruptions of each triple.
        margin: See :func:`margin_loss`.
        lr: Learning rate.
        seed: Decides everything random.

    Returns:
        Vectors of concepts (N, X) and relations (R, X), of length 1, and the mean loss of each pass.
    """
    generator = torch.Generator().manual_seed(seed)
    limit = 6 / dim**0.5
    entity, relation = (
        nn.Embedding.from_pretrained(
            torch.empty(count, dim).uniform_(-limit, limit, generator=generator), freeze=False, sparse=True
        )
        for count in (num_entities, num_relations)
    )
    optimizer = torch.optim.SGD([entity.weight, relation.weight], lr=lr)
    chance_R = head_chances(triples_T3, num_relations)
    losses = []
    for _ in range(epochs):
        order = torch.randperm(len(triples_T3), generator=generator)
        parts = order.tensor_split(min(batches, len(triples_T3)))
        total = 0.0
        for rows in parts:
            batch_T3 = triples_T3[rows]
            head_TK, tail_TK = corrupt(batch_T3, chance_R, num_entities, negatives, generator)
            said_TX = relation(batch_T3[:, 1])
            true_T = distance(entity(batch_T3[:, 0]), said_TX, entity(batch_T3[:, 2]))
            false_TK = distance(entity(head_TK), said_TX[:, None], entity(tail_TK))
            loss = margin_loss(true_T, false_TK, margin)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
        losses.append(total / len(parts))
    with torch.no_grad():
        return normalize(entity.weight, dim=1), normalize(relation.weight, dim=1), losses
