"""The job behind ``medvlp deid``: a folder or a table without identifiers, under names that say nothing."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from data_prep.deid.dicom import METHOD, Dates, deidentify_dicom
from data_prep.deid.pseudonyms import Pseudonyms
from data_prep.deid.quiet import quiet
from data_prep.deid.text import ENGINE, Recogniser, deidentify_text
from medvlp.data.image import is_dicom
from medvlp.errors import DataError
from medvlp.io import atomic_folder, full_disk_told, write_json, write_manifest, write_text
from medvlp.ledger import Ledger

TABLES = (".csv", ".tsv", ".jsonl", ".csv.gz", ".tsv.gz", ".jsonl.gz")
TEXTS = (".txt", ".md", ".rpt")
MAX_TEXT_BYTES = 64 << 20
_WINDOW = 64
_OTHER = "neither DICOM, text nor table"


@dataclass(frozen=True)
class Options:
    """What is done.

    Attributes:
        columns: Free-text columns of tables: de-identified.
        id_columns: Columns with record numbers: replaced by the pseudonyms that DICOM files of the same job get.
        keep_columns: Columns written as they are; every other column is left out.
        dates: Of DICOM files, ``remove`` or ``shift``.
        secret_variable: Environment variable with the secret behind pseudonyms; by default one is drawn and forgotten.
        encoding: Of tables and texts.
        num_workers: Threads; they never change the result.
    """

    columns: Sequence[str] = ()
    id_columns: Sequence[str] = ()
    keep_columns: Sequence[str] = ()
    dates: Dates = "remove"
    secret_variable: str | None = None
    encoding: str = "utf-8-sig"
    num_workers: int = 2


@dataclass
class Report:
    """Counts, never contents: what ``ledger.json`` holds."""

    ledger: Ledger = field(default_factory=Ledger)
    files: Counter[str] = field(default_factory=Counter)
    removed: dict[str, Counter[str]] = field(default_factory=lambda: {"dicom": Counter(), "text": Counter()})
    warnings: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def warn(self, warning: str, item: str) -> None:
        """Count a warning about an item, which is named by its pseudonym."""
        self.warnings[warning] += 1
        named = self.examples.setdefault(warning, [])
        if len(named) < self.ledger.max_examples:
            named.append(item)

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON, kinds in alphabetical order."""
        return {
            "files": dict(sorted(self.files.items())),
            "removed": {what: dict(sorted(counts.items())) for what, counts in self.removed.items()},
            "warnings": dict(sorted(self.warnings.items())),
            "warned_about": self.examples,
            **self.ledger.to_json(),
        }

    def lines(self) -> list[str]:
        """For people."""
        out = [f"files: {self.ledger}"]
        for what, counts in self.removed.items():
            if counts:
                out.append(f"removed from {what}: " + ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())))
        return out + [f"warning: {count} files: {warning}" for warning, count in sorted(self.warnings.items())]


def deidentify_folder(
    source: str | Path,
    out: str | Path,
    options: Options | None = None,
    *,
    overwrite: bool = False,
    dry_run: bool = False,
    recogniser: Recogniser | None = None,
) -> Report:
    """De-identify every DICOM file, text and table below a folder, or one such file.

    Written are ``PATIENT/STUDY/INSTANCE.dcm`` under pseudonyms, ``texts/000001.txt`` and ``tables/000001.csv`` numbered
    in the order of their paths, ``ledger.json`` and a manifest. What is none of these is counted, not copied.

    Args:
        source: Folder or file.
        out: Folder to create, whole or not at all.
        options: See :class:`Options`.
        overwrite: Exchange an existing folder of this job.
        dry_run: Read and count everything, write nothing.
        recogniser: Finds further names of persons in texts.

    Raises:
        DataError: Nothing to read, a table without named columns, a missing column, a text that is too large.
    """
    options = options if options is not None else Options()
    source, out = Path(source), Path(out)
    files = _files(source)
    if out.exists() and not overwrite and not dry_run:
        raise DataError("already exists", item=out, remedy="choose another name, or pass --overwrite")
    job = _Job(options, Pseudonyms(_secret(options.secret_variable)), recogniser)
    if dry_run:
        job.run(files, None)
        return job.report
    with full_disk_told(out), atomic_folder(out, replace=overwrite) as partial:
        job.run(files, partial)
        write_json(partial / "ledger.json", job.report.to_json())
        write_manifest(
            partial,
            {
                "format": "medvlp-deidentified-1",
                "engines": {"dicom": METHOD, "text": ENGINE},
                "dates": options.dates,
                "secret": "of the user" if options.secret_variable is not None else "drawn and forgotten",
                "removed": job.report.to_json()["removed"],
            },
        )
    return job.report


