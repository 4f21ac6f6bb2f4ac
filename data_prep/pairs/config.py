"""Configuration of a pairs store: where the images come from, how they are named, split and grouped."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from data_prep.pairs.dicom_folder import DicomFolder
from data_prep.pairs.folders import ClassFolders, TextFiles
from data_prep.pairs.medmnist_sets import MedMnist
from data_prep.pairs.shards import WebDataset
from data_prep.pairs.standard.dermatology import DermatologySource
from data_prep.pairs.standard.pathology import PathologySource
from data_prep.pairs.standard.radiology import RadiologySource
from medvlp.config import Config

Count = Annotated[int, Field(ge=0)]


class Columns(Config):
    """Names of the table's columns; only ``image`` must be given."""

    image: str = Field(default="file", description="Column with the image's path, name or number.")
    label: str | None = Field(default=None, description="Column with the class label.")
    label_separator: str | None = Field(
        default=None, description="What parts several labels of one image, as in Effusion|Mass; none: one label."
    )
    captions: list[str] = Field(default=[], description="Columns with free text about the image.")
    split: str | None = Field(
        default=None, description="Column with train, dev or test; without it the split is drawn."
    )
    case: str | None = Field(default=None, description="Column that says which patient, slide or case an image is of.")
    group: str | None = Field(default=None, description="Column with a ready semantic group.")


class FolderCsv(Config):
    """A folder of images and a CSV (TSV, JSON lines; also .gz) table with one row per image."""

    name: Literal["folder_csv"] = Field(description="Kind of source.")
    images: str = Field(description="Folder the image column is relative to.")
    table: str = Field(description="Path of the table.")
    columns: Columns = Field(default=Columns(), description="Which column holds what.")
    where: dict[str, list[str]] = Field(
        default={}, description="Keep only rows whose column has one of the listed values."
    )
    image_pattern: str | None = Field(
        default=None,
        description="File name made of the image column, for example '{}.png', or '{:03d}.png' for numbers.",
    )
    label_names: str | None = Field(
        default=None, description="CSV with columns label,name: display names of the labels."
    )
    encoding: str = Field(default="utf-8-sig", description="Text encoding of the table.")
    duplicates: Literal["error", "merge"] = Field(
        default="error", description="What to do with rows of one image: refuse, or merge their captions."
    )


class Captions(Config):
    """Images with free text: a CSV, TSV or JSON-lines table with an image and one or more caption columns."""

    name: Literal["captions"] = Field(description="Kind of source.")
    images: str = Field(description="Folder the image column is relative to.")
    table: str = Field(description="Path of the table.")
    image_column: str = Field(default="image", description="Column with the image's path.")
    caption_columns: list[str] = Field(default=["caption"], min_length=1, description="Columns with the texts.")
    case_column: str | None = Field(default=None, description="Column that says which case an image is of.")
    split_column: str | None = Field(default=None, description="Column with train, dev or test.")
    encoding: str = Field(default="utf-8-sig", description="Text encoding of the table.")
    duplicates: Literal["error", "merge"] = Field(default="merge", description="Refuse or merge rows of one image.")

    def as_folder_csv(self) -> FolderCsv:
        """The same source in the general form."""
        columns = Columns(
            image=self.image_column, captions=self.caption_columns, case=self.case_column, split=self.split_column
        )
        return FolderCsv(
            name="folder_csv",
            images=self.images,
            table=self.table,
            columns=columns,
            encoding=self.encoding,
            duplicates=self.duplicates,
        )


class PackagedNuclei(Config):
    """Crops around the 1,718 labelled nuclei of the two H&E fields in the package ``histolytics``."""

    name: Literal["packaged_nuclei"] = Field(description="Kind of source.")
    fields: list[Literal["nest", "stroma"]] = Field(
        default=["nest", "stroma"], min_length=1, description="Fields to use."
    )
    crop: Annotated[int, Field(ge=16, le=512)] = Field(default=64, description="Side of a crop in pixels of the field.")
    tile: Annotated[int, Field(ge=50)] = Field(
        default=300, description="Side in pixels of the region that counts as a case."
    )


Source = Annotated[
    FolderCsv
    | ClassFolders
    | Captions
    | TextFiles
    | DicomFolder
    | WebDataset
    | MedMnist
    | PackagedNuclei
    | PathologySource
    | RadiologySource
    | DermatologySource,
    Field(discriminator="name"),
]


