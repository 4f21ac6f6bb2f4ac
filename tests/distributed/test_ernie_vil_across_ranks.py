"""Two real processes: the losses after ERNIE-ViL and their gradients equal one process, whatever each of them hides."""

from types import SimpleNamespace

import torch
from processes_cases import expect_mean_equals, run_in_processes
from torch import nn
from torch.nn.functional import normalize

from medvlp.objectives import build
from medvlp.objectives.base import Outputs
from medvlp.objectives.ernie_vil import ErnieVilObjective
from medvlp.objectives.gather import DistributedGather, LocalGather

WORLD, IMAGES, TEXTS, WORDS, SIZE = 2, 3, 6, 9, 6
CONFIGS = [
    ErnieVilObjective.Config(attributes=0.5, matching=2.0),
    ErnieVilObjective.Config(positives="own", relations=0.3, weight=0.7),
]
BY_ROW = ("image", "text", "hidden", "target_R", "kind_R", "pair", "matches_R", "text_valid_M", "group_B", "concept_B")


class Rows(SimpleNamespace):
    def __len__(self):
        return len(self.group_B)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.text = (nn.Linear(7, SIZE) for _ in range(2))
        self.word, self.match = nn.Linear(7, WORDS), nn.Linear(7, 2)

    def forward(self, batch):
        extra = {
            "ernie_vil.logit_RV": self.word(batch.hidden),
            "ernie_vil.target_R": batch.target_R,
            "ernie_vil.kind_R": batch.kind_R,
            "ernie_vil.match_R2": self.match(batch.pair),
            "ernie_vil.matches_R": batch.matches_R,
        }
        unit = lambda tensor: normalize(tensor, dim=-1)  # noqa: E731
        return Outputs(unit(self.image(batch.image)), unit(self.text(batch.text)), 4.0, extra=extra)


def make_parts():
    """The second rank hides fewer words, none of them an attribute, and has fewer pairs and valid texts."""
    draw = torch.Generator().manual_seed(3)
    parts = []
    for rank in range(WORLD):
        normal = lambda rows: torch.randn(rows, 7, generator=draw, dtype=torch.float64)  # noqa: E731
        hidden = 8 - 5 * rank
        matches = torch.tensor([1] * TEXTS + [0] * TEXTS)
        matches[: 4 * rank] = -100
        parts.append(
            Rows(
                image=normal(IMAGES),
                text=normal(TEXTS),
                hidden=normal(hidden),
                target_R=torch.randint(0, WORDS, (hidden,), generator=draw),
                kind_R=torch.tensor([0, 2, 0, 1, 1, 2, 2, 0])[:hidden],
                pair=normal(2 * TEXTS),
                matches_R=matches,
                text_owner_M=torch.randint(0, IMAGES, (TEXTS,), generator=draw),
                text_valid_M=torch.arange(TEXTS) < TEXTS - 2 * rank,
                group_B=torch.arange(IMAGES),
                concept_B=torch.full((IMAGES,), -1),
                concepts=[()] * IMAGES,
                texts=[f"text {number}" for number in torch.randint(0, 5, (TEXTS,), generator=draw).tolist()],
            )
        )
    return parts


def join(parts):
    whole = {name: torch.cat([getattr(part, name) for part in parts]) for name in BY_ROW}
    owner = torch.cat([part.text_owner_M + rank * IMAGES for rank, part in enumerate(parts)])
    texts, concepts = ([one for part in parts for one in getattr(part, name)] for name in ("texts", "concepts"))
    return Rows(**whole, text_owner_M=owner, texts=texts, concepts=concepts)


def step(model, config, batch, gather):
    model.zero_grad()
    losses = build(config)(model(batch), batch, gather)
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
