"""How well vectors answer held-out triples: filtered rank of the true head and tail, with two floors.

Scores: TransE ``-||h + r - t||_1``, DistMult ``<h, r, t>``, ComplEx ``Re <h, r, conj t>``, RotatE ``-||h o r - t||_2``.
Shapes: Q questions, N concepts, T triples, X numbers of a vector; complex vectors have their real parts first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_prep.vectors.config import ModelName
from data_prep.vectors.triples import Rows

HITS = (1, 3, 10)
_BATCH = 64
Answer = Callable[[Rows, str], Tensor]
"""Questions (triples) and the side that is asked for, ``head`` or ``tail``, to scores of all concepts (Q, N)."""


def answers(model: ModelName, entity_NX: NDArray[np.float32], relation_RX: NDArray[np.float32]) -> Answer:
    """Return the scores of a model's vectors."""
    entity, relation = _numbers(model, entity_NX), _numbers(model, relation_RX)

    def answer(triples_Q3: Rows, side: str) -> Tensor:
        head_Q, relation_Q, tail_Q = torch.from_numpy(triples_Q3).T
        said_QX, known_QX = relation[relation_Q], entity[tail_Q if side == "head" else head_Q]
        if model in ("distmult", "complex"):  # <h, r, conj t>, where conj of a real number is itself
            mixed_QX = known_QX.conj() * said_QX if side == "head" else (known_QX * said_QX).conj()
            return (mixed_QX @ entity.T).real
        order, turned = (1.0, known_QX - said_QX) if model == "transe" else (2.0, known_QX * said_QX.conj())
        if side == "tail":
            turned = known_QX + said_QX if model == "transe" else known_QX * said_QX
        return -torch.cdist(_flat(turned), _flat(entity), p=order)

    return answer


def _numbers(model: ModelName, vectors: NDArray[np.float32]) -> Tensor:
    numbers = torch.from_numpy(vectors)
    if model not in ("complex", "rotate"):
        return numbers
    real, imaginary = numbers.chunk(2, 1)
    return torch.complex(real.contiguous(), imaginary.contiguous())


def _flat(numbers: Tensor) -> Tensor:
    return torch.view_as_real(numbers).flatten(1) if numbers.is_complex() else numbers


def frequencies(train_T3: Rows, num_entities: int, num_relations: int) -> Answer:
    """A floor that knows no vector: how often a concept stood at that end of that relation in training."""
    counts = {side: torch.zeros(num_relations, num_entities) for side in ("head", "tail")}
    for side, column in (("head", 0), ("tail", 2)):
        np.add.at(counts[side].numpy(), (train_T3[:, 1], train_T3[:, column]), 1)
    return lambda triples_Q3, side: counts[side][torch.from_numpy(triples_Q3[:, 1])]


def filtered_ranks(answer: Answer, triples_Q3: Rows, known_T3: Rows) -> dict[str, NDArray[np.float64]]:
    """Rank of the true head and of the true tail of each triple (Q,), first is 1.

    Other true answers, of any split, are taken out. Among equal scores the rank is the mean of the best and the worst.

    Args:
        answer: Scores; higher is likelier.
        triples_Q3: What is asked.
        known_T3: All true triples.
    """
    ranks: dict[str, list[NDArray[np.float64]]] = {"head": [], "tail": []}
    for side, kept, asked in (("head", 2, 0), ("tail", 0, 2)):
        true: dict[tuple[int, int], list[int]] = {}
        for triple in known_T3.tolist():
            true.setdefault((triple[kept], triple[1]), []).append(triple[asked])
        for start in range(0, len(triples_Q3), _BATCH):
            batch_Q3 = triples_Q3[start : start + _BATCH]
            score_QN = answer(batch_Q3, side).double()
            wanted_Q = torch.from_numpy(batch_Q3[:, asked])
            wanted_Q1 = score_QN.gather(1, wanted_Q[:, None])
            others = [
                (row, other)
                for row, triple in enumerate(batch_Q3.tolist())
                for other in true.get((triple[kept], triple[1]), ())
            ]
            if others:
                rows, columns = torch.tensor(others).T
                score_QN[rows, columns] = float("-inf")
            score_QN.scatter_(1, wanted_Q[:, None], float("-inf"))
            above_Q, equal_Q = (score_QN > wanted_Q1).sum(1), (score_QN == wanted_Q1).sum(1)
            ranks[side].append((1 + above_Q + equal_Q / 2).numpy().astype(np.float64))
    return {side: np.concatenate(parts) if parts else np.zeros(0) for side, parts in ranks.items()}


def summary(ranks: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    """Return mean reciprocal rank and hits, over both sides and by side; nothing where nothing was asked."""

    def of(values: NDArray[np.float64]) -> dict[str, float]:
        hits = {f"hits@{most}": float((values <= most).mean()) for most in HITS}
        return {"mrr": float((1 / values).mean()), **hits, "mean_rank": float(values.mean())}

    both = np.concatenate(list(ranks.values()))
    if len(both) == 0:
        return {"questions": 0}
    return {"questions": len(both), **of(both), "by_side": {side: of(values) for side, values in ranks.items()}}


def chance(num_entities: int) -> float:
    """Mean reciprocal rank of a random order."""
    return float((1 / np.arange(1, num_entities + 1)).mean())
