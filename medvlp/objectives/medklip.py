"""MedKLIP: entities asked of an image's places, whether they exist and where.

Source: Wu et al. 2023 (MedKLIP), section 3.4: cross entropy of existence plus a contrast of positions. Here every true
position is a positive, what is above or below one is no negative, and what is uncertain has a target between.
Shapes: B images of this rank, Q entities, P positions, D width, R rows (one image and entity), J negatives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, normalize

from medvlp.data.batch import NOT_MENTIONED, PRESENT, UNCERTAIN
from medvlp.objectives.base import Losses, Outputs, full_precision, upcast
from medvlp.objectives.clip import mean_over_ranks
from medvlp.objectives.context import AskedTexts, AskingSettings, Context, as_numbers
from medvlp.objectives.gather import Gather

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.objectives.base import Seen


def existence_loss(logit_BQ2: Tensor, label_BQ: Tensor, *, uncertain: Tensor | float = 0.5) -> Tensor:
    """Mean cross entropy over the mentioned pairs of image and entity.

    Args:
        logit_BQ2: Logits of absent and present.
        label_BQ: States as in :class:`medvlp.data.batch.Batch`.
        uncertain: Target of what is uncertain, one for all or (Q,).

    Returns:
        A scalar, 0 if nothing is mentioned.
    """
    with full_precision(logit_BQ2):
        total, count = existence_sum(logit_BQ2, label_BQ, uncertain)
        return total / count.clamp(min=1)


def existence_sum(logit_BQ2: Tensor, label_BQ: Tensor, uncertain: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return the summed cross entropy of :func:`existence_loss` and the number of mentioned pairs."""
    log_BQ2 = upcast(logit_BQ2).log_softmax(-1)
    target_BQ = state_targets(label_BQ, uncertain, log_BQ2.dtype)
    loss_BQ = -(1 - target_BQ) * log_BQ2[..., 0] - target_BQ * log_BQ2[..., 1]
    mentioned_BQ = label_BQ != NOT_MENTIONED
    return torch.where(mentioned_BQ, loss_BQ, 0.0).sum(), mentioned_BQ.sum()


def state_targets(label_BQ: Tensor, uncertain: Tensor | float, dtype: torch.dtype) -> Tensor:
    """Return 1 for present, 0 for absent or not mentioned, ``uncertain`` for uncertain."""
    soft = torch.as_tensor(uncertain, dtype=dtype, device=label_BQ.device)
    return torch.where(label_BQ == UNCERTAIN, soft, (label_BQ == PRESENT).to(dtype))


def location_loss(
    place_BQD: Tensor, position_PD: Tensor, position_BQP: Tensor, above_PP: Tensor, *, temperature: float = 0.07
) -> Tensor:
    """Mean over present entities of the mean over their positions of ``-log softmax`` against false positions.

    Args:
        place_BQD: Unit vector of each entity's place.
        position_PD: Unit vector of each position.
        position_BQP: State of each entity at each position.
        above_PP: True where the column is above the row; neither above nor below a true position is a negative.
        temperature: Divides cosines.

    Returns:
        A scalar, 0 if no entity is present anywhere.
    """
    with full_precision(place_BQD):
        total, count = location_sum(place_BQD, position_PD, position_BQP, above_PP, temperature)
        return total / count.clamp(min=1)


