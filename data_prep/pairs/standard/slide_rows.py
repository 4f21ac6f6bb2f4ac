"""What every slide-level set yields, and what is done with it in the same way: draws, counts, absent files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from data_prep.pairs.config import SplitConfig
from data_prep.pairs.items import Item, Listing
from data_prep.pairs.split import draw_splits
from data_prep.pairs.standard.checks import Expected, check_listing, differs
from medvlp.errors import DataError

WHOLE_SET = SplitConfig(train=0.0, dev=0.0, test=1.0)


@dataclass(frozen=True)
class SlideRow:
    """One slide of a set.

    Attributes:
        key: Unique name.
        path: The slide's file.
        label: Display name of its class.
        case: Patient or case; None if the set does not tell.
        split: ``train``, ``dev`` or ``test``.
        mask: Outlines or mask of the lesions, None if there is none.
    """

    key: str
    path: Path
    label: str
    case: str | None
    split: str | None
    mask: Path | None = None


@dataclass
class SlideListing:
    """Every slide of a copy, what the user should know of, and what was left out (key, reason)."""

    rows: list[SlideRow] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    dropped: list[tuple[str, str]] = field(default_factory=list)

    def note(self, what: str, count: int = 1) -> None:
        """Count something the user should know of."""
        if count > 0:
            self.notes[what] = self.notes.get(what, 0) + count


def check_slides(listing: SlideListing, expected: Expected, name: str, *, partial: bool) -> None:
    """Compare the slides found with the published counts; see :func:`data_prep.pairs.standard.checks.check_listing`.

    Raises:
        DataError: No slide, or without ``partial`` the first difference.
    """
    items = [Item(row.key, row.path, label=row.label, split=row.split) for row in listing.rows]
    check_listing(Listing(items, notes=listing.notes), expected, name, partial=partial, unit="slides")


def keep_present(listing: SlideListing, name: str, *, partial: bool) -> None:
    """Leave out rows of a table whose slide is absent.

    Raises:
        DataError: Two rows of one key; without ``partial`` any absent slide.
    """
    keys = [row.key for row in listing.rows]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DataError("is listed twice", item=twice, remedy=f"use the published table of {name}")
    absent = [row for row in listing.rows if not row.path.exists()]
    if absent:
        problem = f"{len(absent):,} slides of the table are absent"
        remedy = f"download them, the first is {absent[0].path}"
        differs(listing, problem, name, remedy, partial)
        listing.dropped += [(row.key, "missing slide") for row in absent]
        listing.rows = [row for row in listing.rows if row.path.exists()]


def finish(listing: SlideListing, names: Mapping[str, str], split: SplitConfig | None = None) -> SlideListing:
    """Give every row the display name of its class and, where the set has none, a split drawn by case."""
    rows = listing.rows
    splits: Sequence[str | None] = [row.split for row in rows]
    if split is not None:
        cases = [row.case if row.case is not None else row.key for row in rows]
        splits = draw_splits(cases, [row.label for row in rows], split.fractions, split.seed)
    listing.rows = [
        replace(row, label=names.get(row.label, row.label), split=part) for row, part in zip(rows, splits, strict=True)
    ]
    return listing
