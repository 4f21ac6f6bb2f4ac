"""Sources of reports: each knows its size and digest, and yields reports in a fixed order, broken ones too."""

from __future__ import annotations

import csv
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from data_prep.reports.config import OpenIXmlSource, RadGraphSource, ReportsConfig, TableSource, TextsSource
from data_prep.text.triplets.radgraph import RadGraphReport, read_radgraph
from medvlp.config import resolve_path
from medvlp.errors import DataError
from medvlp.io import sha256_file, sha256_json
from medvlp.ledger import Ledger

_LONGEST_FILE = 64 << 20
_LONGEST_XML = 4 << 20


@dataclass(frozen=True)
class Report:
    """One report as it was found: its text, or why there is none."""

    key: str
    text: str = ""
    problem: str | None = None
    notes: tuple[str, ...] = ()
    annotation: RadGraphReport | None = None


@dataclass(frozen=True)
class Listing:
    """A source, opened: how many reports, what they are a digest of, and a function that yields them."""

    total: int
    digest: str
    read: Callable[[], Iterator[Report]]
    origin: dict[str, Any] = field(default_factory=dict)


def open_source(config: ReportsConfig) -> Listing:
    """Look at a source.

    Raises:
        DataError: If it is not there, holds no report, or lacks a column, naming it.
    """
    source = config.source
    if isinstance(source, TableSource):
        return _table(source)
    if isinstance(source, TextsSource):
        return _texts(source)
    if isinstance(source, OpenIXmlSource):
        return _openi(source)
    return _radgraph(source)


def decode(data: bytes) -> tuple[str, tuple[str, ...]]:
    """Return bytes as text: UTF-8 (or UTF-16 by its mark), else Windows-1252, which is noted."""
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return data.decode("utf-16", errors="replace"), ("decoded as UTF-16",)
    try:
        return data.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace"), ("decoded as Windows-1252, not UTF-8",)


def _existing(path: str, item: str) -> Path:
    found = resolve_path(path)
    if not found.exists():
        raise DataError("not found", item=f"{item}: {found}", remedy="check the path")
    return found


def _table(source: TableSource) -> Listing:
    path = _existing(source.file, "source.file")
    wanted = [*([source.key] if source.key is not None else []), *source.texts]
    if path.suffix.lower() == ".parquet":
        rows, total, header = _parquet(path, wanted)
    else:
        rows, total, header = _csv(path)
    missing = [name for name in wanted if name not in header]
    if missing:
        has = ", ".join(header[:20])
        raise DataError(f"has no column {', '.join(missing)}", item=path, remedy=f"its columns are {has}")
    if total == 0:
        raise DataError("holds no report", item=path)

    def read() -> Iterator[Report]:
        for number, (row, notes) in enumerate(rows()):
            key = str(row[source.key]) if source.key is not None and row.get(source.key) not in (None, "") else ""
            parts = [(heading, row.get(column)) for column, heading in source.texts.items()]
            found = [(heading, str(value).strip()) for heading, value in parts if value is not None]
            text = "\n".join(f"{heading}: {value}" if heading else value for heading, value in found if value)
            yield Report(key or f"row {number + 1}", text, None, notes)

    return Listing(total, sha256_file(path), read, {"file": path.name})


Row = tuple[dict[str, Any], tuple[str, ...]]


def _csv(path: Path) -> tuple[Callable[[], Iterator[Row]], int, list[str]]:
    delimiter = "\t" if path.suffix.lower() in {".tsv", ".tab"} else ","
    notes: list[str] = []

    def lines() -> Iterator[str]:
        with path.open("rb") as stream:
            for number, line in enumerate(stream):
                text, noted = decode(line) if number == 0 or not line.isascii() else (line.decode("ascii"), ())
                notes.extend(noted)
                yield text

    def rows() -> Iterator[Row]:
        before = csv.field_size_limit(_LONGEST_FILE)
        try:
            for row in csv.DictReader(lines(), delimiter=delimiter):
                noted = tuple(dict.fromkeys(notes))
                notes.clear()
                yield row, noted
        except csv.Error as error:
            raise DataError(f"not a readable table ({error})", item=path) from None
        finally:
            csv.field_size_limit(before)

    counted = 0
    header: list[str] = []
    for row, _ in rows():
        header = header or [name for name in row if name is not None]
        counted += 1
    return rows, counted, header


