"""DICOM by the profile: every element of a written file is looked at, at every depth, with its bytes."""

import io
import logging
import re
import warnings
from collections import Counter

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from data_prep.deid.dicom import burned_in_warnings, deidentify_dicom, profile
from data_prep.deid.pseudonyms import Pseudonyms

SECRET = "Zyxwv"
ORGANISATION = "1.2.826.0.1.99999"
_VALUES = {
    "DA": "20190312", "DT": "20190312101112", "TM": "101112", "AS": "087Y", "IS": "4711", "DS": "47.11",
    "UI": f"{ORGANISATION}.4.{{}}",
    "PN": f"{SECRET}^Quorra", "US": 4711, "SS": 4711, "UL": 4711, "SL": 4711, "FL": 47.5, "FD": 47.5,
    "UR": f"http://{SECRET}.example.org",
}  # fmt: skip
_BYTES = ("OB", "OW", "UN", "OF", "OD", "OL")


def fill(dataset, tag, number):
    """Put a value that must not survive into one attribute."""
    vr = dictionary_VR(tag).split(" or ")[0]
    if vr == "SQ":
        item = Dataset()
        item.PatientName, item.CodeMeaning, item.TextValue = f"{SECRET}^Quorra", f"of {SECRET}", f"{SECRET} was here"
        item.ReferencedSOPInstanceUID = f"{ORGANISATION}.5.{number}"
        dataset.add_new(tag, vr, [item])
    elif vr in _BYTES:
        dataset.add_new(tag, vr, SECRET.encode() + b"\0")
    else:
        value = _VALUES.get(vr, f"{SECRET.upper()} {number}" if vr == "CS" else f"{SECRET} {number}")
        dataset.add_new(tag, vr, value.format(number) if isinstance(value, str) else value)


def image(**values):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = f"{ORGANISATION}.1"
    meta.SourceApplicationEntityTitle = SECRET
    meta.PrivateInformationCreatorUID, meta.PrivateInformation = f"{ORGANISATION}.2", SECRET.encode() + b"\0"
    dataset = FileDataset("x", {}, file_meta=meta, preamble=(SECRET.encode() * 30)[:128])
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{ORGANISATION}.7", f"{ORGANISATION}.8"
    dataset.PatientID, dataset.PatientName, dataset.Modality = "MRN-4711947119", f"{SECRET}^Quorra", "CT"
    dataset.Rows = dataset.Columns = 4
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = np.arange(16, dtype=np.uint16).tobytes()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def written(dataset, pseudonyms=None, **options):
    """De-identify, write and read back; returns the bytes, the dataset and the outcome."""
    done = deidentify_dicom(dataset, pseudonyms, **options)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done.dataset.save_as(buffer, enforce_file_format=True)
    data = re.sub(rb"2\.25\.\d+", b"", buffer.getvalue())  # digits of new UIDs may be anything
    return data, pydicom.dcmread(io.BytesIO(buffer.getvalue())), done


def test_the_profile_is_the_standards_table():
    actions = Counter(profile().values())
    assert len(profile()) == 652
    assert set(actions) == {"X", "Z", "D", "U", "Z/D", "X/Z", "X/D", "X/Z/D", "X/Z/U*"}
    named = {  # read off PS3.15 table E.1-1 by hand
        "PatientName": "Z", "PatientID": "Z/D", "PatientBirthDate": "Z", "PatientAge": "X", "AccessionNumber": "Z",
        "StudyDate": "Z",
        "ContentDate": "Z/D", "InstitutionName": "X/Z/D", "StudyInstanceUID": "U", "SOPInstanceUID": "U",
        "DeviceSerialNumber": "X/Z/D",
        "ProtocolName": "X/D", "StudyDescription": "X", "ContentSequence": "D", "IconImageSequence": "X",
        "AcquisitionDate": "X/Z",
        "SourceImageSequence": "X/Z/U*", "FrameOfReferenceUID": "U", "ImageComments": "X",
        "RequestAttributesSequence": "X",
    }  # fmt: skip
    assert {keyword: profile()[int(Tag(keyword))] for keyword in named} == named


