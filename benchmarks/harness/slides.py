"""Slides of a task: planted ones, those of a standard set's adapter, or those of a table; each with its truth."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from benchmarks.slides.embed import Slide
from benchmarks.slides.masks import Mask, read_mask
from data_prep.pairs.standard.slide_sets import SlideSource, list_slides
from data_prep.planted.config import PlantedSlidesConfig
from data_prep.planted.store import PlantedSlides, square_means
from data_prep.slides.locks import Locks
from medvlp.config import load, resolve_path
from medvlp.errors import ConfigError, DataError
from medvlp.io import MANIFEST, read_json, sha256_json

if TYPE_CHECKING:
    from benchmarks.harness.task import SlidesData

_COLUMNS = ("slide", "label", "case", "split")


@dataclass(frozen=True)
class ListedSlide:
    """A slide of a list.

    Attributes:
        key: Its name.
        part: Its split.
        path: The file.
        label: Its class.
        tumour: The same, or None for a normal class.
        case: Patient or case.
        size: (width, height) in level-0 pixels; None where there is no mask.
        mask: Image of the whole slide that is not 0 where tumour is, or None.
    """

    key: str
    part: str
    path: Path
    label: str
    tumour: str | None
    case: str
    size: tuple[int, int] | None
    mask: Path | None

    def truth(self, coords_NX: NDArray[np.int64], side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Share of tumour (0 without a mask) and of tissue (1: the grid chose the tiles) in each square (N,)."""
        tissue_N = np.ones(len(coords_NX))
        if self.mask is None:
            return np.zeros(len(coords_NX)), tissue_N
        mask_hw, downsample = self._mask()
        return square_means(mask_hw, coords_NX, side, downsample), tissue_N

    def tumour_area(self) -> float:
        """Tumour of the slide in level-0 pixels; 0 without a mask."""
        if self.mask is None:
            return 0.0
        mask_hw, downsample = self._mask()
        return float(mask_hw.sum()) * downsample**2

    def _mask(self) -> Mask:
        assert self.mask is not None
        assert self.size is not None
        return read_mask(self.mask, self.size)


@dataclass(frozen=True)
class SlideSet:
    """The slides of a task.

    Attributes:
        slides: In order.
        cases: Case of each; planted slides are a case each.
        labels: Class of each; None for a planted slide without tumour.
        digest: Of everything that is known about them.
        classes: All classes, in order.
        normals: Those that are no tumour.
        planted: The planted set, where it is one.
        limits: What a reader has to know.
    """

    slides: Sequence[Slide]
    cases: tuple[str, ...]
    labels: tuple[str | None, ...]
    digest: str
    classes: tuple[str, ...]
    normals: tuple[str, ...]
    planted: PlantedSlides | None
    limits: tuple[str, ...] = ()

    def rows(self, part: str) -> list[int]:
        """Numbers of the slides of a part."""
        return [row for row, slide in enumerate(self.slides) if slide.part == part]


def open_set(
    data: SlidesData, folder: Path, classes: Sequence[str] | None = None, normal: Sequence[str] = ()
) -> SlideSet:
    """Open the slides of a task; planted ones that are not there yet are composed below ``folder``.

    Args:
        data: Where they are.
        folder: For planted slides.
        classes: Classes with prompts; all labels by default.
        normal: Those of them that are no tumour; planted slides say it themselves.

    Raises:
        ConfigError: If not exactly one of ``planted``, ``source`` and ``table`` is given, or ``normal`` names no class.
        DataError: If a file or column is missing, a key comes twice, or a case lies in two splits.
    """
    given = [name for name in ("planted", "source", "table") if getattr(data, name) is not None]
    if len(given) != 1:
        raise ConfigError(
            f"slides need one source, not {len(given)}", item="data", remedy="give planted, source or table"
        )
    if data.planted is not None:
        return _planted(open_planted(data.planted, data.set, folder))
    rows, limits = _adapter(data.source) if data.source is not None else (_table(resolve_path(str(data.table))), [])
    return _listed(rows, classes, normal, limits)


def open_planted(planted: str, overrides: Sequence[str], folder: Path) -> PlantedSlides:
    """Open a folder of planted slides, or compose what a config of kind ``planted_slides`` asks for, once."""
    ready = resolve_path(planted)
    if (ready / MANIFEST).is_file():
        return PlantedSlides(ready)
    from data_prep.planted.simulate import simulate
    from medvlp import __version__

    config = load(planted, overrides, kind="planted_slides")
    assert isinstance(config, PlantedSlidesConfig)
    target = folder / f"planted-{sha256_json([__version__, config.model_dump(mode='json')])[:16]}"
    with Locks(folder / "locks" / target.name).guard():  # cells of several processes share the slides
        if not (target / MANIFEST).is_file():
            simulate(config, target)
    return PlantedSlides(target)


