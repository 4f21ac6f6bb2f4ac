"""Radiographs of one real chest with planted findings, drawn from eight factors.

The chest of ``data_prep.simulation`` is projected once per pose, and so is what each of a fixed set of findings
changes. Projection is linear, so a picture is the sum of the chest and a few of these changes, exposed like any other
radiograph. Findings that overlap are approximated: together they change the sum of what each changes alone.
Shape legend: P pixels along a side, F = 8 factors in (0, 1).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.simulation.anatomy import LOBES, SIDES, Anatomy, attenuation, load_anatomy, side_of
from data_prep.simulation.config import Chest
from data_prep.simulation.findings import SIDED, Finding, Kind, plant
from data_prep.simulation.projection import Camera, Exposure, Pose, expose
from medvlp.errors import DataError
from medvlp.io import sha256_json, write_bytes

FACTORS = (
    "fluid in the pleural space",
    "air in the pleural space",
    "consolidation",
    "number of nodules",
    "size of nodules",
    "heart size",
    "zone",
    "side",
)
Floats = NDArray[np.float32]

_FORMAT = "medvlp-controlled-chest-1"
_SPACING_MM, _FIELD_MM = 3.0, 290.0
_POSES = (Pose(), Pose(turn=5, tilt=-3), Pose(turn=-5, tilt=3, scale_x=0.96), Pose(tilt=4, scale_z=0.96))
_SEVERITIES = (0.15, 0.6, 1.0)
_MOST_NODULES = 7
_ZONE = {lobe: 0.0 if "lower" in lobe else 0.5 if "middle" in lobe else 1.0 for lobe in LOBES}


@dataclass(frozen=True)
class Bank:
    """A chest in several poses, and what single findings change in each.

    Attributes:
        plain_KPP: Line integrals of the chest, one per pose.
        change: For every kind, side or lobe (empty for the heart) and severity: line integrals (K, V, P, P) to add,
            V variants of its place.
    """

    plain_KPP: Floats
    change: dict[tuple[str, str, float], Floats]


def open_bank(size: int, cache: Path | None, chest: Chest | None = None, anatomy: Anatomy | None = None) -> Bank:
    """Project the chest and the findings, or read what was projected before.

    Args:
        size: P.
        cache: Folder to keep it in, or None.
        chest: Where CT and organ masks are; by default the package's.
        anatomy: A chest in memory instead.

    Raises:
        MissingExtraError: If MONAI or the data package is not installed.
        DataError: If the chest or a kept bank cannot be read.
    """
    chest = chest if chest is not None else Chest()
    identity = {"format": _FORMAT, "size": size, "chest": chest.model_dump(mode="json"), "poses": repr(_POSES)}
    digest = sha256_json({**identity, "field": _FIELD_MM, "spacing": _SPACING_MM, "findings": _findings()})
    file = None if cache is None or anatomy is not None else cache / f"chest-{digest[:20]}.npz"
    if file is not None and file.is_file():
        return _read(file)
    if anatomy is None:
        anatomy = load_anatomy(chest.ct, chest.masks, chest.structures, _SPACING_MM)
    bank = _project(anatomy, size)
    if file is not None:
        stream = io.BytesIO()
        named = {"|".join([kind, where, str(severity)]): part for (kind, where, severity), part in bank.change.items()}
        np.savez(stream, plain=bank.plain_KPP, **named)  # type: ignore[arg-type]
        write_bytes(file, stream.getvalue())
    return bank


def renderer(bank: Bank) -> Callable[[NDArray[np.float64], np.random.Generator, int, float], NDArray[np.uint8]]:
    """Return a function with the arguments of :func:`benchmarks.controlled.tissue.render` that draws radiographs."""

    def render(
        factors_F: NDArray[np.float64], rng: np.random.Generator, size: int, nuisance: float
    ) -> NDArray[np.uint8]:
        line_PP = _scene(bank, factors_F, rng)
        return _exposed(line_PP, rng, size, nuisance)

    return render


def _scene(bank: Bank, factors_F: NDArray[np.float64], rng: np.random.Generator) -> Floats:
    """Sum of the chest in one of its poses and of the findings that the factors ask for."""
    fluid, air, solid, many, large, heart, zone, side = (float(value) for value in factors_F)
    pose = int(rng.integers(len(bank.plain_KPP)))
    line_PP: Floats = bank.plain_KPP[pose].copy()
    taken: set[tuple[str, int]] = set()

    def add(kind: str, where: str, severity: float, weight: float) -> None:
        nearest = min(_SEVERITIES, key=lambda known: abs(known - severity))
        change_VPP = bank.change[kind, where, nearest][pose]
        free = [number for number in range(len(change_VPP)) if (where, number) not in taken]
        if free:  # no two findings in the very same place, where they would add up to metal
            number = free[rng.integers(len(free))]
            taken.add((where, number))
            np.add(line_PP, np.float32(weight) * change_VPP[number], out=line_PP)

    near = "left" if rng.random() < np.clip(2 * side - 0.5, 0.02, 0.98) else "right"
    far = "right" if near == "left" else "left"
    if fluid > 0.3:  # rarely so much that it hides heart and nodules
        add("effusion", near, 0.7 * fluid, 0.3 + 0.6 * fluid)
    if air > 0.2:
        add("pneumothorax", far, air, 0.3 + 0.7 * air)
    if solid > 0.2:
        add("consolidation", _lobe(near, zone, rng), solid, 0.3 + 0.7 * solid)
    for _ in range(int(_MOST_NODULES * many + rng.uniform(0, 1) - 0.5)):
        place = _lobe(near if rng.random() < 0.7 else far, zone, rng)
        add("mass" if large > 0.66 else "nodule", place, 1.5 * large if large <= 0.66 else 3 * (large - 0.66), 1.0)
    if heart > 0.15:
        add("cardiomegaly", "", _SEVERITIES[-1], 1.6 * heart)  # its rim brightens as it grows
    return line_PP


def _lobe(side: str, zone: float, rng: np.random.Generator) -> str:
    """A lobe of one side, the nearer to the zone (0 lower, 1 upper) the likelier."""
    lobes = [lobe for lobe in LOBES if side_of(lobe) == side]
    weight = np.exp(-4 * np.abs(np.array([_ZONE[lobe] for lobe in lobes]) - zone))
    return lobes[int(rng.choice(len(lobes), p=weight / weight.sum()))]


def _exposed(line_PP: Floats, rng: np.random.Generator, size: int, nuisance: float) -> NDArray[np.uint8]:
    """Shift, turn and scale a little, expose, and blur; grey in three channels."""
    turn, scale = nuisance * rng.uniform(-4, 4), 1 + nuisance * rng.uniform(-0.06, 0.06)
    turned = cv2.getRotationMatrix2D((size / 2, size / 2), turn, scale)
    turned[:, 2] = turned[:, 2] + nuisance * rng.uniform(-2.5, 2.5, 2) * size / 64
    moved_PP = cv2.warpAffine(line_PP, turned, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    exposure = Exposure(
        low=1.1 + nuisance * float(rng.uniform(-0.2, 0.2)),
        high=5.6 + nuisance * float(rng.uniform(-0.4, 0.5)),
        gamma=0.95 + nuisance * float(rng.uniform(-0.15, 0.2)),
        scatter=0.1 + min(nuisance, 1.0) * float(rng.uniform(-0.05, 0.1)),
        noise=0.012 * nuisance,
    )
    noise_PP = rng.standard_normal((size, size)).astype(np.float32)
    grey_PP = expose(np.asarray(moved_PP, dtype=np.float32), exposure, noise_PP, _FIELD_MM / size)
    return np.repeat((255 * grey_PP).round().astype(np.uint8)[..., None], 3, axis=2)


def _findings() -> list[tuple[Kind, str, float, int]]:
    """Every kind, place, severity and number of variants of the bank."""
    wanted: list[tuple[Kind, str, float, int]] = []
    for severity in _SEVERITIES:
        wanted += [(kind, side, severity, 1) for kind, side in product(SIDED, SIDES)]
        wanted += [("consolidation", lobe, severity, 1) for lobe in LOBES]
        wanted += [("nodule", lobe, severity, 3) for lobe in LOBES]
        wanted += [("mass", lobe, severity, 2) for lobe in LOBES]
    wanted.append(("cardiomegaly", "", _SEVERITIES[-1], 1))
    return wanted


def _project(anatomy: Anatomy, size: int) -> Bank:
    anatomy.prepare()
    cameras = [Camera(anatomy, pose, size, _FIELD_MM) for pose in _POSES]
    plain_KPP = np.stack([camera.project(anatomy.attenuation_YZX) for camera in cameras])
    change: dict[tuple[str, str, float], Floats] = {}
    for kind, where, severity, variants in _findings():
        side: Any = None if not where else where if where in SIDES else side_of(where)
        lobe = where if where in LOBES else None
        parts = [[] for _ in cameras]  # type: list[list[Floats]]
        for variant in range(variants):
            hu_YZX = anatomy.hu_YZX.copy()
            box = plant(Finding(kind, severity, side, lobe, variant), anatomy, hu_YZX)
            changed = attenuation(hu_YZX[box]) - anatomy.attenuation_YZX[box]
            for part, camera in zip(parts, cameras, strict=True):
                part.append(camera.project(changed, box))
        change[kind, where, severity] = np.stack([np.stack(part) for part in parts])
    return Bank(plain_KPP, change)


def _read(file: Path) -> Bank:
    import zipfile

    try:
        with np.load(file, allow_pickle=False) as held:
            change = {}
            for name in held.files:
                if name != "plain":
                    kind, where, severity = name.split("|")
                    change[kind, where, float(severity)] = held[name]
            return Bank(held["plain"], change)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise DataError("is damaged", item=file, remedy="remove the file") from None
