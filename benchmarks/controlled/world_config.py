"""What a controlled world is made of: which diseases, how they look, what is said about them, what is held out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from medvlp.config import Config

NUM_FACTORS = 8


class WorldConfig(Config):
    """One made world; a section of an experiment's configuration. Everything else follows from the seed."""

    graph: str = Field("graph/doid", description="Config of kind `graph`; its store is passed in.")
    root: str = Field("DOID:162", description="Concept under which all leaves lie.")
    num_leaves: int = Field(
        48, ge=8, multiple_of=4, description="Leaf diseases, four a branch; which ones depends on the graph alone."
    )
    renderer: Literal["tissue", "radiograph"] = Field("tissue", description="What the images look like.")
    image_size: int = Field(64, ge=32, le=256, description="Pixels along a side.")
    images_per_leaf: int = Field(30, ge=1, description="Training images of a seen leaf.")
    rare_images: int = Field(3, ge=1, description="Training images of a rare leaf.")
    dev_images: int = Field(3, ge=0, description="Development images of every seen and rare leaf.")
    test_images: int = Field(12, ge=2, description="Test images of every leaf.")
    share_unseen: float = Field(0.25, ge=0, lt=1, description="Share of the leaves that training never shows or names.")
    share_rare: float = Field(0.1667, ge=0, lt=1, description="Share of the leaves with few training images.")
    num_factors: int = Field(NUM_FACTORS, ge=2, le=NUM_FACTORS, description="Visual factors that differ by leaf.")
    inheritance: float = Field(0.8, ge=0, le=1, description="Share of the variance of looks that ancestors explain.")
    nuisance: float = Field(1.0, ge=0, le=3, description="Strength of all variation that says nothing about the leaf.")
    captions_per_image: int = Field(2, ge=1, le=8, description="Captions of a training image; all name the same leaf.")
    caption_noise: float = Field(
        0.0, ge=0, le=1, description="Share of training images whose captions name a wrong leaf."
    )
    missing_labels: float = Field(0.0, ge=0, le=1, description="Share of training images whose captions name the root.")
    twin: bool = Field(False, description="Exchange the looks among leaves of a group, so that kinship says nothing.")

    @model_validator(mode="after")
    def _consistent(self) -> WorldConfig:
        if self.caption_noise + self.missing_labels > 1:
            raise ValueError("caption_noise and missing_labels are shares of the same images; together at most 1")
        if self.share_unseen + self.share_rare >= 0.75:
            raise ValueError("share_unseen and share_rare leave too few seen leaves; together below 0.75")
        return self

    @property
    def num_unseen(self) -> int:
        """Leaves without training images."""
        return round(self.share_unseen * self.num_leaves)

    @property
    def num_rare(self) -> int:
        """Leaves with few training images."""
        return round(self.share_rare * self.num_leaves)


class WorldFile(Config):
    """A file that holds a world alone: what the preview draws, and what experiments extend."""

    kind: Literal["controlled_world"] = Field("controlled_world", description="Which schema this file follows.")
    world: WorldConfig = Field(WorldConfig(), description="The made world.")
