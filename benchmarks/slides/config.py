"""What the slide benchmark trains, on which planted slides it scores, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medvlp.config import Config
from medvlp.slides.grid import GridConfig
from medvlp.slides.tissue import TissueConfig


class SlideSet(Config):
    """Planted slides and the prompts they are asked with."""

    title: str = Field(description="Heading of its tables.")
    slides: str = Field(description="Folder written by `medvlp simulate`.")
    prompts: str = Field(description="Prompt file with every class, normal ones too; a bare name lies beside the code.")
    untrained_towers: bool = Field(
        False, description="Also score the network with random weights, which costs a second embedding of the slides."
    )


class SlidesBenchmarkConfig(Config):
    """A dual encoder trained on the images no slide is made of, asked about slides by every pooling."""

    kind: Literal["slides_benchmark"] = Field("slides_benchmark", description="Which schema this file follows.")
    sets: dict[str, SlideSet] = Field(min_length=1, description="Sets of slides by short name.")
    align: str = Field(description="Config of kind `align` that every arm trains with; its image tower is frozen.")
    set: list[str] = Field([], description="Overrides `a.b=c` of that config, for every arm.")
    rows_per_step: int = Field(48, ge=2, description="Images per training step, about equally many of each class.")
    seeds: list[int] = Field([0, 1, 2], min_length=1, description="Seeds of training; scores are means over them.")
    tissue: TissueConfig = Field(TissueConfig(pen=False), description="How tissue is found.")
    grid: GridConfig = Field(GridConfig(tile_size=224), description="Tiles that are embedded.")
    radius: int = Field(1, ge=1, le=10, description="Neighbours to each side where tiles are smoothed.")
    threshold: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="Preset probability from which a tile is tumour."
    )
    specificity: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.95, description="Specificity at which sensitivity is read."
    )
    num_draws: int = Field(2000, ge=100, le=100_000, description="Bootstrap draws of slides.")
    batch_size: int = Field(8, ge=1, description="Tiles embedded at once; on CPUs few are faster than many.")
