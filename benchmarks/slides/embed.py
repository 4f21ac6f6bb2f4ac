"""Tiles of slides through reader, tissue mask and grid, embedded once per image tower and kept on disk.

Shape legend: N tiles, I width of the image tower, F colour features, X = 2 (x, y).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.slides.config import SlidesBenchmarkConfig
from data_prep.planted.store import PlantedSlides
from medvlp import __version__
from medvlp.errors import DataError
from medvlp.io import atomic_folder, read_json, sha256_json, verify_manifest, write_manifest
from medvlp.model import DualEncoder
from medvlp.slides.grid import GridConfig, tile_grid
from medvlp.slides.reader import open_slide
from medvlp.slides.tissue import TissueConfig, tissue_mask
from medvlp.training.features import tower_digest
from medvlp.zeroshot.floors import colour_features

Encode = Callable[[list[Image.Image]], NDArray[np.float32]]
"""Images of tiles to one row each."""


class Slide(Protocol):
    """A slide with its truth: planted (``data_prep.planted``), or of a list."""

    @property
    def key(self) -> str:
        """Its name."""
        ...

    @property
    def part(self) -> str:
        """The split it is in."""
        ...

    @property
    def path(self) -> Path:
        """Its file."""
        ...

    @property
    def tumour(self) -> str | None:
        """Tumour class, or None for a normal slide."""
        ...

    def truth(self, coords_NX: NDArray[np.int64], side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Share of tumour and of tissue (N,) in squares of ``side`` level-0 pixels."""
        ...

    def tumour_area(self) -> float:
        """Tumour of the whole slide, in level-0 pixels."""
        ...


@dataclass(frozen=True)
class Cut:
    """How slides become tiles.

    Attributes:
        tissue: How tissue is found.
        grid: Tiles on it.
        batch_size: Tiles embedded at once.
    """

    tissue: TissueConfig
    grid: GridConfig
    batch_size: int


@dataclass(frozen=True)
class Tiles:
    """The tiles of one slide.

    Attributes:
        slide: Whose.
        features_NI: What the encoder gave; (N, 0) without one.
        colour_NF: Colour histograms.
        coords_NX: Top-left corners, level-0 pixels.
        side: Side of a tile, level-0 pixels.
        step: Distance of neighbouring tiles, level-0 pixels.
        tumour_N: True share of each tile that is tumour.
        tissue_N: True share of each tile that is tissue.
        tumour_area: Tumour of the whole slide, in tiles; tiles the grid left out count too.
    """

    slide: Slide
    features_NI: NDArray[np.float32]
    colour_NF: NDArray[np.float32]
    coords_NX: NDArray[np.int64]
    side: int
    step: int
    tumour_N: NDArray[np.float64]
    tissue_N: NDArray[np.float64]
    tumour_area: float


def embed_set(
    config: SlidesBenchmarkConfig, found: PlantedSlides, digest: str, model: DualEncoder, cache: Path
) -> list[Tiles]:
    """Return the tiles of every slide, embedding those that are not in ``cache``.

    Args:
        config: Tissue, grid and batch size.
        found: The slides.
        digest: Of their manifest.
        model: Gives tower and preprocessing.
        cache: One folder per tower, slides and settings is made in it.

    Raises:
        DataError: If a slide shows no tissue, or a cached file was altered.
    """
    made_from = {
        "version": __version__,
        "slides": digest,
        "tower": tower_digest(model.image),
        "preprocess": model.preprocess.to_json(),
        "tissue": config.tissue.model_dump(mode="json"),
        "grid": config.grid.model_dump(mode="json"),
    }

    def encode(images: list[Image.Image]) -> NDArray[np.float32]:
        with torch.no_grad():
            batch = torch.stack([model.preprocess(image) for image in images])
            return np.asarray(model.image_features(batch).float().numpy())

    cut = Cut(config.tissue, config.grid, config.batch_size)
    return embed_slides(
        cut, found.slides, encode, cache / sha256_json(made_from)[:20], f"embedding {found.folder.name}"
    )


def embed_slides(cut: Cut, slides: Sequence[Slide], encode: Encode | None, folder: Path, label: str) -> list[Tiles]:
    """Return the tiles of every slide, in order, embedding those that ``folder`` lacks.

    Args:
        cut: Tissue, grid and batch size.
        slides: The slides.
        encode: Embeds the images of a batch; None keeps colours alone.
        folder: Of this encoder, these slides and this cut; one folder per slide is made in it.
        label: What the progress bar says.

    Raises:
        DataError: If a slide shows no tissue, or a cached file was altered.
    """
    out = []
    for slide in _shown(slides, label):
        target = folder / slide.key
        if not target.is_dir():
            with atomic_folder(target, own=True) as partial:
                _write(cut, slide, encode, partial)
                write_manifest(partial, {"slide": slide.key})
        verify_manifest(target)
        out.append(_read(target, slide))
    return out


def _write(cut: Cut, slide: Slide, encode: Encode | None, folder: Path) -> None:
    with open_slide(slide.path) as opened:
        grid = tile_grid(opened, tissue_mask(opened, cut.tissue), cut.grid)
        if len(grid) == 0:
            raise DataError("no tile with tissue was found", item=slide.path, remedy="change tissue or grid")
        features, colours = [], []
        for start in range(0, len(grid), cut.batch_size):
            coords = grid.coords_NX[start : start + cut.batch_size].tolist()
            images = [Image.fromarray(opened.square(x, y, grid.patch_size_level0, grid.tile_size)) for x, y in coords]
            features.append(np.zeros((len(images), 0), dtype=np.float32) if encode is None else encode(images))
            colours += [colour_features(image) for image in images]
    np.save(folder / "features.npy", np.concatenate(features), allow_pickle=False)
    np.save(folder / "colours.npy", np.stack(colours), allow_pickle=False)
    np.save(folder / "coords.npy", grid.coords_NX, allow_pickle=False)
    np.save(folder / "grid.npy", np.array([grid.patch_size_level0, grid.step_level0]), allow_pickle=False)


def _read(folder: Path, slide: Slide) -> Tiles:
    features, colours, coords, grid = (
        np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("features", "colours", "coords", "grid")
    )
    side, step = (int(value) for value in grid)
    tumour_N, tissue_N = slide.truth(coords, side)
    return Tiles(slide, features, colours, coords, side, step, tumour_N, tissue_N, slide.tumour_area() / side**2)


def open_set(folder: Path) -> tuple[PlantedSlides, str]:
    """Open planted slides and return them with the digest of everything in them.

    Raises:
        DataError: If the folder holds none, or a file was altered.
    """
    from medvlp.io import MANIFEST

    found = PlantedSlides(folder)
    return found, sha256_json(read_json(folder / MANIFEST)["files"])


def _shown(items: Sequence[Any], label: str) -> Iterable[Any]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, label, console=console, transient=True, disable=not console.is_terminal)
