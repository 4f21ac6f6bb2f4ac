"""A *subject* is any model that is scored: opened from any source, or an object the user made, under one protocol.

Shape legend: N images, M texts, D embedding size, h and w the cells of a map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

import medvlp
from medvlp.config import Config, resolve_path
from medvlp.data.transform import Preprocess
from medvlp.encoders.image import TimmImage
from medvlp.errors import ConfigError, DataError
from medvlp.io import sha256_json
from medvlp.loading import has_scheme
from medvlp.tile_encoder import TileEncoder
from medvlp.zeroshot.classifier import scale_of, to_numpy, unit_vectors
from medvlp.zeroshot.floors import untrained_copy
from medvlp.zeroshot.results import weights_digest

Floats = NDArray[np.float64]
IMAGE, TEXT, MAPS = "image", "text", "maps"
TIMM = "timm:"
_TEXTS_AT_ONCE = 256


class ModelEntry(Config):
    """One model of a grid."""

    source: str = Field(
        min_length=1,
        description="What `medvlp.load` opens (run, checkpoint, export, open_clip:, hf-hub:, keep:, hf_clip:, "
        "openai_clip:, chexzero:, embeddings:), or timm:NAME or timm:NAME/FILE for an image encoder alone.",
    )
    title: str | None = Field(None, description="How tables call it; the entry's key by default.")
    seed: int = Field(0, ge=0, description="Seed of random weights, where the source names none.")
    scale: float | None = Field(None, gt=0, description="Multiplier of cosines; the model's own by default.")
    device: str = Field("cpu", description="Torch device to embed on.")
    batch_size: int = Field(64, ge=1, description="Images per forward pass.")
    knowledge: str | None = Field(None, description="What knowledge it was trained with, in a few words.")


class Encoder(Protocol):
    """What an object needs to be scored; an object with only one of the two encoders takes part where that is enough.

    It may further have ``encode_keys(keys)`` instead of pixels, ``heat_maps(images, texts) -> (N, M, h, w)`` for
    grounding (a model of this library with a query decoder has its attention), ``logit_bias``, and ``preprocess`` (a
    :class:`medvlp.data.transform.Preprocess`).
    """

    def encode_image(self, images: Sequence[Image.Image]) -> Any:
        """Return one vector per PIL image (N, D)."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Any:
        """Return one vector per string (M, D)."""
        ...

    def scale(self) -> Any:
        """Return the multiplier of cosines."""
        ...


