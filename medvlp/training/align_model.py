"""The dual encoder and an objective's own heads as one forward pass, the module that data-parallel training wraps.

Shape legend: B images, M texts, K swapped captions, L tokens, N places, I tower width, D embedding.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from medvlp.encoders.text import TextEncoder
from medvlp.errors import ConfigError
from medvlp.objectives.base import READS, Objective, Seen
from medvlp.training.buckets import encode_in_buckets

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.fusion.query_decoder import Decoded
    from medvlp.model import DualEncoder

HEADS_FILE = "objective.safetensors"
_TAKEN = (
    "image_BCHW", "image_features_BI", "image_tokens_BNI", "token_ids_ML", "token_mask_ML", "swap_ids_KL",
    "swap_mask_KL",
)  # fmt: skip


class AlignModel(nn.Module):
    """One forward pass over a batch.

    Args:
        model: The dual encoder.
        objective: What will read the result; its ``reads``, ``needs`` and ``heads``, where it has them, say what is
            computed beyond pooled embeddings.

    Raises:
        ConfigError: If the objective reads something unknown.
    """

    def __init__(self, model: DualEncoder, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.heads: nn.Module | None = getattr(objective, "heads", None)
        self.reads: frozenset[str] = getattr(objective, "reads", frozenset())
        self.needs: frozenset[str] = getattr(objective, "needs", frozenset())
        if not self.reads <= READS:
            unknown = sorted(self.reads - READS)[0]
            raise ConfigError("no objective may read this", item=unknown, remedy=f"use {', '.join(sorted(READS))}")

    @property
    def reads_places(self) -> bool:
        """Whether image features by place are computed."""
        return bool(self.reads & {"patches", "tokens"})

    @property
    def _for_heads(self) -> frozenset[str]:
        return self.needs | ({"text_valid_M"} if "valid" in self.reads else set())

    def given(self, batch: Batch) -> dict[str, Tensor]:
        """Return the tensors of a batch that :meth:`forward` takes, by field name."""
        names = (*_TAKEN, *sorted(self._for_heads))
        named = {name: getattr(batch, name) for name in names if hasattr(batch, name)}
        return {name: value for name, value in named.items() if isinstance(value, Tensor)}

    def forward(self, given: dict[str, Tensor]) -> tuple[Any, ...]:
        """Return the fields of :class:`medvlp.objectives.base.Outputs`, in order.

        Args:
            given: What :meth:`given` returned; with it ``knowledge_MD``, which no weight here takes part in, or not.
        """
        model = self.model
        image_BI, tokens_BNI = self._image(given)
        text_MI, words_MLI = self._text(given["token_ids_ML"], given["token_mask_ML"])
        swap_KD = None
        if "swap_ids_KL" in given:
            swap_KD = model.project_text(self._text(given["swap_ids_KL"], given["swap_mask_KL"])[0])
        extra: dict[str, Tensor] = {}
        if self.heads is not None:
            batch = {name: given[name] for name in self._for_heads if name in given}
            seen = Seen(
                image_BI,
                tokens_BNI,
                text_MI,
                words_MLI,
                given["token_mask_ML"],
                batch,
                partial(self._decode, tokens_BNI),
                self._pooled_text,
                encode_words=self._words,
                look=self._places,
                project_text=model.project_text,
                table_VI=model.token_table() if "table" in self.reads else None,
            )
            extra = self.heads(seen)
        return (
            model.project_image(image_BI),
            model.project_text(text_MI),
            model.scale(),
            None if model.logit_bias is None else model.logit_bias * 1.0,
            given.get("knowledge_MD"),
            model.project_image(tokens_BNI) if tokens_BNI is not None and "patches" in self.reads else None,
            model.project_text(words_MLI) if words_MLI is not None else None,
            swap_KD,
            extra,
        )

    def _image(self, given: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        if "image_features_BI" in given:
            return given["image_features_BI"], given.get("image_tokens_BNI")
        if self.reads_places:
            return self.model.image_tokens(given["image_BCHW"])
        return self.model.image_features(given["image_BCHW"]), None

    def _text(self, ids_ML: Tensor, mask_ML: Tensor) -> tuple[Tensor, Tensor | None]:
        if "words" in self.reads:
            return self.model.text_tokens(ids_ML, mask_ML)
        return self._pooled_text(ids_ML, mask_ML), None

    def _pooled_text(self, ids_ML: Tensor, mask_ML: Tensor) -> Tensor:
        if isinstance(self.model.text, TextEncoder):
            return encode_in_buckets(self.model.text_features, ids_ML, mask_ML)
        return self.model.text_features(ids_ML, mask_ML)

    def _words(self, ids_NL: Tensor, mask_NL: Tensor) -> Tensor:
        return self.model.text_tokens(ids_NL, mask_NL)[1]

    def _places(self, image_BCHW: Tensor) -> Tensor:
        return self.model.image_tokens(image_BCHW)[1]

    def _decode(
        self,
        tokens_BNI: Tensor | None,
        query_QI: Tensor,
        memory_BNI: Tensor | None = None,
        mask_BN: Tensor | None = None,
    ) -> Decoded:
        places_BNI = tokens_BNI if memory_BNI is None else memory_BNI
        assert places_BNI is not None, "an objective that decodes reads tokens"
        return self.model.decode(query_QI, places_BNI, mask_BN)
