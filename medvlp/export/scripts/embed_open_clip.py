"""Stand-alone: embed images and texts with stock open_clip, from an exported folder, without any other library."""

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
import open_clip  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402


@torch.no_grad()
def embed(folder: Path, images: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    """Return ``image`` (B, D), ``text`` (M, D), L2-normalised, and ``scale`` (1,)."""
    name = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name)
    model.eval()
    image_parts = [
        model.encode_image(torch.stack([preprocess(Image.open(path)) for path in part]), normalize=True)
        for part in embed_parts.batches(images)
    ]
    text_parts = [model.encode_text(tokenizer(list(part)), normalize=True) for part in embed_parts.batches(texts)]
    result = {"image": image_parts, "text": text_parts}
    return {
        **{side: torch.cat(parts).numpy() for side, parts in result.items() if parts},
        "scale": model.logit_scale.exp().reshape(1).numpy(),
    }


if __name__ == "__main__":
    embed_parts.main(embed, HERE)
