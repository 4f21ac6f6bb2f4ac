"""What the two frozen towers say, computed once and kept on disk: all arms of the grid read the same features.

Shape legend: N images, P places of an image, U distinct texts, L tokens, H, W pixels, I tower width.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from medvlp.encoders.image import TimmImage
from medvlp.encoders.text import TextEncoder
from medvlp.io import sha256_json, write_bytes
from medvlp.training.buckets import encode_in_buckets
from medvlp.training.features import tower_digest

_BATCH = 64
Floats = NDArray[np.floating[Any]]


class Towers:
    """The frozen towers of one process, opened when first needed.

    Args:
        image: The image tower.
        text: The text tower.
        folder: Where features are kept, one ``.npy`` per set of images or texts.
    """

    def __init__(self, image: TimmImage.Config, text: TextEncoder.Config, folder: Path) -> None:
        self._image_config, self._text_config, self.folder = image, text, folder
        self._image: tuple[TimmImage, str] | None = None
        self._text: tuple[TextEncoder, str] | None = None
        self._known: dict[str, Floats] = {}

    def images(self, images_N: NDArray[np.uint8]) -> Tensor:
        """Return features (N, I) of images (N, H, W, 3)."""
        tower, digest = self._image_tower()
        key = sha256_json([digest, tower.preprocess.to_json(), list(images_N.shape), _digest(images_N)])
        return torch.from_numpy(self._kept(f"images-{key[:24]}", lambda: _embed(tower, images_N)))

    def places(self, images_N: NDArray[np.uint8]) -> Tensor:
        """Return features by place (N, P, I) of images (N, H, W, 3), float16: twice as many rows fit into memory."""
        tower, digest = self._image_tower()
        key = sha256_json([digest, tower.preprocess.to_json(), list(images_N.shape), _digest(images_N), "places"])
        return torch.from_numpy(self._kept(f"places-{key[:24]}", lambda: _embed(tower, images_N, places=True)))

    @property
    def text_tower(self) -> TextEncoder:
        """The frozen text tower itself."""
        return self._text_tower()[0]

    def texts(self, texts: Iterable[str], *, words: bool = False) -> TextTable:
        """Return the features of distinct texts; a text that this process has met is not encoded again.

        Args:
            texts: The texts, in any order and number.
            words: Give their features by token too.
        """
        tower, digest = self._text_tower()
        distinct = sorted(set(texts))
        key = sha256_json([digest, self._text_config.context_length, distinct])

        def work() -> Floats:
            new = [text for text in distinct if text not in self._known]
            for start in range(0, len(new), _BATCH):
                part = new[start : start + _BATCH]
                with torch.no_grad():
                    found_UI = encode_in_buckets(tower, *tower.tokenize(part)).float().numpy()
                self._known.update(zip(part, found_UI, strict=True))
            return np.stack([self._known[text] for text in distinct])

        features_UI = self._kept(f"texts-{key[:24]}", work)
        self._known.update(zip(distinct, features_UI, strict=True))
        if not words:
            return TextTable(distinct, torch.from_numpy(features_UI))
        words_ULI = self._kept(f"words-{key[:24]}", lambda: _words(tower, distinct))
        length_U = tower.tokenize(distinct)[1].sum(1)
        return TextTable(distinct, torch.from_numpy(features_UI), torch.from_numpy(words_ULI), length_U)

    def _image_tower(self) -> tuple[TimmImage, str]:
        if self._image is None:
            with torch.random.fork_rng():
                torch.manual_seed(0)  # a tower of random weights is the same one in every process
                tower = TimmImage(self._image_config).eval().requires_grad_(False)
            self._image = tower, tower_digest(tower)
        return self._image

    def _text_tower(self) -> tuple[TextEncoder, str]:
        if self._text is None:
            tower = TextEncoder(self._text_config).eval().requires_grad_(False)
            self._text = tower, tower_digest(tower)
        return self._text

    def _kept(self, name: str, work: Callable[[], Floats]) -> Floats:
        file = self.folder / f"{name}.npy"
        if not file.is_file():
            buffer = io.BytesIO()
            np.save(buffer, work(), allow_pickle=False)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(file, buffer.getvalue())
        found: Floats = np.load(file, allow_pickle=False)
        return found


class TextTable:
    """Distinct texts with their features; a text's row number stands in for its token ids in a batch.

    Attributes:
        features_UI: One row per text.
        words_at_end: Features by token come from the end of the tower, as those of texts do.
    """

    words_at_end = True

    def __init__(
        self,
        texts: Sequence[str],
        features_UI: Tensor,
        words_ULI: Tensor | None = None,
        length_U: Tensor | None = None,
    ) -> None:
        self.row = {text: number for number, text in enumerate(texts)}
        self.features_UI, self._words_ULI, self._length_U = features_UI, words_ULI, length_U

    def __getitem__(self, texts: Sequence[str]) -> Tensor:
        """Return the features (M, I) of texts."""
        return self.features_UI[[self.row[text] for text in texts]]

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return row numbers (M, L) in the place of token ids, and a mask (M, L), 1 on real tokens.

        A table without features by token takes a text as one token.
        """
        row_M = torch.tensor([self.row[text] for text in texts])
        length_M = torch.ones_like(row_M) if self._length_U is None else self._length_U[row_M]
        mask_ML = (torch.arange(int(length_M.max())) < length_M[:, None]).long()
        return row_M[:, None].expand_as(mask_ML), mask_ML

    @property
    def word_width(self) -> int:
        """Width of what :meth:`words` gives."""
        return self.features_UI.shape[1]

    def pooled(self, ids_ML: Tensor, mask_ML: Tensor) -> Tensor:
        """Return the features (M, I) of what :meth:`tokenize` gave."""
        return self.features_UI[ids_ML[:, 0]]

    def words(self, ids_ML: Tensor) -> Tensor:
        """Return the features by token (M, L, I) of what :meth:`tokenize` gave."""
        assert self._words_ULI is not None, "made with words=True"
        return self._words_ULI[ids_ML[:, 0], : ids_ML.shape[1]].float()


def _digest(images_N: NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.ascontiguousarray(images_N).tobytes()).hexdigest()


def _embed(tower: TimmImage, images_N: NDArray[np.uint8], *, places: bool = False) -> Floats:
    parts = []
    with torch.no_grad():
        for start in range(0, len(images_N), _BATCH):
            batch = [tower.preprocess(Image.fromarray(image)) for image in images_N[start : start + _BATCH]]
            image_BCHW = torch.stack(batch)
            parts.append(tower.with_tokens(image_BCHW)[1].half() if places else tower(image_BCHW).float())
    return np.concatenate([part.numpy() for part in parts])


def _words(tower: TextEncoder, texts: Sequence[str]) -> Floats:
    """Features by token (U, L, I) as float16, zeros behind a text's end."""
    ids_UL, mask_UL = tower.tokenize(list(texts))
    out_ULI = np.zeros((*mask_UL.shape, tower.width), dtype=np.float16)
    order_U = mask_UL.sum(1).argsort(stable=True)
    with torch.no_grad():
        for row_B in order_U.split(_BATCH):  # texts of like length, so that short ones pay for no padding
            longest = int(mask_UL[row_B].sum(1).max())
            states_BLI = tower.with_tokens(ids_UL[row_B, :longest], mask_UL[row_B, :longest])[1]
            out_ULI[row_B.numpy(), :longest] = (states_BLI * mask_UL[row_B, :longest, None]).half().numpy()
    return out_ULI