def _planted(found: PlantedSlides) -> SlideSet:
    classes: Mapping[str, Any] = found.manifest["config"]["classes"]
    return SlideSet(
        found.slides,
        tuple(slide.key for slide in found.slides),
        tuple(slide.tumour for slide in found.slides),
        sha256_json(read_json(found.folder / MANIFEST)["files"]),
        tuple(classes),
        tuple(name for name, entry in classes.items() if not entry["beside"]),
        found,
        (f"Slides are {found.manifest['warning']}.", "Intervals resample slides, not the images they are made of."),
    )


def _adapter(source: dict[str, object]) -> tuple[list[dict[str, Any]], list[str]]:
    try:
        chosen: Any = TypeAdapter(SlideSource).validate_python(source)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["data.source", *(str(part) for part in first["loc"])])
        raise ConfigError(first["msg"], item=where, remedy="see the adapter's settings") from None
    listing = list_slides(chosen)
    names = ("key", "path", "label", "split", "mask")
    rows = [{name: getattr(row, name) for name in names} | {"case": row.case or row.key} for row in listing.rows]
    limits = [f"{what}: {count}." for what, count in listing.notes.items()]
    if listing.dropped:
        limits.append(f"{len(listing.dropped)} slides of the set are left out ({listing.dropped[0][1]}).")
    return rows, limits


def _table(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise DataError("is not there", item=path, remedy="name a CSV with the columns " + ", ".join(_COLUMNS))
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"has no column {missing[0]}", item=path, remedy=f"it needs {', '.join(_COLUMNS)}")
        rows = list(reader)
    return [
        {
            "key": Path(row["slide"]).stem,
            "path": path.parent / row["slide"],
            "label": row["label"],
            "case": row["case"],
            "split": row["split"],
            "mask": path.parent / row["outline"] if row.get("outline") else None,
        }
        for row in rows
    ]


def _listed(
    rows: Sequence[Mapping[str, Any]], classes: Sequence[str] | None, normal: Sequence[str], limits: list[str]
) -> SlideSet:
    labels = sorted({str(row["label"]) for row in rows})
    chosen = tuple(classes) if classes is not None else tuple(labels)
    unknown = [name for name in normal if name not in chosen]
    if unknown:
        raise ConfigError("is no class", item=f"normal: {unknown[0]}", remedy=f"use some of {', '.join(chosen)}")
    kept = [row for row in rows if row["label"] in chosen]
    _check(kept)
    slides = [_slide(row, normal) for row in kept]
    if len(kept) < len(rows):
        limits = [*limits, f"{len(rows) - len(kept)} slides of other classes are left out."]
    return SlideSet(
        slides,
        tuple(slide.case for slide in slides),
        tuple(slide.label for slide in slides),
        sha256_json([[slide.key, slide.part, slide.label, slide.case, slide.mask is not None] for slide in slides]),
        chosen,
        tuple(normal),
        None,
        tuple(limits),
    )


def _check(rows: Sequence[Mapping[str, Any]]) -> None:
    """Every file is there, no key comes twice, no case is in two splits."""
    splits: dict[str, str] = {}
    seen: set[str] = set()
    for row in rows:
        if row["key"] in seen:
            raise DataError("two slides have this key", item=row["key"], remedy="give each slide a name of its own")
        seen.add(row["key"])
        if splits.setdefault(row["case"], row["split"]) != row["split"]:
            raise DataError("the case is in two splits", item=row["case"], remedy="keep a case's slides together")
        for name in ("path", "mask"):
            if row[name] is not None and not Path(row[name]).exists():
                raise DataError("is not there", item=row[name], remedy="complete the copy, or take it off the list")


def _slide(row: Mapping[str, Any], normal: Sequence[str]) -> ListedSlide:
    size = None
    if row["mask"] is not None:
        from medvlp.slides.reader import open_slide

        with open_slide(row["path"]) as opened:
            size = opened.size
    tumour = None if row["label"] in normal else row["label"]
    mask = None if row["mask"] is None else Path(row["mask"])
    return ListedSlide(row["key"], row["split"], Path(row["path"]), row["label"], tumour, row["case"], size, mask)
