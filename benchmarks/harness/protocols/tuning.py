"""Learned context for class texts: vectors in front of a text's tokens, or a shift of the class vectors themselves.

Both are frozen-tower methods. Context tokens are CoOp's (Zhou et al. 2022), as PathPT has them for each class; where a
text tower does not take token embeddings, each class vector gets a learned shift (task residuals, Yu et al. 2023).

Shape legend: N training images, M development images, K classes, D embedding size, P texts, L tokens, V context
vectors, W width of token embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.harness.protocols.labelled import Floats
from medvlp.encoders.text import TextEncoder, num_positions, pool
from medvlp.errors import TrainingError
from medvlp.model import DualEncoder
from medvlp.zeroshot.task import Task


class ClassVectors(Protocol):
    """A module whose parameters are learned and whose call gives unit class vectors (K, D)."""

    def __call__(self) -> Tensor:
        """Return the class vectors."""
        ...

    def parameters(self) -> Any:
        """Return what is learned."""
        ...


class ShiftedVectors(nn.Module):
    """Class vectors plus a learned shift, of each class or the same for all; zero shift gives the vectors back."""

    def __init__(self, class_KD: Floats, shared: bool) -> None:
        super().__init__()
        self.class_KD = torch.tensor(class_KD, dtype=torch.float64)
        rows = 1 if shared else len(class_KD)
        self.shift_KD = nn.Parameter(torch.zeros(rows, class_KD.shape[1], dtype=torch.float64))

    def forward(self) -> Tensor:
        """Return unit vectors (K, D)."""
        return functional.normalize(self.class_KD + self.shift_KD, dim=-1)


class ContextTokens(nn.Module):
    """Learned vectors behind the first token of each class's text, of each class or the same for all.

    Args:
        model: A dual encoder with a Hugging Face text tower; its weights stay as they are.
        texts: One text per class.
        start: Words whose token embeddings, repeated, are the first values of the context.
        num_context: Context vectors.
        shared: One context for all classes.
    """

    def __init__(self, model: DualEncoder, texts: Sequence[str], start: str, num_context: int, shared: bool) -> None:
        super().__init__()
        tower = model.text
        self._model = [model]  # in a list, so that its weights are no parameters of this module
        room = num_positions(tower.transformer.config)
        with torch.no_grad():
            ids_KL, mask_KL = (part.to(model.logit_scale.device) for part in tower.tokenize(list(texts)))
            if room is not None:
                ids_KL, mask_KL = ids_KL[:, : room - num_context], mask_KL[:, : room - num_context]
            embed = tower.transformer.get_input_embeddings()
            self.token_KLW, self.mask_KL = embed(ids_KL), mask_KL
            word_ids = tower.tokenize([start])[0][0, 1:-1].to(ids_KL.device)
            start_VW = embed(word_ids)[torch.arange(num_context) % max(1, len(word_ids))]
        rows = 1 if shared else len(texts)
        self.context_KVW = nn.Parameter(start_VW.expand(rows, -1, -1).clone())

    def forward(self) -> Tensor:
        """Return unit vectors (K, D)."""
        model: DualEncoder = self._model[0]
        tower: TextEncoder = model.text
        num_classes, num_context = len(self.token_KLW), self.context_KVW.shape[1]
        context_KVW = self.context_KVW.expand(num_classes, -1, -1)
        tokens = torch.cat([self.token_KLW[:, :1], context_KVW, self.token_KLW[:, 1:]], dim=1)
        mask = torch.cat([torch.ones_like(self.mask_KL[:, :1]).expand(-1, num_context), self.mask_KL], dim=1)
        out: Any = tower.transformer(inputs_embeds=tokens, attention_mask=mask)
        own = tower.config.pooling
        features = out.pooler_output if own == "pooler" else pool(out.last_hidden_state, mask, own)
        return model.project_text(features).double()


def takes_tokens(model: Any) -> bool:
    """Return whether context tokens can be put into this model's texts."""
    return isinstance(model, DualEncoder) and isinstance(model.text, TextEncoder)


