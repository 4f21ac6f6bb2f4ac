"""Stand-alone: embed images and texts with stock transformers (and timm, for timm's networks)."""

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
import torch  # noqa: E402
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer  # noqa: E402


def tower(folder: Path, pooling: str) -> Any:
    """Open one tower; only an unused pooler may be missing from its weights."""
    try:
        model, report = AutoModel.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    except RuntimeError as error:
        towers.refuse_weights(f"{folder.name}/model.safetensors", [str(error).splitlines()[0]])
    wrong = [key for key in report["missing_keys"] if pooling == "pooler" or "pooler" not in key]
    wrong += [str(key) for key in [*report["unexpected_keys"], *report["mismatched_keys"]]]
    towers.refuse_weights(f"{folder.name}/model.safetensors", wrong)
    return model.eval()


@torch.no_grad()
def embed(folder: Path, images: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    """Return ``image`` (B, D), ``text`` (M, D), L2-normalised, and ``scale`` (1,)."""
    settings = embed_parts.read_json(folder / "heads.json")
    heads = towers.read_weights(folder / "heads.safetensors")
    parts: dict[str, list[torch.Tensor]] = {"image": [], "text": []}
    if images:
        how = settings["image"]["pooling"]
        model, processor = tower(folder / "image", how), AutoImageProcessor.from_pretrained(folder / "image")
        for part in embed_parts.batches(images):
            inputs = processor([embed_parts.read_rgb(path) for path in part], return_tensors="pt")
            parts["image"].append(towers.project(towers.pooled(model(**inputs), None, how), heads, "image"))
    if texts:
        how = settings["text"]["pooling"]
        model, tokenizer = tower(folder / "text", how), AutoTokenizer.from_pretrained(folder / "text")
        for part in embed_parts.batches(texts):
            ids_ML, mask_ML = towers.tokenise(tokenizer, part, settings["text"]["context_length"])
            out = model(input_ids=ids_ML, attention_mask=mask_ML)
            parts["text"].append(towers.project(towers.pooled(out, mask_ML, how), heads, "text"))
    return {**towers.cat(parts), "scale": towers.scale(heads)}


if __name__ == "__main__":
    embed_parts.main(embed, HERE)
