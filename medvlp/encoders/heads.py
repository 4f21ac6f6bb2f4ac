"""Projection heads: what maps a tower's features to the shared embedding.

Shape letters: B items · I tower width · D embedding.

``none``, ``linear`` and ``mlp`` have exactly the parameters of open_clip's own heads (``TimmModel`` for images,
``HFTextEncoder`` for texts), so that an export is a renaming. ``kep_mlp`` is the head of the knowledge encoder in
KEP (Linear, GELU, Linear, with biases); behind an image tower the export writes it as a wider ``mlp`` with zeros,
behind a text tower open_clip has no such head and the export refuses it by name.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from medvlp.errors import ConfigError

HeadName = Literal["none", "linear", "mlp", "kep_mlp"]
EXPORTABLE_HEADS: tuple[HeadName, ...] = ("none", "linear", "mlp")


class Head(nn.Module):
    """One projection head; ``first``/``second`` are absent where the kind does not need them."""

    def __init__(self, kind: HeadName, width_in: int, width_out: int, side: Literal["image", "text"]) -> None:
        """Build the head.

        Args:
            kind: ``none``, ``linear``, ``mlp`` or ``kep_mlp``.
            width_in: Width I of the tower's features.
            width_out: Embedding width D.
            side: Decides the hidden width and biases of ``mlp``, as open_clip's two towers differ there.

        Raises:
            ConfigError: If ``none`` is asked for and the widths differ.
        """
        super().__init__()
        self.kind = kind
        self.first: nn.Linear | None = None
        self.second: nn.Linear | None = None
        if kind == "none":
            if width_in != width_out:
                raise ConfigError(
                    f"the tower gives {width_in} features but embed_dim is {width_out}",
                    item=f"{side}_head: none",
                    remedy=f"use {side}_head: linear, or embed_dim: {width_in}",
                )
        elif kind == "linear":
            self.first = nn.Linear(width_in, width_out, bias=False)
        elif kind == "mlp":
            hidden = 2 * width_out if side == "image" else (width_in + width_out) // 2
            self.first = nn.Linear(width_in, hidden, bias=side == "image")
            self.second = nn.Linear(hidden, width_out, bias=False)
        else:
            self.first = nn.Linear(width_in, width_out)
            self.second = nn.Linear(width_out, width_out)

    def forward(self, features_BI: Tensor) -> Tensor:
        """Map tower features (B, I) to the embedding (B, D), not normalised."""
        if self.first is None:
            return features_BI
        projected_BD = self.first(features_BI)
        return projected_BD if self.second is None else self.second(nn.functional.gelu(projected_BD))
