"""Two real processes: MAKE's and the word-region loss and their gradients equal one process."""

from types import SimpleNamespace

import torch
import torch.distributed as dist
from processes_cases import run_in_processes
from torch import nn
from torch.nn.functional import normalize

from medvlp.data.batch import ASPECTS
from medvlp.objectives import build
from medvlp.objectives.base import Outputs
from medvlp.objectives.gather import DistributedGather, LocalGather
from medvlp.objectives.local import LocalObjective
from medvlp.objectives.make import MakeObjective

WORLD, IMAGES, TEXTS, PLACES, TOKENS, SIZE = 2, 3, 12, 4, 5, 6
CONFIGS = [
    MakeObjective.Config(threshold=0.1),
    MakeObjective.Config(threshold=0.3, chunk=2, guidance=False),
    LocalObjective.Config(),
    LocalObjective.Config(compat="gloria", chunk=None),
]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.patch, self.text, self.word = (nn.Linear(7, SIZE) for _ in range(4))
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, batch):
        def unit(layer, raw):
            return normalize(layer(raw), dim=-1)

        return Outputs(
            unit(self.image, batch.image),
            unit(self.text, batch.text),
            self.log_scale.exp(),
            patch_BND=unit(self.patch, batch.patch),
            word_MLD=unit(self.word, batch.word),
        )


def make_parts():
    """Unequal numbers of valid texts, and an image without any, on the ranks."""
    draw = torch.Generator().manual_seed(3)
    kinds = torch.tensor([ASPECTS.index(kind) for kind in ("caption", "ontology-path", "sentence", "sentence")])
    parts = []
    for rank in range(WORLD):
        order = torch.randperm(TEXTS, generator=draw)
        valid = torch.arange(TEXTS) < TEXTS - 4 * rank  # rank 1: its last image has no valid text
        parts.append(
            SimpleNamespace(
                image=torch.randn(IMAGES, 7, generator=draw, dtype=torch.float64),
                patch=torch.randn(IMAGES, PLACES, 7, generator=draw, dtype=torch.float64),
                text=torch.randn(TEXTS, 7, generator=draw, dtype=torch.float64),
                word=torch.randn(TEXTS, TOKENS, 7, generator=draw, dtype=torch.float64),
                token_mask_ML=torch.arange(TOKENS) < torch.randint(1, TOKENS + 1, (TEXTS, 1), generator=draw),
                text_owner_M=torch.arange(IMAGES).repeat_interleave(TEXTS // IMAGES)[order],
                text_aspect_M=kinds.repeat(IMAGES)[order],
                text_valid_M=valid[order],
            )
        )
    return parts


def join(parts):
    whole = {name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])}
    whole["text_owner_M"] = torch.cat([part.text_owner_M + rank * IMAGES for rank, part in enumerate(parts)])
    return SimpleNamespace(**whole)


def step(model, objective, batch, gather):
    model.zero_grad()
    loss = objective(model(batch), batch, gather).total
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def expect_equal(rank):
    torch.manual_seed(0)
    model, parts = Model().double(), make_parts()
    for config in CONFIGS:
        objective = build(config)
        expected_loss, expected = step(model, objective, join(parts), LocalGather())
        loss, gradients = step(model, objective, parts[rank], DistributedGather())
        for tensor in (loss, *gradients.values()):
            dist.all_reduce(tensor)
            tensor /= WORLD
        torch.testing.assert_close(loss, expected_loss, msg=lambda text, c=config: f"{c!r}: {text}")
        assert gradients.keys() == expected.keys()
        assert sum(float(gradient.abs().sum()) for gradient in gradients.values()) > 1e-3
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, expected[name], msg=lambda text, c=config, n=name: f"{c!r} {n} {text}")


def test_two_processes_equal_one():
    run_in_processes(expect_equal, WORLD)
