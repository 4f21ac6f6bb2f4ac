"""Pixels of the tiles whose features a case has: from a table of image files, or from whole slides.

Shape legend: T tiles of all slides of a case.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from medvlp.config import Config, resolve_path
from medvlp.data.image import read_image
from medvlp.data.tables import read_table
from medvlp.errors import DataError
from medvlp.training.slide_data import Case, Tiles


class TileTable(Config):
    """Image files, named one by one."""

    name: Literal["table"] = Field("table", description="A table of image files.")
    table: str = Field(description="Table with columns slide (feature file), tile (its row there) and image (file).")
    images: str = Field(description="Folder of the image files.")


class WholeSlides(Config):
    """Tiles cut from whole slides at the coordinates of the feature files."""

    name: Literal["slides"] = Field("slides", description="Whole slides.")
    folder: str = Field(description="Folder of slides, each named as its feature file but for the ending.")
    tile_size: int = Field(256, ge=16, description="Side in pixels to which a tile is scaled.")


TileSource = Annotated[TileTable | WholeSlides, Field(discriminator="name")]


class TileImages(ABC):
    """Reads single tiles; the tiles of a case count through its slides."""

    def __init__(self, tiles: Tiles) -> None:
        self.tiles = tiles

    def known(self, case: Case) -> NDArray[np.bool_]:
        """Say which tiles of a case (T,) have an image."""
        parts = [self.known_of(file, len(self.tiles.slide(file)[0])) for file in case.slides]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)

    def read(self, case: Case, tile: int) -> Image.Image:
        """Return a tile as an RGB image.

        Raises:
            DataError: If it cannot be read.
        """
        for file in case.slides:
            count = len(self.tiles.slide(file)[0])
            if tile < count:
                return self.read_of(file, tile)
            tile -= count
        raise DataError(f"has no tile {tile}", item=case.key)

    @abstractmethod
    def known_of(self, file: Path, count: int) -> NDArray[np.bool_]:
        """Say which of the tiles of one feature file have an image."""

    @abstractmethod
    def read_of(self, file: Path, tile: int) -> Image.Image:
        """Return one tile of one feature file."""


class TableImages(TileImages):
    """Tiles as image files; see :class:`TileTable`."""

    def __init__(self, config: TileTable, tiles: Tiles) -> None:
        super().__init__(tiles)
        path = resolve_path(config.table)
        table = read_table(path)
        for column in ("slide", "tile", "image"):
            if column not in table.column_names:
                raise DataError(f'has no column "{column}"', item=path, remedy="give slide, tile and image")
        self.folder = resolve_path(config.images)
        self.files: dict[str, dict[int, str]] = {}
        for row in table.select(["slide", "tile", "image"]).to_pylist():
            try:
                self.files.setdefault(str(row["slide"]), {})[int(row["tile"])] = str(row["image"])
            except (TypeError, ValueError):
                raise DataError("a tile is not a whole number", item=path, remedy="number tiles from 0") from None

    def known_of(self, file: Path, count: int) -> NDArray[np.bool_]:
        """Say which tiles the table names.

        Raises:
            DataError: If it names a tile that the feature file does not have.
        """
        known = np.zeros(count, dtype=bool)
        for tile in self.files.get(file.name, {}):
            if not 0 <= tile < count:
                raise DataError(f"has {count} tiles, the table names tile {tile}", item=file.name)
            known[tile] = True
        return known

    def read_of(self, file: Path, tile: int) -> Image.Image:
        """Open the image file."""
        return read_image(self.folder / self.files[file.name][tile])


class SlideImages(TileImages):
    """Tiles read from whole slides; see :class:`WholeSlides`."""

    def __init__(self, config: WholeSlides, tiles: Tiles) -> None:
        super().__init__(tiles)
        folder = resolve_path(config.folder)
        if not folder.is_dir():
            raise DataError("no such folder", item=folder, remedy="name the folder of slides")
        self.size = config.tile_size
        self.paths = {path.stem: path for path in sorted(folder.iterdir()) if path.is_file()}
        self._open: dict[Path, tuple[Any, Any, int]] = {}

    def known_of(self, file: Path, count: int) -> NDArray[np.bool_]:
        """All tiles of a feature file whose slide is there, none of another."""
        return np.full(count, file.stem in self.paths)

    def read_of(self, file: Path, tile: int) -> Image.Image:
        """Cut the tile."""
        slide, coords_NX, side = self._opened(file)
        x, y = (int(value) for value in coords_NX[tile])
        return Image.fromarray(slide.square(x, y, side, self.size))

    def _opened(self, file: Path) -> tuple[Any, Any, int]:
        if file not in self._open:
            from medvlp.slides.features import read_features
            from medvlp.slides.reader import open_slide

            data = self.tiles.data
            found = read_features(file, patch_size_level0=data.patch_size_level0, level0_mpp=data.level0_mpp)
            if found.coords_NX is None or found.patch_size_level0 is None:
                raise DataError("does not say where its tiles lie", item=file.name, remedy="compute the features again")
            if len(self._open) >= 16:  # file handles
                self._open.pop(next(iter(self._open)))[0].close()
            self._open[file] = open_slide(self.paths[file.stem]), found.coords_NX, found.patch_size_level0
        return self._open[file]


def open_tile_images(config: TileTable | WholeSlides, tiles: Tiles) -> TileImages:
    """Open what a configuration names.

    Raises:
        DataError: If the table or folder cannot be used.
    """
    return TableImages(config, tiles) if isinstance(config, TileTable) else SlideImages(config, tiles)
