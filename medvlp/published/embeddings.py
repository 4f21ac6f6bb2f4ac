"""Embeddings made elsewhere, in place of a model: for gated weights, and models whose code is not run here.

Folder: ``manifest.json`` (below, with sha256 of each file), ``images.safetensors`` with ``image`` (N, D) and
``image_ids.json`` (N keys of a pairs store), ``texts.safetensors`` with ``text`` (M, D) and ``texts.json`` (M strings).

Shape letters: N images · M texts · B of them · D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from pydantic import Field, ValidationError
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from medvlp.config import Config as BaseConfig
from medvlp.config import resolve_path
from medvlp.encoders.weights import read_state_dict
from medvlp.errors import DataError
from medvlp.io import atomic_folder, full_disk_told, read_json, sha256_json, verify_manifest, write_json, write_manifest

FORMAT = "medvlp-embeddings/1"
MAX_SCALE = 1000.0
_UNIT = 1e-3
_ASK = "write what is needed with `medvlp weights request`, embed it where the model runs, and evaluate again"


class NoEncoderError(DataError, AttributeError):
    """Something was asked of stored embeddings that only a model can do."""


class EmbeddingsManifest(BaseConfig):
    """What ``manifest.json`` says, beside the list of files."""

    format: str = Field(description="The format and its version.")
    model: str = Field(min_length=1, description="Name of the model, with its version.")
    dim: int = Field(ge=1, description="Embedding width D.")
    normalised: bool = Field(description="Whether the vectors have length 1.")
    projected: bool = Field(description="Whether they lie in the space that images and texts share.")
    preprocessing: str = Field(min_length=1, description="How images were prepared, in words.")
    made_by: str = Field(min_length=1, description="Which script and versions made them.")
    licence: str = Field("not stated", description="Licence of the model, or what is known of it.")
    scale: float | None = Field(None, gt=0, le=MAX_SCALE, description="The model's multiplier of cosines.")
    logit_bias: float | None = Field(None, description="Added to the scaled cosines (sigmoid loss).")
    request_sha256: str | None = Field(None, description="Digest of the request that was answered.")


class StoredEmbeddings:
    """Answers for a model as far as it was asked before: images by key, texts by their exact string.

    Attributes:
        folder: Where they lie.
        manifest: What is known of the model that made them.
        digest: Sha256 over manifest and files, which stands for the weights in results.
    """

    def __init__(self, folder: str | Path) -> None:
        """Read and check a folder.

        Raises:
            DataError: If a file is missing or altered, counts or widths differ, a key or text stands twice, or the
                vectors are not projected, not of length 1, or not finite.
        """
        place = resolve_path(str(folder))
        listed = verify_manifest(place)
        files = listed.pop("files")
        self.folder = place
        self.manifest = _manifest(listed, place)
        self.digest = sha256_json({"manifest": listed, "files": files})
        self._image_ND = _vectors(place, "images.safetensors", "image", self.manifest.dim)
        self._text_MD = _vectors(place, "texts.safetensors", "text", self.manifest.dim)
        self._image_row = _rows(place / "image_ids.json", len(self._image_ND))
        self._text_row = _rows(place / "texts.json", len(self._text_MD))
        bias = self.manifest.logit_bias
        self.logit_bias = None if bias is None else torch.tensor(bias)

    def encode_keys(self, keys: Sequence[str]) -> Tensor:
        """Return unit vectors (B, D) of images by their key in the pairs store.

        Raises:
            DataError: Naming the first key that was not embedded, and how many are missing.
        """
        return self._image_ND[_find(keys, self._image_row, "images", self.folder)]

    def encode_text(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """Return unit vectors (M, D) of texts; ``batch_size`` is there for the signature's sake.

        Raises:
            DataError: Naming the first text that was not embedded, and how many are missing.
        """
        return self._text_MD[_find(texts, self._text_row, "texts", self.folder)]

    def encode_image(self, images: Any, batch_size: int = 64) -> NoReturn:
        """Refuse: pixels cannot be embedded without the model.

        Raises:
            NoEncoderError: Always.
        """
        raise self._without("encode_image")

    def scale(self) -> Tensor:
        """Return the multiplier of cosines.

        Raises:
            DataError: If none was stored.
        """
        if self.manifest.scale is None:
            raise DataError(
                "has no multiplier of cosines",
                item=self.folder,
                remedy="set `scale:` in the evaluation's configuration",
            )
        return torch.tensor(self.manifest.scale)

    def to(self, device: torch.device) -> StoredEmbeddings:
        """Return itself: stored vectors stay where they are."""
        return self

    def eval(self) -> StoredEmbeddings:
        """Return itself: there is nothing to switch."""
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise self._without(name)

    def _without(self, name: str) -> NoEncoderError:
        return NoEncoderError(
            f"are stored embeddings, which have no `{name}`", item=self.folder, remedy="use the model itself for this"
        )


def save_embeddings(
    folder: Path,
    manifest: EmbeddingsManifest,
    keys: Sequence[str],
    image_ND: Tensor,
    texts: Sequence[str],
    text_MD: Tensor,
    *,
    overwrite: bool = False,
) -> Path:
    """Write embeddings that :class:`StoredEmbeddings` reads; the folder appears whole or not at all.

    Args:
        folder: The folder to create.
        manifest: What is known of the model.
        keys: N keys of images.
        image_ND: Their vectors, float, brought to length 1 here.
        texts: M exact strings.
        text_MD: Their vectors.
        overwrite: Replace an existing folder.

    Raises:
        DataError: If counts or widths do not fit, something stands twice, or a vector is zero or not finite.
    """
    vectors = {}
    for name, values, names in (("image", image_ND, keys), ("text", text_MD, texts)):
        if values.shape != (len(names), manifest.dim):
            raise DataError(
                f"{tuple(values.shape)} vectors for {len(names)} names of width {manifest.dim}",
                item=f"{name} embeddings",
            )
        if len(set(names)) != len(names):
            raise DataError("a key or text stands twice", item=f"{name} embeddings", remedy="embed each once")
        norm_N = values.float().norm(dim=1)
        if not bool(torch.isfinite(norm_N).all()) or bool((norm_N == 0).any()):
            raise DataError("a vector is zero or not finite", item=f"{name} embeddings", remedy="check the model")
        vectors[name] = functional.normalize(values.detach().cpu().float(), dim=1).contiguous()
    with full_disk_told(folder), atomic_folder(folder, replace=overwrite) as partial:
        save_file({"image": vectors["image"]}, partial / "images.safetensors")
        save_file({"text": vectors["text"]}, partial / "texts.safetensors")
        write_json(partial / "image_ids.json", list(keys))
        write_json(partial / "texts.json", list(texts))
        write_manifest(partial, manifest.model_dump(mode="json"))
    return folder


def _manifest(values: dict[str, Any], place: Path) -> EmbeddingsManifest:
    item = place / "manifest.json"
    if values.get("format") != FORMAT:
        raise DataError(f"is not of format {FORMAT}", item=item, remedy="name a folder of stored embeddings")
    try:
        manifest = EmbeddingsManifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise DataError(
            f"`{key}`: {first['msg']}", item=item, remedy="write it as `medvlp weights request` says"
        ) from None
    if not manifest.projected:
        raise DataError(
            "the vectors are from before the projection, so images and texts cannot be compared",
            item=place,
            remedy="store what the model's contrastive heads give",
        )
    if not manifest.normalised:
        raise DataError(
            "the vectors are not of length 1", item=place, remedy="divide each by its length and store again"
        )
    return manifest


def _vectors(place: Path, file: str, name: str, dim: int) -> Tensor:
    state = read_state_dict(place / file)
    if set(state) != {name}:
        raise DataError(f"should hold one tensor called {name}", item=place / file)
    value_ND = state[name].float()
    if value_ND.ndim != 2 or value_ND.shape[1] != dim:
        raise DataError(f"is {tuple(value_ND.shape)}, not (N, {dim}) as the manifest says", item=place / file)
    norm_N = value_ND.norm(dim=1)
    wrong_N = ~((norm_N - 1).abs() <= _UNIT)
    if bool(wrong_N.any()):
        row = int(wrong_N.nonzero()[0])
        raise DataError(
            f"row {row} has length {float(norm_N[row]):.4g}, not 1",
            item=place / file,
            remedy="normalise and store again",
        )
    return functional.normalize(value_ND, dim=1)


def _rows(path: Path, count: int) -> dict[str, int]:
    names = read_json(path)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError("is not a list of strings", item=path)
    if len(names) != count:
        raise DataError(f"names {len(names)} vectors, there are {count}", item=path)
    rows = {name: row for row, name in enumerate(names)}
    if len(rows) != len(names):
        raise DataError("a name stands twice", item=path, remedy="store each once")
    return rows


def _find(wanted: Sequence[str], rows: dict[str, int], what: str, folder: Path) -> list[int]:
    if isinstance(wanted, str) or len(wanted) == 0:
        raise DataError("expected a non-empty list of strings", item=what, remedy="pass a list")
    missing = [name for name in wanted if name not in rows]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(wanted)} {what} were not embedded, the first is {missing[0]!r}",
            item=folder,
            remedy=_ASK,
        )
    return [rows[name] for name in wanted]
