"""One scene as pixels: with its findings, without them, from the organ masks alone, and the mask of each finding.

Projection is linear, so the volume is projected once and each finding adds the projection of what it changed.
Shape legend: P pixels along a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.simulation.anatomy import WATER_PER_MM, Anatomy, Floats, Mask, attenuation
from data_prep.simulation.findings import Finding, heart_warp, plant
from data_prep.simulation.projection import Camera, Exposure, Pose, expose

VISIBLE_MM = 2.0  # of water: a line integral that changes by less is not called part of a finding
_SMOOTH_MM = 3.0
_ORGANS = Exposure(low=0.0, high=5.5, gamma=1.0, scatter=0.0, noise=0.0)


@dataclass(frozen=True)
class Rendered:
    """Grey images (P, P) as uint8, and one bool mask (P, P) per finding."""

    image: NDArray[np.uint8]
    without: NDArray[np.uint8]
    organs: NDArray[np.uint8]
    masks: list[Mask]


def render(
    anatomy: Anatomy,
    findings: Sequence[Finding],
    pose: Pose,
    exposure: Exposure,
    size: int,
    field_mm: float,
    noise_seed: int,
) -> Rendered:
    """Render a scene; the same arguments always give the same arrays.

    Args:
        anatomy: The chest.
        findings: Planted in this order; the heart goes first, for it moves what lies around it.
        pose: Where the patient stands.
        exposure: How the detector sees it.
        size: P.
        field_mm: Side of the image, at the middle of the patient.
        noise_seed: Seed of the detector's noise.
    """
    camera = Camera(anatomy, pose, size, field_mm)
    plain_PP = camera.project(anatomy.attenuation_YZX)
    shade_PP = camera.project(anatomy.shade_YZX * np.float32(WATER_PER_MM))
    hu_YZX = anatomy.hu_YZX.copy()
    changed: dict[int, Floats] = {}
    for index in sorted(range(len(findings)), key=lambda i: findings[i].kind != "cardiomegaly"):
        before = hu_YZX.copy()
        box = plant(findings[index], anatomy, hu_YZX)
        changed[index] = camera.project(attenuation(hu_YZX[box]) - attenuation(before[box]), box)
        if findings[index].kind == "cardiomegaly":
            shade_PP = shade_PP + _moved_organs(findings[index], anatomy, camera)
    noise_PP = np.random.default_rng([noise_seed, 11]).standard_normal((size, size)).astype(np.float32)
    pixel_mm = field_mm / size

    def grey(line_PP: Floats, curve: Exposure) -> NDArray[np.uint8]:
        return (255 * expose(line_PP, curve, noise_PP, pixel_mm)).round().astype(np.uint8)

    total_PP = plain_PP + sum((changed[index] for index in sorted(changed)), np.zeros_like(plain_PP))
    return Rendered(
        grey(total_PP, exposure),
        grey(plain_PP, exposure),
        grey(shade_PP, _ORGANS),
        [_visible(changed[index], pixel_mm) for index in range(len(findings))],
    )


def _visible(changed_PP: Floats, pixel_mm: float) -> Mask:
    """Where a line integral changes by at least :data:`VISIBLE_MM` of water; smoothed, so that noise is no speck."""
    from scipy import ndimage

    smooth_PP = ndimage.gaussian_filter(changed_PP, _SMOOTH_MM / pixel_mm)
    mask_PP: Mask = np.abs(smooth_PP) >= VISIBLE_MM * WATER_PER_MM
    return mask_PP


def _moved_organs(finding: Finding, anatomy: Anatomy, camera: Camera) -> Floats:
    """What an enlarged heart changes in the image of organ masks: the masks move with it."""
    from scipy import ndimage

    box, source = heart_warp(finding, anatomy)
    shade = anatomy.shade_YZX
    moved = ndimage.map_coordinates(shade, source, order=1, mode="nearest").astype(np.float32)
    return camera.project((moved - shade[box]) * np.float32(WATER_PER_MM), box)
