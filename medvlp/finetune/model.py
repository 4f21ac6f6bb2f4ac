"""Writing a fine-tuned network and opening it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from medvlp import __version__
from medvlp.config import Config, resolve_path
from medvlp.data.transform import Preprocess
from medvlp.encoders.weights import load_named, read_state_dict, write_state_dict
from medvlp.errors import CheckpointError
from medvlp.finetune.classifier import Classifier
from medvlp.finetune.segmenter import Segmenter
from medvlp.io import atomic_folder, read_json, verify_manifest, write_json, write_manifest
from medvlp.model import ImageConfig, build_image_tower

FORMAT = "medvlp-finetuned-1"
FOLDER, _DESCRIPTION, _WEIGHTS = "model", "finetuned.json", "model.safetensors"


class _Classes(Config):
    name: Literal["classification"] = Field("classification", description="A classifier.")
    mode: Literal["single", "multi"] = Field(description="One class per image, or any number.")


class _Pixels(Config):
    name: Literal["segmentation"] = Field("segmentation", description="A segmenter.")
    width: int = Field(description="Channels of the decoder.")


class _Saved(Config):
    """What builds a fine-tuned network without its weights."""

    format: Literal["medvlp-finetuned-1"] = Field(description="Layout of the folder.")
    image: ImageConfig = Field(description="The image tower.")
    classes: list[str] = Field(min_length=1, description="Class names in the order of the outputs.")
    task: Annotated[_Classes | _Pixels, Field(discriminator="name")] = Field(description="What it answers.")


def save(network: Classifier | Segmenter, folder: Path, header: dict[str, Any]) -> Path:
    """Write a network (LoRA merged) as a folder of its own; an earlier one of the same run is replaced.

    Files: ``finetuned.json``, ``preprocess.json``, ``model.safetensors``, ``manifest.json`` and, where the tower needs
    it, ``image_config/``.
    """
    task = {"name": "segmentation", "width": network.width} if isinstance(network, Segmenter) else {
        "name": "classification", "mode": network.mode
    }  # fmt: skip
    with atomic_folder(folder, replace=True, own=True) as partial:
        image = network.image.config.model_dump(mode="json")
        classes = list(network.classes)
        write_json(partial / _DESCRIPTION, {"format": FORMAT, "image": image, "classes": classes, "task": task})
        write_json(partial / "preprocess.json", network.preprocess.to_json())
        network.image.save_architecture(partial)
        write_state_dict(partial / _WEIGHTS, network.state_dict())
        write_manifest(partial, {"format": FORMAT, "version": __version__, **header})
    return folder


def load(path: str | Path) -> Classifier | Segmenter:
    """Open a fine-tuned network in eval mode, on the CPU; ``predict`` takes PIL images.

    Args:
        path: The folder that ``medvlp finetune`` wrote (or its ``model`` folder; for few-shot one of ``seed-*``).

    Raises:
        CheckpointError: If there is no finished network, a file is altered, or tensors do not fit.
    """
    folder = resolve_path(str(path))
    if not (folder / _DESCRIPTION).is_file():
        draws = sorted(found.name for found in folder.glob("seed-*") if (found / FOLDER / _DESCRIPTION).is_file())
        if not (folder / FOLDER / _DESCRIPTION).is_file():
            raise CheckpointError(
                "holds no fine-tuned network",
                item=path,
                remedy=f"name one of its {', '.join(draws)}" if draws else "name the --out of medvlp finetune",
            )
        folder = folder / FOLDER
    verify_manifest(folder, CheckpointError)
    try:
        saved = _Saved.model_validate_json(json.dumps(read_json(folder / _DESCRIPTION)))
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise CheckpointError(f"not a valid description ({reason})", item=folder / _DESCRIPTION) from None
    tower = build_image_tower(saved.image, source=folder)
    tower.preprocess = Preprocess.from_json(read_json(folder / "preprocess.json"))
    network: Classifier | Segmenter
    if isinstance(saved.task, _Pixels):
        network = Segmenter(tower, saved.classes, saved.task.width)
    else:
        network = Classifier(tower, saved.classes, saved.task.mode)
    load_named(network, read_state_dict(folder / _WEIGHTS), folder / _WEIGHTS)
    return network.eval()
