"""Finds the files of a release and the names of their columns: from MRFILES.RRF, else as documented by NLM."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from medvlp.errors import GraphError

DOCUMENTED = {
    "MRCONSO": "CUI LAT TS LUI STT SUI ISPREF AUI SAUI SCUI SDUI SAB TTY CODE STR SRL SUPPRESS CVF",
    "MRREL": "CUI1 AUI1 STYPE1 REL CUI2 AUI2 STYPE2 RELA RUI SRUI SAB SL RG DIR SUPPRESS CVF",
    "MRSTY": "CUI TUI STN STY ATUI CVF",
    "MRDEF": "CUI AUI ATUI SATUI SAB DEF SUPPRESS CVF",
    "MRHIER": "CUI AUI CXN PAUI SAB RELA PTR HCD CVF",
    "MRSAB": "VCUI RCUI VSAB RSAB SON SF SVER VSTART VEND IMETA RMETA SLC SCC SRL TFR CFR CXTY TTYL ATNL LAT CENC "
    "CURVER SABIN SSN SCIT",
    "MRCUI": "CUI1 VER REL RELA MAPREASON CUI2 MAPIN",
    "MRRANK": "RANK SAB TTY SUPPRESS",
    "MRDOC": "DOCKEY VALUE TYPE EXPL",
}
_MRFILES = "FIL DES FMT CLS RWS BTS"
_PART = re.compile(r"\.(?!gz$)(\d{2,3}|[a-z]{2})(\.gz)?")


@dataclass(frozen=True)
class RrfFile:
    """One table of the release: its files in order, its columns, and its number of rows if MRFILES gives it."""

    name: str
    parts: tuple[Path, ...]
    columns: tuple[str, ...]
    num_rows: int | None

    @property
    def num_bytes(self) -> int:
        """Size on the disk, packed if the files are."""
        return sum(path.stat().st_size for path in self.parts)


class Release:
    """A folder of RRF files.

    Attributes:
        layout: ``MRFILES.RRF`` or ``documented``: where the names of the columns come from.
    """

    def __init__(self, folder: Path) -> None:
        """Look for the files.

        Raises:
            GraphError: No such folder, or a malformed MRFILES.RRF (with the line).
        """
        if not folder.is_dir():
            raise GraphError("no such folder", item=folder, remedy="name the folder that holds MRCONSO.RRF")
        self.folder = folder
        self._listed = self._read_mrfiles()
        self.layout = "MRFILES.RRF" if self._listed else "documented"

    def _read_mrfiles(self) -> dict[str, tuple[tuple[str, ...], int | None]]:
        path = self.folder / "MRFILES.RRF"
        if not path.is_file():
            return {}
        listed: dict[str, tuple[tuple[str, ...], int | None]] = {}
        for line, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            fields = text.split("|")
            if len(fields) != len(_MRFILES.split()) + 1 or fields[-1]:
                raise GraphError(
                    f"has {len(fields) - 1} fields, not {len(_MRFILES.split())}",
                    item=f"{path}:{line}",
                    remedy="restore MRFILES.RRF, or remove it to use the documented layouts",
                )
            columns = tuple(name.strip() for name in fields[2].split(","))
            if len(set(columns)) != len(columns):
                raise GraphError("names a column twice", item=f"{path}:{line}", remedy="restore MRFILES.RRF")
            listed[fields[0]] = (columns, int(fields[4]) if fields[4].isdigit() else None)
        return listed

    def find(self, table: str, needed: str) -> RrfFile | None:
        """Return a table such as ``MRREL``, None if the release has no such file.

        Args:
            table: Name without ``.RRF``.
            needed: The columns that will be read, by blanks.

        Raises:
            GraphError: A needed column that MRFILES.RRF does not list, or both a plain and a packed file.
        """
        name = f"{table}.RRF"
        plain, packed = self.folder / name, self.folder / f"{name}.gz"
        parts = sorted(path for path in self.folder.glob(f"{name}.*") if _PART.fullmatch(path.name.removeprefix(name)))
        found = [group for group in ([plain], [packed], parts) if group and all(path.is_file() for path in group)]
        if not found:
            return None
        if len(found) > 1:
            raise GraphError(
                f"there are both {found[0][0].name} and {found[1][0].name}", item=self.folder, remedy="keep one of them"
            )
        columns, num_rows = self._listed.get(name, (tuple(DOCUMENTED[table].split()), None))
        for column in needed.split():
            if column not in columns:
                raise GraphError(
                    f"has no column {column} ({self.layout} gives {', '.join(columns)})",
                    item=found[0][0],
                    remedy="restore MRFILES.RRF and this file from one release",
                )
        return RrfFile(name, tuple(found[0]), columns, num_rows)

    def need(self, table: str, needed: str) -> RrfFile:
        """Return a table that must be there; see :meth:`find`."""
        found = self.find(table, needed)
        if found is None:
            raise GraphError(
                f"holds no {table}.RRF (nor .gz, nor parts)",
                item=self.folder,
                remedy="name the META folder of a release or of a MetamorphoSys subset",
            )
        return found