def location_sum(
    place_BQD: Tensor, position_PD: Tensor, position_BQP: Tensor, above_PP: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the sum of :func:`location_loss` and the number of present entities."""
    logit_BQP = upcast(place_BQD) @ upcast(position_PD).T / temperature
    above_PP = above_PP.bool()
    positive_BQP = position_BQP == PRESENT
    related_BQP = positive_BQP.to(logit_BQP.dtype) @ (above_PP | above_PP.T).to(logit_BQP.dtype) > 0
    negative_BQP = ~positive_BQP & (position_BQP != UNCERTAIN) & ~related_BQP
    some_BQ1 = negative_BQP.any(-1, keepdim=True)
    # Without any negative the sum is empty; its logarithm must not reach a gradient.
    against_BQP = torch.where(some_BQ1, logit_BQP.masked_fill(~negative_BQP, float("-inf")), 0.0)
    loss_BQP = -logsigmoid(logit_BQP - against_BQP.logsumexp(-1, keepdim=True))
    count_BQ = positive_BQP.sum(-1)
    loss_BQ = torch.where(positive_BQP & some_BQ1, loss_BQP, 0.0).sum(-1) / count_BQ.clamp(min=1)
    return loss_BQ.sum(), (count_BQ > 0).sum()


def published_location_loss(place_RD: Tensor, position_PD: Tensor, positive_R: Tensor, negative_RJ: Tensor) -> Tensor:
    """The released computation: mean cross entropy of one true position against J others, of raw dot products.

    Args:
        place_RD: Vectors of places, not normalised.
        position_PD: Vectors of positions, not normalised.
        positive_R: Column of the true position.
        negative_RJ: Columns of the others.

    Returns:
        A scalar, 0 without rows.
    """
    with full_precision(place_RD):
        loss_R = _published_rows(place_RD, position_PD, positive_R, negative_RJ)
        return loss_R.sum() / max(len(loss_R), 1)


def _published_rows(place_RD: Tensor, position_PD: Tensor, positive_R: Tensor, negative_RJ: Tensor) -> Tensor:
    logit_RP = upcast(place_RD) @ upcast(position_PD).T
    chosen_RC = logit_RP.gather(1, torch.cat([positive_R[:, None], negative_RJ], 1))
    return chosen_RC.logsumexp(1) - chosen_RC[:, 0]


def draw_positions(position_RP: Tensor, num_negatives: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw one true position of each row and others that are not true, as published, by torch's generator.

    Args:
        position_RP: States.
        num_negatives: Others to draw; a row that has fewer repeats one.

    Returns:
        ``positive_R``, ``negative_RJ``, and ``counts_R``: False for a row that lacks one or the other.
    """
    true_RP = position_RP == PRESENT
    chance_RP = torch.rand(position_RP.shape, device=position_RP.device)
    positive_R = chance_RP.masked_fill(~true_RP, -1.0).argmax(1)
    drawn_RJ, negative_RJ = chance_RP.masked_fill(true_RP, -1.0).topk(min(num_negatives, position_RP.shape[1]), 1)
    negative_RJ = torch.where(drawn_RJ < 0, negative_RJ[:, :1], negative_RJ)
    return positive_R, negative_RJ, true_RP.any(1) & ~true_RP.all(1)


class MedklipObjective(nn.Module):
    """Existence and location of the entities of a set; every rank the rows of its own images.

    Args:
        config: Settings.
        graph: Not used: entities and positions bring their own hierarchy.
    """

    class Config(AskingSettings):
        """Settings of MedKLIP's two losses."""

        name: Literal["medklip"] = Field(default="medklip", description="Selects MedKLIP's existence and location.")
        location: float = Field(default=1.0, ge=0.0, description="Factor of the location loss; 0 needs no positions.")
        temperature: float = Field(default=0.07, gt=0.0, description="Divides the cosines of places and positions.")
        uncertain: Annotated[float, Field(ge=0, le=1)] | Literal["learned"] = Field(
            default=0.5, description="Target of what a report calls uncertain, or one learned for each entity."
        )
        compat: Literal["published"] | None = Field(
            default=None,
            description="`published`: one random true position against random others, whatever their relation, raw dot "
            "products, and the uncertain as not mentioned.",
        )
        num_negatives: int = Field(default=7, ge=1, description="Positions drawn against the true one (published).")

    def __init__(self, config: MedklipObjective.Config | None = None, graph: DiseaseGraph | None = None) -> None:
        super().__init__()
        self.config = MedklipObjective.Config() if config is None else config
        self.reads = frozenset({"tokens"})
        self.needs = frozenset({"entity_label_BQ"})
        if self.config.location > 0:
            self.needs |= {"entity_position_BQP"}
        self.heads: nn.Module | None = None

    def prepare(self, context: Context) -> None:
        """Build the heads; see :class:`medvlp.objectives.context.Context`."""
        self.heads = MedklipHeads(self.config, context)

    def forward(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return ``medklip_existence`` and, with a weight, ``medklip_location``; in the report what is mentioned."""
        config, made = self.config, out.extra
        exists_BQ2 = made["medklip.exists_BQ2"]
        label_BQ = self._states(batch.entity_label_BQ)
        terms = {}
        with full_precision(exists_BQ2):
            uncertain = made.get("medklip.uncertain_Q", config.uncertain)
            assert not isinstance(uncertain, str), "the heads give the learned targets"
            existence = mean_over_ranks(*existence_sum(exists_BQ2, label_BQ, uncertain), gather)
            terms["medklip_existence"] = config.weight * existence
            if config.location > 0:
                location = mean_over_ranks(*self._location(made, self._states(batch.entity_position_BQP)), gather)
                terms["medklip_location"] = config.weight * config.location * location
        return Losses(terms, {"mentioned_share": (label_BQ != NOT_MENTIONED).float().mean()})

    def _location(self, made: dict[str, Tensor], position_BQP: Tensor) -> tuple[Tensor, Tensor]:
        place_BQD, position_PD = made["medklip.place_BQD"], made["medklip.position_PD"]
        if self.config.compat is None:
            above_PP = made["medklip.above_PP"]
            return location_sum(place_BQD, position_PD, position_BQP, above_PP, self.config.temperature)
        positive_R, negative_RJ, counts_R = draw_positions(position_BQP.flatten(0, 1), self.config.num_negatives)
        loss_R = _published_rows(place_BQD.flatten(0, 1), position_PD, positive_R, negative_RJ)
        return torch.where(counts_R, loss_R, 0.0).sum(), counts_R.sum()

    def _states(self, states: Tensor | None) -> Tensor:
        """The states this variant sees: the released labels do not know the uncertain."""
        assert states is not None, "checked by needs"
        return states.masked_fill(states == UNCERTAIN, NOT_MENTIONED) if self.config.compat else states


class MedklipHeads(nn.Module):
    """The texts that are asked, and what turns an answer into a place.

    Args:
        config: Settings.
        context: The run.

    Raises:
        ConfigError: If the run has no entities, the model no decoder, or texts are encoded once by a learning tower.
    """

    def __init__(self, config: MedklipObjective.Config, context: Context) -> None:
        super().__init__()
        texts = context.entity_texts("medklip", 1, config.aspects)
        width = context.decoder_width("medklip")
        self.queries = AskedTexts(texts.flat, context, config.queries)
        self.positions: AskedTexts | None = None
        self.place: nn.Linear | None = None
        self.above_PP: Tensor
        if config.location > 0:
            self.positions = AskedTexts(context.positions, context, config.queries)
            self.place = nn.Linear(width, context.text_width)
            self.register_buffer("above_PP", as_numbers(context.above_PP), persistent=False)
        self.uncertain_Q: nn.Parameter | None = None
        if config.uncertain == "learned":
            self.uncertain_Q = nn.Parameter(torch.zeros(len(texts.by_entity)))
        self.published = config.compat is not None

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Ask every entity of every image."""
        decoded = seen.decode(self.queries(seen))
        made = {"medklip.exists_BQ2": decoded.exists_BQ2}
        if self.place is not None and self.positions is not None:
            place_BQD, position_PD = self.place(decoded.state_BQD).float(), self.positions(seen).float()
            if not self.published:
                place_BQD, position_PD = normalize(place_BQD, dim=-1), normalize(position_PD, dim=-1)
            made |= {"medklip.place_BQD": place_BQD, "medklip.position_PD": position_PD}
            made["medklip.above_PP"] = self.above_PP
        if self.uncertain_Q is not None:
            made["medklip.uncertain_Q"] = self.uncertain_Q.sigmoid()
        return made
