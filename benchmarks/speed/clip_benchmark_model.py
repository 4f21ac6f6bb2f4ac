"""A small open_clip model with random weights in a folder that open_clip, CLIP_benchmark and this library all open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from medvlp import torchvision_guard
from medvlp.encoders.weights import write_state_dict
from medvlp.io import atomic_folder, require, write_json

_MEAN, _STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
TINY: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}
"""For tests."""
SMALL: dict[str, Any] = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 224, "layers": 6, "width": 192, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 3},
}
"""Light enough that reading images is a large part of the time, as it is for large networks on an accelerator."""


def write_model(folder: Path, architecture: dict[str, Any], seed: int) -> Path:
    """Build open_clip's own class with the weights of a seed and write ``folder``, whole or not at all."""
    with _seeded(seed):
        model = _open_clip().model.CLIP(**architecture)
    preprocess = {"mean": _MEAN, "std": _STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    with atomic_folder(folder) as partial:
        write_json(partial / "open_clip_config.json", {"model_cfg": architecture, "preprocess_cfg": preprocess})
        write_state_dict(partial / "open_clip_model.safetensors", model.state_dict())
    return folder


def write_weights(path: Path, name: str, seed: int) -> None:
    """Write the weights of a seed of one of open_clip's own architectures, under the names its class gives them."""
    with _seeded(seed):
        model = _open_clip().create_model(name)
    write_state_dict(path, model.state_dict())


def _open_clip() -> Any:
    torchvision_guard.install()
    return require("open_clip", "clip")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