def _parquet(path: Path, wanted: list[str]) -> tuple[Callable[[], Iterator[Row]], int, list[str]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"not a readable Parquet file ({type(error).__name__})", item=path) from None
    header = list(file.schema_arrow.names)

    def rows() -> Iterator[Row]:
        with parquet.ParquetFile(path) as opened:
            for batch in opened.iter_batches(256, columns=wanted):
                yield from ((row, ()) for row in batch.to_pylist())

    return rows, file.metadata.num_rows, header


def _texts(source: TextsSource) -> Listing:
    folder = _existing(source.folder, "source.folder")
    endings = tuple(ending.lower() for ending in source.suffixes)
    paths = sorted(path for path in folder.rglob("*") if path.name.lower().endswith(endings) and path.is_file())
    if not paths:
        raise DataError(f"holds no file that ends in {', '.join(endings)}", item=folder)

    def read() -> Iterator[Report]:
        for path in paths:
            key = path.relative_to(folder).as_posix()
            if not path.resolve().is_relative_to(folder.resolve()):
                yield Report(key, problem="a link out of the folder")
            elif path.stat().st_size > _LONGEST_FILE:
                yield Report(key, problem="file too large")
            else:
                text, notes = decode(path.read_bytes())
                yield Report(key, text, None, notes)

    stats = [(p.relative_to(folder).as_posix(), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    return Listing(len(paths), sha256_json(stats), read, {"folder": folder.name})


def _openi(source: OpenIXmlSource) -> Listing:
    path = _existing(source.path, "source.path")
    if path.is_dir():
        files = sorted(path.rglob("*.xml"))

        def from_folder() -> Iterator[Report]:
            for file in files:
                too_large = file.stat().st_size > _LONGEST_XML
                yield _openi_report(file.stem, b"" if too_large else file.read_bytes(), too_large)

        stats = [(p.relative_to(path).as_posix(), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
        listing = Listing(len(files), sha256_json(stats), from_folder, {"folder": path.name})
    else:

        def members() -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
            try:
                with tarfile.open(path) as archive:
                    for member in archive:
                        if member.isfile() and member.name.endswith(".xml"):
                            yield archive, member
            except (tarfile.TarError, EOFError, OSError) as error:
                raise DataError(f"not a readable tar archive ({type(error).__name__})", item=path) from None

        def from_archive() -> Iterator[Report]:
            for archive, member in members():  # read member by member, nothing is unpacked
                stream = None if member.size > _LONGEST_XML else archive.extractfile(member)
                yield _openi_report(Path(member.name).stem, stream.read() if stream else b"", stream is None)

        listing = Listing(sum(1 for _ in members()), sha256_file(path), from_archive, {"file": path.name})
    if listing.total == 0:
        raise DataError("holds no XML report", item=path)
    return listing


def _openi_report(stem: str, data: bytes, too_large: bool) -> Report:
    if too_large:
        return Report(stem, problem="file too large")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        return Report(stem, problem="XML with a document type")
    try:
        root = ElementTree.fromstring(data)  # noqa: S314 - no entities: refused above
    except ElementTree.ParseError:
        return Report(stem, problem="not XML")
    uid = root.find(".//uId")
    parts = [
        (str(part.get("Label", "")).strip(), "".join(part.itertext()).strip()) for part in root.iter("AbstractText")
    ]
    text = "\n".join(f"{label}: {words}" if label else words for label, words in parts if words)
    return Report(str(uid.get("id")) if uid is not None and uid.get("id") else stem, text)


def _radgraph(source: RadGraphSource) -> Listing:
    path = _existing(source.file, "source.file")

    def read() -> Iterator[Report]:
        ledger = Ledger(max_examples=sys.maxsize)
        for report in read_radgraph(path, labeler=source.labeler, ledger=ledger):
            yield Report(report.key, report.text, annotation=report)
        for reason, keys in ledger.examples.items():
            yield from (Report(key, problem=reason) for key in keys)

    total = sum(1 for _ in read())
    if total == 0:
        raise DataError("holds no report", item=path)
    return Listing(total, sha256_file(path), read, {"file": path.name})
