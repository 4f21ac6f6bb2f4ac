"""Stand-alone: embed images and texts with onnxruntime, tokenizers, numpy and Pillow; no torch.

Texts that are not plain ASCII also need ``ftfy``. Shape letters: B images · M texts · L tokens · D embedding.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import embed_parts  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402


def session(folder: Path, name: str, data: Sequence[str]) -> Any:
    """Open ``name`` on the CPU; a weight file that did not come along is named."""
    for file in (name, *data):
        if not (folder / file).is_file():
            embed_parts.stop(f"{file}: missing, and {name} is of no use without it; copy the whole folder")
    try:
        return onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no other base
        embed_parts.stop(f"{name}: onnxruntime cannot open it ({str(error).splitlines()[0]}); export the model again")


def tokenise(folder: Path, texts: Sequence[str], settings: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and mask (M, L), int64, mask 1 on real tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    length = int(settings["context_length"])
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(
        pad_id=settings["pad_id"], pad_token=settings["pad_token"], length=length if settings["fixed_length"] else None
    )
    encodings = tokenizer.encode_batch([embed_parts.clean(text, settings["clean"]) for text in texts])
    ids_ML = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
    return ids_ML, (ids_ML != settings["pad_id"]).astype(np.int64)


def embed(folder: Path, images: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    """Return ``image`` (B, D), ``text`` (M, D), L2-normalised, and ``scale`` (1,)."""
    settings = embed_parts.read_json(folder / "preprocess.json")
    parts: dict[str, list[np.ndarray]] = {"image": [], "text": []}
    if images:
        run = session(folder, "image.onnx", settings["image"]["weights"])
        for part in embed_parts.batches(images):
            rgb = [embed_parts.preprocess(embed_parts.read_rgb(path), settings["image"]) for path in part]
            parts["image"].append(run.run(None, {"image_BCHW": np.stack(rgb)})[0])
    if texts:
        run = session(folder, "text.onnx", settings["text"]["weights"])
        names = [entry.name for entry in run.get_inputs()]
        for part in embed_parts.batches(texts):
            ids_mask = tokenise(folder, part, settings["text"])
            parts["text"].append(run.run(None, dict(zip(names, ids_mask)))[0])  # noqa: B905
    joined = {side: np.concatenate(arrays) for side, arrays in parts.items() if arrays}
    return {**joined, "scale": np.array([settings["logit_scale"]])}


if __name__ == "__main__":
    embed_parts.main(embed, HERE)
