"""One chest: attenuation and organ labels on a coarse grid, and what the planting of findings asks about it.

Shape legend: Y slices from back to front, Z rows from head to foot, X columns from the patient's right to left
(so column 0 of a frontal image is image-left, the radiological convention).
"""

from __future__ import annotations

import csv
import logging
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medvlp.config import resolve_path
from medvlp.errors import DataError
from medvlp.io import require, sha256_file

Side = Literal["left", "right"]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]

SIDES: tuple[Side, Side] = ("left", "right")
LOBES: dict[str, str] = {
    "left upper lobe": "lung_upper_lobe_left",
    "left lower lobe": "lung_lower_lobe_left",
    "right upper lobe": "lung_upper_lobe_right",
    "right middle lobe": "lung_middle_lobe_right",
    "right lower lobe": "lung_lower_lobe_right",
}
_VESSELS = ("heart", "aorta", "pulmonary_vein", "brachiocephalic", "subclavian", "carotid", "atrial", "vena_cava")
_CONTRAST_CAP = 60.0  # HU of unenhanced blood: a radiograph is taken without contrast agent
_AIR, _TISSUE = -1000.0, -500.0
WATER_PER_MM = 0.02  # attenuation of water at a mean energy of about 70 keV
_BONE_HU, _BONE_GAIN = 150.0, 1.35  # bone attenuates more than its density says (photoelectric effect)
_MARGIN_MM = 45.0  # of tissue kept below the lungs
# Attenuation of whole organs in the image of organ masks alone, relative to water.
_ORGAN_SHADES = (
    (("lung_", "trachea"), 0.0),
    (("rib_", "vertebrae_", "clavicula_", "scapula_", "sternum", "humerus_", "costal_"), 2.0),
)
_OTHER_ORGAN = 1.0


def attenuation(hu: Floats) -> Floats:
    """Linear attenuation per mm of Hounsfield units; never below that of a vacuum."""
    bone = 1 + (_BONE_GAIN - 1) * np.clip((hu - _BONE_HU) / 300, 0, 1)
    return (WATER_PER_MM * np.clip((1 + hu / 1000) * bone, 0, None)).astype(np.float32)


def side_of(lobe: str) -> Side:
    """The side a lobe is named after."""
    return "left" if lobe.startswith("left") else "right"


