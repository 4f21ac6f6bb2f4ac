"""From attenuation to a radiograph: line integrals from a point source, exposure, scatter, noise, display.

The source stands behind the patient and the detector in front (posterior-anterior). Detector and volume stay
parallel; turning and tilting the patient are a source off the axis, which gives the same parallax. Each slice of the
volume is then magnified and shifted on its own, rows and columns apart, so a projection is two matrix products.

Shape legend: Y slices from back to front, Z rows, X columns of the volume; P pixels along a side of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data_prep.simulation.anatomy import Anatomy, Box, Floats

_SOURCE_MM = 1800.0  # from source to detector
_GAP_MM = 30.0  # from the front of the grid to the detector


@dataclass(frozen=True)
class Pose:
    """Where the patient stands: turns in degrees, shifts in mm at the detector, scales of the body."""

    turn: float = 0.0
    tilt: float = 0.0
    roll: float = 0.0
    shift_x: float = 0.0
    shift_z: float = 0.0
    scale_x: float = 1.0
    scale_y: float = 1.0
    scale_z: float = 1.0


@dataclass(frozen=True)
class Exposure:
    """How line integrals become grey values.

    Attributes:
        low: Line integral shown black.
        high: Line integral shown white.
        gamma: Exponent of the display curve.
        scatter: Share of the photons that are scattered.
        noise: Standard deviation of the display noise, in grey values of 0 to 1.
    """

    low: float = 1.1
    high: float = 5.6
    gamma: float = 0.95
    scatter: float = 0.1
    noise: float = 0.01


class Camera:
    """The projection of one anatomy in one pose onto a square detector.

    Args:
        anatomy: Gives the grid.
        pose: Where the patient stands.
        size: Pixels along a side.
        field_mm: Side of the detector, at the middle of the patient.
    """

    def __init__(self, anatomy: Anatomy, pose: Pose, size: int, field_mm: float) -> None:
        num_slices, num_rows, _ = anatomy.hu_YZX.shape
        self.pose, self.size, self.spacing = pose, size, anatomy.spacing
        depth_Y = (np.arange(num_slices) - (num_slices - 1) / 2) * anatomy.spacing * pose.scale_y
        middle = _SOURCE_MM - _GAP_MM - depth_Y[-1]  # from the source to the middle slice
        # A ray that meets the middle slice at p meets another slice at source + (p - source) * distance / middle.
        ratio_Y = (middle + depth_Y) / middle
        detector_P = ((np.arange(size) + 0.5) / size - 0.5) * field_mm
        source = [middle * np.tan(np.radians(angle)) for angle in (pose.tilt, pose.turn)]
        row_YP = source[0] + (detector_P - pose.shift_z - source[0]) * ratio_Y[:, None]
        column_YP = source[1] + (detector_P - pose.shift_x - source[1]) * ratio_Y[:, None]
        centre_z, centre_x = anatomy.centre_ZX
        self.row_YP = centre_z + row_YP / (anatomy.spacing * pose.scale_z)
        self.column_YP = centre_x + column_YP / (anatomy.spacing * pose.scale_x)
        # The scan ends a little above the lungs: its first row stands for the neck, its last for the belly.
        self.row_YP = np.clip(self.row_YP, 0, num_rows - 1)

    def project(self, value_YZX: Floats, box: Box | None = None) -> Floats:
        """Line integrals (P, P) of a value per mm; ``box`` says which part of the grid the array is."""
        slices, rows, columns = (slice(0, n) for n in value_YZX.shape) if box is None else box
        row_YPZ = _weights(self.row_YP[slices] - rows.start, rows.stop - rows.start)
        column_YPX = _weights(self.column_YP[slices] - columns.start, columns.stop - columns.start)
        lines_YPX = torch.bmm(row_YPZ, torch.from_numpy(np.ascontiguousarray(value_YZX)))
        flat = lines_YPX.permute(1, 0, 2).reshape(self.size, -1)
        image_PP = flat @ column_YPX.permute(0, 2, 1).reshape(-1, self.size)
        return self._rolled(image_PP.numpy() * np.float32(self.spacing * self.pose.scale_y))

    def _rolled(self, image_PP: Floats) -> Floats:
        from scipy import ndimage

        if self.pose.roll == 0:
            return image_PP
        turned: Floats = ndimage.rotate(image_PP, self.pose.roll, reshape=False, order=1, mode="nearest")
        return turned


def _weights(place_YP: NDArray[np.float64], size: int) -> torch.Tensor:
    """Linear interpolation as matrices (Y, P, size); nothing outside."""
    below_YP = np.floor(place_YP).astype(np.int64)
    part_YP = (place_YP - below_YP).astype(np.float32)
    matrix = np.zeros((*place_YP.shape, size), dtype=np.float32)
    slices, pixels = np.indices(place_YP.shape)
    for index_YP, weight_YP in ((below_YP, 1 - part_YP), (below_YP + 1, part_YP)):
        inside = (index_YP >= 0) & (index_YP < size)
        matrix[slices[inside], pixels[inside], index_YP[inside]] += weight_YP[inside]
    return torch.from_numpy(matrix)


def expose(line_PP: Floats, exposure: Exposure, noise_PP: Floats, pixel_mm: float) -> Floats:
    """Grey values (P, P) in 0 to 1 of line integrals; dense tissue is bright.

    Args:
        line_PP: Line integrals of attenuation.
        exposure: The curve.
        noise_PP: Unit noise.
        pixel_mm: Edge of a pixel.
    """
    from scipy import ndimage

    photons_PP = np.exp(-line_PP)
    blurred_PP = ndimage.gaussian_filter(photons_PP, 25 / pixel_mm, mode="nearest")
    seen_PP = -np.log((1 - exposure.scatter) * photons_PP + exposure.scatter * blurred_PP)
    grey_PP = np.clip((seen_PP - exposure.low) / (exposure.high - exposure.low), 0, 1) ** exposure.gamma
    return np.clip(grey_PP + exposure.noise * noise_PP, 0, 1).astype(np.float32)
