"""A folder of DICOM files as a source, at any depth and under any name; no identifier is ever stored in clear."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from data_prep.deid.pseudonyms import Pseudonyms
from data_prep.deid.quiet import quiet
from data_prep.pairs.folders import folder_of
from data_prep.pairs.items import Item, Listing
from data_prep.pairs.split import given_split
from data_prep.pairs.tables import Row, read_table, require_columns
from medvlp.config import Config, resolve_path
from medvlp.data.image import is_dicom
from medvlp.data.pairs import Text
from medvlp.errors import DataError
from medvlp.io import sha256_file, sha256_json

CASE_TAGS = {
    "patient": ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"),
    "study": ("StudyInstanceUID", "SeriesInstanceUID"),
    "series": ("SeriesInstanceUID",),
}
IDENTIFIERS = (
    "PatientID", "PatientName", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID",
)  # fmt: skip
_HEADER = (*IDENTIFIERS, "Rows", "Columns", "NumberOfFrames", "Modality", "BodyPartExamined")
_SHORTEST_IDENTIFIER = 3


class DicomFolder(Config):
    """DICOM files anywhere below a folder, with a case from their tags and labels or texts from a table or the tags."""

    name: Literal["dicom_folder"] = Field(description="Kind of source.")
    images: str = Field(description="Folder with the files.")
    frames: Literal["refuse", "first", "middle", "all"] = Field(
        default="refuse", description="Which frames of a file with several become images."
    )
    without_pixels: Literal["refuse", "drop"] = Field(
        default="refuse", description="What to do with files without pixels (reports, key objects)."
    )
    case: Literal["patient", "study", "series"] = Field(
        default="patient", description="Whose images are one case; the next finer one where the tag is empty."
    )
    salt: str | None = Field(
        default=None, description="Secret behind keys and cases, as ${VARIABLE}: the store keeps only its name."
    )
    label: Literal["folder", "Modality", "BodyPartExamined"] | None = Field(
        default=None, description="Class without a table: the folder a file is in, or a tag."
    )
    table: str | None = Field(default=None, description="Table (CSV, TSV, JSON lines) with labels, texts and splits.")
    join: Literal["path", "sop_instance_uid"] = Field(
        default="path", description="What the table's image column holds."
    )
    image_column: str = Field(default="file", description="Column with the path or the SOP instance UID.")
    label_column: str | None = Field(default=None, description="Column with the class label.")
    caption_columns: list[str] = Field(default=[], description="Columns with free text about the image.")
    split_column: str | None = Field(default=None, description="Column with train, dev or test.")
    encoding: str = Field(default="utf-8-sig", description="Text encoding of the table.")

    @model_validator(mode="after")
    def _something_to_learn(self) -> DicomFolder:
        if self.table is None and self.label is None:
            raise ValueError("give a table, or label: folder, Modality or BodyPartExamined")
        if self.table is not None and self.label_column is None and not self.caption_columns:
            raise ValueError("with a table, name its label_column or caption_columns")
        if self.salt is not None and not (self.salt.startswith("${") and self.salt.endswith("}")):
            raise ValueError("write salt as ${VARIABLE}, a value would be kept in the manifest")
        return self


def list_dicom(source: DicomFolder, already_deidentified: bool = False) -> Listing:
    """List the frames of every DICOM file below the folder; other files are counted.

    Keys and cases are pseudonyms: with ``salt`` keyed hashes, the same in every job; without it the file's place in the
    sorted list and the patient's number in the order of the files. Of files that are ``already_deidentified``, keys are
    paths with the identifiers in them hashed, and cases are hashes.

    Raises:
        DataError: No DICOM file, one without pixels or with several frames (unless allowed), or a wrong table.
    """
    root = folder_of(source.images)
    salt = "" if source.salt is None else str(resolve_path(source.salt))
    listing = Listing([])
    rows = _rows(source, listing)
    names = _Names(source, salt, already_deidentified)
    uids: dict[str, str] = {}
    for number, path in enumerate(sorted(entry for entry in root.rglob("*") if entry.is_file()), start=1):
        if path.name == "DICOMDIR" or not is_dicom(path):
            listing.note("files that are not DICOM images")
            continue
        header = _header(path, path.relative_to(root).as_posix())
        shown = _masked(path.relative_to(root).as_posix(), header, salt)
        key = names.key(shown, number, header)
        uid = str(header.get("SOPInstanceUID", ""))
        if uid and uids.setdefault(uid, shown) != shown:
            raise DataError(f"is the same DICOM object as {uids[uid]}", item=shown, remedy="remove one of the copies")
        if not header.get("Rows") or not header.get("Columns"):
            if source.without_pixels == "refuse":
                remedy = "leave reports and key objects out, or set source.without_pixels: drop"
                raise DataError("DICOM file without pixels", item=shown, remedy=remedy)
            listing.dropped.append((key, "DICOM file without pixels"))
            continue
        row = None
        if rows is not None:
            row = rows.pop(uid if source.join == "sop_instance_uid" else path.relative_to(root).as_posix(), None)
            if row is None:
                listing.dropped.append((key, "DICOM file that is not in the table"))
                continue
        label = _label(source, header, path, root, row)
        listing.items += [
            Item(
                key=key if frame is None else f"{key}#{frame:04d}",
                path=path,
                frame=frame,
                label=label,
                texts=_texts(source, row),
                split=_split(source, row, shown),
                case=names.case(header),
            )
            for frame in _frames(int(header.get("NumberOfFrames") or 1), source.frames, shown)
        ]
    if rows:
        listing.note("rows of the table without a DICOM file", len(rows))
    if not listing.items:
        problem = f"no DICOM image to use ({_counted(listing)})"
        raise DataError(problem, item=root, remedy="check source.images and source.join")
    listing.sources["DICOM objects"] = sha256_json(sorted(hashed(uid, salt) for uid in uids))
    return listing


def hashed(value: str, salt: str) -> str:
    """Sixteen hex digits that stand for an identifier."""
    return hashlib.sha256(f"{salt}\0{value}".encode()).hexdigest()[:16]


def _counted(listing: Listing) -> str:
    counts = {**listing.notes}
    for _, reason in listing.dropped:
        counts[reason] = counts.get(reason, 0) + 1
    return ", ".join(f"{count} {what}" for what, count in counts.items()) or "the folder is empty"


def _header(path: Path, name: str) -> dict[str, Any]:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        with quiet():
            found = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(_HEADER))
            return {tag: found.get(tag) for tag in _HEADER if found.get(tag) is not None}
    except (InvalidDicomError, OSError, EOFError, ValueError, TypeError, KeyError, AttributeError):
        raise DataError("not a readable DICOM file", item=name, remedy="copy it again from its source") from None


def _masked(name: str, header: dict[str, Any], salt: str) -> str:
    """Replace identifiers that the file's tags hold wherever its path repeats them (archives name folders so)."""
    values = {str(header.get(tag, "")).strip() for tag in IDENTIFIERS}
    values |= set(str(header.get("PatientName", "")).replace("^", " ").split())
    found = sorted((re.escape(value) for value in values if len(value) >= _SHORTEST_IDENTIFIER), key=len, reverse=True)
    if not found:
        return name
    return re.sub("|".join(found), lambda match: hashed(match[0].casefold(), salt), name, flags=re.IGNORECASE)


