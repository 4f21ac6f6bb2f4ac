"""What is to be done with one slide: its resolution, tissue and tiles, found before any tile is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

from data_prep.slides.config import SlidesConfig
from data_prep.slides.listing import SlideItem
from medvlp.errors import DataError
from medvlp.io import is_disk_full
from medvlp.slides.grid import tile_grid
from medvlp.slides.preview import preview
from medvlp.slides.reader import Slide, open_slide
from medvlp.slides.tissue import tissue_mask
from medvlp.slides.types import TileGrid

DONE, EMPTY, FAILED = "done", "empty", "failed"


@dataclass(frozen=True)
class Plan:
    """One slide before its tiles are read.

    Attributes:
        item: The slide.
        facts: What is written about it.
        mpp: What to open it with.
        grid: Its tiles; None if it failed.
        picture: PNG bytes of its preview, if wanted.
    """

    item: SlideItem
    facts: dict[str, Any]
    mpp: float | None = None
    grid: TileGrid | None = None
    picture: bytes | None = None

    @property
    def status(self) -> str | None:
        """FAILED or EMPTY where nothing is left to be read."""
        if self.grid is None:
            return FAILED
        return None if len(self.grid) else EMPTY


def plan(item: SlideItem, config: SlidesConfig, *, picture: bool) -> Plan:
    """Open a slide and find its tissue and tiles; what is wrong with the slide is a fact of the plan, not an error."""
    facts: dict[str, Any] = {**identity(item), "default_mpp": None}
    try:
        slide, mpp = _open(item, config)
        with slide:
            facts |= {
                "reader": slide.reader,
                "size": list(slide.size),
                "mpp": slide.mpp,
                "mpp_source": slide.mpp_source,
                "default_mpp": mpp if item.mpp is None else None,
            }
            mask = tissue_mask(slide, config.tissue)
            grid = tile_grid(slide, mask, config.grid)
            facts |= {
                "tissue": {
                    "share": round(mask.share, 6),
                    "method": mask.method,
                    "excluded": {reason: round(share, 6) for reason, share in sorted(mask.excluded.items())},
                },
                "tiles": len(grid),
            }
            shown = _png(slide, mask, grid) if picture else None
        return Plan(item, facts, mpp, grid, shown)
    except (DataError, OSError) as error:
        if is_disk_full(error):
            raise
        return failed(Plan(item, facts), error)


def failed(plan: Plan, error: DataError | OSError) -> Plan:
    """Return the plan of a slide that cannot be embedded, with the reason."""
    problem = error.problem if isinstance(error, DataError) else (error.strerror or type(error).__name__)
    remedy = (error.remedy if isinstance(error, DataError) else None) or "copy it again from its source"
    if plan.facts.get("mpp", 0) is None and "--mpp" in remedy:
        remedy = "set mpp (all slides that state none) or the table's column mpp (one slide)"
    # The job's files are handed on: they must not tell where the slides lie.
    problem, remedy = (text.replace(str(plan.item.path), plan.item.path.name) for text in (problem, remedy))
    return replace(plan, facts={**plan.facts, "problem": problem, "remedy": remedy}, grid=None, picture=None)


def identity(item: SlideItem) -> dict[str, Any]:
    """Return what must be the same for a finished slide to count as finished."""
    return {
        "key": item.key,
        "file": item.path.name,
        "bytes": item.path.stat().st_size if item.path.is_file() else None,
        "given_mpp": item.mpp,
        "case": item.case,
        "split": item.split,
    }


def _open(item: SlideItem, config: SlidesConfig) -> tuple[Slide, float | None]:
    """Open a slide; the value for all slides counts only where the file and the table say nothing."""
    slide = open_slide(item.path, mpp=item.mpp)
    if slide.mpp is not None or config.mpp is None:
        return slide, item.mpp
    slide.close()
    return open_slide(item.path, mpp=config.mpp), config.mpp


def _png(slide: Slide, mask: Any, grid: TileGrid) -> bytes:
    buffer = BytesIO()
    preview(slide, mask, grid).save(buffer, "PNG")
    return buffer.getvalue()
