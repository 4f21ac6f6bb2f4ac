"""Two real processes: Structure-CLIP's losses and gradients equal one process."""

import os
import socket
from datetime import timedelta
from types import SimpleNamespace

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.functional import normalize

from medvlp.objectives import build
from medvlp.objectives.base import Outputs
from medvlp.objectives.gather import DistributedGather, LocalGather
from medvlp.objectives.structure_clip import StructureClipObjective

WORLD, IMAGES, TEXTS, SWAPS, SIZE = 2, 3, 6, 4, 6
CONFIGS = [
    StructureClipObjective.Config(margin=0.6, swap_margin=0.4),
    StructureClipObjective.Config(margin=0.6, hardest=False, share=0.0, swap=1.0, positives="own"),
]


class Rows(SimpleNamespace):
    def __len__(self):
        return len(self.group_B)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.text, self.knowledge = (nn.Linear(7, SIZE) for _ in range(3))

    def forward(self, batch, share):
        unit = lambda tensor: normalize(tensor, dim=-1)  # noqa: E731
        extra = {"structure_clip.knowledge_MD": unit(self.knowledge(batch.text))} if share > 0 else {}
        text, swap = unit(self.text(batch.text)), unit(self.text(batch.swap))
        return Outputs(unit(self.image(batch.image)), text, 1.0, swap_KD=swap, extra=extra)


def make_parts():
    """Unequal numbers of valid texts and of swapped captions that count on the ranks."""
    draw = torch.Generator().manual_seed(3)
    parts = []
    for rank in range(WORLD):
        normal = lambda rows: torch.randn(rows, 7, generator=draw, dtype=torch.float64)  # noqa: E731
        parts.append(
            Rows(
                image=normal(IMAGES),
                text=normal(TEXTS),
                swap=normal(SWAPS),
                text_owner_M=torch.randint(0, IMAGES, (TEXTS,), generator=draw),
                text_valid_M=torch.arange(TEXTS) < TEXTS - 3 * rank,
                swap_of_K=torch.tensor([[0, 1, -1, 3], [-1, -1, 2, -1]][rank]),
                group_B=torch.arange(IMAGES),
                concept_B=torch.full((IMAGES,), -1),
                concepts=[()] * IMAGES,
                texts=[f"text {number}" for number in torch.randint(0, 8, (TEXTS,), generator=draw).tolist()],
            )
        )
    return parts


def join(parts):
    listed = ("texts", "concepts")
    whole = {name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0]) if name not in listed}
    whole |= {name: [one for part in parts for one in getattr(part, name)] for name in listed}
    whole["text_owner_M"] = torch.cat([part.text_owner_M + rank * IMAGES for rank, part in enumerate(parts)])
    of = [torch.where(part.swap_of_K < 0, -1, part.swap_of_K + rank * TEXTS) for rank, part in enumerate(parts)]
    return Rows(**{**whole, "swap_of_K": torch.cat(of)})


def step(model, config, batch, gather):
    model.zero_grad()
    losses = build(config)(model(batch, config.share), batch, gather)
    losses.total.backward()
    terms = {name: term.detach() for name, term in losses.terms.items()}
    return terms, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def expect_equal(rank):
    torch.manual_seed(0)
    model, parts = Model().double(), make_parts()
    for config in CONFIGS:
        expected_terms, expected = step(model, config, join(parts), LocalGather())
        terms, gradients = step(model, config, parts[rank], DistributedGather())
        assert all(term > 0 for term in expected_terms.values())
        for tensor in (*terms.values(), *gradients.values()):
            dist.all_reduce(tensor)
            tensor /= WORLD
        for name, term in terms.items():
            torch.testing.assert_close(term, expected_terms[name], msg=lambda text, n=name: f"{n}: {text}")
        assert gradients.keys() == expected.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, expected[name], msg=lambda text, n=name: f"{n}: {text}")


def worker(rank, port):
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=WORLD, timeout=timedelta(seconds=60))
    try:
        expect_equal(rank)
        dist.barrier()
    finally:
        dist.destroy_process_group()
    os._exit(0)  # gloo's threads can outlive the group for a moment; a full shutdown then aborts a finished process


def test_two_processes_equal_one():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(worker, args=(port,), nprocs=WORLD)
