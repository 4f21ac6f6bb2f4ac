"""What every objective takes and returns, and the numeric floor (float32 outside autocast) all share.

Shapes: B images of this rank, M texts of this rank, D embedding size, N places of an image, L tokens of a text, K
swapped captions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor

from medvlp.config import Config
from medvlp.errors import TrainingError
from medvlp.objectives.gather import Gather
from medvlp.objectives.ramp import Ramp

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.fusion.query_decoder import Decoded


@dataclass(frozen=True)
class Outputs:
    """What the model made of one rank's batch; embeddings are L2-normalised.

    Attributes:
        image_BD: Image embeddings, or None in text-only training.
        text_MD: Text embeddings.
        scale: Multiplier of cosines (already exponentiated).
        bias: Additive logit bias of the sigmoid loss, or None.
        knowledge_MD: What a frozen knowledge encoder makes of the same texts, without gradient, or None.
        patch_BND: Unit vectors of each image's places, through the image head; None unless an objective reads them.
        word_MLD: Unit vectors of each text's tokens, through the text head; None unless an objective reads them.
        swap_KD: Unit vectors of the batch's swapped captions; None where it has none.
        extra: What the objective's own heads made (:class:`Heads`), by name.
    """

    image_BD: Tensor | None
    text_MD: Tensor
    scale: Tensor | float
    bias: Tensor | float | None = None
    knowledge_MD: Tensor | None = None
    patch_BND: Tensor | None = None
    word_MLD: Tensor | None = None
    swap_KD: Tensor | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)

    def images(self, objective: str) -> Tensor:
        """Return ``image_BD``; text-only outputs are a :class:`TrainingError` naming the objective."""
        if self.image_BD is None:
            raise TrainingError("needs image embeddings, but the step gave texts only", item=f"objective {objective}")
        return self.image_BD

    def knowledge(self, objective: str) -> Tensor:
        """Return ``knowledge_MD``; outputs without it are a :class:`TrainingError` naming the objective."""
        if self.knowledge_MD is None:
            raise TrainingError(
                "needs the texts' embeddings by a frozen knowledge encoder, which the step did not give",
                item=f"objective {objective}",
                remedy="name a stage-1 run as knowledge_encoder",
            )
        return self.knowledge_MD


class Losses(NamedTuple):
    """Named scalars: ``terms`` are optimised (weights already applied), ``report`` is only logged."""

    terms: dict[str, Tensor]
    report: dict[str, Tensor]

    @property
    def total(self) -> Tensor:
        """Sum of the terms."""
        return torch.stack(list(self.terms.values())).sum()


class ObjectiveSettings(Config):
    """Fields that every objective's ``Config`` has."""

    weight: float = Field(default=1.0, ge=0.0, description="Factor of this objective in the total loss.")
    ramp: Ramp | None = Field(default=None, description="Further factor, which changes over the steps; default none.")

    @property
    def needs_knowledge(self) -> bool:
        """Tell whether the objective reads :attr:`Outputs.knowledge_MD`."""
        return False


class Objective(Protocol):
    """A training loss: any callable of this form can be passed to the trainer.

    Every rank returns a loss over the rows it owns such that the mean over ranks of the gradients is
    the gradient of one process holding all rows (see :mod:`medvlp.objectives.gather`).
    """

    def __call__(self, out: Outputs, batch: Batch, gather: Gather) -> Losses:
        """Return this rank's losses."""
        ...


def _not_given(*_: Tensor) -> Tensor:
    raise TrainingError(
        "ask a tower once more, which this step does not offer", item="heads", remedy="train with medvlp.training.align"
    )


@dataclass(frozen=True)
class Seen:
    """What the towers made of a batch, for heads of an objective's own.

    Attributes:
        image_BI: Pooled image features.
        tokens_BNI: Image features by place; None unless the objective reads ``tokens``.
        text_MI: Pooled text features.
        words_MLI: Text features by token; None unless the objective reads ``words``.
        word_mask_ML: 1 on real tokens.
        batch: The tensors of the batch that the objective ``needs``, by field name.
        decode: Asks queries (Q, I) or (B, Q, I), as text tower outputs, of the places: the model's query decoder. In
            place of the image's it takes other places (B, N, I) or (1, N, I), as image tower outputs, with a mask
            (B, N), True on those an image has.
        encode: Token ids and mask of further texts (N, L) to text tower outputs (N, I), with gradient.
        encode_words: The same to text tower outputs by token (N, L, I).
        look: Further images (B, C, H, W) to image tower outputs by place (B, N, I), with gradient.
        project_text: Text tower outputs (N, I) to unit vectors (N, D), through the model's text head.
        table_VI: The text tower's table of token embeddings; None unless the objective reads ``table``.
    """

    image_BI: Tensor
    tokens_BNI: Tensor | None
    text_MI: Tensor
    words_MLI: Tensor | None
    word_mask_ML: Tensor
    batch: dict[str, Tensor]
    decode: Callable[..., Decoded]
    encode: Callable[[Tensor, Tensor], Tensor]
    encode_words: Callable[[Tensor, Tensor], Tensor] = _not_given
    look: Callable[[Tensor], Tensor] = _not_given
    project_text: Callable[[Tensor], Tensor] = _not_given
    table_VI: Tensor | None = None


class Heads(Protocol):
    """Learned parts an objective brings along (decoders, fusion layers): an ``nn.Module`` of this form.

    They learn with the model, are part of a checkpoint's state, and are no part of an export. An objective that has
    such a module offers it as its attribute ``heads``.
    """

    def __call__(self, seen: Seen) -> dict[str, Tensor]:
        """Return tensors that reach the objective as :attr:`Outputs.extra`."""
        ...


READS = frozenset({"patches", "words", "tokens", "valid", "table"})
"""What an objective may name in its attribute ``reads``: ``patches`` fills :attr:`Outputs.patch_BND`, ``words``
:attr:`Outputs.word_MLD` and :attr:`Seen.words_MLI`, ``tokens`` :attr:`Seen.tokens_BNI`, ``table``
:attr:`Seen.table_VI`; ``valid`` says that it leaves out texts whose ``text_valid_M`` is False."""


def upcast(tensor: Tensor) -> Tensor:
    """Return at least float32: half precision is widened, float32 and float64 stay."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


@contextmanager
def full_precision(tensor: Tensor) -> Iterator[None]:
    """Leave autocast on the tensor's device: bf16 steps of .004 in a cosine are .1 of a logit at scale 25."""
    with torch.autocast(device_type=tensor.device.type, enabled=False):
        yield


def check_needs(objective: object, batch: Batch) -> None:
    """Check before step 0 that a batch holds the fields named in ``objective.needs`` (if it has any).

    Raises:
        TrainingError: Naming the first absent field.
    """
    for name in sorted(getattr(objective, "needs", frozenset())):
        if getattr(batch, name, None) is None:
            raise TrainingError(
                f"needs the batch field {name!r}, which this data does not fill",
                item=f"objective {type(objective).__name__}",
                remedy="choose another objective or data that has it",
            )
