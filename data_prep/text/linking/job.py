"""The job behind ``medvlp link``: texts in, one row per mention out; the texts stay where they are."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

from data_prep.text.assertion import assertions
from data_prep.text.laterality import sides
from data_prep.text.linking.config import LinkerConfig
from data_prep.text.linking.linker import Linker
from medvlp.errors import DataError
from medvlp.io import full_disk_told, write_text
from medvlp.ledger import Ledger

_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("concept", pa.string()),
        ("name", pa.string()),
        ("semantic_types", pa.list_(pa.string())),
        ("score", pa.float64()),
        ("tier", pa.string()),
        ("assertion", pa.string()),
        ("side", pa.string()),
    ]
)


@dataclass(frozen=True)
class Texts:
    """Where texts come from.

    Attributes:
        source: A table (``.csv``, ``.tsv``, ``.jsonl``, plain or ``.gz``), a text file, or ``-`` for standard input.
        column: Column of a table with the texts.
        key: Column with their names; by default the row number is the name.
        lines: Each line of a text file is a text of its own; otherwise the file is one text.
        encoding: Of the file.
    """

    source: str
    column: str | None = None
    key: str | None = None
    lines: bool = False
    encoding: str = "utf-8"

    def read(self) -> list[tuple[str, str]]:
        """Return (key, text) pairs.

        Raises:
            DataError: A missing file or column, a repeated key, or bytes that are not in the encoding.
        """
        path = Path(self.source)
        if self.source != "-" and any(suffix.lower() in _TABLES for suffix in path.suffixes):
            return self._table(path)
        if self.column is not None or self.key is not None:
            raise DataError("columns are of tables", item=self.source, remedy="leave --column and --key out")
        if self.source == "-":
            raw, name = sys.stdin.buffer.read(), "stdin"
        elif path.is_file():
            raw, name = path.read_bytes(), path.name
        else:
            raise DataError("file not found", item=path, remedy="check the path")
        try:
            text = raw.decode(self.encoding)
        except (UnicodeDecodeError, LookupError) as error:
            reason = "unknown encoding" if isinstance(error, LookupError) else f"is not {self.encoding}"
            raise DataError(reason, item=self.source, remedy="pass --encoding, for example latin-1") from None
        if not self.lines:
            return [(name, text)]
        return [(str(number), line) for number, line in enumerate(text.splitlines(), 1)]

    def _table(self, path: Path) -> list[tuple[str, str]]:
        from data_prep.pairs.tables import read_table, require_columns

        if self.column is None:
            raise DataError("which column holds the texts?", item=path, remedy="pass --column")
        rows = read_table(path, "utf-8-sig" if self.encoding == "utf-8" else self.encoding)
        require_columns(path, rows, [self.column, *([self.key] if self.key is not None else [])])
        found = [
            (row[self.key] if self.key is not None else str(number), row[self.column])
            for number, row in enumerate(rows, 1)
        ]
        seen: set[str] = set()
        for number, (key, _) in enumerate(found, 1):
            if key in seen:
                raise DataError(f"the key of row {number} occurs before", item=path, remedy="choose another --key")
            seen.add(key)
        return found


def run(config: LinkerConfig, texts: Texts, out: Path, *, show_texts: bool = False, overwrite: bool = False) -> Ledger:
    """Link texts and write their mentions.

    Args:
        config: The linker.
        texts: What to link.
        out: File to write: ``.jsonl`` or ``.parquet``.
        show_texts: Also write the words of each mention; without it the file holds offsets and concepts alone.
        overwrite: Replace a file that is there.

    Returns:
        How many texts have mentions, and how many have none or are empty.

    Raises:
        DataError: ``out`` exists or is of another kind; see :meth:`Texts.read`.
    """
    if out.suffix not in (".jsonl", ".parquet"):
        raise DataError("neither .jsonl nor .parquet", item=out, remedy="name the file so")
    if out.exists() and not overwrite:
        raise DataError("already exists", item=out, remedy="remove it, choose another file, or pass --overwrite")
    found = texts.read()
    linker = Linker.load(config)
    ledger = Ledger()
    rows = list(_rows(linker, found, ledger, show_texts))
    with full_disk_told(out):
        if out.suffix == ".jsonl":
            write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        else:
            out.parent.mkdir(parents=True, exist_ok=True)
            schema = _SCHEMA.append(pa.field("text", pa.string())) if show_texts else _SCHEMA
            partial = out.with_name(f".partial-{out.name}")
            try:
                pq.write_table(pa.Table.from_pylist(rows, schema=schema), partial, compression="zstd")
                partial.replace(out)
            finally:
                partial.unlink(missing_ok=True)
    return ledger


def _rows(linker: Linker, texts: list[tuple[str, str]], ledger: Ledger, show_texts: bool) -> Iterator[dict[str, Any]]:
    for key, text in track(texts, "linking", console=Console(stderr=True), transient=True):
        links = linker.link(text)
        if links:
            ledger.keep()
        else:
            ledger.drop(key, "no mention" if text.strip() else "empty text")
        spans = [(link.start, link.end) for link in links]
        for link, assertion, side in zip(links, assertions(text, spans), sides(text, spans), strict=True):
            row = {
                "key": key,
                "start": link.start,
                "end": link.end,
                "concept": link.concept,
                "name": linker.graph.name(link.concept),
                "semantic_types": list(link.semantic_types),
                "score": link.score,
                "tier": link.tier,
                "assertion": str(assertion),
                "side": None if side is None else str(side),
            }
            yield {**row, "text": link.text} if show_texts else row