@dataclass(frozen=True)
class Subject:
    """A model with its name, ready to be scored.

    Attributes:
        name: Key of the entry.
        entry: How it was opened.
        abilities: Which of ``image``, ``text`` and ``maps`` it can do.
        weights_sha256: Identity of its weights or stored vectors; None where it has neither.
        model: The object itself, for functions that take any encoder.
    """

    name: str
    entry: ModelEntry
    abilities: frozenset[str]
    weights_sha256: str | None
    model: Any = field(repr=False)

    @classmethod
    def of(cls, model: Any, name: str | None = None, entry: ModelEntry | None = None) -> Subject:
        """Take any object that satisfies :class:`Encoder` wholly or in part.

        Raises:
            ConfigError: If it can encode neither images nor texts.
        """
        kind = type(model).__name__
        methods = {IMAGE: ("encode_keys", "encode_image"), TEXT: ("encode_text",), MAPS: ("heat_maps",)}
        able = {ability for ability, names in methods.items() if any(callable(getattr(model, n, None)) for n in names)}
        if getattr(model, "decoder", None) is not None and callable(getattr(model, "image_tokens", None)):
            able.add(MAPS)  # of its attention
        if not able & {IMAGE, TEXT}:
            raise ConfigError(
                "can encode neither images nor texts", item=name or kind, remedy="give it encode_image or encode_text"
            )
        entry = entry if entry is not None else ModelEntry(source=f"object:{kind}")
        return cls(name or kind, entry, frozenset(able), weights_digest(model), model)

    @property
    def title(self) -> str:
        """How tables call it."""
        return self.entry.title or self.name

    @property
    def identity(self) -> str | None:
        """Sha256 over all that decides its image embeddings, or None where that cannot be known.

        Weights alone do not: the same tensors under another activation or crop give other numbers.
        """
        preprocess = getattr(self.model, "preprocess", None)
        if self.weights_sha256 is None or not isinstance(preprocess, Preprocess):
            return None
        config, tower = getattr(self.model, "config", None), getattr(self.model, "image", None)
        return sha256_json(
            {
                "weights": self.weights_sha256,
                "preprocess": preprocess.to_json(),
                "config": config.model_dump(mode="json") if isinstance(config, Config) else None,
                "architecture": getattr(tower, "architecture", None),
                "device": torch.device(self.entry.device).type,
            }
        )

    @property
    def scale(self) -> float:
        """Multiplier of cosines: the entry's, else the model's.

        Raises:
            ConfigError: If neither has one.
        """
        if self.entry.scale is not None:
            return self.entry.scale
        if not callable(getattr(self.model, "scale", None)):
            raise ConfigError("has no multiplier of cosines", item=self.name, remedy="set `scale:` in its entry")
        return scale_of(self.model)

    @property
    def bias(self) -> float | None:
        """What is added to scaled cosines before a sigmoid, or None."""
        found = getattr(self.model, "logit_bias", None)
        return None if found is None else float(to_numpy(found))

    @property
    def encode_keys(self) -> Callable[[Sequence[str]], Floats] | None:
        """For stored embeddings, the function from keys of images to unit rows (N, D); None for a model."""
        by_key = getattr(self.model, "encode_keys", None)
        if by_key is None:
            return None
        return lambda keys: self._rows(by_key(list(keys)), len(keys), "images")

    def encode_images(self, images: Sequence[Image.Image]) -> Floats:
        """Return unit rows (N, D), in batches of the entry's size.

        Raises:
            DataError: If it encodes no images, or answers with another number of rows, zeros or NaN.
        """
        self.require(IMAGE)
        size = self.entry.batch_size
        parts = (self.model.encode_image(list(images[i : i + size])) for i in range(0, len(images), size))
        return self._rows(np.concatenate([to_numpy(part) for part in parts]), len(images), "images")

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Return unit rows (M, D).

        Raises:
            DataError: As for :meth:`encode_images`.
        """
        self.require(TEXT)
        size = _TEXTS_AT_ONCE
        parts = (self.model.encode_text(list(texts[i : i + size])) for i in range(0, len(texts), size))
        return self._rows(np.concatenate([to_numpy(part) for part in parts]), len(texts), "texts")

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """:meth:`encode_texts`, under the name by which ``medvlp.zeroshot`` asks any model."""
        return self.encode_texts(texts)

    def untrained(self, seed: int) -> Subject | None:
        """Return the same network with redrawn weights, or None for what is no network."""
        if not isinstance(self.model, torch.nn.Module):
            return None
        entry = self.entry.model_copy(update={"seed": seed, "title": f"{self.title}, untrained"})
        return Subject.of(untrained_copy(self.model, seed), f"{self.name}-untrained-{seed}", entry)

    def why_not(self, ability: str) -> str | None:
        """Return the reason why a protocol that needs ``ability`` is left out, or None if it can be run."""
        needs = {IMAGE: "encodes no images", TEXT: "encodes no texts", MAPS: "gives no maps"}
        return None if ability in self.abilities else f"{self.title} {needs[ability]}"

    def require(self, ability: str) -> None:
        """Raise a :class:`DataError` with the reason of :meth:`why_not`, where there is one."""
        reason = self.why_not(ability)
        if reason is not None:
            raise DataError(reason, item=self.name, remedy="choose a protocol that does without")

    def _rows(self, value: Any, count: int, what: str) -> Floats:
        rows = to_numpy(value)
        if rows.ndim != 2 or len(rows) != count:
            raise DataError(f"embeddings of shape {rows.shape} for {count} {what}", item=self.name)
        return unit_vectors(rows, f"{what} of {self.name}")


def open_subject(name: str, entry: ModelEntry) -> Subject:
    """Open a model in eval mode on its device.

    Raises:
        CheckpointError: If nothing is there, or weights do not fit.
        ConfigError: If there is no such architecture or device.
        MissingExtraError: Naming the extra that its source needs.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(entry.seed)
        model = _load(entry.source)
    try:
        placed = model.to(torch.device(entry.device)).eval()
    except (RuntimeError, AssertionError) as error:  # a build of torch without the device fails by assertion
        reason = str(error).splitlines()[0]
        raise ConfigError(reason, item=f"{name}, device: {entry.device}", remedy="use cpu") from None
    return Subject.of(placed, name, entry)


def _load(source: str) -> Any:
    if source.startswith(TIMM):
        architecture, _, weights = source.removeprefix(TIMM).partition("/")
        if not architecture:
            raise ConfigError("names no network", item=source, remedy="write timm:NAME or timm:NAME/FILE")
        return TileEncoder(TileEncoder.Config(image=TimmImage.Config(model=architecture, weights=weights or "none")))
    return medvlp.load(source if has_scheme(source) else str(resolve_path(source)))
