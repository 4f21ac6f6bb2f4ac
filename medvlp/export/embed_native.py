"""Embed a request with a safetensors export in a fresh process: the other half of its verification."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from medvlp.io import read_json
from medvlp.loading import load


def main(request_path: str, out_path: str, folder: str) -> None:
    """Write ``image`` (B, D), ``text`` (M, D) and ``scale`` for the images and texts the request names."""
    request = read_json(Path(request_path))
    model = load(folder)
    images = []
    for path in request["images"]:
        with Image.open(path) as image:
            images.append(image.convert("RGB"))
    with torch.no_grad():
        embeddings = {"image": model.encode_image(images), "text": model.encode_text(request["texts"])}
        save_file({**embeddings, "scale": model.scale().reshape(1)}, out_path)


if __name__ == "__main__":
    main(*sys.argv[1:4])
