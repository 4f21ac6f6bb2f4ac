"""What sets of a table and image files have in common: rows, images found by name, absent files, a drawn dev part."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from data_prep.pairs.folders import is_image
from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import Expected, check_listing
from data_prep.pairs.tables import Row, read_table
from medvlp.errors import DataError
from medvlp.io import sha256_file

NONE = "none of these"
"""Label of an image that has none of a multi-label set's findings; no finding itself, so tasks do not score it."""

_MAX_TOLD = 3


def rows_of(path: Path, columns: Iterable[str], listing: Listing) -> list[Row]:
    """Read a published table and note its digest in ``listing.sources``.

    Raises:
        DataError: No such table, not CSV, or one without the columns of the published one.
    """
    rows = read_table(path)
    missing = [column for column in columns if column not in rows[0]]
    if missing:
        raise DataError(
            f"no column {missing[0]!r}; found {', '.join(repr(name) for name in rows[0])}",
            item=path,
            remedy="use the table as it was published",
        )
    listing.sources[path.name] = sha256_file(path)
    return rows


def one_of(root: Path, names: Sequence[str], name: str) -> Path:
    """The first of several names under which a file was published.

    Raises:
        DataError: If there is none.
    """
    for known in names:
        if (root / known).is_file():
            return root / known
    raise DataError(
        f"{name} lacks {' or '.join(names)}", item=root, remedy="download it, or set source.root to the folder with it"
    )


def images_below(folders: Iterable[Path], suffixes: Sequence[str] = ()) -> dict[str, Path]:
    """Images at any depth by file name, for sets whose archives unpack into one folder or several.

    Args:
        folders: Where to look; those that do not exist hold nothing.
        suffixes: Endings, in small letters; without any, those of image files.

    Raises:
        DataError: If two files have one name.
    """
    found: dict[str, Path] = {}
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        wanted = path.suffix.lower() in suffixes and path.is_file() if suffixes else is_image(path)
        if wanted and found.setdefault(path.name, path) != path:
            raise DataError("two files have this name", item=path.name, remedy=f"remove one, {path.parent} has a copy")
    return found


def check_set(listing: Listing, expected: Expected, name: str, *, partial: bool) -> None:
    """Find out which images of the table are not there, then compare the counts.

    Absent images are an error; with ``partial`` they are dropped, each in the ledger.

    Raises:
        DataError: Absent images or wrong counts, unless ``partial``; no image at all.
    """
    absent = [item.key for item in listing.items if item.path is not None and not item.path.is_file()]
    if absent and not partial:
        shown = ", ".join(absent[:_MAX_TOLD]) + (", ..." if len(absent) > _MAX_TOLD else "")
        raise DataError(
            f"{len(absent):,} of {len(listing.items):,} images are not there ({shown})",
            item=name,
            remedy="download and unpack the rest, or set partial: true to go on without",
        )
    drop(listing, set(absent), "image is not in this copy of the set")
    check_listing(listing, expected, name, partial=partial)


def drop(listing: Listing, keys: set[str], reason: str) -> None:
    """Take images out, each with its reason in the ledger."""
    listing.dropped += [(item.key, reason) for item in listing.items if item.key in keys]
    listing.items = [item for item in listing.items if item.key not in keys]


def draw_dev(items: Iterable[Item], share: float) -> None:
    """Move whole cases from train to dev, where a set publishes both as one.

    A case is chosen by the digest of its name alone, so that a partial copy gives the same answer for every case.
    """
    for item in items:
        if item.split == "train" and _place(item.case if item.case is not None else item.key) < share:
            item.split = "dev"


def _place(case: str) -> float:
    """A number in [0, 1) that is fixed for a case."""
    return int.from_bytes(hashlib.sha256(f"dev\0{case}".encode()).digest()[:8], "big") / 2**64


def pseudonym(value: str, name: str) -> str:
    """A case's name in place of a set's own patient number."""
    digest = hashlib.sha256(f"{name}\0{value}".encode()).hexdigest()
    return f"case-{digest[:12]}"