def test_every_attribute_of_the_table_at_the_top_and_nested():
    dataset = image()
    item = Dataset()
    tags = [
        tag
        for tag in profile()
        if pydicom.datadict.dictionary_has_tag(tag) and tag >> 16 not in (0, 2) and tag < 0xFFFC0000
    ]
    for number, tag in enumerate(tags):
        if tag >> 16 == 4:  # of a DICOMDIR, not of an image
            continue
        fill(dataset, tag, number)
        fill(item, tag, number)
    middle = Dataset()
    middle.add_new("AnatomicRegionSequence", "SQ", [item])
    dataset.add_new("SharedFunctionalGroupsSequence", "SQ", [middle])
    dataset.SOPInstanceUID, dataset.PatientID = f"{ORGANISATION}.1", "MRN-4711947119"
    data, back, done = written(dataset)
    assert not re.search(rb"(?i)zyxwv|quorra|4711|20190312|101112|087Y|" + re.escape(ORGANISATION.encode()), data)
    seen = 0
    for element in back.iterall():
        seen += 1
        action = profile().get(int(element.tag))
        if action == "X":
            pytest.fail(f"{element.keyword} is still there")
        if action == "Z" and element.keyword not in ("PatientName",):
            assert element.is_empty, element.keyword
        if action == "U":
            assert str(element.value).startswith("2.25."), element.keyword
    assert seen > 100
    assert done.removed["name"] > 20
    assert done.removed["UID"] > 50


def test_beyond_the_table():
    dataset = image(ImageType=["DERIVED", "PRIMARY"], Manufacturer="ACME", BodyPartExamined="CHEST", SliceThickness=2.5)
    block = dataset.private_block(0x0009, "ACME 1.0", create=True)
    block.add_new(1, "LO", SECRET)
    nested = Dataset()
    nested.private_block(0x0011, "ACME 2.0", create=True).add_new(2, "PN", SECRET)
    nested.add_new(0x00080104, "LO", f"scan of {SECRET.lower()}")
    nested.add_new(0x0040A123, "PN", SECRET)
    dataset.add_new("AnatomicRegionSequence", "SQ", [nested])
    dataset.add_new(0x60000010, "US", 4)
    dataset.add_new(0x60003000, "OW", SECRET.encode() + b"\0")
    dataset.add_new(0x601E0022, "LO", SECRET)
    dataset.add_new(0x50000010, "US", 4)
    dataset.add_new(0x50003000, "OW", SECRET.encode() + b"\0")
    dataset.add_new(0x00185FFE, "LO", SECRET)  # in no dictionary
    dataset.add_new("DateOfSecondaryCapture", "DA", "20190312")
    dataset.add_new("ScheduledProcedureStepStartDate", "DA", "20190312")
    dataset.add_new("DerivationDescription", "ST", "by Dr. Okafor")
    dataset.add_new("FilterType", "SH", f"x {SECRET} y")
    dataset.add_new("PositionReferenceIndicator", "LO", "MRN-4711947119")
    dataset.add_new("PixelDataProviderURL", "UR", f"http://{SECRET}.example.org")
    dataset.add_new("LUTExplanation", "LO", "plain")
    data, back, done = written(dataset)
    assert not re.search(rb"(?i)zyxwv|quorra|4711947119|20190312|okafor", data)
    assert data[:128] == b"\0" * 128
    for element in back.iterall():
        assert not element.tag.is_private
        assert element.tag.group & 0xFF00 not in (0x5000, 0x6000)
    kept = ("Manufacturer", "Modality", "BodyPartExamined", "SliceThickness", "ImageType", "LUTExplanation", "Rows")
    assert [back.get(keyword) for keyword in kept] == ["ACME", "CT", "CHEST", 2.5, ["DERIVED", "PRIMARY"], "plain", 4]
    assert np.array_equal(back.pixel_array, np.arange(16).reshape(4, 4))
    assert {element.keyword for element in back.file_meta} == {
        "FileMetaInformationGroupLength", "FileMetaInformationVersion", "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID",
        "TransferSyntaxUID", "ImplementationClassUID", "ImplementationVersionName",
    }  # fmt: skip
    assert back.file_meta.MediaStorageSOPInstanceUID == back.SOPInstanceUID
    assert back.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert done.removed["private element"] == 4  # two values and the two creators
    assert done.removed["overlay or curve"] == 5
    assert done.removed["element of no dictionary"] == 1
    assert done.removed["repeated identifier"] >= 2


