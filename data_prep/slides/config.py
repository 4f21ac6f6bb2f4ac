"""Which slides to embed with which encoder, on which tiles."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medvlp.config import Config
from medvlp.encoders.clip_towers import OpenClipImage
from medvlp.encoders.image import HfImage, TimmImage
from medvlp.slides.grid import GridConfig
from medvlp.slides.tissue import TissueConfig


class OpenedModel(Config):
    """A model of this library, or anything else that ``medvlp.load`` opens."""

    name: Literal["model"] = Field("model", description="A model that medvlp.load opens.")
    model: str = Field(description="A run, a checkpoint, an export, or published weights as LAYOUT:PATH.")
    projected: bool = Field(
        True,
        description="Unit vectors in the space of the texts; false gives the image tower's output before the head.",
    )


EncoderConfig = Annotated[
    OpenedModel | TimmImage.Config | HfImage.Config | OpenClipImage.Config, Field(discriminator="name")
]


class SlidesConfig(Config):
    """The embedding job of ``medvlp prepare``."""

    kind: Literal["slides"] = "slides"
    slides: list[str] = Field([], description="Slide files, or patterns such as folder/*.svs.")
    table: str | None = Field(
        None, description="CSV or Parquet list instead: column slide, and optionally key, mpp, case, split."
    )
    mpp: float | None = Field(
        None, ge=0.05, le=20.0, description="Micrometres per level-0 pixel of slides that do not state it themselves."
    )
    encoder: EncoderConfig = Field(description="What turns a tile into a vector.")
    tissue: TissueConfig = Field(TissueConfig(), description="How tissue is told from glass.")
    grid: GridConfig = Field(GridConfig(), description="How a slide is cut into tiles.")
    batch_size: int = Field(64, ge=1, description="Tiles per step of the encoder; part of the job's identity.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the encoder runs.")
    precision: Literal["auto", "float32", "bf16"] = Field(
        "auto", description="Arithmetic of the encoder; auto is bf16 on a GPU that has it, else float32."
    )
    num_workers: int = Field(4, ge=1, le=128, description="Readers of tiles; the result does not depend on it.")
    workers: Literal["threads", "processes"] = Field(
        "threads", description="What the readers are; processes are for encoders that threads cannot keep busy."
    )
    seed: int = Field(0, ge=0, description="Draws the weights of an encoder that has none of its own.")
    max_unreadable: float = Field(
        0.05, ge=0.0, le=1.0, description="Largest share of a slide's tiles that may be unreadable and left out."
    )
    max_failed: int = Field(0, ge=0, description="Slides that may fail before the job ends with an error.")
    previews: bool = Field(True, description="Write a picture of each slide with its tissue and tiles.")

    @model_validator(mode="after")
    def _one_source(self) -> SlidesConfig:
        if bool(self.slides) == (self.table is not None):
            raise ValueError("name slides or a table of them, one of the two")
        return self


NOT_IDENTITY = frozenset({"slides", "table", "mpp", "device", "precision", "num_workers", "workers", "max_failed"})
"""Keys that may differ when a job is resumed; device and precision count as what they were resolved to."""
