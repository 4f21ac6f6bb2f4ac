"""What the two frozen towers say, computed once and kept on disk: all arms of the grid read the same features.

Shape legend: N images, U distinct texts, H, W pixels, I tower width.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

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
        self._known: dict[str, NDArray[np.float32]] = {}

    def images(self, images_N: NDArray[np.uint8]) -> Tensor:
        """Return features (N, I) of images (N, H, W, 3)."""
        tower, digest = self._image_tower()
        pixels = hashlib.sha256(np.ascontiguousarray(images_N).tobytes()).hexdigest()
        key = sha256_json([digest, tower.preprocess.to_json(), list(images_N.shape), pixels])
        return torch.from_numpy(self._kept(f"images-{key[:24]}", lambda: _embed(tower, images_N)))

    def texts(self, texts: Iterable[str]) -> TextTable:
        """Return the features of distinct texts; a text that this process has met is not encoded again."""
        tower, digest = self._text_tower()
        distinct = sorted(set(texts))
        key = sha256_json([digest, self._text_config.context_length, distinct])

        def work() -> NDArray[np.float32]:
            new = [text for text in distinct if text not in self._known]
            for start in range(0, len(new), _BATCH):
                part = new[start : start + _BATCH]
                with torch.no_grad():
                    found_UI = encode_in_buckets(tower, *tower.tokenize(part)).float().numpy()
                self._known.update(zip(part, found_UI, strict=True))
            return np.stack([self._known[text] for text in distinct])

        features_UI = self._kept(f"texts-{key[:24]}", work)
        self._known.update(zip(distinct, features_UI, strict=True))
        return TextTable(distinct, torch.from_numpy(features_UI))

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

    def _kept(self, name: str, work: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        file = self.folder / f"{name}.npy"
        if not file.is_file():
            buffer = io.BytesIO()
            np.save(buffer, work(), allow_pickle=False)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(file, buffer.getvalue())
        found: NDArray[np.float32] = np.load(file, allow_pickle=False)
        return found


class TextTable:
    """Distinct texts with their features; a text's row number stands in for its token ids in a batch.

    Attributes:
        features_UI: One row per text.
    """

    def __init__(self, texts: Sequence[str], features_UI: Tensor) -> None:
        self.row = {text: number for number, text in enumerate(texts)}
        self.features_UI = features_UI

    def __getitem__(self, texts: Sequence[str]) -> Tensor:
        """Return the features (M, I) of texts."""
        return self.features_UI[[self.row[text] for text in texts]]

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return row numbers (M, 1) in the place of token ids, and a mask of ones."""
        ids_M1 = torch.tensor([[self.row[text]] for text in texts])
        return ids_M1, torch.ones_like(ids_M1)


def _embed(tower: TimmImage, images_N: NDArray[np.uint8]) -> NDArray[np.float32]:
    parts = []
    with torch.no_grad():
        for start in range(0, len(images_N), _BATCH):
            batch = [tower.preprocess(Image.fromarray(image)) for image in images_N[start : start + _BATCH]]
            parts.append(tower(torch.stack(batch)).float().numpy())
    return np.concatenate(parts)