def test_what_was_done_is_written():
    back = written(image())[1]
    assert (back.PatientIdentityRemoved, back.LongitudinalTemporalInformationModified) == ("YES", "REMOVED")
    assert len(back.DeidentificationMethod) <= 64
    assert [item.CodeValue for item in back.DeidentificationMethodCodeSequence] == ["113100"]
    assert back.PatientID == back.PatientName
    assert re.fullmatch(r"[0-9a-f]{16}", back.PatientID)
    again = written(back)[1]  # twice is allowed
    assert again.PatientIdentityRemoved == "YES"


def test_pseudonyms_agree_within_a_job_and_not_beyond():
    def pair(pseudonyms):
        first, second = (
            image(),
            image(SOPInstanceUID=f"{ORGANISATION}.11", ReferencedSOPInstanceUID=f"{ORGANISATION}.1"),
        )
        return written(first, pseudonyms)[1], written(second, pseudonyms)[1]

    one, two = pair(Pseudonyms())
    assert one.PatientID == two.PatientID
    assert one.StudyInstanceUID == two.StudyInstanceUID
    assert one.SOPInstanceUID == two.ReferencedSOPInstanceUID
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert pair(Pseudonyms())[0].PatientID != one.PatientID
    assert pair(Pseudonyms("s" * 16))[0].PatientID == pair(Pseudonyms("s" * 16))[1].PatientID
    assert all(len(uid) <= 64 and pydicom.uid.UID(uid).is_valid for uid in (one.SOPInstanceUID, one.StudyInstanceUID))


def test_dates_may_be_moved():
    dates = {
        "StudyDate": "20190312",
        "SeriesDate": "20190401",
        "AcquisitionDateTime": "20190312101112.5",
        "PatientBirthDate": "19501224",
    }
    back = written(image(**dates, StudyTime="101112"), Pseudonyms("s" * 16), dates="shift")[1]
    days = Pseudonyms("s" * 16).days("MRN-4711947119")
    day = pydicom.valuerep.DA
    assert (day("20190312") - day(back.StudyDate)).days == days
    assert (day(back.SeriesDate) - day(back.StudyDate)).days == 20
    assert back.AcquisitionDateTime == f"{back.StudyDate}101112"
    assert back.StudyTime == "101112"
    assert back.PatientBirthDate == ""
    assert back.LongitudinalTemporalInformationModified == "MODIFIED"
    assert [item.CodeValue for item in back.DeidentificationMethodCodeSequence] == ["113100", "113107"]
    assert 1 <= days <= 3650


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        ({"BurnedInAnnotation": "YES"}, ["BurnedInAnnotation is YES"]),
        ({"BurnedInAnnotation": "NO", "Modality": "US"}, []),
        ({"Modality": "US"}, ["modality US"]),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, ["secondary capture"]),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.4"}, ["secondary capture"]),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1"}, ["modality CT"]),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, ["derived or screen image"]),
        ({"ConversionType": "SD"}, ["converted from film, video or screen"]),
        ({"EncapsulatedDocument": b"%PDF"}, ["encapsulated document, replaced by an empty one"]),
    ],
)
def test_burned_in_text_is_warned_of(values, expected):
    assert burned_in_warnings(image(**values)) == [f"pixels may show text: {reason}" for reason in expected]


def test_broken_elements_are_removed_and_quoted_nowhere(caplog):
    dataset = image()
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    broken = pydicom.dcmread(io.BytesIO(buffer.getvalue()))
    raw = pydicom.dataelem.RawDataElement
    for tag, vr in ((0x00180050, "DS"), (0x00201041, "DS"), (0x00280010, "IS")):
        value = SECRET.encode() + b" "
        broken._dict[Tag(tag)] = raw(Tag(tag), vr, len(value), value, 0, False, True)
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        done = deidentify_dicom(broken)
    assert done.removed["unreadable element"] >= 1
    out = io.BytesIO()
    done.dataset.save_as(out)
    assert SECRET.encode() not in out.getvalue()
    assert SECRET not in caplog.text
    assert not [warning for warning in said if SECRET in str(warning.message)]


def test_an_empty_dataset():
    done = deidentify_dicom(Dataset())
    assert done.dataset.PatientIdentityRemoved == "YES"
    assert not done.removed
