"""Answers of ``medvlp diagnose`` as the viewer needs them, and the slides they are about.

Shape legend: N tiles, K classes, X = 2 (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import DataError
from medvlp.io import read_json, verify_manifest
from medvlp.ledger import Ledger
from medvlp.zeroshot import slide_results
from medvlp.zeroshot.classifier import Floats
from medvlp.zeroshot.slide_nearest import NEAREST, NearestPrompts, read_nearest
from medvlp.zeroshot.smoothing import Places

_RESULTS = "results.json"


@dataclass(frozen=True)
class Answer:
    """One folder that ``medvlp diagnose`` wrote.

    Attributes:
        results: What ``results.json`` holds.
        place_NX: Level-0 top-left corners of the tiles.
        probability_NK: Probabilities, classes in the order of ``results["classes"]``.
        nearest: The nearest prompts of every tile.
        slide_path: The slide.
    """

    results: dict[str, Any]
    place_NX: Places
    probability_NK: Floats
    nearest: NearestPrompts
    slide_path: Path

    @property
    def side(self) -> int:
        """Side of a tile, level-0 pixels."""
        return int(self.results["grid"]["patch_size_level0"])

    @property
    def labels(self) -> list[str]:
        """Labels of the classes."""
        return [row["label"] for row in self.results["classes"]]

    def tile_at(self, x: int, y: int) -> int | None:
        """Return the row of the tile that holds a level-0 pixel, of several the one with the nearest middle."""
        offset_NX = np.array([x, y]) - self.place_NX
        inside_N = ((offset_NX >= 0) & (offset_NX < self.side)).all(1)
        if not inside_N.any():
            return None
        distance_N = np.abs(offset_NX + 0.5 - self.side / 2).max(1)
        return int(np.where(inside_N, distance_N, np.inf).argmin())


def find_answers(folder: Path, slides: Path | None = None) -> tuple[list[Answer], Ledger]:
    """Read an answer, or every answer one folder further down, in the order of their names.

    Args:
        folder: What ``medvlp diagnose`` wrote, or a folder of several such.
        slides: The folder the slides lie in; by default each is looked for where it was when it was diagnosed.

    Returns:
        The answers, and the count of folders left out with the reasons.

    Raises:
        DataError: If there is no answer, or none that can be shown.
    """
    if not folder.is_dir():
        raise DataError("no such folder", item=folder, remedy="name what medvlp diagnose wrote")
    if slides is not None and not slides.is_dir():
        raise DataError("no such folder", item=slides, remedy="give the folder of the slides with --slides")
    ledger = Ledger()
    if (folder / _RESULTS).exists():
        ledger.keep()
        return [read_answer(folder, slides)], ledger
    answers: list[Answer] = []
    first: DataError | None = None
    root = folder.resolve()
    for below in sorted(path.parent for path in folder.glob(f"*/{_RESULTS}") if not path.parent.name.startswith(".")):
        try:
            if not below.resolve().is_relative_to(root):
                raise DataError("is a link that leads out of the folder", item=below)
            answers.append(read_answer(below, slides))
            ledger.keep()
        except DataError as error:
            first = first or error
            ledger.drop(below.name, error.problem)
    if not answers:
        raise first or DataError("holds no results.json", item=folder, remedy="name what medvlp diagnose wrote")
    return answers, ledger


def read_answer(folder: Path, slides: Path | None = None) -> Answer:
    """Read one answer and check that its files are whole and belong together.

    Raises:
        DataError: Naming the file that is damaged or does not fit, or the slide that cannot be found.
    """
    verify_manifest(folder)
    results = read_json(folder / _RESULTS)
    if not isinstance(results, dict) or results.get("format") != slide_results.FORMAT:
        raise DataError("is no answer about a slide", item=folder / _RESULTS, remedy="name what medvlp diagnose wrote")
    slide_results.validate(results)
    labels = [row["label"] for row in results["classes"]]
    place_NX, probability_NK = _tiles(folder / "tiles.parquet", labels, int(results["grid"]["num_scored"]))
    prompts = results["prompts"]["classes"]
    nearest = read_nearest(folder / NEAREST, len(place_NX), [len(prompts[label]) for label in labels])
    return Answer(results, place_NX, probability_NK, nearest, _slide_path(folder, results["slide"], slides))


def _tiles(path: Path, labels: list[str], num: int) -> tuple[NDArray[np.int64], Floats]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path, columns=["x", "y", *labels])
        columns = [table.column(name).to_numpy() for name in ("x", "y", *labels)]
    except (OSError, KeyError, pyarrow.ArrowException) as error:
        raise DataError(
            f"cannot be read ({type(error).__name__})", item=path, remedy="diagnose the slide again"
        ) from None
    place_NX = np.stack(columns[:2], axis=1).astype(np.int64)
    probability_NK = np.stack(columns[2:], axis=1).astype(np.float64)
    if len(place_NX) != num or not ((probability_NK >= 0) & (probability_NK <= 1)).all():
        raise DataError("does not belong to results.json", item=path, remedy="diagnose the slide again")
    return place_NX, probability_NK


def _slide_path(folder: Path, slide: dict[str, Any], slides: Path | None) -> Path:
    """The slide where it was given to ``diagnose``, or the only one of its name in the folder ``slides``."""
    given = Path(slide["path"])
    if slides is None:
        if given.exists():
            return given
        raise DataError("its slide is not where it was", item=folder, remedy="name the slide's folder with --slides")
    entries = sorted(slides.iterdir())
    found = [path for path in entries if path.name == given.name] or [
        path for path in entries if (path.name if path.is_dir() else path.stem) == slide["key"]
    ]
    if len(found) != 1:
        problem = "several files could be its slide" if found else "its slide is not there"
        raise DataError(problem, item=slides, remedy="name another folder with --slides")
    return found[0]
