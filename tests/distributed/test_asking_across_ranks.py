"""Two real processes: losses and gradients of the methods that ask for entities equal one process."""

from types import SimpleNamespace

import torch
from processes_cases import expect_mean_equals, run_in_processes
from torch import nn
from torch.nn.functional import normalize

from medvlp.objectives import build
from medvlp.objectives.base import Outputs
from medvlp.objectives.devide import DevideObjective
from medvlp.objectives.gather import DistributedGather, LocalGather
from medvlp.objectives.kad import KadObjective, KadPairObjective
from medvlp.objectives.medklip import MedklipObjective

WORLD, B, TEXTS, Q, P, E, N, SIZE = 2, 5, 2, 3, 4, 6, 3, 5
CONFIGS = {
    "medklip": MedklipObjective.Config(),
    "devide": DevideObjective.Config(threshold=-0.2),
    "devide_retrieve": DevideObjective.Config(threshold=-0.2, retrieve=2, positives="own", pta=0, bce=0.3),
    "kad": KadObjective.Config(),
    "kad_own": KadObjective.Config(positives="own", unmentioned="absent", text_memory=0.4),
    "kad_pairs": KadPairObjective.Config(),
    "medklip_learned": MedklipObjective.Config(uncertain="learned", location=0.5),
}
ABOVE = torch.tensor([[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
BY_ROW = ("image", "patch", "exists", "place", "label", "position", "has_text", "group", "text", "valid", "aspect")


class Rows(SimpleNamespace):
    def __len__(self):
        return len(self.group_B)


class Model(nn.Module):
    """Everything the objectives read, with weights behind each of it."""

    def __init__(self):
        super().__init__()
        self.image, self.text, self.place = (nn.Linear(SIZE, SIZE) for _ in range(3))
        self.exists, self.log_scale = nn.Linear(4, 2), nn.Parameter(torch.tensor(1.5))
        self.description, self.position = nn.Parameter(torch.randn(E, SIZE)), nn.Parameter(torch.randn(P, SIZE))
        self.bias, self.uncertain = nn.Parameter(torch.randn(Q)), nn.Parameter(torch.randn(Q))

    def forward(self, part):
        unit = lambda tensor: normalize(tensor, dim=-1)  # noqa: E731
        exists = self.exists(part.exists)
        extra = {
            "medklip.exists_BQ2": exists,
            "medklip.place_BQD": unit(self.place(part.place)),
            "medklip.position_PD": unit(self.position),
            "medklip.above_PP": ABOVE,
            "kad.image_BQ2": exists,
            "kad.text_BQ2": exists.flip(-1),
            "kad.has_text_B": part.has_text,
            "devide.description_ED": unit(self.description),
            "devide.entity_E": torch.arange(E) // 2,
            "devide.bias_Q": self.bias,
        }
        return extra, unit(self.image(part.image)), unit(self.text(part.text)), unit(self.image(part.patch))


def make_parts():
    draw = torch.Generator().manual_seed(7)
    parts = []
    for rank in range(WORLD):
        normal = lambda *shape: torch.randn(*shape, generator=draw, dtype=torch.float64)  # noqa: E731
        state = lambda *shape: torch.tensor([1, 0, 2, -100])[torch.randint(0, 4, shape, generator=draw)]  # noqa: E731
        owner = torch.arange(B).repeat(TEXTS)[torch.randperm(B * TEXTS, generator=draw)]
        aspect = torch.empty(B * TEXTS, dtype=torch.long)
        for row in range(B):
            aspect[owner == row] = torch.tensor([5, 8])  # definition, name
        parts.append(
            SimpleNamespace(
                image=normal(B, SIZE), patch=normal(B, N, SIZE), exists=normal(B, Q, 4), place=normal(B, Q, SIZE),
                label=state(B, Q) if rank else torch.tensor([[1, 1, 0]] * B), position=state(B, Q, P),
                has_text=torch.randint(0, 2, (B,), generator=draw), group=torch.randint(0, 4, (B,), generator=draw),
                text=normal(B * TEXTS, SIZE), owner=owner, aspect=aspect,
                valid=torch.rand(B * TEXTS, generator=draw) < (0.5 if rank else 0.9),
                words=[f"word {w}" for w in torch.randint(0, 12, (B * TEXTS,), generator=draw)],
            )
        )  # fmt: skip
    return parts


def join(parts):
    whole = {name: torch.cat([getattr(part, name) for part in parts]) for name in BY_ROW}
    owner = torch.cat([part.owner + rank * B for rank, part in enumerate(parts)])
    return SimpleNamespace(**whole, owner=owner, words=[word for part in parts for word in part.words])


def step(model, config, part, gather):
    model.zero_grad()
    extra, image, text, patch = model(part)
    if getattr(config, "uncertain", None) == "learned":
        extra["medklip.uncertain_Q"] = model.uncertain.sigmoid()
    batch = Rows(
        entity_label_BQ=part.label, entity_position_BQP=part.position, text_owner_M=part.owner, texts=part.words,
        text_aspect_M=part.aspect, text_valid_M=part.valid, group_B=part.group, concepts=[()] * len(part.image),
        concept_B=torch.full((len(part.image),), -1),
    )  # fmt: skip
    losses = build(config)(Outputs(image, text, model.log_scale.exp(), patch_BND=patch, extra=extra), batch, gather)
    losses.total.backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {name: term.detach() for name, term in losses.terms.items()}, grads


def expect_equal(rank):
    torch.manual_seed(0)
    model = Model().double()
    for name, config in CONFIGS.items():
        parts = make_parts()
        whole = step(model, config, join(parts), LocalGather())
        expect_mean_equals(name, step(model, config, parts[rank], DistributedGather()), whole)


def test_two_processes_equal_one():
    run_in_processes(expect_equal, WORLD)
