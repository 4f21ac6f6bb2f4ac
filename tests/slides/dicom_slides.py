"""DICOM slides for tests, one file a level, written with pydicom."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless, generate_uid

STORAGE = UID("1.2.840.10008.5.1.4.1.1.77.1.6")


def write_level(
    path: Path,
    rgb: np.ndarray,
    mpp: float | None = 0.5,
    *,
    tile: int = 256,
    series: str | None = None,
    rle: bool = False,
    complete: bool = True,
    columns_first: bool = False,
) -> Path:
    """Write one level as frames in a grid, edge frames padded with white.

    Args:
        path: The file.
        rgb: uint8 (height, width, 3).
        mpp: Micrometres per pixel; None leaves the pixel measures out.
        tile: Side of a frame.
        series: UID shared by the levels of a slide.
        rle: Compress by a transfer syntax that OpenSlide does not read.
        complete: State the order of frames and the image type, which OpenSlide and wsidicom insist on.
        columns_first: Write the frames column after column (outside the standard).
    """
    height, width = rgb.shape[:2]
    columns, rows = math.ceil(width / tile), math.ceil(height / tile)
    padded = np.full((rows * tile, columns * tile, 3), 255, dtype=np.uint8)
    padded[:height, :width] = rgb
    order = (1, 0) if columns_first else (0, 1)
    frames = padded.reshape(rows, tile, columns, tile, 3).transpose(0, 2, 1, 3, 4)
    frames = frames.transpose(*order, 2, 3, 4).reshape(-1, tile, tile, 3)
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = STORAGE
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.StudyInstanceUID = data.SeriesInstanceUID = data.FrameOfReferenceUID = series or generate_uid()
    data.Modality, data.SeriesNumber, data.InstanceNumber = "SM", 1, 1
    data.PatientName, data.PatientID, data.ContainerIdentifier = "Doe^Jane", "PID-4711", "SLIDE-4711"
    data.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.Rows, data.Columns, data.NumberOfFrames = tile, tile, len(frames)
    data.TotalPixelMatrixColumns, data.TotalPixelMatrixRows = width, height
    data.TotalPixelMatrixFocalPlanes, data.NumberOfOpticalPaths = 1, 1
    data.ImageOrientationSlide, data.FocusMethod, data.ExtendedDepthOfField = [0, 1, 0, 1, 0, 0], "AUTO", "NO"
    data.ImagedVolumeWidth, data.ImagedVolumeHeight, data.ImagedVolumeDepth = 1.0, 1.0, 1.0
    data.SpecimenLabelInImage, data.BurnedInAnnotation, data.LossyImageCompression = "NO", "NO", "00"
    data.VolumetricProperties = "VOLUME"
    path_item = Dataset()
    path_item.OpticalPathIdentifier = "0"
    data.OpticalPathSequence = Sequence([path_item])
    if not complete:
        del data.ImageType
    else:
        data.DimensionOrganizationType = "TILED_FULL"
    if mpp is not None:
        measures, shared = Dataset(), Dataset()
        measures.PixelSpacing, measures.SliceThickness = [mpp / 1000, mpp / 1000], 0.001
        shared.PixelMeasuresSequence = Sequence([measures])
        kind = Dataset()
        kind.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        shared.WholeSlideMicroscopyImageFrameTypeSequence = Sequence([kind])
        data.SharedFunctionalGroupsSequence = Sequence([shared])
    data.PixelData = frames.tobytes()
    data["PixelData"].VR = "OB"
    if rle:
        data.compress(RLELossless)
    data.save_as(path, enforce_file_format=True)
    return path
