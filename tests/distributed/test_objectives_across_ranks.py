"""Real processes (gloo): loss and gradients of every objective equal one process; uneven ranks raise on all."""

import os
import socket
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from scipy import sparse
from torch import nn
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from medvlp.errors import TrainingError
from medvlp.objectives import build
from medvlp.objectives.base import Outputs
from medvlp.objectives.clip import ClipObjective
from medvlp.objectives.gather import DistributedGather, LocalGather
from medvlp.objectives.kep import KepObjective
from medvlp.objectives.kinship import KinshipObjective
from medvlp.objectives.knowledge_metric import KnowledgeMetricObjective
from medvlp.objectives.semantic_groups import GroupObjective
from medvlp.objectives.siglip import SiglipObjective

GROUPS, MEMBERS, TEXTS, SIZE = 6, 4, 2, 5
CONFIGS = [
    *(ClipObjective.Config(positives=kind) for kind in ("own", "text", "group")),
    ClipObjective.Config(exclude_related=True, chunk=3),
    *(SiglipObjective.Config(positives=kind) for kind in ("own", "text", "group")),
    SiglipObjective.Config(exclude_related=True, chunk=5),
    *(GroupObjective.Config(variant=variant) for variant in ("hp-hn", "hp-lhn", "lhp-hn", "lhp-lhn")),
    GroupObjective.Config(aggregate="sum"),
    GroupObjective.Config(compat="keep"),
    KnowledgeMetricObjective.Config(),
    KnowledgeMetricObjective.Config(exclude_related=True, temperature=0.2),
    *(KepObjective.Config(positives=kind, text_knowledge=0.7) for kind in ("own", "text")),
    KepObjective.Config(exclude_equal=False, chunk=3),
    KinshipObjective.Config(temperature=0.4),
]


class PairGraph:
    """Concepts 2k and 2k + 1 are related: the first of them, below a common root, is above the second."""

    @property
    def closure(self):
        above = np.eye(11, dtype=bool)
        above[:, 10] = True
        above[np.arange(1, 10, 2), np.arange(0, 10, 2)] = True
        return sparse.csr_matrix(above)

    def related(self, a, b=None):
        b = a if b is None else b
        return (np.asarray(a)[:, None] >= 0) & (np.asarray(a)[:, None] // 2 == np.asarray(b) // 2)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.text = nn.Linear(7, SIZE), nn.Linear(6, SIZE)
        self.log_scale, self.bias = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(-3.0))

    def forward(self, image, text):
        encoded = normalize(self.image(image), dim=1), normalize(self.text(text), dim=1)
        return (*encoded, self.log_scale.exp(), self.bias * 1)


class DetachedGather(DistributedGather):
    """The field's usual fault: other ranks' rows arrive without gradient, own rows are put back."""

    def __call__(self, tensor_B):
        rows = list(self.collect(tensor_B.detach()).chunk(self.world))
        rows[self.rank] = tensor_B
        return torch.cat(rows)