@dataclass(frozen=True)
class Anatomy:
    """A chest on a cubic grid.

    Args:
        hu_YZX: Hounsfield units, without table and contrast agent.
        label_YZX: Organ number of each voxel, 0 for none.
        numbers: Number of each organ's name.
        spacing: Edge of a voxel in mm.
        sources: Sha256 of the files it was read from.

    Raises:
        DataError: If a lobe, the heart or the ribs of a side have no voxel.
    """

    hu_YZX: Floats
    label_YZX: NDArray[np.uint8]
    numbers: dict[str, int]
    spacing: float
    sources: dict[str, str]

    def __post_init__(self) -> None:
        for name in [*LOBES.values(), "heart", "rib_left", "rib_right"]:
            if not self.organ(name).any():
                raise DataError("has no voxel in the organ masks", item=name, remedy="use masks of a whole chest")

    def prepare(self) -> None:
        """Compute everything that planting and projection ask for, once."""
        for name, value in vars(type(self)).items():
            if isinstance(value, cached_property):
                getattr(self, name)

    def organ(self, *prefixes: str) -> Mask:
        """Voxels of all organs whose name starts with one of the words."""
        wanted = [number for name, number in self.numbers.items() if name.startswith(prefixes)]
        return np.isin(self.label_YZX, wanted)

    @cached_property
    def lobes(self) -> dict[str, Mask]:
        """Voxels of each lobe, by its name in reports."""
        return {lobe: self.organ(name) for lobe, name in LOBES.items()}

    @cached_property
    def lungs(self) -> dict[Side, Mask]:
        """Voxels of each lung."""
        return {
            side: np.logical_or.reduce([mask for lobe, mask in self.lobes.items() if side_of(lobe) == side])
            for side in SIDES
        }

    @cached_property
    def boxes(self) -> dict[Side, Box]:
        """Bounding box of each lung."""
        return {side: bounding_box(self.lungs[side]) for side in SIDES}

    @cached_property
    def wall_mm(self) -> dict[Side, Floats]:
        """Distance of each voxel to the ribs of a side, smoothed over the gaps between them, in the lung's box."""
        from scipy import ndimage

        found: dict[Side, Floats] = {}
        for side in SIDES:
            box = bounding_box(self.lungs[side], margin=round(15 / self.spacing))
            distance = ndimage.distance_transform_edt(~self.organ(f"rib_{side}")[box]) * self.spacing
            smooth = ndimage.gaussian_filter(distance, 5 / self.spacing).astype(np.float32)
            whole = np.full(self.hu_YZX.shape, np.inf, dtype=np.float32)
            whole[box] = smooth - smooth[self.lungs[side][box]].min()
            found[side] = whole[self.boxes[side]]
        return found

    @cached_property
    def heart_mm(self) -> Floats:
        """Distance of each voxel to the heart, 0 inside."""
        from scipy import ndimage

        distance: Any = ndimage.distance_transform_edt(~self.organ("heart"))
        return (distance * self.spacing).astype(np.float32)

    @cached_property
    def mobility(self) -> Floats:
        """How freely each voxel moves when the heart grows: 0 in the chest wall, 1 well inside the chest."""
        from scipy import ndimage

        inside = self.organ("lung_", "heart", "aorta", "pulmonary_vein", "atrial")
        distance: Any = ndimage.distance_transform_edt(inside)
        free = np.clip(distance * self.spacing / 20, 0, 1)
        return (ndimage.gaussian_filter(free, 3 / self.spacing) * inside).astype(np.float32)

    @cached_property
    def rim_mm(self) -> dict[Side, Floats]:
        """Distance (Z, X) of each ray through a lung to the outline of its side and top, in the lung's box."""
        from scipy import ndimage

        found: dict[Side, Floats] = {}
        for side in SIDES:
            shadow_ZX = self.lungs[side][self.boxes[side]].any(0)
            if side == "left":  # from the lateral edge inwards
                shadow_ZX = shadow_ZX[:, ::-1]
            # neither the mediastinum nor the diaphragm is an edge that air rises to
            inside_ZX = np.maximum.accumulate(np.maximum.accumulate(shadow_ZX, axis=1), axis=0)
            inside_ZX = np.pad(inside_ZX, ((1, 0), (1, 0)))
            distance: Any = ndimage.distance_transform_edt(inside_ZX)[1:, 1:] * self.spacing
            found[side] = (distance[:, ::-1] if side == "left" else distance).astype(np.float32)
        return found

    @cached_property
    def shade_YZX(self) -> Floats:
        """Relative attenuation of the organ masks alone: one value per kind of organ, no intensities of the CT."""
        shade = np.zeros(256, dtype=np.float32)
        for name, number in self.numbers.items():
            kinds = (value for words, value in _ORGAN_SHADES if name.startswith(words))
            shade[number] = next(kinds, _OTHER_ORGAN)
        return shade[self.label_YZX]

    @cached_property
    def attenuation_YZX(self) -> Floats:
        """Attenuation per mm without findings."""
        return attenuation(self.hu_YZX)

    @cached_property
    def centre_ZX(self) -> tuple[float, float]:
        """Middle of both lungs in rows and columns."""
        _, rows, columns = bounding_box(self.lungs["left"] | self.lungs["right"])
        return (rows.start + rows.stop - 1) / 2, (columns.start + columns.stop - 1) / 2


def bounding_box(mask_YZX: Mask, margin: int = 0) -> Box:
    """Smallest box around the True voxels, widened by ``margin`` voxels inside the grid."""
    slices = []
    for axis in range(3):
        hit = np.flatnonzero(mask_YZX.any(tuple(other for other in range(3) if other != axis)))
        slices.append(slice(max(0, int(hit[0]) - margin), min(mask_YZX.shape[axis], int(hit[-1]) + 1 + margin)))
    return slices[0], slices[1], slices[2]


