"""Texts to token ids, exactly as open_clip's own tokenizer wrapper does, with truncation counted.

Shape letters: M texts · L tokens.
"""

from __future__ import annotations

import abc
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ftfy
import torch
from torch import Tensor

from medvlp.errors import CheckpointError, ConfigError, DataError


def clean(text: str) -> str:
    """Repair encoding damage, unescape HTML and collapse white space (open_clip's ``whitespace`` cleaning)."""
    if text.isascii() and text.isprintable() and "&" not in text:
        return " ".join(text.split())  # what the long way gives for plain text, many times faster
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())


class Tokenizer(abc.ABC):
    """A tokenizer with a fixed longest length and a count of what was cut.

    Attributes:
        context_length: Longest sequence L, special tokens included.
        seen: Texts tokenised since the last :meth:`reset_counts`.
        truncated: How many of them lost tokens.
    """

    def __init__(self, context_length: int) -> None:
        self.context_length = context_length
        self.reset_counts()

    def reset_counts(self) -> None:
        """Start counting truncated texts anew."""
        self.seen = self.truncated = 0

    @property
    def truncated_share(self) -> float:
        """Share of texts that lost tokens, 0 when none was seen."""
        return self.truncated / self.seen if self.seen > 0 else 0.0

    def __call__(self, texts: Sequence[str], fixed: bool = False) -> tuple[Tensor, Tensor]:
        """Return ids (M, L) and mask (M, L), int64, mask 1 on real tokens.

        Args:
            texts: The strings; never logged.
            fixed: Pad to ``context_length`` instead of the longest text of the call.

        Raises:
            DataError: If there are no texts, or one is not a string.
        """
        if isinstance(texts, str) or len(texts) == 0:
            raise DataError("expected a non-empty list of strings", item="texts", remedy="pass a list")
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"is {type(text).__name__}, not a string", item=f"text {index}")
        ids_ML, mask_ML, num_truncated = self._encode(list(texts), fixed)
        self.seen += len(texts)
        self.truncated += num_truncated
        return ids_ML, mask_ML

    @abc.abstractmethod
    def _encode(self, texts: list[str], fixed: bool) -> tuple[Tensor, Tensor, int]:
        """Return ids, mask and the number of texts that lost tokens."""

    @property
    def mask_id(self) -> int | None:
        """Return the token id that stands for a hidden token, None if there is none."""
        return None

    @property
    def special_ids(self) -> frozenset[int]:
        """Return the ids of tokens that stand for no word."""
        return frozenset()

    def bare(self, texts: Sequence[str], length: int) -> list[list[int]]:
        """Return the first ids of each text, without special tokens; such texts are not counted.

        Raises:
            ConfigError: If this tokenizer cannot.
        """
        raise ConfigError("gives no tokens of parts of a text", item="model.text", remedy="use text: {name: hf}")

    def spans(self, texts: Sequence[str]) -> Tensor:
        """Return which characters of ``clean(text)`` each token is (M, L, 2), as :meth:`__call__` would lay them out.

        First and end; equal for special tokens and padding. Such texts are not counted.

        Raises:
            ConfigError: If this tokenizer cannot.
        """
        raise ConfigError("does not say where its tokens are", item="model.text", remedy="use text: {name: hf}")

    @abc.abstractmethod
    def save(self, folder: Path) -> None:
        """Write what is needed to build the tokenizer again; nothing where it is part of a library."""


class HfTokenizer(Tokenizer):
    """A Hugging Face tokenizer from a folder."""

    def __init__(self, folder: Path | str, context_length: int) -> None:
        """Read the tokenizer.

        Raises:
            CheckpointError: If the folder holds no usable tokenizer.
        """
        from transformers import AutoTokenizer

        super().__init__(context_length)
        try:
            self.hf: Any = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"no usable tokenizer ({reason})", item=folder) from None
        if self.hf.pad_token_id is None:
            raise CheckpointError("the tokenizer has no padding token", item=folder, remedy="choose another text model")
        self.hf.padding_side = "right"

    def _encode(self, texts: list[str], fixed: bool) -> tuple[Tensor, Tensor, int]:
        batch = self.hf(
            [clean(text) for text in texts],
            max_length=self.context_length,
            padding="max_length" if fixed else "longest",
            truncation=True,
            return_tensors="pt",
        )
        ids_ML = batch["input_ids"]
        if batch.encodings is not None:
            num_truncated = sum(bool(encoding.overflowing) for encoding in batch.encodings)
        else:
            lengths = [len(ids) for ids in self.hf([clean(text) for text in texts])["input_ids"]]
            num_truncated = sum(length > self.context_length for length in lengths)
        return ids_ML, (ids_ML != self.hf.pad_token_id).long(), num_truncated

    @property
    def mask_id(self) -> int | None:
        """Return the token id that stands for a hidden token, None if there is none."""
        found: int | None = self.hf.mask_token_id
        return found

    @property
    def special_ids(self) -> frozenset[int]:
        """Return the ids of tokens that stand for no word."""
        return frozenset(self.hf.all_special_ids)

    def bare(self, texts: Sequence[str], length: int) -> list[list[int]]:
        """Return the first ids of each text, without special tokens."""
        if not texts:
            return []
        ids: list[list[int]] = self.hf([clean(text) for text in texts], add_special_tokens=False)["input_ids"]
        return [one[:length] for one in ids]

    def spans(self, texts: Sequence[str]) -> Tensor:
        """Return which characters of ``clean(text)`` each token is (M, L, 2).

        Raises:
            ConfigError: If it is one of the slow tokenizers, which do not know.
        """
        if not self.hf.is_fast:
            return super().spans(texts)
        batch = self.hf(
            [clean(text) for text in texts],
            max_length=self.context_length,
            padding="longest",
            truncation=True,
            return_offsets_mapping=True,
        )
        return torch.tensor(batch["offset_mapping"])

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files into ``folder``."""
        self.hf.save_pretrained(str(folder))


class OpenClipTokenizer(Tokenizer):
    """An open_clip tokenizer; always pads to its context length, as its text towers expect."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(int(tokenizer.context_length))
        self.inner = tokenizer
        self.hf: Any = getattr(tokenizer, "tokenizer", None)
        self.pad_id = int(self.hf.pad_token_id) if self.hf is not None else 0

    def _encode(self, texts: list[str], fixed: bool) -> tuple[Tensor, Tensor, int]:
        ids_ML = torch.as_tensor(self.inner(texts))
        cleaned = [self.inner.clean_fn(text) for text in texts]
        if self.hf is not None:
            lengths = [len(ids) for ids in self.hf(cleaned)["input_ids"]]
        else:
            lengths = [len(self.inner.encode(text)) + 2 for text in cleaned]
        num_truncated = sum(length > self.context_length for length in lengths)
        return ids_ML, (ids_ML != self.pad_id).long(), num_truncated

    def save(self, folder: Path) -> None:
        """Write the Hugging Face files where there are any (open_clip's own vocabulary is in its package)."""
        if self.hf is not None:
            self.hf.save_pretrained(str(folder))


def check_context_length(context_length: int, longest: int | None, item: object) -> None:
    """Refuse a context longer than the tower has positions for.

    Raises:
        ConfigError: Naming both numbers.
    """
    if longest is not None and context_length > longest:
        raise ConfigError(
            f"context_length {context_length} is more than the tower's {longest} positions",
            item=item,
            remedy=f"set context_length to at most {longest}",
        )