class ClassEntry(Config):
    """How a raw label is called and which concepts of the graph it means."""

    name: str | None = Field(default=None, description="Display name; also the class's first caption name.")
    aliases: list[str] = Field(default=[], description="Other names, used in captions and tried in linking.")
    concepts: list[str] = Field(default=[], description="Concept ids; without them the names are linked.")


class CaptionConfig(Config):
    """Template captions for images that have a class but no text."""

    templates: list[str] = Field(
        default=[
            "an image of {}.",
            "a medical image showing {}.",
            "this picture shows {}.",
            "an example of {}.",
            "findings consistent with {}.",
        ],
        min_length=1,
        description="Sentences with one {} where the class's name goes.",
    )
    num_texts: Annotated[int, Field(ge=1)] = Field(default=3, description="Different captions drawn for each image.")
    graph_names: bool = Field(default=True, description="Also use the names and synonyms of the class's concepts.")
    beside_texts: bool = Field(
        default=False, description="Add template captions also to images that have text of their own."
    )

    @model_validator(mode="after")
    def _one_slot(self) -> CaptionConfig:
        wrong = [template for template in self.templates if template.count("{}") != 1]
        if wrong:
            raise ValueError(f"template {wrong[0]!r} needs exactly one {{}}")
        return self


class SplitConfig(Config):
    """Shares of the splits; whole cases are drawn, balanced by label."""

    train: Annotated[float, Field(ge=0, le=1)] = Field(default=0.7, description="Share of images for training.")
    dev: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.1, description="Share for choices made while developing."
    )
    test: Annotated[float, Field(ge=0, le=1)] = Field(default=0.2, description="Share for the final evaluation.")
    seed: Count = Field(default=0, description="Seed of the draw.")

    @model_validator(mode="after")
    def _sum(self) -> SplitConfig:
        if abs(self.train + self.dev + self.test - 1.0) > 1e-6:
            raise ValueError(f"train + dev + test is {self.train + self.dev + self.test:g}, not 1")
        return self

    @property
    def fractions(self) -> dict[str, float]:
        """Shares by split name."""
        return {"train": self.train, "dev": self.dev, "test": self.test}


class GroupConfig(Config):
    """Which images count as one semantic group (KEEP, stage 2); each criterion has its own switch."""

    by_label: bool = Field(default=True, description="Images of one class are one group.")
    by_concepts: bool = Field(
        default=True, description="Unlabelled images whose texts link to the same concepts are one group."
    )
    near_duplicates: bool = Field(
        default=True, description="Near-identical images are one group, and one case if none is given."
    )
    image_cosine: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.95, description="Cosine from which images are the same."
    )
    captions: bool = Field(default=True, description="Images with near-identical free texts are one group.")
    caption_iou: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.9, description="Intersection over union of token sets above which texts are the same."
    )


class PairsConfig(Config):
    """Everything ``medvlp prepare`` needs to build a pairs store."""

    kind: Literal["pairs"] = Field(default="pairs", description="Kind of configuration.")
    source: Source = Field(description="Where images, labels and texts come from.")
    classes: dict[str, ClassEntry] = Field(
        default={}, description="Names and concepts by raw label; others are linked by name."
    )
    graph: str | None = Field(default=None, description="Folder of a graph store, for concepts and synonyms.")
    captions: CaptionConfig = Field(default=CaptionConfig(), description="Captions from class names.")
    split: SplitConfig = Field(default=SplitConfig(), description="Used when the source gives no split.")
    groups: GroupConfig = Field(default=GroupConfig(), description="Semantic groups.")
    unlinked: Literal["keep", "drop"] = Field(
        default="keep", description="What to do with images no concept is known for."
    )
    max_missing: Count = Field(default=0, description="Images of the table that may be absent.")
    max_unreadable: Count = Field(default=0, description="Images that may be damaged.")
    max_side: Annotated[int, Field(ge=16)] = Field(default=512, description="Longest side of a stored image in pixels.")
    max_pixels: Annotated[int, Field(ge=1)] = Field(default=64_000_000, description="Largest source image in pixels.")
    window: list[float] | None = Field(
        default=None, min_length=2, max_length=2, description="Window centre and width for grey images and DICOM."
    )
    format: Literal["jpeg", "png"] = Field(
        default="jpeg", description="Encoding of stored images; jpeg has quality 95, 4:4:4."
    )
    num_workers: Annotated[int, Field(ge=1)] = Field(
        default=2, description="Threads that read images; never changes the result."
    )
