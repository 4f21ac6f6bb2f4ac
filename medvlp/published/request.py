"""What an evaluation will ask of a model, written down so that it can be answered elsewhere.

Folder: ``images/000000.png`` ... with ``image_ids.json`` (key and file of each), ``texts.json`` (exact strings),
``embed.py`` (stand-alone: torch, Pillow and safetensors, not this library) and ``manifest.json``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from medvlp import __version__
from medvlp.data.image import read_image
from medvlp.errors import DataError
from medvlp.io import atomic_folder, full_disk_told, read_json, sha256_json, verify_manifest, write_json, write_manifest
from medvlp.published.embeddings import FORMAT, EmbeddingsManifest, save_embeddings
from medvlp.zeroshot.questions import ask

if TYPE_CHECKING:
    from medvlp.model import DualEncoder
    from medvlp.zeroshot.evaluate import EvaluateConfig

REQUEST_FORMAT = "medvlp-embedding-request/1"


def write_request(config: EvaluateConfig, out: Path, *, overwrite: bool = False) -> dict[str, int]:
    """Write the images and texts that ``medvlp evaluate`` will need for this configuration, each once.

    Args:
        config: The evaluation; its ``checkpoint`` is not opened.
        out: The folder to create.
        overwrite: Replace an existing folder.

    Returns:
        How many ``images`` and ``texts`` there are.

    Raises:
        DataError: As ``medvlp evaluate`` for the same configuration, or if ``out`` exists.
    """
    questions = ask(config)
    texts = questions.texts()
    with full_disk_told(out), atomic_folder(out, replace=overwrite) as partial:
        (partial / "images").mkdir()
        listed = []
        for number, (key, image) in enumerate(questions.images()):
            file = f"images/{number:06d}.png"
            image.save(partial / file)
            listed.append({"key": key, "file": file})
        write_json(partial / "image_ids.json", listed)
        write_json(partial / "texts.json", texts)
        shutil.copyfile(Path(__file__).with_name("embed_request.py"), partial / "embed.py")
        header = {
            "format": REQUEST_FORMAT,
            "medvlp": __version__,
            "data_sha256": questions.store.digest,
            "prompts_sha256": questions.prompts.digest,
            "request_sha256": sha256_json({"keys": [entry["key"] for entry in listed], "texts": texts}),
        }
        write_manifest(partial, header)
    return {"images": len(listed), "texts": len(texts)}


def answer_request(
    model: DualEncoder, request: Path, out: Path, *, name: str, batch_size: int = 64, overwrite: bool = False
) -> Path:
    """Embed a request with a model of this library.

    Args:
        model: The model.
        request: A folder of :func:`write_request`.
        out: The folder of embeddings to create.
        name: What the manifest calls the model.
        batch_size: Images per forward pass.
        overwrite: Replace an existing folder.

    Raises:
        DataError: If the request is altered or empty, or ``out`` exists.
    """
    manifest = verify_manifest(request)
    if manifest.get("format") != REQUEST_FORMAT:
        raise DataError(
            f"is not of format {REQUEST_FORMAT}", item=request, remedy="write one with `medvlp weights request`"
        )
    listed, texts = read_json(request / "image_ids.json"), read_json(request / "texts.json")
    if not listed or not texts:
        raise DataError("asks for no images or no texts", item=request, remedy="write it again")
    parts = [model.encode_image(images, batch_size) for images in _batches(request, listed, batch_size)]
    image_ND = torch.cat(parts).cpu()
    text_MD: Tensor = model.encode_text(texts).cpu()
    preprocess = model.preprocess
    stored = EmbeddingsManifest(
        format=FORMAT,
        model=name,
        dim=int(image_ND.shape[1]),
        normalised=True,
        projected=True,
        preprocessing=f"{preprocess.resize_mode} to {preprocess.size} pixels, mean {preprocess.mean}",
        made_by=f"medvlp {__version__}",
        scale=model.scale().item(),
        logit_bias=None if model.logit_bias is None else model.logit_bias.item(),
        request_sha256=manifest["request_sha256"],
    )
    keys = [entry["key"] for entry in listed]
    return save_embeddings(out, stored, keys, image_ND, texts, text_MD, overwrite=overwrite)


def _batches(request: Path, listed: list[dict[str, Any]], size: int) -> Iterator[list[Image.Image]]:
    for start in range(0, len(listed), size):
        yield [read_image(request / entry["file"]) for entry in listed[start : start + size]]
