"""What a layout is: how it is recognised, and how a file of it becomes a model."""

from __future__ import annotations

import abc
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from medvlp.encoders import hf
from medvlp.errors import CheckpointError
from medvlp.io import read_json, write_json
from medvlp.model import DualEncoder
from medvlp.published.rules import Rule
from medvlp.published.source import Source

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
POSITIONS = "counts positions; the model counts them itself"
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)


@dataclass(frozen=True)
class Plan:
    """How to build the model of a published file.

    Attributes:
        config: The model.
        write: Writes architecture and tokenizer into a folder from which :class:`DualEncoder` builds.
        rules: Names, in order.
        notes: What the user should know.
    """

    config: DualEncoder.Config
    write: Callable[[Path], None]
    rules: tuple[Rule, ...]
    notes: tuple[str, ...] = ()


class Layout(abc.ABC):
    """One way of publishing a dual encoder.

    Attributes:
        name: What stands before the colon in ``medvlp.load("NAME:PATH")``.
        title: One line for people.
        verified: What the tests check.
        unverified: What they cannot.
        cites: Public files the facts come from.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    verified: ClassVar[str]
    unverified: ClassVar[str]
    cites: ClassVar[tuple[str, ...]]

    @abc.abstractmethod
    def recognises(self, source: Source, names: Collection[str]) -> bool:
        """Say whether this is the layout, from the configuration beside the weights or from tensor names."""

    @abc.abstractmethod
    def plan(self, source: Source) -> Plan:
        """Work out the model of a recognised source.

        Raises:
            CheckpointError: If a file is lacking, or a setting cannot be expressed.
        """


def copy_tokenizer(source: Path, target: Path, hf_config: dict[str, Any]) -> None:
    """Copy a Hugging Face tokenizer's data files, with the text model's configuration and without pointers to code.

    Raises:
        CheckpointError: If there are none.
    """
    found = [source / name for name in _TOKENIZER_FILES if (source / name).is_file()]
    if not any(path.name in {"tokenizer.json", "vocab.txt", "vocab.json"} for path in found):
        raise CheckpointError(
            "holds no tokenizer (tokenizer.json or vocab.txt)", item=source, remedy="put the published one beside it"
        )
    target.mkdir(parents=True, exist_ok=True)
    for path in found:
        if path.name == "tokenizer_config.json":
            settings = read_json(path)
            write_json(target / path.name, {key: settings[key] for key in settings if key != "auto_map"})
        else:
            shutil.copyfile(path, target / path.name)
    write_json(target / "config.json", hf_config)


def checked_hf_config(values: dict[str, Any], item: object) -> dict[str, Any]:
    """Return a Hugging Face configuration that transformers builds without code from elsewhere.

    Raises:
        CheckpointError: If it names no model type, or one that transformers does not have.
    """
    from transformers import CONFIG_MAPPING

    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise CheckpointError(
            f"transformers has no text model {kind!r}", item=item, remedy="make embeddings of it instead"
        )
    kept = {key: value for key, value in values.items() if key not in {"auto_map", "_name_or_path", "architectures"}}
    config = CONFIG_MAPPING[kind](**kept)
    config.name_or_path = ""
    return dict(config.to_dict())


def write_hf_config(values: dict[str, Any], folder: Path) -> None:
    """Write ``text_config`` of a model folder."""
    write_json(folder / "text_config" / "config.json", values)
    hf.read_config(str(folder / "text_config"))
