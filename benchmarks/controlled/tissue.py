"""Small pictures that look like stained tissue, drawn from eight factors; what is drawn is counted, never learned.

The picture is a map of haematoxylin and one of eosin, in optical density, that are turned into colours by Beer and
Lambert's law. Shape legend: P pixels along a side, F = 8 factors in (0, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FACTORS = (
    "nuclear size",
    "cellularity",
    "elongation",
    "chromatin",
    "glands",
    "fibres",
    "necrosis",
    "lymphocytes",
)
Floats = NDArray[np.float32]

_HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])  # optical density per channel (Ruifrok and Johnston 2001)
_EOSIN = np.array([0.10, 0.90, 0.25])
_SIDE = 64  # pixels to which all lengths below refer
_SHIFT, _SCALE = 4, 100.0  # subpixel bits of the drawing; grey values per unit of optical density
_CLEAR = 0.06  # eosin of a lumen


@dataclass
class _Field:
    """A picture while it is drawn."""

    rng: np.random.Generator
    size: int
    unit: float
    nuclei_PP: NDArray[np.uint8]
    eosin_PP: Floats


def render(factors_F: NDArray[np.float64], rng: np.random.Generator, size: int, nuisance: float) -> NDArray[np.uint8]:
    """Draw one picture (P, P, 3).

    Args:
        factors_F: In (0, 1), in the order of :data:`FACTORS`.
        rng: Decides all places and the nuisance.
        size: P.
        nuisance: Strength of the variation of stain, brightness, blur and noise.
    """
    large, dense, long, dark, glands, fibres, necrosis, lymph = (float(value) for value in factors_F)
    unit = size / _SIDE
    grain = rng.standard_normal((size, size)).astype(np.float32)
    angle = float(rng.uniform(0, 180))
    field = _Field(rng, size, unit, np.zeros((size, size), np.uint8), np.zeros((size, size), np.float32))
    field.eosin_PP += 0.30 + 0.05 * _smooth(rng, size, 6)
    _draw_fibres(field, fibres, angle)
    lumens = _draw_lumens(field, glands)
    dead_PP = _dead(rng, size, 0.55 * max(0.0, necrosis - 0.15))
    radius = (1.7 + 2.3 * large) * unit
    _draw_cells(field, radius, dense, long, dark, angle, lumens, dead_PP)
    _draw_dead(field, dead_PP, grain)
    _draw_lymphocytes(field, lymph)
    return _stained(field, grain, nuisance)


def _dead(rng: np.random.Generator, size: int, share: float) -> NDArray[np.bool_]:
    """One or few patches that cover a share of the picture."""
    height_PP = _smooth(rng, size, 3)
    return np.asarray(height_PP > np.quantile(height_PP, 1 - share))


def _smooth(rng: np.random.Generator, size: int, cells: int) -> Floats:
    """Noise of about unit variance that changes over ``size / cells`` pixels."""
    coarse = rng.standard_normal((cells + 2, cells + 2)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _draw_fibres(field: _Field, strength: float, angle: float) -> None:
    """Streaks along one direction, and clefts between them where the stroma is strong."""
    length = int(13 * field.unit) | 1
    kernel = np.zeros((length, length), np.float32)
    middle = length // 2
    step = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))]) * middle
    ends = [tuple(np.round(middle + sign * step).astype(int).tolist()) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], (1.0,), 1)
    noise = field.rng.standard_normal((field.size, field.size)).astype(np.float32)
    streaks = cv2.filter2D(noise, -1, kernel, borderType=cv2.BORDER_REFLECT) / np.sqrt(kernel.sum())
    field.eosin_PP += 0.16 * strength * streaks
    field.eosin_PP[streaks < -2.4 + 1.0 * strength] *= 1 - 0.6 * strength


def _draw_lumens(field: _Field, glands: float) -> list[tuple[float, float, float]]:
    """Empty the inside of up to four glands; return their centres and radii in pixels."""
    count = int(4.4 * glands + field.rng.uniform(0, 1) - 0.4)
    lumens: list[tuple[float, float, float]] = []
    for _ in range(4 * max(0, count)):
        radius = field.rng.uniform(5.0, 9.0) * field.unit
        x, y = field.rng.uniform(0, field.size, 2)
        if len(lumens) < count and all(np.hypot(x - a, y - b) > 1.5 * (radius + r) for a, b, r in lumens):
            lumens.append((float(x), float(y), float(radius)))
            flat = (radius, radius * field.rng.uniform(0.6, 1.0))
            field.eosin_PP = _blot(field.eosin_PP, x, y, flat, float(field.rng.uniform(0, 180)), _CLEAR)
    return lumens


def _blot(eosin_PP: Floats, x: float, y: float, axes: tuple[float, float], angle: float, value: float) -> Floats:
    mask = np.zeros(eosin_PP.shape, np.uint8)
    _ellipse(mask, x, y, axes, angle, 255)
    share = mask.astype(np.float32) / 255
    return np.asarray(eosin_PP * (1 - share) + value * share, dtype=np.float32)


def _draw_cells(
    field: _Field,
    radius: float,
    dense: float,
    long: float,
    dark: float,
    angle: float,
    lumens: list[tuple[float, float, float]],
    dead_PP: NDArray[np.bool_],
) -> None:
    """Nuclei on a shaken grid, and in a ring around every lumen, there across the wall."""
    rng, size = field.rng, field.size
    number = (14 + 70 * dense) * (1 - 0.35 * (radius / field.unit - 1.7) / 2.3)
    pitch = size / np.sqrt(number)
    ticks = np.arange(-0.5, size / pitch + 1) * pitch + rng.uniform(0, pitch)
    grid = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    places = grid + rng.uniform(-0.38, 0.38, grid.shape) * pitch
    turns = angle + rng.normal(0, 18, len(places))
    for x, y, lumen in lumens:
        wall = lumen + 1.3 * radius
        places_far = np.hypot(places[:, 0] - x, places[:, 1] - y) > wall + 1.2 * radius
        places, turns = places[places_far], turns[places_far]
    for x, y, lumen in lumens:
        wall = lumen + 1.3 * radius
        around = np.arange(0, 2 * np.pi, 2.3 * radius / wall) + rng.uniform(0, 1)
        ring = np.stack([x + wall * np.cos(around), y + wall * np.sin(around)], -1)
        places, turns = np.concatenate([places, ring]), np.concatenate([turns, np.degrees(around)])
    stretch = np.sqrt(1 + 2.6 * long)
    for (x, y), turn in zip(places.tolist(), turns.tolist(), strict=True):
        inside = 0 <= x < size and 0 <= y < size
        if inside and dead_PP[int(y), int(x)]:
            continue
        own = radius * rng.uniform(0.8, 1.2)
        axes = (own * stretch, own / stretch)
        rim = 0.75 + 0.3 * dark
        _ellipse(field.nuclei_PP, x, y, axes, turn, int(_SCALE * rim))
        if dark < 0.75:  # pale inside with a nucleolus: vesicular chromatin
            pale = 0.72 * (1 - 0.5 * dark)
            _ellipse(field.nuclei_PP, x, y, (axes[0] * pale, axes[1] * pale), turn, int(_SCALE * (0.30 + 0.6 * dark)))
            _ellipse(field.nuclei_PP, x, y, (0.22 * own, 0.22 * own), 0, int(_SCALE * rim))


def _draw_dead(field: _Field, dead_PP: NDArray[np.bool_], grain: Floats) -> None:
    """Granular pale ground with fragments of nuclei."""
    field.eosin_PP = np.where(dead_PP, 0.24 + 0.07 * grain, field.eosin_PP).astype(np.float32)
    rows, columns = np.nonzero(dead_PP)
    for index in field.rng.integers(0, max(1, len(rows)), len(rows) // 45):
        dot = field.rng.uniform(0.4, 1.0) * field.unit
        _ellipse(field.nuclei_PP, float(columns[index]), float(rows[index]), (dot, dot), 0, 95)


def _draw_lymphocytes(field: _Field, lymph: float) -> None:
    """Small dark round nuclei in loose crowds."""
    rng = field.rng
    count = int((2 + 34 * lymph) * rng.uniform(0.85, 1.15))
    crowds = rng.uniform(0, field.size, (2, 2))
    places = crowds[rng.integers(0, 2, count)] + rng.normal(0, 0.2 * field.size, (count, 2))
    for x, y in (places % field.size).tolist():
        _ellipse(field.nuclei_PP, x, y, (1.3 * field.unit, 1.3 * field.unit), 0, 150)


def _ellipse(
    canvas: NDArray[np.uint8], x: float, y: float, axes: tuple[float, float], angle: float, value: int
) -> None:
    fixed = [round(number * (1 << _SHIFT)) for number in (x, y, *axes)]
    cv2.ellipse(canvas, (fixed[0], fixed[1]), (fixed[2], fixed[3]), angle, 0, 360, (value,), -1, cv2.LINE_AA, _SHIFT)


def _stained(field: _Field, grain: Floats, nuisance: float) -> NDArray[np.uint8]:
    """Mix the stains, with the strength and hue of a laboratory, the light, blur and noise of a scanner."""
    rng = field.rng
    amount = np.exp(nuisance * rng.normal(0, [0.22, 0.22]))
    hues = np.stack([_HAEMATOXYLIN, _EOSIN]) * np.exp(nuisance * rng.normal(0, 0.12, (2, 3)))
    nuclei_PP = field.nuclei_PP.astype(np.float32) / _SCALE
    eosin_PP = np.clip(field.eosin_PP, 0, None) * (1 - 0.5 * np.clip(nuclei_PP, 0, 1))
    density_PPC = amount[0] * nuclei_PP[..., None] * hues[0] + amount[1] * eosin_PP[..., None] * hues[1]
    light = 247 * np.exp(-abs(nuisance * rng.normal(0, 0.05)))
    picture = (light * np.exp(-density_PPC)).astype(np.float32)
    blur = 0.35 + nuisance * rng.uniform(0, 0.5)
    picture = cv2.GaussianBlur(picture, (0, 0), blur * field.unit)
    noise = rng.standard_normal(picture.shape).astype(np.float32) * 2.0 + grain[..., None] * 1.5
    return np.clip(picture + nuisance * noise, 0, 255).round().astype(np.uint8)
