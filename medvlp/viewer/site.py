"""The viewer's routes: a fixed table from paths to what is shown. No part of a path ever names a file."""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from medvlp.errors import DataError
from medvlp.viewer import pages
from medvlp.viewer.answers import Answer
from medvlp.viewer.overlay import Cells, cells_of, heat_png, scale_png
from medvlp.viewer.pyramid import DeepZoom, descriptor, jpeg
from medvlp.zeroshot.diagnose import shown_column

CACHE_BYTES = 2**26
_STATIC = Path(__file__).parent / "static"
_STATIC_TYPES = {
    "openseadragon.min.js": "text/javascript; charset=utf-8",
    "viewer.js": "text/javascript; charset=utf-8",
    "viewer.css": "text/css; charset=utf-8",
}
_HTML, _JSON, _XML = "text/html; charset=utf-8", "application/json", "application/xml"
_ROUTES = {
    name: re.compile(pattern, re.ASCII)
    for name, pattern in {
        "index": r"/",
        "colours": r"/static/colours\.png",
        "static": r"/static/([a-z.]{1,40})",
        "page": r"/(\d{1,6})/",
        "slide": r"/(\d{1,6})/slide\.json",
        "pyramid": r"/(\d{1,6})/slide\.dzi",
        "pixels": r"/(\d{1,6})/slide_files/(\d{1,2})/(\d{1,6})_(\d{1,6})\.jpeg",
        "heat": r"/(\d{1,6})/heat/(\d{1,4})-(0|1)\.png",
        "tile": r"/(\d{1,6})/tile/(\d{1,8})\.json",
        "at": r"/(\d{1,6})/at/(\d{1,7})_(\d{1,7})\.json",
    }.items()
}
_FIXED = {"index", "colours", "static"}


@dataclass(frozen=True)
class Reply:
    """A body and what it is."""

    body: bytes
    kind: str


@dataclass(frozen=True)
class Shown:
    """One slide on the site."""

    answer: Answer
    pyramid: DeepZoom
    cells: Cells
    column: int


class Site:
    """What the server shows; opens the slides, and closes them when left.

    Args:
        answers: The answers, in the order they are numbered.
        show_names: Call slides by the names of their files.

    Raises:
        DataError: If a slide cannot be opened, or has another size than the one that was diagnosed.
    """

    def __init__(self, answers: list[Answer], *, show_names: bool = False) -> None:
        self._show_names = show_names
        self._cache = BytesCache(CACHE_BYTES)
        self._static = {name: (_STATIC / name).read_bytes() for name in _STATIC_TYPES}
        with ExitStack() as stack:
            self.slides = [_open(answer, stack) for answer in answers]
            self._stack = stack.pop_all()

    def __enter__(self) -> Site:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the slides, once nobody reads them."""
        for shown in self.slides:
            shown.pyramid.end()
        self._stack.close()

    @property
    def num_unreadable(self) -> int:
        """Tiles asked for so far whose pixels could not be decoded."""
        return sum(shown.pyramid.num_unreadable for shown in self.slides)

    def reply(self, path: str) -> Reply | None:
        """Answer a path, taken letter by letter as it was sent; None if nothing is there.

        Args:
            path: Begins with a slash; percent signs and queries are in no route.
        """
        for name, pattern in _ROUTES.items():
            match = pattern.fullmatch(path)
            if match is not None:
                return self._fixed(name, match) if name in _FIXED else self._numbered(name, match)
        return None

    def _fixed(self, name: str, match: re.Match[str]) -> Reply | None:
        if name == "index":
            return _text(pages.index_page([shown.answer for shown in self.slides], self._show_names), _HTML)
        if name == "colours":
            return Reply(scale_png(), "image/png")
        found = self._static.get(match[1])
        return None if found is None else Reply(found, _STATIC_TYPES[match[1]])

    def _numbered(self, name: str, match: re.Match[str]) -> Reply | None:
        number, *rest = map(int, match.groups())
        return self._of_slide(name, number, rest) if 1 <= number <= len(self.slides) else None

    def _of_slide(self, name: str, number: int, rest: list[int]) -> Reply | None:
        shown = self.slides[number - 1]
        answer, pyramid, cells = shown.answer, shown.pyramid, shown.cells
        if name == "page":
            total = len(self.slides)
            return _text(pages.slide_page(answer, number, total, cells, shown.column, self._show_names), _HTML)
        if name == "slide":
            return _json(pages.slide_json(answer, cells, shown.column))
        if name == "pyramid":
            return _text(descriptor(pyramid), _XML)
        if name == "pixels":
            level, column, row = rest
            if not pyramid.has(level, column, row):
                return None
            picture = self._cache.get((number, "pixels", *rest), lambda: jpeg(pyramid.tile(level, column, row)))
            return Reply(picture, "image/jpeg")
        if name == "heat":
            k, stretched = rest
            if k >= len(answer.labels):
                return None
            limits = pages.limits_of(answer, k) if stretched else (0.0, 1.0)
            value_N = answer.probability_NK[:, k]
            picture = self._cache.get(
                (number, "heat", *rest), lambda: heat_png(value_N, answer.place_NX, answer.side, cells, limits)
            )
            return Reply(picture, "image/png")
        row_or_none = rest[0] if name == "tile" else answer.tile_at(*rest)
        if row_or_none is None:
            return _json(None)
        return _json(pages.tile_json(answer, row_or_none)) if row_or_none < len(answer.place_NX) else None


class BytesCache:
    """Pictures by name, the least used forgotten once they are more than ``limit`` bytes; for several threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self.num_bytes = 0

    def get(self, name: tuple[object, ...], make: Callable[[], bytes]) -> bytes:
        """Return what is held, or make and hold it."""
        with self._lock:
            if name in self._held:
                self._held.move_to_end(name)
                return self._held[name]
        made = make()
        with self._lock:
            if name not in self._held:
                self._held[name] = made
                self.num_bytes += len(made)
            while self.num_bytes > self._limit:
                _, gone = self._held.popitem(last=False)
                self.num_bytes -= len(gone)
        return made


def _open(answer: Answer, stack: ExitStack) -> Shown:
    from medvlp.slides.reader import open_slide

    results = answer.results
    given = results["slide"]["mpp"] if results["slide"]["mpp_source"] == "given" else None
    slide = stack.enter_context(open_slide(answer.slide_path, mpp=given))
    if list(slide.size) != results["slide"]["size"]:
        raise DataError("is not the slide that was diagnosed: its size differs", item=answer.slide_path)
    labels = answer.labels
    normal = next((k for k, row in enumerate(results["classes"]) if row["is_normal"]), None)
    column = shown_column(labels.index(results["answer"]["label"]), normal, answer.probability_NK)
    return Shown(answer, DeepZoom(slide), cells_of(answer.place_NX, answer.side), column)


def _text(text: str, kind: str) -> Reply:
    return Reply(text.encode(), kind)


def _json(value: object) -> Reply:
    return Reply(json.dumps(value, ensure_ascii=False, allow_nan=False).encode(), _JSON)
