"""DICOM files by the Basic Application Level Confidentiality Profile (PS3.15 Annex E, table E.1-1 as data).

Beyond the table, which knows only its own attributes: private, overlay and curve groups and attributes of no
dictionary go, and so do persons' names, dates and times in any other attribute; instance UIDs are replaced wherever
they stand, and what is left as text is searched for the identifiers the file itself held. Sequences are walked at
every depth.
Pixels are not changed: files whose pixels may show text are named in the warnings.
"""

from __future__ import annotations

import csv
import functools
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from data_prep.deid.pseudonyms import Pseudonyms
from data_prep.deid.quiet import quiet
from data_prep.deid.text import deidentify_text

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

PROFILE = Path(__file__).with_name("dicom_profile.csv")
METHOD = "medvlp: PS3.15 2026c Basic Confidentiality Profile"  # 64 characters at most
BURNED_IN = "pixels may show text"
Dates = Literal["remove", "shift"]

_DUMMY: dict[str, Any] = {
    "DA": "19000101", "DT": "19000101000000", "TM": "000000", "AS": "000Y", "UR": "about:blank", "IS": 0, "DS": 0,
    "US": 0, "SS": 0, "UL": 0, "SL": 0, "FL": 0.0, "FD": 0.0, "OB": b"\0\0", "UN": b"\0\0", "OW": b"\0\0",
}  # fmt: skip
_TEXT_VRS = frozenset(("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UT", "CS"))
_FREE_TEXT = frozenset(("LT", "ST", "UC", "UT"))
_DATE_VRS = frozenset(("DA", "DT", "TM"))
_STANDARD_UID = "1.2.840.10008."
_PERSONS = (
    "PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ReferringPhysicianName",
    "PerformingPhysicianName", "OperatorsName", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy",
    "RequestingPhysician", "ConsultingPhysicianName", "ResponsiblePerson", "PersonName", "VerifyingObserverName",
)  # fmt: skip
IDENTITY = (
    *_PERSONS, "PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "InstitutionName", "PatientBirthDate",
    "PatientAddress", "PatientTelephoneNumbers", "MedicalRecordLocator", "StationName", "AdmissionID",
    "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID",
)  # fmt: skip
_SHORTEST = 3
_NUMBER = re.compile(r"\s*[-+]?[\d.]+(?:[eE][-+]?\d+)?\s*")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_ULTRASOUND = ("1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.3")
_KEPT_META = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
_CODES = {
    "113100": "Basic Application Confidentiality Profile",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
}


class DeidentifiedDicom(NamedTuple):
    """A dataset that may be stored.

    Attributes:
        dataset: The dataset, changed in place, with a file meta of its own.
        removed: How many elements lost their value, by kind.
        warnings: What a person has to look at, without any identifier.
    """

    dataset: Dataset
    removed: Counter[str]
    warnings: list[str]


