"""Readers of the annotated texts."""

from __future__ import annotations

import csv
import gzip
import io
import re
from dataclasses import dataclass
from pathlib import Path

from data_prep.text.linking.fit import Document, Mention
from medvlp.errors import DataError

_PASSAGE = re.compile(r"(\d+)\|([ta])\|(.*)")
_COLUMNS = ("roco_id", "caption", "cuis")


def read_ncbi(path: Path) -> list[Document]:
    """Read a part of the NCBI-disease corpus in PubTator format: title and abstract, spans, MeSH and OMIM ids.

    ``D1|D2`` names two concepts, ``D1+D2`` one mention that is both: in either case all ids are meant. Spaces around
    ids are the corpus's own slips and are removed.

    Raises:
        DataError: A line of another form, or a span that lies outside its text, with the line.
    """
    passages: dict[str, dict[str, str]] = {}
    mentions: dict[str, list[Mention]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        if passage := _PASSAGE.fullmatch(line):
            passages.setdefault(passage[1], {})[passage[2]] = passage[3]
            continue
        fields = line.split("\t")
        if len(fields) != 6 or not (fields[1].isdigit() and fields[2].isdigit()) or fields[0] not in passages:
            raise DataError("neither a passage nor an annotation", item=where, remedy="use the corpus's own text files")
        start, end = int(fields[1]), int(fields[2])
        if not start < end <= len(_text(passages[fields[0]])):
            raise DataError("the span lies outside its text", item=where, remedy="check the file")
        ids = frozenset(_curie(part) for part in re.split(r"[|+]", fields[5]) if part.strip())
        mentions.setdefault(fields[0], []).append(Mention(start, end, ids))
    return [Document(key, _text(parts), tuple(mentions.get(key, ()))) for key, parts in passages.items()]


def _text(parts: dict[str, str]) -> str:
    return f"{parts.get('t', '')} {parts.get('a', '')}"


def _curie(part: str) -> str:
    part = part.strip()
    return part if part.startswith("OMIM:") else f"MESH:{part}"


@dataclass(frozen=True)
class Caption:
    """A caption and the UMLS CUIs given for it."""

    key: str
    text: str
    ids: frozenset[str]


def read_roco(path: Path) -> list[Caption]:
    """Read ROCO's table (``.csv`` or ``.csv.gz``).

    Raises:
        DataError: A column is missing.
    """
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    rows = csv.DictReader(io.StringIO(text))
    if missing := [column for column in _COLUMNS if column not in (rows.fieldnames or ())]:
        raise DataError(
            f"has no column {missing[0]}", item=path, remedy=f"the columns needed are {', '.join(_COLUMNS)}"
        )
    return [
        Caption(row["roco_id"], row["caption"], frozenset(f"UMLS:{c}" for c in row["cuis"].split())) for row in rows
    ]
