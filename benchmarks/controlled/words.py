"""Texts by their own tokens, for losses that hide some of them or read their embeddings.

Hidden words must be in no state of their neighbours, and the tower over every hidden text would take minutes a run. So
such texts are read as the tower's embedding layer gives them, word and position, and the loss's own stack does the
reading; it is as wide as its words, so that they may be cut to principal components. Pooled features, which answer, are
those of the whole tower. The vocabulary is what the world says, renumbered: guesses are made among
some hundreds of tokens.

Shape legend: M texts, L tokens, U distinct texts, R tokens of all texts, V vocabulary, I tower width, W width of words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.controlled.features import TextTable
from medvlp.encoders.text import TextEncoder
from medvlp.encoders.tokenizer import Tokenizer
from medvlp.errors import ConfigError


class FewTokens(Tokenizer):
    """The tower's tokeniser with nothing but the tokens of some texts, numbered from 0; any other is unknown.

    Args:
        tower: The text tower.
        texts: Everything that has to be told apart.

    Attributes:
        table_VI: The tower's embeddings of these tokens.
        unknown_id: What stands for any other token.

    Raises:
        ConfigError: If the tower has no token for a hidden or an unknown word.
    """

    def __init__(self, tower: TextEncoder, texts: Iterable[str]) -> None:
        super().__init__(tower.tokenizer.context_length)
        self.whole = tower.tokenizer
        unknown, hidden = self.whole.hf.unk_token_id, self.whole.mask_id
        if unknown is None or hidden is None:
            raise ConfigError("has no token for a hidden or an unknown word", item="text", remedy="use a BERT")
        ids_ML, _ = self.whole(sorted(set(texts)))
        special = [unknown, hidden, self.whole.hf.pad_token_id]
        self.tower_id_V = torch.unique(torch.cat([ids_ML.flatten(), torch.tensor(special)]))
        self._unknown, self._hidden = unknown, hidden
        self.table_VI = tower.table_VI.detach()[self.tower_id_V]
        self.unknown_id = int(self._few(torch.tensor([unknown])))

    def __len__(self) -> int:
        """Return the number of tokens V."""
        return len(self.tower_id_V)

    @property
    def mask_id(self) -> int:
        """Return the token id that stands for a hidden token."""
        return int(self._few(torch.tensor([self._hidden])))

    def bare(self, texts: Sequence[str], length: int) -> list[list[int]]:
        """Return the first ids of each text, without special tokens."""
        return [self._few(torch.tensor(ids, dtype=torch.long)).tolist() for ids in self.whole.bare(texts, length)]

    def spans(self, texts: Sequence[str]) -> Tensor:
        """Return which characters each token is (M, L, 2)."""
        return self.whole.spans(texts)

    def save(self, folder: Path) -> None:
        """Write the tower's own tokeniser."""
        self.whole.save(folder)

    def _encode(self, texts: list[str], fixed: bool) -> tuple[Tensor, Tensor, int]:
        before = self.whole.truncated
        ids_ML, mask_ML = self.whole(texts, fixed)
        return self._few(ids_ML), mask_ML, self.whole.truncated - before

    def _few(self, id_X: Tensor) -> Tensor:
        place_X = torch.searchsorted(self.tower_id_V, id_X).clamp(max=len(self.tower_id_V) - 1)
        unknown = torch.searchsorted(self.tower_id_V, torch.tensor(self._unknown))
        return torch.where(self.tower_id_V[place_X] == id_X, place_X, unknown)


class WordTable(TextTable):
    """Distinct texts with their features, found by their tokens.

    Args:
        texts: The texts.
        features_UI: Outputs of the whole tower.
        tower: The tower.
        tokenizer: Made of these texts and maybe more.
        width: Most principal components of words; None leaves them as they are, for a loss that puts the text head on.

    Raises:
        ConfigError: If the tower shows no embedding layer.
    """

    words_at_end = False

    def __init__(
        self,
        texts: Sequence[str],
        features_UI: Tensor,
        tower: TextEncoder,
        tokenizer: FewTokens,
        width: int | None = None,
    ) -> None:
        super().__init__(texts, features_UI)
        self.tokenizer = tokenizer
        self._embed: Any = getattr(tower.transformer, "embeddings", None)
        if self._embed is None:
            raise ConfigError("shows no embedding layer", item="text", remedy="use a BERT")
        ids_UL, mask_UL = tokenizer(list(texts))
        self._axis_IW = torch.eye(features_UI.shape[1])
        if width is not None:
            states_RI = self._embedded(ids_UL)[mask_UL.bool()]
            self._axis_IW = torch.linalg.eigh(states_RI.T.cov()).eigenvectors[:, -width:]
        self._row = {_key(ids, mask): number for number, (ids, mask) in enumerate(zip(ids_UL, mask_UL, strict=True))}

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return token ids and mask (M, L); any text will do."""
        return self.tokenizer(texts)

    def pooled(self, ids_ML: Tensor, mask_ML: Tensor) -> Tensor:
        """Return the features (M, I) of texts of the table, NaN for others: a text with hidden words has none."""
        row_M = torch.tensor([self._row.get(_key(ids, mask), -1) for ids, mask in zip(ids_ML, mask_ML, strict=True)])
        return torch.where(row_M[:, None] >= 0, self.features_UI[row_M], torch.nan)

    def words(self, ids_ML: Tensor) -> Tensor:
        """Return what the embedding layer gives, or principal components of it, (M, L, W), of any tokens."""
        return self._embedded(ids_ML) @ self._axis_IW

    @property
    def word_width(self) -> int:
        """Width W of words."""
        return self._axis_IW.shape[1]

    def _embedded(self, ids_ML: Tensor) -> Tensor:
        with torch.no_grad():
            states_MLI: Tensor = self._embed(input_ids=self.tokenizer.tower_id_V[ids_ML])
        return states_MLI.float()


def _key(id_L: Tensor, mask_L: Tensor) -> tuple[int, ...]:
    return tuple(id_L[mask_L.bool()].tolist())
