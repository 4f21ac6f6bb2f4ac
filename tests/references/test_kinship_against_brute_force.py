"""The contrast by kinship equals loops, gradients too; a flipped operator is noticed; order changes nothing."""

import brute_force_kinship as loops
import brute_force_mutants as mutation
import numpy as np
import pytest
import torch
from scipy import sparse
from torch.nn.functional import normalize

from medvlp.data.batch import Item, collate
from medvlp.objectives import kinship
from medvlp.objectives.base import Outputs
from medvlp.objectives.gather import LocalGather
from medvlp.objectives.kinship import KinshipObjective, kinship_loss


def cases():
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        count = 1 + seed % 7
        kin = torch.rand(count, count, generator=generator, dtype=torch.float64)
        kin = (kin + kin.T) / 2
        if seed % 3 == 0:
            kin[torch.rand(count, count, generator=generator) < 0.4] = float("-inf")
        if seed % 10 == 9:
            kin[:] = float("-inf")
        yield torch.randn(count, 4, generator=generator, dtype=torch.float64), kin, 0.2 + 0.1 * (seed % 4)


def compare(function):
    for free_MD, kinship_MM, temperature in cases():
        found, wanted = [], []
        for loss_of, out in ((function, found), (loops.kinship_loss, wanted)):
            leaf = free_MD.clone().requires_grad_()
            loss = loss_of(normalize(leaf, dim=1), kinship_MM, temperature)
            (gradient,) = torch.autograd.grad(loss, leaf)
            out += [loss.detach(), gradient]
        torch.testing.assert_close(found[0], torch.as_tensor(wanted[0], dtype=torch.float64), atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(found[1], wanted[1], atol=1e-8, rtol=1e-7)


def test_value_and_gradient_equal_the_loops():
    compare(kinship_loss)


def test_every_flipped_operator_is_noticed(tmp_path):
    found = [one for one in mutation.mutants(kinship_loss, "medvlp") if one.owner.__module__ == kinship.__name__]
    survivors = []
    for mutant in found:
        with mutation.swapped_in(mutant, kinship_loss, "medvlp", tmp_path) as broken:
            if not mutation.fails(compare, broken):
                survivors.append(mutant.text)
    assert survivors == []
    assert len(found) >= 2


class Tree:
    """root 0; 1 and 2 below it; 3 and 4 below 1; 5 below 2."""

    @property
    def closure(self):
        above = np.eye(6, dtype=bool)
        above[:, 0] = True
        above[[3, 4], 1] = True
        above[5, 2] = True
        return sparse.csr_matrix(above)


def objective_loss(rows, text_MD, graph):
    items = [Item(str(row), row, ["x", "y"], (row,) if row >= 0 else ()) for row in rows]
    batch = collate(items, lambda texts: (torch.zeros(len(texts), 1), torch.ones(len(texts), 1)), labels=False)
    return KinshipObjective(KinshipObjective.Config(temperature=0.3), graph)(
        Outputs(None, text_MD, 1.0), batch, LocalGather()
    )


@pytest.mark.parametrize("graph", [Tree(), None])
def test_the_order_of_concepts_changes_nothing(graph):
    rows, text_MD = [3, 4, 5, -1], normalize(torch.randn(8, 5, dtype=torch.float64), dim=1)
    order = [2, 0, 3, 1]
    moved = text_MD.reshape(4, 2, 5)[order].reshape(8, 5)
    first = objective_loss(rows, text_MD, graph).total
    assert torch.allclose(first, objective_loss([rows[k] for k in order], moved, graph).total)


def test_kinship_is_the_overlap_of_ancestors_and_an_unknown_concept_has_no_kin():
    text_MD = normalize(torch.randn(8, 5, dtype=torch.float64), dim=1)
    # without the root: 3 = {3, 1}, 4 = {4, 1}, 5 = {5, 2}: siblings share one of two, strangers none
    kin = torch.tensor([[1.0, 0.5, 0.0, -np.inf], [0.5, 1.0, 0.0, -np.inf], [0.0, 0.0, 1.0, -np.inf]])
    kin = torch.cat([kin, torch.tensor([[-np.inf, -np.inf, -np.inf, 1.0]])]).double()
    wanted = loops.kinship_loss(text_MD, kin.repeat_interleave(2, 0).repeat_interleave(2, 1), 0.3)
    assert torch.allclose(objective_loss([3, 4, 5, -1], text_MD, Tree()).total, wanted)


def test_a_text_alone_gives_zero_and_no_nan():
    text_MD = normalize(torch.randn(2, 5, dtype=torch.float64), dim=1).requires_grad_()
    loss = kinship_loss(text_MD, torch.full((2, 2), float("-inf")), 0.3)
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.isfinite(text_MD.grad).all()