class _Names:
    """Keys and cases of the files of one folder."""

    def __init__(self, source: DicomFolder, salt: str, already_deidentified: bool) -> None:
        self.tags, self.salt, self.paths = CASE_TAGS[source.case], salt, already_deidentified
        self.keyed = Pseudonyms(salt) if salt else None
        self.numbers: dict[tuple[str, str], str] = {}

    def key(self, shown: str, number: int, header: dict[str, Any]) -> str:
        """The key of a file that messages call ``shown``."""
        if self.paths:
            return shown
        if self.keyed is None:
            return f"image-{number:06d}"
        return f"image-{self.keyed.of(str(header.get('SOPInstanceUID', '')) or shown)}"

    def case(self, header: dict[str, Any]) -> str | None:
        """The case of a file; None if no tag says it."""
        for tag in self.tags:
            value = str(header.get(tag, "")).strip()
            if value and self.paths:
                return hashed(value, self.salt)
            if value and self.keyed is not None:
                return self.keyed.of(value)
            if value:
                return self.numbers.setdefault((tag, value), f"case-{len(self.numbers) + 1:05d}")
        return None


def _frames(count: int, which: str, key: str) -> list[int | None]:
    if count == 1:
        return [None]
    if which == "refuse":
        raise DataError(f"holds {count} frames", item=key, remedy="set source.frames to first, middle or all")
    return list(range(count)) if which == "all" else [0 if which == "first" else count // 2]


def _rows(source: DicomFolder, listing: Listing) -> dict[str, Row] | None:
    if source.table is None:
        return None
    table = resolve_path(source.table)
    rows = read_table(table, source.encoding)
    named = [column for column in (source.label_column, source.split_column) if column is not None]
    require_columns(table, rows, [source.image_column, *named, *source.caption_columns])
    listing.sources[table.name] = sha256_file(table)
    out: dict[str, Row] = {}
    for number, row in enumerate(rows, 2):
        name = row[source.image_column].strip().removeprefix("./")
        if out.setdefault(name, row) is not row:
            raise DataError(f"row {number} names the image of an earlier row", item=table.name, remedy="remove one")
    return out


def _label(source: DicomFolder, header: dict[str, Any], path: Path, root: Path, row: Row | None) -> str | None:
    if row is not None:
        return (row[source.label_column].strip() or None) if source.label_column is not None else None
    if source.label == "folder":
        return path.parent.name if path.parent != root else None
    return str(header.get(source.label or "", "")).strip() or None


def _texts(source: DicomFolder, row: Row | None) -> list[Text]:
    if row is None:
        return []
    found = [" ".join(row[column].split()) for column in source.caption_columns]
    return [Text(text) for text in dict.fromkeys(found) if text]


def _split(source: DicomFolder, row: Row | None, key: str) -> str | None:
    if row is None or source.split_column is None:
        return None
    return given_split(row[source.split_column].strip(), key)
