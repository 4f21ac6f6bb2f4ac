"""DICOM pixels to 8-bit RGB, with the display pipeline of the standard and no identifier in any message.

Order (DICOM PS3.3 C.11, PS3.4 N.2): modality LUT or rescale, then VOI LUT or window, then inversion for MONOCHROME1.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medvlp.data.image import MAX_PIXELS, check_size, scale_to_bytes
from medvlp.errors import DataError

_BEYOND_ANY_PIXEL = 1e12


def read_dicom(
    source: Path | bytes,
    *,
    window: tuple[float, float] | None = None,
    frame: int | None = None,
    max_pixels: int = MAX_PIXELS,
    name: str = "image",
) -> Image.Image:
    """Read one frame as it is meant to be displayed.

    Grey images: ``window`` if given; else the file's VOI LUT or first window; else the image's own
    minimum to maximum, padding left out. Padding pixels become black.

    Args:
        source: Path or bytes of a DICOM file.
        window: Centre and width in modality units (Hounsfield for CT); replaces the file's own.
        frame: Frame index of a multi-frame file.
        max_pixels: Largest rows x columns accepted, checked before decoding.
        name: What errors call the image.

    Raises:
        DataError: Not DICOM, no pixels, several frames without ``frame``, an unreadable compression.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError
    from pydicom.pixels.utils import pixel_array

    try:
        dataset = pydicom.dcmread(io.BytesIO(source) if isinstance(source, bytes) else source, force=True)
        has_pixels = "PixelData" in dataset
    except (InvalidDicomError, OSError, EOFError, ValueError, TypeError, KeyError, AttributeError):
        raise DataError("not a readable DICOM file", item=name, remedy="copy it again from its source") from None
    if not has_pixels:
        raise DataError("DICOM file without pixels", item=name, remedy="leave reports and key objects out")
    num_frames, index = _frame(dataset, frame, name)
    check_size(int(dataset.get("Columns", 0)), int(dataset.get("Rows", 0)), max_pixels, name)
    try:
        values = pixel_array(dataset, index=index if num_frames > 1 else None)
    except Exception as error:  # decoders raise many types, whose messages may quote the file
        syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None) if hasattr(dataset, "file_meta") else None
        raise DataError(
            f"pixels cannot be decoded ({type(error).__name__}, {getattr(syntax, 'name', 'unknown transfer syntax')})",
            item=name,
            remedy="truncated, or install a pydicom decoder for this transfer syntax",
        ) from None
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if photometric == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        return Image.fromarray(_to_8_bits(apply_color_lut(values, dataset)[..., :3]))
    if values.ndim == 3:  # pixel_array has already turned YBR into RGB
        return Image.fromarray(_to_8_bits(values))
    grey = _display_values(values, dataset, window, name)
    return Image.fromarray(255 - grey if photometric == "MONOCHROME1" else grey).convert("RGB")


def _frame(dataset: Any, frame: int | None, name: str) -> tuple[int, int]:
    num_frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if num_frames > 1 and frame is None:
        raise DataError(f"holds {num_frames} frames", item=name, remedy="choose one with frame=")
    index = 0 if frame is None else frame
    if not 0 <= index < num_frames:
        raise DataError(f"frame {index} does not exist, the file holds {num_frames}", item=name)
    return num_frames, index


def _display_values(values: np.ndarray, dataset: Any, window: tuple[float, float] | None, name: str) -> np.ndarray:
    """Modality LUT, then VOI transformation, as uint8 before inversion."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing

    padding = dataset.get("PixelPaddingValue")
    padded = None if padding is None else values == padding
    modality = np.asarray(apply_modality_lut(values, dataset), dtype=np.float64)
    if not np.isfinite(modality).all():
        raise DataError("holds NaN or infinite pixels", item=name, remedy="check its rescale slope and intercept")
    if window is not None:
        centre, width = window
        if width <= 0:
            raise DataError(f"window width {width:g} is not positive", item=name)
        grey = scale_to_bytes(modality, centre - width / 2, centre + width / 2)
    elif dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        grey = scale_to_bytes(apply_voi(modality.astype(np.int64), dataset), 0.0, float(2**bits - 1))
    elif dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        # Two sentinels beside the pixels come out as the output's own lowest and highest value.
        sentinels = np.array([-_BEYOND_ANY_PIXEL, _BEYOND_ANY_PIXEL])
        shown = apply_windowing(np.concatenate([modality.ravel(), sentinels]), dataset)
        grey = scale_to_bytes(shown[:-2], shown[-2], shown[-1]).reshape(modality.shape)
    else:
        inside = modality if padded is None or padded.all() else modality[~padded]
        grey = scale_to_bytes(modality, float(inside.min()), float(inside.max()))
    if padded is not None:
        black = 255 if str(dataset.get("PhotometricInterpretation", "")) == "MONOCHROME1" else 0
        grey = np.where(padded, np.uint8(black), grey)
    return grey


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values if values.dtype == np.uint8 else (values >> 8).astype(np.uint8))
