"""Stand-alone: embed images and texts with stock open_clip, from an exported folder, without any other library.

Usage: ``python embed.py REQUEST.json OUT.safetensors [FOLDER]``. The request is
``{"images": ["a.png", ...], "texts": ["...", ...]}``; FOLDER defaults to the one this script lies in.
OUT gets ``image`` (B, D) and ``text`` (M, D), float32, L2-normalised, and the logit ``scale``.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import torchvision_guard  # noqa: E402

torchvision_guard.install()  # only needed beside a CPU build of torch; does nothing where torchvision works

import open_clip  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

BATCH = 32


def main(request_path: str, out_path: str, folder: str = str(HERE)) -> None:
    """Embed what the request names."""
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    name = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name)
    model.eval()
    image_parts, text_parts = [], []
    with torch.no_grad():
        for start in range(0, len(request["images"]), BATCH):
            images = [preprocess(Image.open(path)) for path in request["images"][start : start + BATCH]]
            image_parts.append(model.encode_image(torch.stack(images), normalize=True))
        for start in range(0, len(request["texts"]), BATCH):
            tokens = tokenizer(request["texts"][start : start + BATCH])
            text_parts.append(model.encode_text(tokens, normalize=True))
        scale = model.logit_scale.exp().reshape(1)
    metadata = {"imported_medvlp": str("medvlp" in sys.modules), "open_clip": open_clip.__version__}
    save_file({"image": torch.cat(image_parts), "text": torch.cat(text_parts), "scale": scale}, out_path, metadata)


if __name__ == "__main__":
    main(*sys.argv[1:4])