@functools.cache
def profile() -> dict[int, str]:
    """Action of the profile by tag, as in table E.1-1: X, Z, D, U and the combinations of these."""
    lines = [line for line in PROFILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {int(row["tag"], 16): row["action"] for row in csv.DictReader(lines)}


def deidentify_dicom(
    dataset: Dataset, pseudonyms: Pseudonyms | None = None, dates: Dates = "remove"
) -> DeidentifiedDicom:
    """Apply the profile to a dataset read by pydicom, in place.

    Args:
        dataset: Any dataset; broken elements are removed.
        pseudonyms: Of the job, so that a patient and a study keep theirs; by default new ones.
        dates: ``shift`` moves dates by a secret number of days per patient instead of emptying them (option "retain
            longitudinal temporal information with modified dates").
    """
    with quiet():
        return _deidentify(dataset, pseudonyms if pseudonyms is not None else Pseudonyms(), dates)


def _deidentify(dataset: Dataset, pseudonyms: Pseudonyms, dates: Dates) -> DeidentifiedDicom:
    cleaner = _Cleaner(dataset, pseudonyms, dates)
    warnings = burned_in_warnings(dataset)
    cleaner.clean(dataset)
    cleaner.identify(dataset)
    cleaner.file_meta(dataset)
    return DeidentifiedDicom(dataset, cleaner.removed, warnings)


def burned_in_warnings(dataset: Dataset) -> list[str]:
    """Say whether the pixels may show text: screenshots, secondary captures, ultrasound, or the file's own word."""
    said = _string(dataset, "BurnedInAnnotation").upper()
    if said == "NO":
        return []
    reasons = []
    if said == "YES":
        reasons.append("BurnedInAnnotation is YES")
    uid = _string(dataset, "SOPClassUID")
    if uid == _SECONDARY_CAPTURE or uid.startswith(_SECONDARY_CAPTURE + "."):
        reasons.append("secondary capture")
    if _string(dataset, "Modality").upper() in ("US", "IVUS", "ES", "OT", "SC", "XC", "DOC") or uid.startswith(
        _ULTRASOUND
    ):
        reasons.append(f"modality {_string(dataset, 'Modality').upper() or 'US'}")
    kinds = " ".join(str(value).upper() for value in _values(dataset, "ImageType"))
    if re.search(r"SCREEN|SECONDARY|SAVE", kinds):
        reasons.append("derived or screen image")
    if _string(dataset, "ConversionType").upper() not in ("", "DI"):
        reasons.append("converted from film, video or screen")
    if "EncapsulatedDocument" in dataset:
        reasons.append("encapsulated document, replaced by an empty one")
    return [f"{BURNED_IN}: {reason}" for reason in reasons]


class _Cleaner:
    """Walks one dataset; remembers what identified its patient."""

    def __init__(self, dataset: Dataset, pseudonyms: Pseudonyms, dates: Dates) -> None:
        self.pseudonyms, self.dates = pseudonyms, dates
        self.removed: Counter[str] = Counter()
        self.patient = (
            _string(dataset, "PatientID") or _string(dataset, "PatientName") or _string(dataset, "StudyInstanceUID")
        )
        self.days = pseudonyms.days(self.patient)
        self.secrets = any_of(identifiers(dataset))

    def clean(self, dataset: Dataset, dummies_only: bool = False) -> None:
        """Walk a dataset; ``dummies_only`` leaves nothing that the profile has no dummy for."""
        for tag in list(dataset.keys()):
            try:
                element = dataset[tag]
                readable = _is_readable(element)
            except Exception:  # whatever a broken element raises, it cannot be judged
                readable = False
            if not readable:
                self._drop(dataset, tag, "unreadable element")
                continue
            action = profile().get(int(tag))
            if tag.is_private:
                self._drop(dataset, tag, "private element")
            elif tag.group & 0xFF00 in (0x6000, 0x5000) and tag.group < 0x6100:
                self._drop(dataset, tag, "overlay or curve")
            elif not _in_dictionary(int(tag)):
                self._drop(dataset, tag, "element of no dictionary")
            elif action is not None:
                self._apply(dataset, element, action)
            elif dummies_only:
                self._drop(dataset, tag, "sequence content")
            else:
                self._beyond(dataset, element)

    def _apply(self, dataset: Dataset, element: DataElement, action: str) -> None:
        """Do what the table says; of combined actions the one that keeps the most kinds of object valid."""
        if element.VR == "SQ":
            self._sequence(dataset, element, action)
        elif action == "U" or (element.VR == "UI" and action != "X"):
            self._uids(element)
        elif self.dates == "shift" and element.VR in ("DA", "DT", "TM") and "Birth" not in element.keyword:
            self._shift(element)
        elif action == "X":
            self._drop(dataset, element.tag, _kind(element))
        elif "D" in action:
            self._count(element, _kind(element))
            element.value = _DUMMY.get(element.VR, "REMOVED")
        elif element.VM > 0 and not element.is_empty:
            self._count(element, _kind(element))
            element.value = b"" if isinstance(element.value, bytes) else None

    def _sequence(self, dataset: Dataset, element: DataElement, action: str) -> None:
        if action == "X/Z/U*":
            for item in element.value:
                self.clean(item)
        elif action == "Z":
            self._count(element, "sequence")
            element.value = []
        elif action == "D":
            for item in element.value:
                self.clean(item, dummies_only=True)
            element.value = element.value[:1]
        else:
            self._drop(dataset, element.tag, "sequence")

    def _beyond(self, dataset: Dataset, element: DataElement) -> None:
        """Attributes the table does not name."""
        if element.VR == "SQ":
            for item in element.value:
                self.clean(item)
        elif element.VR == "UI":
            self._uids(element)
        elif element.VR in _DATE_VRS and self.dates == "shift":
            self._shift(element)
        elif element.VR in _DATE_VRS or element.VR in ("PN", "UR"):
            self._drop(dataset, element.tag, _kind(element))
        elif element.VR in _TEXT_VRS and element.VR != "CS":
            self._text(element)

    def _text(self, element: DataElement) -> None:
        """Take the patient's own identifiers out of text, and from free text whatever the rules for reports find."""
        values = element.value if element.VM > 1 else [element.value]
        cleaned = []
        for value in values:
            text = str(value if value is not None else "")
            new = self.secrets.sub("", text) if self.secrets is not None else text
            if new != text:
                self.removed["repeated identifier"] += 1
            if element.VR in _FREE_TEXT:
                found = deidentify_text(new)
                self.removed.update(found.removed)
                new = found.text
            cleaned.append(new)
        if cleaned != [str(value if value is not None else "") for value in values]:
            element.value = cleaned if element.VM > 1 else cleaned[0]

    def _uids(self, element: DataElement) -> None:
        """Replace UIDs that are not the standard's own."""
        values = list(element.value) if element.VM > 1 else [element.value]
        new = [
            uid if not uid or str(uid).startswith(_STANDARD_UID) else self.pseudonyms.uid(str(uid)) for uid in values
        ]
        changed = sum(a != b for a, b in zip(values, new, strict=True))
        if changed:
            self.removed["UID"] += changed
            element.value = new if element.VM > 1 else new[0]

    def _shift(self, element: DataElement) -> None:
        """Move dates back by the patient's days; times of day stay, and what is no date is emptied."""
        if element.VR == "TM" or element.is_empty:
            return
        values = list(element.value) if element.VM > 1 else [element.value]
        new = [_earlier(str(value), self.days) for value in values]
        self._count(element, "date, moved")
        element.value = new if element.VM > 1 else new[0]

    def identify(self, dataset: Dataset) -> None:
        """Write pseudonyms, and what was done, as the profile demands."""
        from pydicom.dataset import Dataset as New

        pseudonym = self.pseudonyms.of(self.patient) or self.pseudonyms.of("\0nobody")
        dataset.PatientID = dataset.PatientName = pseudonym
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = METHOD
        dataset.LongitudinalTemporalInformationModified = "MODIFIED" if self.dates == "shift" else "REMOVED"
        codes = []
        for code in ("113100", "113107") if self.dates == "shift" else ("113100",):
            item = New()
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", _CODES[code]
            codes.append(item)
        dataset.DeidentificationMethodCodeSequence = codes

    def file_meta(self, dataset: Dataset) -> None:
        """Keep of the file meta only what a reader needs, and of the preamble nothing."""
        from pydicom.dataset import FileMetaDataset

        old = getattr(dataset, "file_meta", None)
        meta = FileMetaDataset()
        for keyword in _KEPT_META:
            if old is not None and old.get(keyword):
                setattr(meta, keyword, old.get(keyword))
        if meta.get("MediaStorageSOPInstanceUID"):
            self._uids(meta["MediaStorageSOPInstanceUID"])
        if dataset.get("SOPInstanceUID"):
            meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        if dataset.get("SOPClassUID"):
            meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta = meta
        if hasattr(dataset, "preamble"):
            dataset.preamble = b"\0" * 128

    def _drop(self, dataset: Dataset, tag: Any, kind: str) -> None:
        del dataset[tag]
        self.removed[kind] += 1

    def _count(self, element: DataElement, kind: str) -> None:
        if not element.is_empty:
            self.removed[kind] += 1


def _kind(element: DataElement) -> str:
    if element.VR == "PN":
        return "name"
    if element.VR in _DATE_VRS:
        return "date or time"
    if element.keyword.startswith("Patient") or re.search(
        r"Birth|Sex|Ethnic|Smoking|Pregnan|Gender|Pronoun", element.keyword
    ):
        return "patient"
    if re.search(r"Institution|Station|Organization|Department", element.keyword):
        return "institution"
    if re.search(r"Address|Telephone|Telecom|City|Region|Country", element.keyword):
        return "address or telephone"
    if re.search(r"(?:ID|IDs|Number|Identifier|UID)$", element.keyword):
        return "identifier"
    return "description" if element.VR in _TEXT_VRS else "other"


def _is_readable(element: DataElement) -> bool:
    """Decode an element; numbers that are none, which pydicom passes on as text, count as unreadable."""
    value = element.value
    if element.VR not in ("IS", "DS") or element.is_empty:
        return True
    return all(not isinstance(one, str) or _NUMBER.fullmatch(one) for one in (value if element.VM > 1 else [value]))


def _in_dictionary(tag: int) -> bool:
    from pydicom.datadict import dictionary_has_tag, repeater_has_tag

    return tag in profile() or dictionary_has_tag(tag) or repeater_has_tag(tag) or (tag & 0xFFFF) == 0


def _string(dataset: Dataset, keyword: str) -> str:
    values = list(_values(dataset, keyword))
    return str(values[0]).strip() if values else ""


def _values(dataset: Dataset, keyword: Any) -> Iterator[Any]:
    try:
        value = dataset[keyword].value if keyword in dataset else None
    except Exception:  # an element that cannot be decoded says nothing
        return
    if value is None or value == "":
        return
    yield from value if isinstance(value, list | tuple) or hasattr(value, "insert") else [value]


def identifiers(dataset: Dataset) -> set[str]:
    """Every identifier that the dataset holds at any depth, names also word by word; of three characters at least."""
    found: set[str] = set()
    for keyword in IDENTITY:
        for value in _values(dataset, keyword):
            text = str(value).strip()
            found.add(text)
            if keyword in _PERSONS:
                found.update(re.split(r"[\^=\s,]+", text))
    for tag in list(dataset.keys()):
        if dataset.get_item(tag).VR == "SQ":
            for item in _values(dataset, tag):
                found |= identifiers(item)
    return {word for word in found if len(word) >= _SHORTEST}


def any_of(words: set[str]) -> re.Pattern[str] | None:
    """A pattern of whole words, the longest first; None if there is none."""
    ordered = sorted(words, key=lambda word: (-len(word), word))
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, ordered))})(?!\w)", re.IGNORECASE) if ordered else None


def _earlier(value: str, days: int) -> str:
    """Move a DA or DT value; an unreadable one becomes empty, a range or a time zone is not kept."""
    digits = re.match(r"(\d{8})(\d{0,6})", value.replace(".", "").replace("-", ""))
    if digits is None:
        return ""
    try:
        day = datetime.strptime(digits[1], "%Y%m%d") - timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return f"{day:%Y%m%d}{digits[2]}"
