"""Two real processes: Structure-CLIP's losses and gradients equal one process."""

from types import SimpleNamespace

import torch
from processes_cases import expect_mean_equals, run_in_processes
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
        whole = step(model, config, join(parts), LocalGather())
        expect_mean_equals(config.name, step(model, config, parts[rank], DistributedGather()), whole)


def test_two_processes_equal_one():
    run_in_processes(expect_equal, WORLD)
