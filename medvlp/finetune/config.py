"""What is fine-tuned on what, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medvlp.config import Config
from medvlp.data.augment import Augment
from medvlp.data.plan import Sampling
from medvlp.encoders.image import EFFICIENTNET_LITE0
from medvlp.training.optim import OptimizerConfig
from medvlp.training.settings import RunConfig

SplitName = Literal["train", "dev", "test"]
FloorName = Literal["prior", "colour-histogram"]


class Start(Config):
    """The image tower that fine-tuning starts from."""

    model: str = Field(
        "timm:tf_efficientnet_lite0", description="Anything `medvlp.load` opens (run, export ...), or timm:NAME."
    )
    weights: str | None = Field(
        None, description="For timm:NAME only: `none` for random, `timm` for timm's own, or a weight file."
    )
    image_size: int | None = Field(None, ge=16, description="Side of the square input in pixels; the tower's own.")
    ema: bool = Field(False, description="Take the averaged weights that a run or checkpoint keeps.")


class Classification(Config):
    """Classes of whole images, from a pairs store."""

    name: Literal["classification"] = Field("classification", description="Classes of whole images.")
    data: str = Field(description="Folder of the pairs store.")
    mode: Literal["single", "multi"] = Field("single", description="One class per image, or any number.")
    classes: list[str] | None = Field(None, description="Labels to learn; all of the store's by default.")
    train: SplitName = Field("train", description="Split to learn from; never test.")
    dev: SplitName = Field("dev", description="Split that every choice is made on; never test.")
    test: SplitName = Field("test", description="Split to score.")


class MaskFractions(Config):
    """Images are drawn into splits, whole cases at a time."""

    name: Literal["fractions"] = Field("fractions", description="Draw the splits.")
    train: float = Field(0.6, gt=0, lt=1, description="Share of the cases to learn from.")
    dev: float = Field(0.2, ge=0, lt=1, description="Share of the cases to choose on.")
    case_pattern: str | None = Field(
        None, description="Regular expression whose first group in a file name is its case; each image by default."
    )
    seed: int = Field(0, ge=0, description="Seed of the draw.")


class MaskFolders(Config):
    """The splits are sub-folders of both folders."""

    name: Literal["folders"] = Field("folders", description="Sub-folders train, dev and test.")


class MaskFolder(Config):
    """Images and their label masks: single-channel PNG files of the same name, pixel value = class number."""

    name: Literal["masks"] = Field("masks", description="A folder of images and one of masks.")
    images: str = Field(description="Folder of the images.")
    masks: str = Field(description="Folder of the masks; NAME.png belongs to the image NAME.*.")
    classes: list[str] = Field(min_length=2, description="Class names by pixel value; the first is the background.")
    ignore: int | None = Field(None, ge=0, le=255, description="Pixel value that is neither learned nor scored.")
    split: MaskFractions | MaskFolders = Field(
        MaskFractions(), discriminator="name", description="Which images are in which split."
    )


class Segmentation(Config):
    """A class for every pixel."""

    name: Literal["segmentation"] = Field("segmentation", description="A class for every pixel.")
    data: MaskFolder = Field(description="Images and masks.")
    width: int = Field(64, ge=8, description="Channels of the decoder.")
    flips: bool = Field(False, description="Random mirror images and quarter turns of image and mask in training.")


class Probe(Config):
    """Logistic regression on frozen features, solved to the optimum by L-BFGS."""

    name: Literal["probe"] = Field("probe", description="Logistic regression on frozen features.")
    C: float | None = Field(None, gt=0, description="Inverse penalty; by default chosen on dev by log-loss.")
    grid: list[float] = Field(
        [-5.0, 5.0], min_length=2, max_length=2, description="Lowest and highest power of ten of C that is tried."
    )
    grid_points: int = Field(21, ge=1, le=200, description="Values of C that are tried, evenly in the logarithm.")
    standardise: bool = Field(True, description="Scale features by the mean and deviation of the training rows.")
    max_iter: int = Field(2000, ge=1, description="Iterations of the solver.")


class Linear(Config):
    """A linear head on frozen features, trained by gradient steps."""

    name: Literal["linear"] = Field("linear", description="A linear head on frozen features, by gradient steps.")


class Full(Config):
    """The whole network learns, deep layers faster than shallow ones."""

    name: Literal["full"] = Field("full", description="The whole network.")
    layer_decay: float = Field(0.75, gt=0, le=1, description="Learning rate of a layer relative to the one above it.")


class Lora(Config):
    """Low-rank additions to the weights of the tower (Hu et al. 2021), through peft."""

    name: Literal["lora"] = Field("lora", description="Low-rank additions to the tower's weights.")
    rank: int = Field(4, ge=1, description="Rank of each addition.")
    alpha: float = Field(8.0, gt=0, description="The addition is scaled by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout in front of the addition.")
    targets: str | None = Field(
        None, description="Regular expression of whole layer names; all linear and 1 x 1 convolution layers by default."
    )


Inner = Annotated[Probe | Linear | Full | Lora, Field(discriminator="name")]


class FewShot(Config):
    """A method on a few training images per class, drawn anew for each seed."""

    name: Literal["few_shot"] = Field("few_shot", description="A few training images per class, several draws.")
    shots: int = Field(5, ge=1, description="Training images per class, from as many cases as possible.")
    dev_shots: int | None = Field(
        None, ge=0, description="Development images per class to choose on; as many as shots by default, 0 for none."
    )
    seeds: list[int] = Field([0, 1, 2], min_length=1, description="Seeds of the draws.")
    method: Inner = Field(Probe(), description="What is done with them.")


Method = Annotated[Probe | Linear | Full | Lora | FewShot, Field(discriminator="name")]
Task = Annotated[Classification | Segmentation, Field(discriminator="name")]


class FinetuneConfig(RunConfig):
    """What is fine-tuned on what, and how; the settings of steps are for the methods that take steps."""

    kind: Literal["finetune"] = Field("finetune", description="Which schema this file follows.")
    title: str = Field("Fine-tuning", description="Heading of the results.")
    start: Start = Field(Start(weights=EFFICIENTNET_LITE0), description="The image tower that fine-tuning starts from.")
    task: Task = Field(description="What is learned.")
    method: Method = Field(Probe(), description="How it is learned.")
    steps: int = Field(300, ge=1, description="Optimiser steps (linear, full, lora).")
    optimizer: OptimizerConfig = Field(
        OptimizerConfig(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
        description="Optimiser, schedule and rates; part_lr knows the parts head and tower.",
    )
    batch_size: int = Field(32, ge=1, description="Images per batch over all processes.")
    sampling: Sampling = Field("natural", description="How much frequent classes weigh in the order of data.")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="Weight of classes in the loss: equal per image, or equal per class."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of the truth spread over all classes.")
    image_augment: Augment.Config | None = Field(None, description="Image augmentation of a classifier, or none.")
    batch_norm: Literal["fixed", "batch"] = Field(
        "fixed", description="Statistics of batch normalisation: those of the weights, or each batch's own."
    )
    head_first: int = Field(0, ge=0, description="Steps in which only the head learns.")
    select: Literal["last", "best"] = Field(
        "last", description="Weights to keep: the last, or those of lowest dev loss among the validations."
    )
    cache: str = Field("runs/features", description="Folder of cached features, shared by runs on the same data.")
    floors: list[FloorName] = Field(["prior", "colour-histogram"], description="Floors of a classification task.")
    bootstrap_draws: int = Field(1000, ge=0, le=100_000, description="Bootstrap draws of cases; 0 for no intervals.")
    level: float = Field(0.95, gt=0, lt=1, description="Coverage of the intervals.")
    specificity: float = Field(0.95, gt=0, lt=1, description="Specificity at which sensitivity is reported.")
