"""Batches and outputs small enough to reason about, shared by the objective tests."""

from types import SimpleNamespace

import numpy as np
import torch
from torch.nn.functional import normalize

from medvlp.objectives.base import Outputs


class ChainGraph:
    """Stands in for the hierarchy: concept k is a child of k - 1 within blocks of ``length``."""

    def __init__(self, length: int = 2) -> None:
        self.length = length

    def related(self, a, b=None):
        b = a if b is None else b
        known = (np.asarray(a)[:, None] >= 0) & (np.asarray(b) >= 0)
        return known & (np.asarray(a)[:, None] // self.length == np.asarray(b) // self.length)


def make_batch(group, owner=None, concept=None, label=None, texts=None):
    group = torch.as_tensor(group)
    owner = torch.arange(len(group)) if owner is None else torch.as_tensor(owner)
    concept = torch.full_like(group, -1) if concept is None else torch.as_tensor(concept)
    return SimpleNamespace(
        group_B=group,
        text_owner_M=owner,
        concept_B=concept,
        concepts=[(int(row),) if row >= 0 else () for row in concept],
        label_B=None if label is None else torch.as_tensor(label),
        texts=[f"text {row}" for row in range(len(owner))] if texts is None else texts,
        keys=[str(row) for row in range(len(group))],
    )


def make_outputs(num_images, num_texts, size=8, seed=0, scale=10.0, bias=-5.0):
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(num, size, generator=generator, dtype=torch.float64) for num in (num_images, num_texts)]
    image, text = (normalize(raw, dim=1).requires_grad_() for raw in draw)
    return Outputs(image, text, torch.tensor(scale, dtype=torch.float64), torch.tensor(bias, dtype=torch.float64))
