"""The model of a case: its slides, its report and its gene expression meet in one embedding.

Shape letters: B cases · M texts · L tokens · N tiles of one slide, T of all slides · X = 2 (x, y) · I width of tile
features · W tower width · G genes · D embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from medvlp.config import Config as BaseConfig
from medvlp.data.genes import GeneTable, Scale
from medvlp.encoders.genes import FILE as GENES
from medvlp.encoders.genes import GeneConfig, GeneMlp, build_gene_encoder, read_genes
from medvlp.encoders.heads import Head, HeadName
from medvlp.encoders.weights import load_named, read_saved_config, read_state_dict, write_state_dict
from medvlp.errors import CheckpointError, ConfigError, DataError
from medvlp.fusion.bag import TileBag
from medvlp.fusion.slide import GatedAbmil, SlideEncoderConfig, SlideOutput, build_slide_encoder
from medvlp.io import write_json
from medvlp.model import DEFAULT_TEXT, MAX_SCALE, MIN_SCALE, TextConfig, build_text_tower

FORMAT = "case-1"
Part = Literal["slide", "text", "genes", "heads", "decoder", "scale"]
PARTS: tuple[Part, ...] = ("slide", "text", "genes", "heads", "decoder", "scale")


class CaseModel(nn.Module):
    """Slide, text and gene encoders, their heads, the scale of cosines, and a decoder of tile features.

    Attributes:
        logit_scale: Natural logarithm of the multiplier of cosines.
        decoder: Reads tile features off the slide encoder's tiles (the second stage's targets); None without tiles.
        tokenizer: Texts to ids; ``tokenizer.truncated_share`` tells how many were cut.
    """

    class Config(BaseConfig):
        """What builds a :class:`CaseModel`."""

        slide: SlideEncoderConfig = Field(GatedAbmil.Config(), description="The encoder of a slide's tiles.")
        tile_width: int | None = Field(None, ge=1, description="Width of tile features; null takes the data's.")
        coordinates: bool = Field(True, description="Give the slide encoder the places of the tiles, in micrometres.")
        text: TextConfig = Field(DEFAULT_TEXT, description="The encoder of reports: any text tower.")
        genes: GeneConfig = Field(GeneMlp.Config(), description="The encoder of gene expression.")
        embed_dim: int = Field(256, ge=1, description="Width of the shared embedding.")
        head: HeadName = Field("linear", description="Projection behind each encoder.")
        logit_scale_init: float = Field(1 / 0.07, ge=1, le=100, description="First multiplier of cosines.")

    def __init__(
        self, config: CaseModel.Config, genes: Sequence[str] | None, scale: Scale = "log", *, source: Path | None = None
    ) -> None:
        """Build the model.

        Args:
            config: What to build; ``tile_width`` has to be set.
            genes: Names of the genes; None for a model without a gene encoder.
            scale: Scale of the gene table.
            source: A folder of :func:`save_case_model`: text architecture and tokenizer come from there.

        Raises:
            ConfigError: If ``tile_width`` is null, or parts do not fit together.
            CheckpointError: If weights cannot be read or do not fit.
        """
        super().__init__()
        if config.tile_width is None:
            raise ConfigError("is not set", item="model.tile_width", remedy="give the width of the tile features")
        self.config = config
        self.slide: Any = build_slide_encoder(config.slide, config.tile_width)
        self.text: Any = build_text_tower(config.text, source)
        self.genes = None if genes is None else build_gene_encoder(config.genes, genes, scale)
        encoders = {"slide": self.slide, "text": self.text, "genes": self.genes}
        widths = {name: int(encoder.width) for name, encoder in encoders.items() if encoder is not None}
        self.heads = nn.ModuleDict(
            {name: Head(config.head, width, config.embed_dim, "text") for name, width in widths.items()}
        )
        self.logit_scale = nn.Parameter(torch.tensor(math.log(config.logit_scale_init)))
        self.decoder = nn.Linear(widths["slide"], config.tile_width) if self._gives_tiles() else None
        self.tokenizer = self.text.tokenizer
        self._frozen: frozenset[Part] = frozenset()

    def _gives_tiles(self) -> bool:
        """Ask the slide encoder itself, with one slide of two tiles."""
        assert self.config.tile_width is not None
        training = self.slide.training
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            centres = torch.tensor([[0.0, 0.0], [128.0, 0.0]])
            bag = TileBag(torch.zeros(2, self.config.tile_width), torch.tensor([2]), centres)
            out = self._read(bag, self.slide.eval())
        self.slide.train(training)
        return out.tile_TD is not None

    def _read(self, bag: TileBag, encoder: Any) -> SlideOutput:
        return cast(SlideOutput, encoder(bag if self.config.coordinates else TileBag(bag.features_TD, bag.lengths_S)))

    def slides(self, bag: TileBag) -> tuple[Tensor, Tensor | None]:
        """Return unit vectors (B, D) of packed slides, and what the encoder makes of each tile (T, W) or None."""
        out = self._read(bag, self.slide)
        return self.project("slide", out.slide_SD), out.tile_TD

    def project(self, part: Literal["slide", "text", "genes"], features_BW: Tensor) -> Tensor:
        """Map an encoder's output (B, W) to unit vectors (B, D), float32."""
        return functional.normalize(self.heads[part](features_BW).float(), dim=-1)

    @torch.no_grad()
    def encode_slide(
        self,
        features_ND: Tensor,
        coords_NX: Tensor | None = None,
        patch_size_level0: int | None = None,
        level0_mpp: float | None = None,
    ) -> Tensor:
        """Return the unit vector (1, D) of one slide.

        Args:
            features_ND: Tile features, float.
            coords_NX: Level-0 top-left corners of the tiles; needed if the model uses coordinates.
            patch_size_level0: Side of a tile, level-0 pixels.
            level0_mpp: Micrometres per level-0 pixel.

        Raises:
            DataError: If the features have another width than the model's, or places are needed and not given.
        """
        features_ND = features_ND.to(self._device(), torch.float32)
        if features_ND.ndim != 2 or features_ND.shape[1] != self.config.tile_width:
            expected = f"(N, {self.config.tile_width})"
            raise DataError(
                f"expected features {expected}, got {tuple(features_ND.shape)}",
                item="slide",
                remedy="use the features of the tile encoder the model was trained on",
            )
        centres = None
        if self.config.coordinates:
            centres = [tile_centres(coords_NX, patch_size_level0, level0_mpp, "slide").to(self._device())]
        return self.slides(TileBag.pack([features_ND], centres))[0]

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str], batch_size: int = 64) -> Tensor:
        """Return unit vectors (M, D) of reports.

        Raises:
            DataError: If the list is empty or holds anything but strings.
        """
        return self.project("text", self.text_features(texts, batch_size))

    @torch.no_grad()
    def text_features(self, texts: Sequence[str], batch_size: int = 64) -> Tensor:
        """Return the text tower's output (M, W) before the head, without gradient."""
        strings = list(texts) if not isinstance(texts, str) else []
        if not strings or not all(isinstance(text, str) for text in strings):
            raise DataError("expected a non-empty list of strings", item="texts", remedy="pass a list")
        parts = []
        for start in range(0, len(strings), batch_size):
            ids_ML, mask_ML = self.tokenizer(strings[start : start + batch_size], False)
            parts.append(self.text(ids_ML.to(self._device()), mask_ML.to(self._device())))
        return torch.cat(parts)

    @torch.no_grad()
    def encode_genes(self, table: GeneTable) -> Tensor:
        """Return unit vectors (C, D) of the cases of a gene table; genes are found by name.

        Raises:
            DataError: If the model has no gene encoder, the table has another scale than that of training, or too few
                of the model's genes.
        """
        if self.genes is None:
            raise DataError("the model was trained without genes", item="gene table", remedy="train with data.genes")
        return self.project("genes", self.genes(self.genes.align(table).to(self._device())))

    def scale(self) -> Tensor:
        """Return the multiplier of cosines, a scalar between 1 and 100."""
        return self.logit_scale.exp().clamp(MIN_SCALE, MAX_SCALE)

    def parts(self) -> dict[Part, list[nn.Parameter]]:
        """Return every parameter once, under the part it belongs to."""
        return {
            "slide": list(self.slide.parameters()),
            "text": list(self.text.parameters()),
            "genes": [] if self.genes is None else list(self.genes.parameters()),
            "heads": list(self.heads.parameters()),
            "decoder": [] if self.decoder is None else list(self.decoder.parameters()),
            "scale": [self.logit_scale],
        }

    def set_frozen(self, parts: Sequence[Part]) -> None:
        """Freeze exactly these parts: no gradient, and eval mode for good."""
        self._frozen = frozenset(parts)
        for part, parameters in self.parts().items():
            for parameter in parameters:
                parameter.requires_grad_(part not in self._frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> CaseModel:
        """Switch to training (or eval) mode; frozen parts stay in eval mode."""
        super().train(mode)
        for part in self._frozen - {"scale"}:
            module = getattr(self, part)
            if module is not None:
                module.eval()
        return self

    def _device(self) -> torch.device:
        return self.logit_scale.device


def tile_centres(
    coords_NX: Tensor | None, patch_size_level0: int | None, level0_mpp: float | None, item: object
) -> Tensor:
    """Return centres (N, X) in micrometres from the slide's top-left corner, float32.

    Args:
        coords_NX: Level-0 top-left corners.
        patch_size_level0: Side of a tile, level-0 pixels.
        level0_mpp: Micrometres per level-0 pixel.
        item: What an error names.

    Raises:
        DataError: If one of the three is not given.
    """
    if coords_NX is None or patch_size_level0 is None or level0_mpp is None:
        given = {"coords": coords_NX, "patch_size_level0": patch_size_level0, "level0_mpp": level0_mpp}
        lacking = next(name for name, value in given.items() if value is None)
        raise DataError(
            f"{lacking} is not known, and the model uses the places of tiles",
            item=item,
            remedy=f"give {lacking}, or train with model.coordinates: false",
        )
    return ((coords_NX.double() + patch_size_level0 / 2) * level0_mpp).float()


def save_case_model(model: CaseModel, folder: Path) -> None:
    """Write everything :func:`load_case_model` needs into a folder that exists.

    Raises:
        CheckpointError: If the disk is full or not writable.
    """
    try:
        write_json(folder / "model.json", {"format": FORMAT, "config": model.config.model_dump(mode="json")})
        if model.genes is not None:
            model.genes.save_architecture(folder)
        model.text.save_architecture(folder)
    except OSError as error:
        raise CheckpointError(f"could not be written ({error.strerror})", item=folder, remedy="free space") from error
    write_state_dict(folder / "model.safetensors", model.state_dict())


def load_case_model(folder: Path) -> CaseModel:
    """Read what :func:`save_case_model` wrote, in eval mode, on the CPU.

    Raises:
        CheckpointError: If a file is missing or damaged, or tensors do not fit.
    """
    config = read_saved_config(CaseModel.Config, folder / "model.json", FORMAT)
    genes: list[str] | None = None
    scale: Scale = "log"
    if (folder / GENES).is_file():
        genes, scale = read_genes(folder)
    model = CaseModel(config, genes, scale, source=folder)
    load_named(model, read_state_dict(folder / "model.safetensors"), folder / "model.safetensors")
    return model.eval()
