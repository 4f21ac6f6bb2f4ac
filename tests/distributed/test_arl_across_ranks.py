"""Two real processes: ARL's losses and gradients equal one process, whatever counts on which of them."""

from types import SimpleNamespace

import torch
from processes_cases import expect_mean_equals, run_in_processes
from torch import nn
from torch.nn.functional import normalize

from medvlp.objectives import build
from medvlp.objectives.arl import ArlObjective
from medvlp.objectives.base import Outputs
from medvlp.objectives.gather import DistributedGather, LocalGather

WORLD, B, M, Q, N, C, V, SIZE = 2, 4, 6, 3, 5, 4, 7, 5
CONFIGS = {
    "published": ArlObjective.Config(projection="own"),
    "model": ArlObjective.Config(weight=0.5),
    "raw places": ArlObjective.Config(align=0.3, normalise=False, matching=1.0),
    "align": ArlObjective.Config(tokens=0, places=0, matching=0),
}
BY_ROW = ("image", "text", "valid", "label", "place", "held", "hidden", "token", "target", "pair", "match")


class Model(nn.Module):
    """Everything the objective reads, with weights behind each of it."""

    def __init__(self):
        super().__init__()
        self.image, self.text, self.pair = nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE), nn.Linear(SIZE, 2)
        self.word, self.place = nn.Linear(SIZE, V), nn.Linear(SIZE, C)
        self.entity, self.log_scale = nn.Parameter(torch.randn(Q, SIZE)), nn.Parameter(torch.tensor(1.2))

    def forward(self, part):
        image, text = self.image(part.image), self.text(part.text)
        extra = {
            "arl.entity_QG": self.entity, "arl.image_BG": image, "arl.text_MG": text,
            "arl.token_KV": self.word(part.token), "arl.token_K": part.target,
            "arl.place_BNC": self.place(part.place), "arl.held_BNC": part.held, "arl.hidden_BN": part.hidden,
            "arl.match_R2": self.pair(part.pair), "arl.match_R": part.match,
            "arl.mention_share": torch.tensor(0.0), "arl.vectors_share": torch.tensor(0.0),
        }  # fmt: skip
        return Outputs(normalize(image, dim=1), normalize(text, dim=1), self.log_scale.exp(), extra=extra)


def make_parts():
    """Unequal everywhere: masked tokens, texts that count, states, hidden places, pairs."""
    draw = torch.Generator().manual_seed(5)
    parts = []
    for rank in range(WORLD):
        normal = lambda *shape: torch.randn(*shape, generator=draw, dtype=torch.float64)  # noqa: E731
        whole = lambda high, *shape: torch.randint(high, shape, generator=draw)  # noqa: E731
        tokens = 3 + 6 * rank
        parts.append(
            SimpleNamespace(
                image=normal(B, SIZE), text=normal(M, SIZE), owner=whole(B, M), valid=whole(2 + 3 * rank, M) > 0,
                label=torch.tensor([1, 0, 2, -100])[whole(4 - rank, B, Q)], place=normal(B, N, SIZE),
                held=normal(B, N, C), hidden=(whole(2 + 2 * rank, B, N) > 0).long(), token=normal(tokens, SIZE),
                target=whole(V, tokens), pair=normal(2 * M, SIZE), match=torch.tensor([1, 0, -100])[whole(3, 2 * M)],
            )
        )  # fmt: skip
    return parts


def join(parts):
    whole = {name: torch.cat([getattr(part, name) for part in parts]) for name in BY_ROW}
    return SimpleNamespace(**whole, owner=torch.cat([part.owner + rank * B for rank, part in enumerate(parts)]))


def step(model, config, part, gather):
    model.zero_grad()
    batch = SimpleNamespace(entity_label_BQ=part.label, text_owner_M=part.owner, text_valid_M=part.valid)
    losses = build(config)(model(part), batch, gather)
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
