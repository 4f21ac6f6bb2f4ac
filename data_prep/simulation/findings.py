"""Findings put into the volume: fluid, air, solid tissue or a grown heart, in the voxels where each would be.

Every function changes the Hounsfield units in place and returns the box it touched. ``severity`` runs from 0 (just
visible) to 1 (severe). Shape legend as in ``anatomy``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from data_prep.simulation.anatomy import Anatomy, Box, Floats, Mask, Side, bounding_box, side_of

Kind = Literal["effusion", "pneumothorax", "consolidation", "nodule", "mass", "cardiomegaly"]
SIDED: tuple[Kind, ...] = ("effusion", "pneumothorax")
LOBAR: tuple[Kind, ...] = ("consolidation", "nodule", "mass")

_FLUID, _AIR, _SOLID = 15.0, -1000.0, 40.0  # HU
_PLEURA = 70.0  # HU above lung: half a mm of tissue within a voxel
_NODULE_MM, _MASS_MM = (10.0, 30.0), (34.0, 60.0)  # diameters; 30 mm parts the two (Fleischner Society glossary)
_HEART_RADIUS_MM = 50.0


@dataclass(frozen=True)
class Finding:
    """One planted finding.

    Attributes:
        kind: What it is.
        severity: 0 to 1.
        side: Patient's side; None for the heart.
        lobe: Lobe in words; None where it is in no single lobe.
        seed: Decides place and texture.
    """

    kind: Kind
    severity: float
    side: Side | None
    lobe: str | None
    seed: int

    @property
    def diameter_mm(self) -> float | None:
        """Diameter of a nodule or mass."""
        if self.kind not in ("nodule", "mass"):
            return None
        low, high = _NODULE_MM if self.kind == "nodule" else _MASS_MM
        return low + (high - low) * self.severity


def plant(finding: Finding, anatomy: Anatomy, hu_YZX: Floats) -> Box:
    """Put a finding into ``hu_YZX`` and return the box that holds every changed voxel."""
    return _PLANTERS[finding.kind](finding, anatomy, hu_YZX)


def _effusion(finding: Finding, anatomy: Anatomy, hu_YZX: Floats) -> Box:
    """Fluid up to a level that climbs at the chest wall (meniscus) and blunts the costophrenic angle first."""
    assert finding.side is not None
    box = anatomy.boxes[finding.side]
    lung, wall = anatomy.lungs[finding.side][box], anatomy.wall_mm[finding.side]
    rows_mm = np.arange(lung.shape[1], dtype=np.float32)[::-1] * anatomy.spacing  # height above the lowest recess
    meniscus = (15 + 30 * finding.severity) * np.exp(-wall / 14)
    level = 50 + 75 * finding.severity
    depth_mm = level + meniscus - rows_mm[None, :, None]
    share = np.clip(depth_mm / (2 * anatomy.spacing) + 0.5, 0, 1) * lung
    hu_YZX[box] += share * (_FLUID - hu_YZX[box])
    return box


def _pneumothorax(finding: Finding, anatomy: Anatomy, hu_YZX: Floats) -> Box:
    """Air between chest wall and retracted lung, widest at the apex, with the visceral pleura as a thin line."""
    assert finding.side is not None
    box = anatomy.boxes[finding.side]
    lung, rim_ZX = anatomy.lungs[finding.side][box], anatomy.rim_mm[finding.side]
    height_Z1 = np.linspace(1, 0, lung.shape[1], dtype=np.float32)[:, None]  # 1 at the apex
    inside_ZX = rim_ZX - (10 + 34 * finding.severity) * (0.4 + 0.9 * height_Z1**1.5)
    air = lung & (inside_ZX < 0)
    line = lung & (inside_ZX >= 0) & (inside_ZX < max(2.5, anatomy.spacing))
    hu = hu_YZX[box]
    hu[air] = _AIR
    hu[line] += _PLEURA
    return box


def _consolidation(finding: Finding, anatomy: Anatomy, hu_YZX: Floats) -> Box:
    """Part of a lobe made solid around a seed, with aerated branches left inside (air bronchograms)."""
    from scipy import ndimage

    lobe, box, rng = _lobe(finding, anatomy)
    share = 0.3 + 0.6 * finding.severity
    centre = _place(lobe, rng, anatomy.spacing, 10.0)
    offset = [(np.arange(n) - c) * anatomy.spacing for n, c in zip(lobe.shape, centre, strict=True)]
    distance = np.sqrt(sum(axis**2 for axis in np.meshgrid(*offset, indexing="ij", sparse=True)))
    rough = _noise(lobe.shape, rng, 14 / anatomy.spacing)
    reach = distance + 12 * rough
    edge = np.quantile(reach[lobe], share)
    weight = np.clip((edge - reach) / 10 + 0.5, 0, 1).astype(np.float32)
    branches = _noise(lobe.shape, rng, 3 / anatomy.spacing) > 1.3
    solid = ndimage.gaussian_filter((weight * ~branches).astype(np.float32), 0.6) * lobe
    hu_YZX[box] += (0.95 * solid) * np.maximum(_SOLID - hu_YZX[box], 0)
    return box


def _sphere(finding: Finding, anatomy: Anatomy, hu_YZX: Floats) -> Box:
    """A solid ball; a mass has a lobulated edge."""
    lobe, box, rng = _lobe(finding, anatomy)
    assert finding.diameter_mm is not None
    radius = finding.diameter_mm / 2
    centre = _place(lobe, rng, anatomy.spacing, 0.8 * radius)
    offset = [(np.arange(n) - c) * anatomy.spacing for n, c in zip(lobe.shape, centre, strict=True)]
    distance = np.sqrt(sum(axis**2 for axis in np.meshgrid(*offset, indexing="ij", sparse=True)))
    if finding.kind == "mass":
        distance = distance + 0.12 * radius * _noise(lobe.shape, rng, radius / 2 / anatomy.spacing)
    share = np.clip((radius - distance) / anatomy.spacing + 0.5, 0, 1) * lobe
    hu_YZX[box] += share * np.maximum(_SOLID - hu_YZX[box], 0)
    return box


def _cardiomegaly(finding: Finding, anatomy: Anatomy, hu_YZX: Floats) -> Box:
    """The heart grows about a point on its right; lung is pushed aside, the chest wall stays."""
    from scipy import ndimage

    box, source = heart_warp(finding, anatomy)
    hu_YZX[box] = ndimage.map_coordinates(hu_YZX, source, order=1, mode="nearest").astype(np.float32)
    return box


def heart_warp(finding: Finding, anatomy: Anatomy) -> tuple[Box, Floats]:
    """Return the box that moves, and for each of its voxels (3, Y, Z, X) where it comes from.

    The field shrinks about a point (so the heart grows) and fades with distance from the heart and towards the chest
    wall and the spine, slowly enough that no two voxels swap places.
    """
    heart = anatomy.organ("heart")
    inner = bounding_box(heart)
    middle = np.array([(part.start + part.stop - 1) / 2 for part in inner])
    right = anatomy.lungs["right"].nonzero()[2].mean()
    middle[2] += 0.2 * np.sign(right - middle[2]) * (inner[2].stop - inner[2].start)
    shrink = 1 - 1 / (1 + np.array([0.18, 0.15, 0.35]) * (0.45 + 0.75 * finding.severity))
    box = bounding_box(heart, margin=round(40 / anatomy.spacing))
    growth_mm = shrink.mean() * _HEART_RADIUS_MM
    fade = np.clip(1 - (anatomy.heart_mm[box] - growth_mm) / 30, 0, 1) * anatomy.mobility[box]
    axes = [np.arange(part.start, part.stop, dtype=np.float32) for part in box]
    source = np.empty((3, *fade.shape), dtype=np.float32)
    for axis, place in enumerate(np.meshgrid(*axes, indexing="ij", sparse=True)):
        source[axis] = place - (place - middle[axis]) * shrink[axis] * fade
    return box, source


def _lobe(finding: Finding, anatomy: Anatomy) -> tuple[Mask, Box, np.random.Generator]:
    assert finding.lobe is not None
    assert side_of(finding.lobe) == finding.side
    mask = anatomy.lobes[finding.lobe]
    box = bounding_box(mask)
    return mask[box], box, np.random.default_rng([finding.seed, 7])


def _place(lobe: Mask, rng: np.random.Generator, spacing: float, clear_mm: float) -> Any:
    """A voxel of the lobe at least ``clear_mm`` from its edge, or the deepest there is."""
    from scipy import ndimage

    depth: Any = ndimage.distance_transform_edt(np.pad(lobe, 1))
    depth = depth[1:-1, 1:-1, 1:-1] * spacing
    places = np.argwhere(depth >= min(clear_mm, 0.9 * depth.max()))
    return places[rng.integers(len(places))]


def _noise(shape: tuple[int, ...], rng: np.random.Generator, sigma: float) -> Floats:
    """Smooth noise of unit variance."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), sigma)
    return (noise / noise.std()).astype(np.float32)


_PLANTERS: dict[Kind, Callable[[Finding, Anatomy, Floats], Box]] = {
    "effusion": _effusion,
    "pneumothorax": _pneumothorax,
    "consolidation": _consolidation,
    "nodule": _sphere,
    "mass": _sphere,
    "cardiomegaly": _cardiomegaly,
}
