"""What slides to compose: images and their split, classes, sizes of slides and tumours, how files are stored."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from data_prep.pairs.config import SplitConfig
from medvlp.config import Config

PARTS = ("dev", "test")
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]


class TileSource(Config):
    """Small images with a class each, all of one magnification."""

    images: str = Field(description="Folder the file column is relative to.")
    table: str = Field(description="Table with one row per image.")
    file: str = Field("file", description="Column with the image's path.")
    label: str = Field("label", description="Column with the class.")
    where: dict[str, list[str]] = Field({}, description="Keep only rows whose column has one of the listed values.")
    magnification: str | None = Field(
        None, description="Column with the magnification; a slide never mixes two of its values."
    )
    stated: str = Field("unstated", description="Magnification of all images where no column says it.")
    number: str | None = Field(
        None, description="Regular expression whose first group is the image's number in its series, or none."
    )
    block: Positive = Field(
        10, description="Numbers of one class that follow each other and stay in one part: neighbours look alike."
    )

    @model_validator(mode="after")
    def _pattern(self) -> TileSource:
        if self.number is not None:
            try:
                groups = re.compile(self.number).groups
            except re.error as error:
                raise ValueError(f"number is no regular expression ({error})") from None
            if groups < 1:
                raise ValueError("number needs a group, as in _(\\d+)\\.jpg")
        return self


class SlideClass(Config):
    """A tissue: normal where nothing lies beside it, else a tumour that grows in the named normal tissues."""

    source: str = Field(description="Which source its images are of.")
    label: str = Field(description="Its label there.")
    beside: list[str] = Field([], description="Normal classes around this tumour; none: this is normal tissue.")
    aliases: list[str] = Field([], description="Other names, for the captions of the training images.")


class NumSlides(Config):
    """How many slides of each part."""

    dev: int = Field(20, ge=0, description="Slides for thresholds and settings.")
    test: int = Field(40, ge=1, description="Slides that are scored.")


class PlantedSlidesConfig(Config):
    """Everything ``medvlp simulate`` needs to compose slides with tumour of known place."""

    kind: Literal["planted_slides"] = Field("planted_slides", description="Which schema this file follows.")
    sources: dict[str, TileSource] = Field(min_length=1, description="Where the images come from.")
    classes: dict[str, SlideClass] = Field(min_length=2, description="Tissues by the name that texts use.")
    split: SplitConfig = Field(
        SplitConfig(train=0.5, dev=0.2, test=0.3, seed=0),
        description="Images to train on, for development slides and for test slides; whole cases are drawn.",
    )
    slides: NumSlides = Field(NumSlides(), description="Number of slides.")
    negatives: float = Field(0.5, ge=0, lt=1, description="Share of slides without tumour.")
    ratios: list[Share] = Field(
        [0.02, 0.05, 0.1, 0.25, 0.5], min_length=1, description="Shares of tissue that are tumour, in turn."
    )
    regions: list[Positive] = Field([1, 3], min_length=2, max_length=2, description="Fewest and most tumour seeds.")
    sides: list[Annotated[int, Field(ge=3, le=400)]] = Field(
        [8, 12, 16, 20], min_length=1, description="Images along a side of the slide; one is drawn per slide."
    )
    tissue: list[Share] = Field(
        [0.35, 0.6], min_length=2, max_length=2, description="Least and greatest share of a slide that is tissue."
    )
    cases: Positive = Field(
        3, description="Cases (runs of similar images) of each tissue that one slide is made of; fewer if there are."
    )
    cell: Annotated[int, Field(ge=16, le=1024)] = Field(224, description="Side in pixels an image is brought to.")
    blend: Annotated[int, Field(ge=0)] = Field(
        16, description="Pixels over which neighbouring images fade into each other; 0 for hard seams."
    )
    aligned: bool = Field(False, description="Begin at pixel 0, so that a grid of one image per tile fits the seams.")
    mpp: Annotated[float, Field(ge=0.05, le=20)] = Field(
        0.5, description="Micrometres per pixel the files state: a declaration, for the images tell no scale."
    )
    mask_downsample: Positive = Field(8, description="Level-0 pixels per mask pixel; outlines follow this raster.")
    levels: list[Annotated[int, Field(ge=2)]] = Field([4, 16], description="Downsampling of the further levels.")
    compression: Literal["jpeg", "deflate"] = Field("jpeg", description="How tiles are stored; deflate loses nothing.")
    quality: Annotated[int, Field(ge=1, le=100)] = Field(90, description="Quality of JPEG tiles, 4:4:4.")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="Seed of every slide, together with part and number.")

    @property
    def pitch(self) -> int:
        """Distance of neighbouring images, pixels."""
        return self.cell - self.blend

    @property
    def tumours(self) -> list[str]:
        """Names of the tumour classes."""
        return [name for name, entry in self.classes.items() if entry.beside]

    @model_validator(mode="after")
    def _fits(self) -> PlantedSlidesConfig:
        if not self.tumours:
            raise ValueError("no class is a tumour; name the normal classes beside one")
        for name, entry in self.classes.items():
            if entry.source not in self.sources:
                raise ValueError(f"classes.{name}.source: {entry.source!r} is not among sources")
            wrong = [other for other in entry.beside if other not in self.classes or self.classes[other].beside]
            if wrong:
                raise ValueError(f"classes.{name}.beside: {wrong[0]!r} is no normal class")
        if 2 * self.blend > self.cell or self.blend % 2:
            raise ValueError("blend must be even and at most half of cell")
        for factor in (self.mask_downsample, *self.levels):
            if self.pitch % factor:
                raise ValueError(f"cell - blend is {self.pitch}, which {factor} does not divide")
        if sorted(set(self.levels)) != self.levels or any(
            b % a for a, b in zip(self.levels, self.levels[1:], strict=False)
        ):
            raise ValueError("levels must rise, each a multiple of the one before")
        if self.regions[0] > self.regions[1] or self.tissue[0] > self.tissue[1]:
            raise ValueError("regions and tissue: the first must not exceed the second")
        return self
