"""Stand-alone: answer an embedding request with any model, without any other library of ours.

Usage: ``python embed.py ADAPTER.py OUT [REQUEST]``; REQUEST defaults to the folder this script lies in.

ADAPTER.py is yours; it loads your model in your environment and defines

    MODEL = "name and version of the model"
    PREPROCESSING = "how encode_images prepares an image, in words"
    LICENCE = "the model's licence"
    SCALE = 100.0              # its multiplier of cosines (exp of the logit scale), or None
    def encode_images(images): # list of RGB PIL images -> tensor (B, D) behind the projection
    def encode_texts(texts):   # list of strings        -> tensor (M, D) behind the projection

OUT is then a folder for ``checkpoint: embeddings:OUT`` of an evaluation. Needs torch, Pillow and safetensors.
"""

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import torch
from PIL import Image
from safetensors.torch import save_file

FORMAT = "medvlp-embeddings/1"
BATCH = 32


def main(adapter_path: str, out_path: str, request_path: str = str(Path(__file__).resolve().parent)) -> None:
    """Embed every image and text of the request and write the folder."""
    request, out = Path(request_path), Path(out_path)
    if out.exists():
        raise SystemExit(f"{out}: already exists; choose another folder")
    adapter = load_adapter(Path(adapter_path))
    asked = json.loads((request / "manifest.json").read_text(encoding="utf-8"))
    listed = json.loads((request / "image_ids.json").read_text(encoding="utf-8"))
    texts = json.loads((request / "texts.json").read_text(encoding="utf-8"))
    image_parts, text_parts = [], []
    with torch.no_grad():
        for start in range(0, len(listed), BATCH):
            images = [Image.open(request / entry["file"]).convert("RGB") for entry in listed[start : start + BATCH]]
            image_parts.append(adapter.encode_images(images))
        for start in range(0, len(texts), BATCH):
            text_parts.append(adapter.encode_texts(texts[start : start + BATCH]))
    image, text = (unit(torch.cat(parts)) for parts in (image_parts, text_parts))
    if image.shape != (len(listed), text.shape[1]) or len(text) != len(texts):
        raise SystemExit(
            f"{tuple(image.shape)} images and {tuple(text.shape)} texts; each needs one vector, equally wide"
        )
    partial = out.with_name(f".partial-{out.name}")
    partial.mkdir(parents=True)
    save_file({"image": image}, partial / "images.safetensors")
    save_file({"text": text}, partial / "texts.safetensors")
    write(partial / "image_ids.json", [entry["key"] for entry in listed])
    write(partial / "texts.json", texts)
    manifest = {
        "format": FORMAT,
        "model": adapter.MODEL,
        "dim": image.shape[1],
        "normalised": True,
        "projected": True,
        "preprocessing": adapter.PREPROCESSING,
        "made_by": f"embed.py with {Path(adapter_path).name}, torch {torch.__version__}",
        "licence": adapter.LICENCE,
        "scale": adapter.SCALE,
        "request_sha256": asked["request_sha256"],
    }
    manifest["files"] = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in sorted(partial.iterdir())
    }
    write(partial / "manifest.json", manifest)
    partial.rename(out)
    print(f"{len(listed)} images and {len(texts)} texts: {out}")


def load_adapter(path: Path) -> ModuleType:
    """Import the user's own file and check that it has what is needed."""
    spec = importlib.util.spec_from_file_location("adapter", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"{path}: not a Python file")
    adapter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(adapter)
    needed = ("MODEL", "PREPROCESSING", "LICENCE", "SCALE", "encode_images", "encode_texts")
    missing = [name for name in needed if not hasattr(adapter, name)]
    if missing:
        raise SystemExit(f"{path}: defines no {', '.join(missing)}")
    return adapter


def unit(value: torch.Tensor) -> torch.Tensor:
    """Bring vectors to length 1, float32; refuse what has none."""
    value = value.detach().cpu().float()
    norm = value.norm(dim=1, keepdim=True)
    if value.ndim != 2 or not torch.isfinite(norm).all() or (norm == 0).any():
        raise SystemExit("a vector is zero or not finite")
    return (value / norm).contiguous()


def write(path: Path, value: object) -> None:
    """Write JSON as UTF-8."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
    main(*sys.argv[1:4])