@lru_cache(maxsize=1)
def load_anatomy(ct: str, masks: str, structures: str, spacing: float) -> Anatomy:
    """Read, orient and resample a chest CT with its organ masks; kept in memory.

    Args:
        ct: NIfTI file of Hounsfield units.
        masks: NIfTI file of organ numbers on the same grid.
        structures: CSV with columns ``id`` and ``structure`` that names the numbers.
        spacing: Edge of a voxel of the result in mm.

    Raises:
        MissingExtraError: If MONAI or the data package is not installed.
        DataError: If a file is missing or malformed, or the grids differ.
    """
    paths = {name: resolve_path(value) for name, value in (("ct", ct), ("masks", masks), ("structures", structures))}
    for path in paths.values():
        if not path.is_file():
            raise DataError("file not found", item=path, remedy="check ct, masks and structures")
    numbers = _numbers(paths["structures"])
    require("nibabel", "volumes")
    # One line of MONAI about an optional DICOM decoder, which reading NIfTI has no use for.
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    monai = require("monai.transforms", "volumes")
    prepare = monai.Compose(
        [
            monai.LoadImaged(("ct", "masks"), ensure_channel_first=True, reader="NibabelReader"),
            monai.Orientationd(("ct", "masks"), axcodes="LAS", labels=None),
            monai.Spacingd(("ct", "masks"), pixdim=(spacing,) * 3, mode=("bilinear", "nearest")),
        ]
    )
    try:
        read = prepare({"ct": str(paths["ct"]), "masks": str(paths["masks"])})
    except (RuntimeError, OSError, ValueError) as error:
        cause = str(error.__cause__ or error).splitlines()[0]
        raise DataError(f"cannot be read as NIfTI ({cause})", item=paths["ct"]) from error
    hu, label = read["ct"][0].numpy(), read["masks"][0].numpy()
    if hu.shape != label.shape:
        raise DataError(f"has the shape {label.shape}, the CT {hu.shape}", item=paths["masks"])
    # L, A, S to back-to-front slices whose rows run from head to foot
    hu_YZX = np.ascontiguousarray(hu.transpose(1, 2, 0)[:, ::-1], dtype=np.float32)
    label_YZX = np.ascontiguousarray(label.transpose(1, 2, 0)[:, ::-1]).round().astype(np.uint8)
    sources = {path.name: sha256_file(path) for path in paths.values()}
    return _cropped(hu_YZX, label_YZX, numbers, spacing, sources)


def _numbers(path: Path) -> dict[str, int]:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or not {"id", "structure"} <= rows[0].keys():
        raise DataError("lacks the columns id and structure", item=path)
    return {row["structure"]: int(row["id"]) for row in rows}


def _cropped(
    hu_YZX: Floats, label_YZX: NDArray[np.uint8], numbers: dict[str, int], spacing: float, sources: dict[str, str]
) -> Anatomy:
    """Take away table, clothes and contrast agent, and what lies far below the lungs."""
    from scipy import ndimage

    body = ndimage.binary_opening(hu_YZX > _TISSUE, iterations=2)
    parts, count = ndimage.label(body)
    if count == 0:
        raise DataError("holds no body", item="ct", remedy="use a CT in Hounsfield units")
    body = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    body = np.stack([ndimage.binary_fill_holes(body[:, row]) for row in range(body.shape[1])], axis=1)
    hu_YZX = np.where(ndimage.binary_dilation(body), np.clip(hu_YZX, _AIR, 2000), _AIR).astype(np.float32)
    vessels = np.isin(label_YZX, [number for name, number in numbers.items() if name.startswith(_VESSELS)])
    near = ndimage.binary_dilation(vessels, iterations=2) & ~np.isin(
        label_YZX, [number for name, number in numbers.items() if name.startswith(("rib_", "vertebrae_", "sternum"))]
    )
    hu_YZX[near] = np.minimum(hu_YZX[near], _CONTRAST_CAP)
    lungs = np.isin(label_YZX, [numbers[name] for name in LOBES.values() if name in numbers])
    if not lungs.any():
        raise DataError("holds no lung", item="masks", remedy="use masks of a whole chest")
    last = min(hu_YZX.shape[1], bounding_box(lungs)[1].stop + round(_MARGIN_MM / spacing))
    slices, _, columns = bounding_box(body)
    crop = (slices, slice(0, last), columns)
    return Anatomy(hu_YZX[crop].copy(), label_YZX[crop].copy(), numbers, spacing, sources)