class _Job:
    def __init__(self, options: Options, pseudonyms: Pseudonyms, recogniser: Recogniser | None) -> None:
        self.options, self.pseudonyms, self.recogniser = options, pseudonyms, recogniser
        self.report = Report()

    def run(self, files: Sequence[Path], out: Path | None) -> None:
        """Read every file; write under ``out`` unless it is None."""
        from rich.console import Console
        from rich.progress import track

        console = Console(stderr=True)
        shown = track(files, "de-identifying", console=console, transient=True, disable=not console.is_terminal)
        numbered = enumerate(shown, start=1)
        with quiet(), ThreadPoolExecutor(self.options.num_workers) as pool:
            while chunk := list(islice(numbered, _WINDOW)):
                kinds = [_kind(path) for _, path in chunk]
                dicoms = [path for (_, path), kind in zip(chunk, kinds, strict=True) if kind == "dicom"]
                done = iter(list(pool.map(lambda path: self._dicom(path, out), dicoms)))
                for (number, path), kind in zip(chunk, kinds, strict=True):
                    self._one(number, path, kind, next(done) if kind == "dicom" else None, out)
        if self.report.ledger.kept == 0:
            raise DataError(
                f"nothing to de-identify ({self.report.ledger})",
                item="source",
                remedy="name a folder of DICOM, text or table files",
            )

    def _one(self, number: int, path: Path, kind: str, result: Any, out: Path | None) -> None:
        item = f"file {number}"
        if kind == "dicom":
            if result is None:
                self.report.ledger.drop(item, "unreadable DICOM file")
                return
            removed, warnings, name = result
            self.report.removed["dicom"].update(removed)
            for warning in warnings:
                self.report.warn(warning, name)
        elif kind == "text":
            done = deidentify_text(_text(path, self.options.encoding, item), self.recogniser)
            self.report.removed["text"].update(done.removed)
            if out is not None:
                write_text(_made(out / "texts") / f"{number:06d}.txt", done.text)
        elif kind == "table":
            self._table(path, number, out)
        else:
            self.report.ledger.drop(item, kind)
            return
        self.report.files[kind] += 1
        self.report.ledger.keep()

    def _dicom(self, path: Path, out: Path | None) -> tuple[Counter[str], list[str], str] | None:
        """De-identify one file; None if it cannot be read. Called from several threads."""
        import pydicom

        try:
            dataset = pydicom.dcmread(path, force=True)
            if not any(keyword in dataset for keyword in ("SOPClassUID", "StudyInstanceUID", "PixelData")):
                return None
            study, series = (
                str(dataset.get("StudyInstanceUID", "")),
                str(dataset.get("SOPInstanceUID", "")) or str(path),
            )
            done = deidentify_dicom(dataset, self.pseudonyms, self.options.dates)
            name = f"{dataset.PatientID}/{self.pseudonyms.of(study) or 'study'}/{self.pseudonyms.of(series)}.dcm"
            buffer = io.BytesIO()
            dataset.save_as(buffer, enforce_file_format="TransferSyntaxUID" in dataset.file_meta)
        except Exception:  # whatever a broken file raises, its message may quote it
            return None
        if out is not None:
            target = out / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                return done.removed, [*done.warnings, "copy of another file, written once"], name
            target.write_bytes(buffer.getbuffer())
        return done.removed, done.warnings, name

    def _table(self, path: Path, number: int, out: Path | None) -> None:
        from data_prep.pairs.tables import read_table, require_columns

        options = self.options
        rows = read_table(path, options.encoding)
        columns = [*options.id_columns, *options.columns, *options.keep_columns]
        if not options.columns and not options.id_columns:
            raise DataError(
                f"a table with the columns {', '.join(repr(name) for name in rows[0])}",
                item=path.name,
                remedy="name free texts with --columns, record numbers with --id-columns, others with --keep-columns",
            )
        require_columns(path, rows, columns)
        left_out = [name for name in rows[0] if name not in columns]
        if left_out:
            self.report.warn(f"columns of tables left out: {len(left_out)}", f"file {number}")
        cleaned = []
        for row in rows:
            new = {name: row[name] for name in rows[0] if name in columns}
            for name in options.columns:
                done = deidentify_text(row[name], self.recogniser)
                self.report.removed["text"].update(done.removed)
                new[name] = done.text
            for name in options.id_columns:
                new[name] = self.pseudonyms.of(row[name])
                self.report.removed["text"]["record number"] += bool(row[name].strip())
            cleaned.append(new)
        if out is not None:
            _write_rows(_made(out / "tables") / f"{number:06d}", path, cleaned)


def _write_rows(stem: Path, source: Path, rows: Sequence[dict[str, str]]) -> None:
    name = source.name.lower().removesuffix(".gz")
    if name.endswith(".jsonl"):
        write_text(stem.with_suffix(".jsonl"), "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(
        buffer, list(rows[0]), delimiter="\t" if name.endswith(".tsv") else ",", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    write_text(stem.with_suffix(".tsv" if name.endswith(".tsv") else ".csv"), buffer.getvalue())


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError("no such file or folder", item=source, remedy="check the path")
    return sorted(path for path in _walk(source) if not path.name.startswith("."))


def _walk(folder: Path) -> Iterator[Path]:
    """Every regular file; links are not followed, so that nothing outside the folder is read."""
    for where, _, names in os.walk(folder, followlinks=False):
        for name in names:
            path = Path(where, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _kind(path: Path) -> str:
    name = path.name.lower()
    if name == "dicomdir":
        return "DICOMDIR, which lists names"
    if name.endswith(TABLES):
        return "table"
    if name.endswith(TEXTS):
        return "text"
    return "dicom" if is_dicom(path) else _OTHER


def _text(path: Path, encoding: str, item: str) -> str:
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise DataError(f"text of more than {MAX_TEXT_BYTES:,} bytes", item=item, remedy="split it")
    try:
        return path.read_bytes().decode(encoding)
    except UnicodeDecodeError:
        raise DataError(
            f"is not {encoding}", item=item, remedy="pass --encoding, for example latin-1 or cp1252"
        ) from None
    except LookupError:
        raise DataError(f"unknown encoding {encoding!r}", item="--encoding", remedy="use utf-8 or latin-1") from None


def _secret(variable: str | None) -> str | None:
    if variable is None:
        return None
    value = os.environ.get(variable, "")
    if len(value) < 16:
        raise DataError(
            "the environment variable is not set, or shorter than 16 characters",
            item=variable,
            remedy="set it, or leave it out",
        )
    return value


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
