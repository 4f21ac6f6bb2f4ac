"""DICOM display: rescale, window, inversion, frames, colour; and no identifier in a message."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medvlp.data.image import read_image
from medvlp.errors import DataError


def dicom(values, photometric="MONOCHROME2", **tags):
    values = np.asarray(values)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["medvlp"])
    dataset.PatientName = "Secret^Name"
    dataset.PatientID = "MRN-123456"
    dataset.SamplesPerPixel = 3 if photometric in ("RGB", "YBR_FULL") else 1
    dataset.PhotometricInterpretation = photometric
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    shape = values.shape[:-1] if dataset.SamplesPerPixel == 3 else values.shape
    dataset.Rows, dataset.Columns = shape[-2:]
    bits = values.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.PixelData = values.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def grey(data, **options):
    image = read_image(data, **options)
    assert image.mode == "RGB"
    return np.asarray(image)[..., 0].ravel().tolist()


RAMP = np.array([[0, 1024, 1064, 1264, 3000]], dtype=np.uint16)


def test_rescale_and_window_of_the_file():
    data = dicom(RAMP, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400)
    assert grey(data) == pytest.approx([0, 102, 128, 255, 255], abs=1)
    several = dicom(RAMP, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=[40, -600], WindowWidth=[400, 1500])
    assert grey(several) == grey(data)


def test_window_argument_is_in_hounsfield_units():
    data = dicom(RAMP, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=9, WindowWidth=9)
    assert grey(data, window=(40, 400)) == pytest.approx([0, 102, 128, 255, 255], abs=1)


def test_monochrome1_is_inverted():
    assert grey(dicom(RAMP, "MONOCHROME1"))[::4] == [255, 0]
    assert grey(dicom(RAMP))[::4] == [0, 255]


def test_signed_pixels_and_padding():
    values = np.array([[-2000, -1000, 0, 1000]], dtype=np.int16)
    assert grey(dicom(values, PixelPaddingValue=-2000)) == pytest.approx([0, 0, 128, 255], abs=1)
    assert grey(dicom(values, "MONOCHROME1", PixelPaddingValue=-2000)) == pytest.approx([0, 255, 127, 0], abs=1)


def test_voi_lut_sequence():
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [4, 0, 8])
    lut.add_new("LUTData", "US", [0, 255, 10, 100])
    values = np.array([[0, 1, 2, 3]], dtype=np.uint8)
    assert grey(dicom(values, VOILUTSequence=[lut])) == [0, 255, 10, 100]


def test_colour():
    rgb = np.zeros((2, 2, 3), dtype=np.uint8)
    rgb[:] = (200, 30, 10)
    assert read_image(dicom(rgb, "RGB")).getpixel((0, 0)) == (200, 30, 10)
    ybr = np.zeros((2, 2, 3), dtype=np.uint8)
    ybr[:] = (79, 89, 214)
    assert np.allclose(read_image(dicom(ybr, "YBR_FULL")).getpixel((0, 0)), (200, 30, 10), atol=4)


def test_frames_need_a_choice():
    data = dicom(np.array([[[0, 9]], [[9, 0]]], dtype=np.uint8), NumberOfFrames=2)
    with pytest.raises(DataError, match="holds 2 frames; choose one with frame="):
        read_image(data)
    assert grey(data, frame=0) == [0, 255]
    assert grey(data, frame=1) == [255, 0]
    with pytest.raises(DataError, match="frame 2 does not exist"):
        read_image(data, frame=2)


def test_errors_are_one_line_without_identifiers(tmp_path):
    whole = dicom(RAMP)
    no_pixels = pydicom.dcmread(io.BytesIO(whole))
    del no_pixels.PixelData
    no_pixels.save_as(tmp_path / "report.dcm")
    (tmp_path / "cut.dcm").write_bytes(whole[:-6])
    (tmp_path / "head.dcm").write_bytes(whole[:200])
    (tmp_path / "noise.dcm").write_bytes(b"nothing of the kind" * 20)
    (tmp_path / "bomb.dcm").write_bytes(dicom(RAMP, Rows=60_000, Columns=60_000))
    for name, message in {
        "report": "without pixels",
        "cut": "pixels cannot be decoded",
        "head": "DICOM",
        "noise": "DICOM",
        "bomb": "60000 x 60000 pixels exceed the limit",
    }.items():
        with pytest.raises(DataError, match=message) as caught:
            read_image(tmp_path / f"{name}.dcm")
        text = str(caught.value)
        assert f"{name}.dcm" in text
        assert "\n" not in text
        assert "Secret" not in text
        assert "MRN" not in text


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "examples_overlay.dcm", "examples_jpeg2k.dcm"])
def test_real_files(name):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"{name} is not packaged with this pydicom")
    values = np.asarray(read_image(path))
    assert values.std() > 10
    assert values.min() < 60
    assert values.max() > 200