@dataclass(frozen=True)
class Tuned:
    """Learned class vectors.

    Attributes:
        class_KD: Unit vectors at the chosen step.
        step: The chosen step; 0 is before the first.
        loss: Training loss by step.
        development: Development loss by step, empty without development images.
    """

    class_KD: Floats
    step: int
    loss: list[float]
    development: list[float]


def tune(
    vectors: ClassVectors,
    train: Task,
    train_ND: Floats,
    dev: Task | None,
    dev_MD: Floats | None,
    *,
    scale: float,
    absent_KD: Floats | None,
    steps: int,
    learning_rate: float,
    patience: int,
) -> Tuned:
    """Learn class vectors by full-batch Adam on the drawn images; nothing is random.

    The step of lowest development loss is taken, the first of equals; after ``patience`` steps without a better one
    learning stops. Without development images the last step is taken.

    Args:
        vectors: What is learned.
        train: The training images.
        train_ND: Their unit embeddings.
        dev: The development images, or None.
        dev_MD: Their unit embeddings.
        scale: Multiplier of cosines.
        absent_KD: Fixed vectors of absence, for several labels per image.
        steps: Most steps.
        learning_rate: Rate of Adam.
        patience: Steps without a better development loss.

    Raises:
        TrainingError: If the loss is not finite.
    """
    loss_of = _Loss(scale, absent_KD)
    train_parts = loss_of.parts(train, train_ND)
    dev_parts = None if dev is None or dev_MD is None or len(dev) == 0 else loss_of.parts(dev, dev_MD)
    learned = list(vectors.parameters())
    optimiser = torch.optim.Adam(learned, lr=learning_rate)
    losses: list[float] = []
    held_out: list[float] = []
    best, best_step = np.zeros(0), 0
    for step in range(steps + 1):
        class_KD = vectors()
        loss = loss_of(class_KD, *train_parts)
        if not torch.isfinite(loss):
            raise TrainingError("the loss is not finite", item=f"step {step}", remedy="lower learning_rate")
        losses.append(float(loss.detach()))
        held_out_loss = None if dev_parts is None else float(loss_of(class_KD.detach(), *dev_parts))
        if held_out_loss is None or not held_out or held_out_loss < min(held_out):
            best, best_step = class_KD.detach().cpu().numpy().astype(np.float64), step
        if held_out_loss is not None:
            held_out.append(held_out_loss)
        if step == steps or step - best_step >= patience:
            break
        # Not backward(): the frozen towers' own gradients are left alone.
        for parameter, gradient in zip(learned, torch.autograd.grad(loss, learned), strict=True):
            parameter.grad = gradient
        optimiser.step()
    return Tuned(best, best_step, losses, held_out)


class _Loss:
    """Cross-entropy of scaled cosines; of several labels, of presence against absence."""

    def __init__(self, scale: float, absent_KD: Floats | None) -> None:
        self.scale = scale
        self.absent_KD = None if absent_KD is None else torch.tensor(absent_KD, dtype=torch.float64)

    @staticmethod
    def parts(task: Task, image_ND: Floats) -> tuple[Tensor, Tensor]:
        """Return images and truth as tensors."""
        truth = torch.tensor(task.target_N if task.mode == "single" else task.target_NK.astype(np.float64))
        return torch.tensor(image_ND, dtype=torch.float64), truth

    def __call__(self, class_KD: Tensor, image_ND: Tensor, truth: Tensor) -> Tensor:
        class_KD = class_KD.to(image_ND)
        if truth.ndim == 1:
            return functional.cross_entropy(self.scale * image_ND @ class_KD.T, truth)
        assert self.absent_KD is not None, "several labels need vectors of absence"
        logit_NK = self.scale * image_ND @ (class_KD - self.absent_KD).T
        return functional.binary_cross_entropy_with_logits(logit_NK, truth)