def make_parts(world, random_owner):
    """One part per rank, groups shuffled inside each; their concatenation is the one-process batch."""
    draw = torch.Generator().manual_seed(world)
    per_rank, parts = GROUPS // world * MEMBERS, []
    concept_of = torch.tensor([0, 1, -1, 4, -1, 8])
    label_of = torch.tensor([0, 1, 2, 3, 2, 4])
    for rank in range(world):
        group = torch.arange(rank * GROUPS // world, (rank + 1) * GROUPS // world).repeat_interleave(MEMBERS)
        group = group[torch.randperm(per_rank, generator=draw)]
        owner = torch.arange(per_rank).repeat(TEXTS)[torch.randperm(per_rank * TEXTS, generator=draw)]
        if random_owner:  # some images have no text, unequally many per rank
            owner = torch.randint(0, per_rank - rank, (per_rank * TEXTS,), generator=draw)
        words = torch.randint(0, 30, (per_rank * TEXTS,), generator=draw)
        concepts = [(int(concept_of[g]), 9) if g == 1 and rank == 0 else (int(concept_of[g]),) for g in group]
        parts.append(
            SimpleNamespace(
                image=torch.randn(per_rank, 7, generator=draw, dtype=torch.float64),
                text=torch.randn(per_rank * TEXTS, 6, generator=draw, dtype=torch.float64),
                knowledge=normalize(torch.randn(per_rank * TEXTS, SIZE, generator=draw, dtype=torch.float64), dim=1),
                group_B=group * 10,
                text_owner_M=owner,
                concept_B=concept_of[group],
                label_B=label_of[group],
                concepts=concepts,
                texts=[f"word {word}" for word in words],
            )
        )
    return parts


def join(parts):
    per_rank = len(parts[0].group_B)
    whole = {
        name: torch.cat([getattr(part, name) for part in parts])
        for name in ("image", "text", "knowledge", "group_B", "concept_B", "label_B")
    }
    owner = torch.cat([part.text_owner_M + rank * per_rank for rank, part in enumerate(parts)])
    lists = {name: [item for part in parts for item in getattr(part, name)] for name in ("concepts", "texts")}
    return SimpleNamespace(**whole, **lists, text_owner_M=owner)


def step(model, objective, batch, gather):
    model.zero_grad()
    image, text, scale, bias = model(batch.image, batch.text)
    loss = objective(Outputs(image, text, scale, bias, batch.knowledge), batch, gather).total
    loss.backward()
    parameters = (model.module if isinstance(model, DistributedDataParallel) else model).named_parameters()
    return loss.detach(), {name: p.grad.clone() for name, p in parameters if p.grad is not None}


def mean_over_ranks(loss, gradients, world):
    for tensor in (loss, *gradients.values()):
        dist.all_reduce(tensor)
        tensor /= world


def expect_equal(rank, world):
    torch.manual_seed(0)
    model = Model().double()
    for config in CONFIGS:
        random_owner = config.name in ("clip", "siglip", "kep")
        parts = make_parts(world, random_owner)
        objective = build(config, PairGraph())
        expected_loss, expected = step(model, objective, join(parts), LocalGather())
        loss, gradients = step(model, objective, parts[rank], DistributedGather())
        mean_over_ranks(loss, gradients, world)
        torch.testing.assert_close(loss, expected_loss, msg=lambda text, c=config: f"{c!r}: {text}")
        assert gradients.keys() == expected.keys()
        assert sum(float(gradient.abs().sum()) for gradient in gradients.values()) > 1e-3
        for name, gradient in gradients.items():
            torch.testing.assert_close(
                gradient, expected[name], msg=lambda text, c=config, n=name: f"{c!r} {n}: {text}"
            )
    expect_equal_under_ddp(rank, world, model)
    expect_faults_show(rank, world, model)


def expect_equal_under_ddp(rank, world, model):
    parts, objective = make_parts(world, False), build(CONFIGS[4])
    expected_loss, expected = step(model, objective, join(parts), LocalGather())
    loss, gradients = step(DistributedDataParallel(model), objective, parts[rank], DistributedGather())
    mean_over_ranks(loss, {}, world)
    torch.testing.assert_close(loss, expected_loss)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name])


def expect_faults_show(rank, world, model):
    """The comparison has power: a gather without gradient keeps the loss and changes the gradient."""
    parts = make_parts(world, False)
    for config in (CONFIGS[0], CONFIGS[10], CONFIGS[13], CONFIGS[-1]):
        objective = build(config, PairGraph())
        expected_loss, expected = step(model, objective, join(parts), LocalGather())
        loss, gradients = step(model, objective, parts[rank], DetachedGather())
        mean_over_ranks(loss, gradients, world)
        torch.testing.assert_close(loss, expected_loss)
        assert not torch.allclose(gradients["text.weight"], expected["text.weight"], rtol=1e-3)


def expect_refusals(rank, world):
    """Every rank raises, with a message that names every rank's size; then the group still works."""
    gather = DistributedGather()
    with pytest.raises(TrainingError) as caught:
        gather(torch.zeros(3 + (rank == 0), 2))
    sizes = ", ".join(f"rank {other}: [{3 + (other == 0)}, 2]" for other in range(world))
    assert str(caught.value).startswith(f"gather: ranks hold different shapes ({sizes}); give every rank equal")
    with pytest.raises(TrainingError, match=r"rank 0: \[4\], rank 1: \[4, 1\]"):
        gather(torch.zeros(4) if rank == 0 else torch.zeros(4, 1))

    def run(group):
        batch = SimpleNamespace(
            group_B=torch.tensor(group),
            text_owner_M=torch.arange(4),
            concept_B=torch.full((4,), -1),
            concepts=[()] * 4,
            texts=["a", "b", "c", "d"],
        )
        rows = normalize(torch.randn(4, 3), dim=1)
        return build(GroupObjective.Config())(Outputs(rows, rows, 10.0), batch, gather)

    with pytest.raises(TrainingError, match="group 0: has 3 images in the batch where most groups have"):
        run([0, 0, 0, 1] if rank == 0 else [10 * rank, 10 * rank, 10 * rank + 1, 10 * rank + 1])
    with pytest.raises(TrainingError, match="group 5: its images are split over ranks 0 and 1"):
        run([[5, 6, 6, 8], [5, 8, 7, 7], [20, 20, 21, 21]][rank])
    assert run([2 * rank, 2 * rank, 2 * rank + 1, 2 * rank + 1]).total.isfinite()


def worker(rank, world, port, check):
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world, timeout=timedelta(seconds=40))
    try:
        check(rank, world)
        dist.barrier()  # no rank takes its store away while another still talks
    finally:
        dist.destroy_process_group()
    # gloo's threads can outlive the group for a moment; a full interpreter shutdown then aborts a finished process.
    os._exit(0)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("check", [expect_equal, expect_refusals])
def test_ranks(check, world):
    mp.spawn(worker, args=(world, free_port(), check), nprocs=world)
