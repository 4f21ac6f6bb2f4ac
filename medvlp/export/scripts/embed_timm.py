"""Stand-alone: embed images with stock timm and the projection that follows its network; there is no text side."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import torchvision_guard  # noqa: E402

torchvision_guard.install()  # only needed beside a CPU build of torch; does nothing where torchvision works

import embed_parts  # noqa: E402
import embed_towers as towers  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402
from timm.data.config import resolve_model_data_config  # noqa: E402
from timm.data.transforms_factory import create_transform  # noqa: E402


@torch.no_grad()
def embed(folder: Path, images: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    """Return ``image`` (B, D), L2-normalised; texts are left out."""
    heads = towers.read_weights(folder / "heads.safetensors")
    model = timm.create_model(f"local-dir:{folder}", pretrained=False)
    towers.load(model, towers.read_weights(folder / "model.safetensors"), "model.safetensors")
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    parts: dict[str, list[torch.Tensor]] = {"image": []}
    for part in embed_parts.batches(images):
        image_BCHW = torch.stack([transform(embed_parts.read_rgb(path)) for path in part])
        parts["image"].append(towers.project(model(image_BCHW), heads, "image"))
    return towers.cat(parts)


if __name__ == "__main__":
    embed_parts.main(embed, HERE)
