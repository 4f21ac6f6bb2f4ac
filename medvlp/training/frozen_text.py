"""A frozen text encoder beside the model in training: what knowledge training made of the same captions (KEP).

It is no part of the model: it has no optimiser, no place in a checkpoint, and only its digest in the run's identity.

Shape legend: M texts, U distinct texts, D width of the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from medvlp.config import resolve_path
from medvlp.encoders.hf import find_folder
from medvlp.encoders.text import TextEncoder
from medvlp.errors import CheckpointError, ConfigError
from medvlp.io import MANIFEST, sha256_file, sha256_json, verify_manifest
from medvlp.training.buckets import encode_in_buckets

_SETTINGS = "text_encoder.json"


class FrozenTextEncoder:
    """A text encoder of stage 1, always in eval mode, without gradient.

    Args:
        source: A stage-1 run, one of its checkpoints, or the ``text_encoder`` folder of one; as in a configuration.
        width: Width that its vectors must have.
        device: Where to compute.

    Attributes:
        digest: Sha256 over the encoder's files: weights, architecture, tokenizer, pooling.

    Raises:
        CheckpointError: If there is no such run, it holds no text encoder of stage 1, or a file was altered.
        ConfigError: If the width differs.
    """

    def __init__(self, source: str, width: int, device: torch.device) -> None:
        folder = encoder_folder(source)
        encoder = TextEncoder.load(folder)
        if encoder.width != width:
            raise ConfigError(
                f"gives {encoder.width} features, but the model's embedding has {width}",
                item=f"knowledge_encoder: {source}",
                remedy=f"set model.embed_dim to {encoder.width} (with heads that are not none where a tower differs)",
            )
        self.encoder = encoder.requires_grad_(False).to(device)
        self.device = device
        self.digest = sha256_json({path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file()})

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors (M, D), float32; equal texts are encoded once."""
        row = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        ids_UL, mask_UL = self.encoder.tokenize(list(row))
        with torch.no_grad():
            feature_UD = encode_in_buckets(self.encoder, ids_UL.to(self.device), mask_UL.to(self.device))
            return normalize(feature_UD.float(), dim=-1)[[row[text] for text in texts]]

    def truncated_share(self) -> float:
        """Return the share of texts cut since the last call."""
        share = self.encoder.tokenizer.truncated_share
        self.encoder.tokenizer.reset_counts()
        return share


def encoder_folder(source: str) -> Path:
    """Return the folder with the encoder's files, checked against the manifest of the checkpoint that holds it.

    Raises:
        CheckpointError: As :class:`FrozenTextEncoder` says.
    """
    path = resolve_path(source)
    if not path.is_dir():
        raise CheckpointError(
            "no such folder",
            item=f"knowledge_encoder: {source}",
            remedy="train it first: medvlp train knowledge --out FOLDER",
        )
    folder = Path(find_folder(str(path)))
    if not (folder / _SETTINGS).is_file():
        raise CheckpointError(
            f"holds no {_SETTINGS}, so it is no text encoder of stage 1",
            item=f"knowledge_encoder: {source}",
            remedy="name a run of kind knowledge",
        )
    if (folder.parent / MANIFEST).is_file():
        verify_manifest(folder.parent, CheckpointError)
    return folder
