"""Tile features of one slide, read from the files of every common producer and written in TRIDENT's layout.

A file's word is checked against its numbers, and what a file does not say stays None until the caller says it: nothing
is guessed. Shape letters: N tiles, D feature width, X = 2 (x, y).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medvlp.errors import DataError
from medvlp.slides.encoder_facts import encoder_facts
from medvlp.slides.feature_coords import (
    MICROMETRE_UNITS,
    Step,
    as_table,
    check_distinct,
    check_inside,
    check_not_indices,
    check_step,
    measured_step,
    pixels,
)
from medvlp.slides.feature_layouts import RawFeatures, read_patches, read_raw
from medvlp.slides.feature_writer import write_features
from medvlp.slides.types import SlideFeatures

__all__ = ["for_zero_shot", "read_features", "write_features"]

MAX_BYTES = 16 << 30
MAX_WIDTH = 1 << 15
UNIT_TOLERANCE = 0.01
"""Half-precision vectors of unit length are off by up to a few thousandths."""

ValueT = TypeVar("ValueT")


def read_features(
    path: str | Path,
    *,
    producer: str | None = None,
    patches: str | Path | None = None,
    key: str | None = None,
    dim: int | None = None,
    coords_unit: Literal["px", "um"] | None = None,
    patch_size_level0: int | None = None,
    step_level0: int | None = None,
    level0_mpp: float | None = None,
    slide_size: tuple[int, int] | None = None,
    encoder: str | None = None,
    projected: bool | None = None,
    normalised: bool | None = None,
    max_bytes: int = MAX_BYTES,
) -> SlideFeatures:
    """Read the tile features of one slide.

    Args:
        path: An HDF5 or PyTorch file; the layout is found by content.
        producer: Who wrote it, where layouts are alike: one of ``feature_layouts.PRODUCERS``.
        patches: CLAM's or TRIDENT's file of coordinates, which has the attributes that CLAM's feature file lost.
        key: Name of the slide; by default the file's stem.
        dim: Width the vectors must have.
        coords_unit: Unit of the coordinates where the file is silent: level-0 pixels or micrometres.
        patch_size_level0: Side of a tile in level-0 pixels.
        step_level0: Distance of neighbouring tiles in level-0 pixels; without it tiles are taken not to overlap.
        level0_mpp: Micrometres per level-0 pixel; turns micrometres into pixels.
        slide_size: (width, height) of the slide in level-0 pixels.
        encoder: Name of the encoder.
        projected: Whether the vectors lie in the space shared with text.
        normalised: Whether they have unit length; this is measured in any case.
        max_bytes: Largest array that is read.

    Returns:
        float32 features and int64 level-0 coordinates with every known fact. ``step_level0`` is measured where the
        coordinates show it, ``normalised`` always.

    Raises:
        DataError: In one line: damaged files, wrong shapes, NaN, links out of the file, coordinates in another unit,
            order or step than stated, and whatever the caller and the file disagree on.
        MissingExtraError: For HDF5 without h5py.
    """
    path = Path(path)
    item = path.name
    raw = read_raw(path, item, producer, max_bytes)
    features_ND = _vectors(raw.features, dim, item)
    if patches is not None:
        raw = _with_patches(raw, Path(patches), len(features_ND), max_bytes, item)
    level0_mpp = _agreed("level0_mpp", level0_mpp, raw.level0_mpp, item)
    patch_size_level0 = _agreed("patch_size_level0", patch_size_level0, raw.patch_size_level0, item)
    step_level0 = _agreed("step_level0", step_level0, raw.step_level0, item)
    slide_size = _agreed("slide_size", slide_size, raw.slide_size, item)
    unit = _agreed("coords_unit", coords_unit, raw.unit, item)
    encoder = _agreed("encoder", encoder, raw.encoder, item)
    if raw.producer == "stamp" and unit is None and raw.coords is not None:
        raise DataError("does not say the unit of its coordinates", item=item, remedy='pass coords_unit="um" or "px"')
    if raw.tile_um is not None and level0_mpp is not None:
        patch_size_level0 = _agreed("patch_size_level0", patch_size_level0, round(raw.tile_um / level0_mpp), item)
    coords_NX, step = None, None
    if raw.coords is not None:
        table_NX = as_table(raw.coords, len(features_ND), item)
        if unit == "um":
            coords_NX, step = _from_micrometres(table_NX, level0_mpp, raw.tile_um, step_level0, item)
        else:
            coords_NX, step = _from_pixels(table_NX, step_level0 or patch_size_level0, item)
        if slide_size is not None:
            check_inside(coords_NX, slide_size, item)
    mpp = raw.mpp
    if mpp is None and None not in (level0_mpp, patch_size_level0, raw.tile_size):
        mpp = float(level0_mpp or 0) * int(patch_size_level0 or 0) / int(raw.tile_size or 1)
    projected, normalised = _checked_space(features_ND, raw, encoder, projected, normalised, item)
    return SlideFeatures(
        key=key if key is not None else path.stem,
        features_ND=features_ND,
        coords_NX=None if coords_NX is None else torch.from_numpy(coords_NX),
        patch_size_level0=patch_size_level0,
        step_level0=step_level0 if step_level0 is not None else step,
        mpp=mpp,
        level0_mpp=level0_mpp,
        encoder=encoder,
        projected=projected,
        normalised=normalised,
        producer=raw.producer,
        slide_size=slide_size,
    )


def for_zero_shot(features: SlideFeatures, dim: int) -> SlideFeatures:
    """Return features that may be compared with texts: projected, of the right width, of unit length.

    Args:
        features: Tile features.
        dim: Width of the text vectors.

    Raises:
        DataError: If they are not projected (with the reason), if nobody says so, or if the width differs.
    """
    if features.projected is not True:
        facts = encoder_facts(features.encoder, features.producer)
        if features.projected is None:
            problem, remedy = "nobody says whether these vectors lie in the space of the texts", "state projected=True"
        else:
            problem = f"cannot be compared with texts: {facts.reason if facts and facts.reason else 'not projected'}"
            remedy = "compute the features again behind the encoder's projection, or train a classifier on them"
        raise DataError(problem, item=features.key, remedy=remedy)
    width = features.features_ND.shape[1]
    if width != dim:
        raise DataError(f"vectors of {width} numbers, the texts have {dim}", item=features.key, remedy="use one model")
    norms_N = torch.linalg.vector_norm(features.features_ND.float(), dim=1)
    if not bool((norms_N > 0).all()):
        tile = int((norms_N <= 0).nonzero()[0])
        raise DataError(f"tile {tile} has no direction (all zeros)", item=features.key, remedy="compute it again")
    return replace(features, features_ND=functional.normalize(features.features_ND.float(), dim=1), normalised=True)


def _vectors(features: Tensor, dim: int | None, item: str) -> Tensor:
    """Return float32 (N, D), finite."""
    if not features.dtype.is_floating_point:
        raise DataError(f"features are {features.dtype}, not floats", item=item, remedy="store float16 or float32")
    shape = tuple(features.shape)
    if features.ndim == 3 and shape[0] == 1:
        features = features[0]
    if features.ndim == 1:
        raise DataError(
            f"one vector of {shape[0]} numbers: a slide embedding, not tile features",
            item=item,
            remedy="name the file of tile features",
        )
    if features.ndim != 2:
        raise DataError(f"features of shape {shape}, expected (tiles, width)", item=item, remedy="write them anew")
    tiles, width = features.shape
    if tiles == 0 or width == 0:
        raise DataError(f"holds no tiles {shape}", item=item, remedy="leave slides without tissue out")
    if dim is not None and width != dim:
        swapped = " (they look transposed)" if tiles == dim else ""
        raise DataError(f"vectors of {width} numbers, expected {dim}{swapped}", item=item, remedy="check the encoder")
    if width > MAX_WIDTH:
        raise DataError(
            f"vectors of {width:,} numbers, more than any encoder gives", item=item, remedy="transpose them"
        )
    features_ND = features.to(torch.float32).contiguous()
    bad_N = ~torch.isfinite(features_ND).all(dim=1)
    if bool(bad_N.any()):
        first = ", ".join(str(int(tile)) for tile in bad_N.nonzero()[:3, 0])
        raise DataError(
            f"{int(bad_N.sum())} of {tiles} vectors hold NaN or infinity (first: tiles {first})",
            item=item,
            remedy="compute the features again",
        )
    return features_ND


def _with_patches(raw: RawFeatures, path: Path, tiles: int, max_bytes: int, item: str) -> RawFeatures:
    """Add the attributes, and where needed the coordinates, of a file of patches."""
    beside = read_patches(path, path.name, max_bytes)
    table_NX = as_table(np.asarray(beside.coords), tiles, path.name)
    if raw.coords is not None and not np.array_equal(as_table(raw.coords, tiles, item), table_NX):
        raise DataError("coordinates differ from those of the patches file", item=item, remedy="name its own patches")
    names = ("patch_size_level0", "step_level0", "tile_size", "mpp", "level0_mpp", "slide_size")
    found: dict[str, Any] = {name: _agreed(name, getattr(raw, name), getattr(beside, name), item) for name in names}
    return replace(raw, coords=table_NX, unit=raw.unit or beside.unit, **found)


def _from_pixels(table_NX: NDArray[Any], claimed: int | None, item: str) -> tuple[NDArray[np.int64], int | None]:
    coords_NX = pixels(table_NX, item)
    step = measured_step(coords_NX)
    check_distinct(coords_NX, item)
    check_not_indices(coords_NX, step, item)
    if claimed is not None:
        check_step(step, claimed, item, tolerance=1)  # scaled steps are rounded
    return coords_NX, _evident(step)


def _from_micrometres(
    table_NX: NDArray[Any], level0_mpp: float | None, tile_um: float | None, step_level0: int | None, item: str
) -> tuple[NDArray[np.int64], int | None]:
    if level0_mpp is None:
        raise DataError(
            "coordinates are micrometres", item=item, remedy="pass level0_mpp, the slide's micrometres per pixel"
        )
    tenths_NX = pixels(np.rint(table_NX.astype(np.float64) * MICROMETRE_UNITS), item)
    step = measured_step(tenths_NX)
    check_distinct(tenths_NX, item)
    claimed_um = step_level0 * level0_mpp if step_level0 is not None else tile_um
    if claimed_um is not None:
        tenths = round(claimed_um * MICROMETRE_UNITS)
        check_step(step, tenths, item, tolerance=MICROMETRE_UNITS, unit="tenths of a micrometre")
    coords_NX = np.rint(table_NX.astype(np.float64) / level0_mpp).astype(np.int64)
    evident = _evident(step)
    return coords_NX, None if evident is None else round(evident / MICROMETRE_UNITS / level0_mpp)


def _evident(step: Step | None) -> int | None:
    """The measured step if most distances of neighbours are that one."""
    return step.value if step is not None and 2 * step.count > int(step.counts.sum()) else None


def _checked_space(
    features_ND: Tensor,
    raw: RawFeatures,
    encoder: str | None,
    projected: bool | None,
    normalised: bool | None,
    item: str,
) -> tuple[bool | None, bool]:
    """Return (projected, normalised) as file, caller, knowledge of the encoder and the vectors' lengths agree."""
    facts = encoder_facts(encoder, raw.producer)
    projected = _agreed("projected", projected, raw.projected, item)
    normalised = _agreed("normalised", normalised, raw.normalised, item)
    if facts is not None:
        if facts.width is not None and features_ND.shape[1] != facts.width:
            raise DataError(
                f"vectors of {features_ND.shape[1]} numbers, but {encoder} gives {facts.width}",
                item=item,
                remedy="check which encoder made them",
            )
        if projected and facts.certain and not facts.projected:
            raise DataError(f"stated to be projected, but {facts.reason}", item=item, remedy="state projected=False")
        projected = facts.projected if projected is None else projected
        normalised = facts.normalised if normalised is None else normalised
    norms_N = torch.linalg.vector_norm(features_ND, dim=1)
    measured = bool(((norms_N - 1).abs() <= UNIT_TOLERANCE).all())
    if normalised is not None and normalised != measured:
        told = "unit length" if normalised else "other lengths than one"
        low, high = float(norms_N.min()), float(norms_N.max())
        raise DataError(
            f"vectors should have {told}, theirs are {low:.4g} to {high:.4g}",
            item=item,
            remedy="check encoder, projected and normalised; these may be vectors from before the projection",
        )
    return projected, measured


def _agreed(name: str, stated: ValueT | None, found: ValueT | None, item: str) -> ValueT | None:
    """Return the one that is known; refuse two that differ."""
    if stated is None or found is None:
        return found if stated is None else stated
    same = stated == found
    if isinstance(stated, float) and isinstance(found, float | int):
        same = abs(stated - found) <= 0.001 * stated
    if isinstance(stated, str) and isinstance(found, str):
        same = stated.casefold() == found.casefold()
    if not same:
        raise DataError(
            f"{name} is {found} by the file and {stated} as stated", item=item, remedy="state the right one"
        )
    return found
