"""What learns of a dual encoder whose towers are frozen: heads, scale, and perhaps a query decoder.

It has the methods of ``medvlp.model.DualEncoder`` that training calls, so that ``medvlp.training.align_model`` runs it;
in the place of a text tower it has a table of features. Shape legend: N images, M texts, B images of a batch, P places
of an image, L tokens, Q queries, K classes, I tower width, D embedding.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from benchmarks.controlled.config import Method, Stage2
from benchmarks.controlled.text_space import Taught, class_vectors, new_head
from medvlp.encoders.heads import Head
from medvlp.errors import TrainingError
from medvlp.fusion.query_decoder import Decoded, QueryDecoder
from medvlp.model import MAX_SCALE, MIN_SCALE
from medvlp.zeroshot.classifier import to_numpy
from medvlp.zeroshot.existence import chosen_scorer, class_logits

if TYPE_CHECKING:
    from benchmarks.controlled.features import TextTable, Towers
    from benchmarks.controlled.words import FewTokens

_BATCH = 64


class HeadPair(nn.Module):
    """Two heads, the scale, perhaps a bias and a decoder.

    Args:
        image_head: Behind the image tower.
        text_head: Behind the text tower.
        scale: First multiplier of cosines.
        bias: First additive bias of logits, or None.
        space: Where an objective asks with texts, the head of stage 1: it then counts as the end of the frozen text
            tower, since queries are outputs of that tower. None: ``text_head`` goes on from it.
        decoder: Asks texts of places, or None.
    """

    text = None  # there is no tower, so nothing to encode in buckets

    def __init__(
        self,
        image_head: Head,
        text_head: Head,
        scale: float,
        bias: float | None,
        space: Head | None = None,
        decoder: QueryDecoder | None = None,
    ) -> None:
        super().__init__()
        self.image_head, self.text_head, self.decoder = image_head, text_head, decoder
        self.logit_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.logit_bias = None if bias is None else nn.Parameter(torch.tensor(bias))
        self._space = (space,)  # a tuple: what is frozen is no part of this module
        self._table: TextTable | None = None
        self._tokens: FewTokens | None = None

    @classmethod
    def of(cls, method: Method, config: Stage2, image_width: int, taught: Taught) -> HeadPair:
        """Return a new model of a method, drawn by torch's generator."""
        first = taught.head.first
        assert first is not None
        width = len(first.weight)
        image_head = Head(config.image_head, image_width, width, "image")
        text_head = new_head(width) if method.asks else copy.deepcopy(taught.head)
        decoder = None if method.decoder is None else QueryDecoder(method.decoder, width, image_width)
        return cls(
            image_head,
            text_head.requires_grad_(True),
            method.logit_scale_init,
            method.logit_bias,
            taught.head if method.asks else None,
            decoder,
        )

    def read(self, table: TextTable, tokens: FewTokens | None = None) -> None:
        """Take texts from a table from now on, and embeddings of tokens from a tokeniser."""
        self._table, self._tokens = table, tokens

    def scale(self) -> Tensor:
        """Return the multiplier of cosines."""
        return self.logit_scale.exp().clamp(MIN_SCALE, MAX_SCALE)

    def project_image(self, features_NI: Tensor) -> Tensor:
        """Return unit vectors (..., D)."""
        return normalize(self.image_head(features_NI), dim=-1)

    def project_text(self, features_MI: Tensor) -> Tensor:
        """Return unit vectors (..., D) of what :meth:`text_features` gives."""
        return normalize(self.text_head(features_MI), dim=-1)

    def in_space(self, features_MI: Tensor) -> Tensor:
        """Return what the text tower gives (..., I), with stage 1 behind it where queries need it there."""
        space = self._space[0]
        return features_MI if space is None else space(features_MI)

    def text_map(self, features_MI: Tensor) -> Tensor:
        """Return embeddings (M, D), not normalised, of outputs of the frozen tower."""
        mapped: Tensor = self.text_head(self.in_space(features_MI))
        return mapped

    def text_features(self, ids_ML: Tensor, mask_ML: Tensor) -> Tensor:
        """Return features (M, I) of texts that a table's ``tokenize`` has numbered."""
        return self.in_space(self._texts().pooled(ids_ML, mask_ML))

    def text_tokens(self, ids_ML: Tensor, mask_ML: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (M, I), and features by token (M, L, I)."""
        table = self._texts()
        words_MLI = table.words(ids_ML)
        return self.text_features(ids_ML, mask_ML), self.in_space(words_MLI) if table.words_at_end else words_MLI

    def token_table(self) -> Tensor:
        """Return the tower's embeddings of the tokens (V, I) that :meth:`read` was given."""
        assert self._tokens is not None, "read() gives tokens to a loss that reads them"
        return self._tokens.table_VI

    def decode(self, query_QI: Tensor, tokens_BPI: Tensor, mask_BP: Tensor | None = None) -> Decoded:
        """Ask texts, as features, of the places of images."""
        if self.decoder is None:
            raise TrainingError("asks through a decoder, which it does not have", item="method", remedy="set `decoder`")
        decoded: Decoded = self.decoder(query_QI, tokens_BPI, mask_BP)
        return decoded

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters by the names that ``optimizer.part_lr`` uses."""
        scale = [self.logit_scale, *([] if self.logit_bias is None else [self.logit_bias])]
        return {
            "image_head": list(self.image_head.parameters()),
            "text_head": list(self.text_head.parameters()),
            "scale": scale,
            "decoder": [] if self.decoder is None else list(self.decoder.parameters()),
        }

    def _texts(self) -> TextTable:
        assert self._table is not None, "read() comes first"
        return self._table


class Answers:
    """A trained model asked about images, scored as ``medvlp.zero_shot`` does it with ``scorer: auto``.

    Args:
        model: The model.
        features_NI: Outputs of the frozen image tower.
        places_NPI: The same by place; needed with a decoder.
        towers: Gives the features of prompts.
    """

    def __init__(self, model: HeadPair, features_NI: Tensor, places_NPI: Tensor | None, towers: Towers) -> None:
        self.model, self.places_NPI, self.towers = model, places_NPI, towers
        self.scorer = chosen_scorer("auto", model)
        with torch.no_grad():
            self.image_ND: NDArray[np.float64] = model.project_image(features_NI).double().numpy()

    def __call__(self, texts_K: Sequence[Sequence[str]], rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Return logits (N, K): scaled cosines with class vectors, or the decoder's mean over a class's prompts."""
        rows = np.arange(len(self.image_ND)) if rows is None else rows
        if self.scorer == "cosine":
            class_KD = class_vectors(self.model.text_map, texts_K, self.towers).double().numpy()
            scaled: NDArray[np.float64] = float(self.model.scale()) * (self.image_ND[rows] @ class_KD.T)
            return scaled
        assert self.places_NPI is not None, "a decoder asks places"
        table = self.towers.texts(text for texts in texts_K for text in texts)
        distinct = list(table.row)
        parts = []
        with torch.no_grad():
            query_QI = self.model.in_space(table[distinct])
            for start in range(0, len(rows), _BATCH):
                places_BPI = self.places_NPI[torch.from_numpy(rows[start : start + _BATCH])].float()
                exists_BQ2 = to_numpy(self.model.decode(query_QI, places_BPI).exists_BQ2)
                parts.append(exists_BQ2[..., 1] - exists_BQ2[..., 0])
        logit_NQ = np.concatenate(parts)
        return class_logits([logit_NQ[:, [table.row[text] for text in texts]] for texts in texts_K])
