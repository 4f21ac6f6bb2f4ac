"""The first sheet of an Excel workbook as rows of text, for the sets that publish their tables as .xlsx.

Read with the standard library (ECMA-376: a zip of XML parts), so that no spreadsheet package is needed for two tables;
formulas, dates and styles are not interpreted.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from pathlib import Path
from xml.etree import ElementTree

from data_prep.pairs.tables import Row
from medvlp.errors import DataError

_MAX_BYTES = 1 << 28
_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, LookupError, ValueError, StopIteration, ElementTree.ParseError)
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


def read_xlsx(path: Path) -> list[Row]:
    """Read the first sheet; its first row names the columns, empty rows are left out.

    Raises:
        DataError: No such file, or none that is a workbook with a header.
    """
    if not path.is_file():
        raise DataError("table not found", item=path, remedy="check source.root")
    try:
        with zipfile.ZipFile(path) as archive:
            rows = _rows(archive)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        KeyError,
        IndexError,
        ValueError,
        ElementTree.ParseError,
    ) as error:
        raise DataError(f"is no .xlsx workbook ({type(error).__name__})", item=path, remedy="get it again") from None
    if not rows:
        raise DataError("its first sheet is empty", item=path, remedy="get the published file")
    header = {column: name.strip() for column, name in rows[0].items() if name.strip()}
    table = [{name: row.get(column, "").strip() for column, name in header.items()} for row in rows[1:]]
    return [row for row in table if any(row.values())]


def _rows(archive: zipfile.ZipFile) -> list[dict[int, str]]:
    """Text by column number of every row of the first sheet."""
    sheet = _part(archive, "xl/workbook.xml").find(f"{_MAIN}sheets/{_MAIN}sheet")
    if sheet is None:
        return []
    target = next(
        relation.attrib["Target"]
        for relation in _part(archive, "xl/_rels/workbook.xml.rels")
        if relation.attrib["Id"] == sheet.attrib[_RELATION]
    )
    shared = []
    if "xl/sharedStrings.xml" in archive.namelist():
        shared = [_text(entry) for entry in _part(archive, "xl/sharedStrings.xml").iter(f"{_MAIN}si")]
    part = target.lstrip("/") if target.startswith("/") else posixpath.normpath(f"xl/{target}")
    rows = []
    for row in _part(archive, part).iter(f"{_MAIN}row"):
        cells: dict[int, str] = {}
        for place, cell in enumerate(row.iter(f"{_MAIN}c")):
            column = _column(cell.attrib["r"]) if "r" in cell.attrib else place
            cells[column] = _value(cell, shared)
        rows.append(cells)
    return rows


def _part(archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    if archive.getinfo(name).file_size > _MAX_BYTES:
        raise ValueError(name)
    data = archive.read(name)
    if b"<!DOCTYPE" in data or b"\0" in data:
        raise ValueError(name)
    return ElementTree.fromstring(data)  # noqa: S314 - entities need a document type, which was refused


def _text(element: ElementTree.Element) -> str:
    return "".join(text.text or "" for text in element.iter(f"{_MAIN}t"))


def _column(reference: str) -> int:
    """0 for A1, 26 for AA1."""
    letters = re.match(r"[A-Z]+", reference)
    if letters is None:
        raise ValueError(reference)
    number = 0
    for letter in letters.group():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _value(cell: ElementTree.Element, shared: list[str]) -> str:
    kind = cell.attrib.get("t", "n")
    if kind == "inlineStr":
        return _text(cell)
    value = cell.findtext(f"{_MAIN}v") or ""
    if kind == "s":
        return shared[int(value)]
    if kind == "n" and value and float(value).is_integer():
        return str(int(float(value)))
    return value
