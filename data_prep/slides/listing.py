"""The list of slides: patterns or a table, each slide once, each with a name of its own."""

from __future__ import annotations

import glob
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.slides.config import SlidesConfig
from medvlp.config import resolve_path
from medvlp.errors import DataError

_COLUMNS = ("slide", "key", "mpp", "case", "split")
_BAD_IN_KEYS = frozenset('/\\:*?"<>|')


@dataclass(frozen=True)
class SlideItem:
    """One slide of a job.

    Attributes:
        key: What its files in the job folder are called.
        path: The file, or the folder of a DICOM series.
        mpp: Micrometres per level-0 pixel by the table, which must agree with the file's own.
        case: Patient or case, if the table says so.
        split: Split, if the table says so.
    """

    key: str
    path: Path
    mpp: float | None = None
    case: str | None = None
    split: str | None = None


def list_slides(config: SlidesConfig) -> list[SlideItem]:
    """Return the slides in order of their keys.

    Raises:
        DataError: A pattern without files, a wrong table, or two slides of one name.
    """
    items = _from_table(resolve_path(config.table)) if config.table is not None else _from_patterns(config.slides)
    seen: dict[str, SlideItem] = {}
    for item in items:
        _check_key(item.key)
        other = seen.setdefault(item.key.casefold(), item)
        if other is not item:
            twice = other.path == item.path
            raise DataError(
                "is listed twice" if twice else f"two slides of this name ({other.path.name}, {item.path.name})",
                item=item.key,
                remedy="list it once" if twice else "rename one, or give names in a table's column key",
            )
    return sorted(items, key=lambda item: item.key)


def _from_patterns(patterns: list[str]) -> list[SlideItem]:
    found: dict[Path, None] = {}
    for pattern in patterns:
        text = str(resolve_path(pattern))
        paths = [Path(text)] if Path(text).exists() else sorted(Path(name) for name in glob.glob(text, recursive=True))
        if not paths:
            raise DataError("no slide matches", item=pattern, remedy="check the folder and the suffix")
        found |= dict.fromkeys(path.resolve() for path in paths)
    return [SlideItem(_stem(path), path) for path in found]


def _from_table(path: Path) -> list[SlideItem]:
    rows = _rows(path)
    if not rows:
        raise DataError("lists no slides", item=path, remedy="one row per slide")
    if "slide" not in rows[0]:
        raise DataError(f"no column slide; found {', '.join(rows[0])}", item=path, remedy=f"use {', '.join(_COLUMNS)}")
    items = []
    for number, row in enumerate(rows, start=1):
        text = {name: str(row[name]).strip() if row.get(name) is not None else "" for name in _COLUMNS}
        if not text["slide"]:
            raise DataError(f"row {number} names no slide", item=path, remedy="fill the column slide")
        place = Path(text["slide"]).expanduser()
        place = (place if place.is_absolute() else path.parent / place).resolve()
        if not place.exists():
            raise DataError(f"row {number}: {place.name} is not there", item=path, remedy="paths start at the table")
        items.append(
            SlideItem(
                text["key"] or _stem(place),
                place,
                _mpp(text["mpp"], number, path),
                text["case"] or None,
                text["split"] or None,
            )
        )
    return items


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix.lower() != ".parquet":
        from data_prep.pairs.tables import read_table

        return list(read_table(path))
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError("table not found", item=path, remedy="check the path")
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"not a Parquet table ({str(error).splitlines()[0][:80]})", item=path) from None
    return rows


def _mpp(text: str, number: int, path: Path) -> float | None:
    if not text or text.casefold() == "nan":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.05 <= value <= 20.0:
        raise DataError(f"row {number}: mpp {text!r} is not micrometres per pixel", item=path, remedy="as in 0.25")
    return value


def _stem(path: Path) -> str:
    if path.is_dir():
        return path.name
    name = path.name
    for suffix in (".ome.tif", ".ome.tiff"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def _check_key(key: str) -> None:
    if not key or key.startswith(".") or _BAD_IN_KEYS & set(key) or not key.isprintable() or len(key) > 200:
        raise DataError("cannot name files", item=repr(key)[:80], remedy="give another name in a table's column key")
