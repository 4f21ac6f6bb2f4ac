"""Whether a copy of a published set is whole: files, checksums, counts by split and by class, told in one line."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial as bound
from pathlib import Path
from typing import Protocol

from data_prep.pairs.items import Listing
from medvlp.config import resolve_path
from medvlp.errors import DataError

_MAX_TOLD = 5
_DIGESTS = {32: "md5", 64: "sha256"}


class Notes(Protocol):
    """A listing that counts what the user should know of."""

    def note(self, what: str, count: int = 1) -> None:
        """Count something."""


@dataclass(frozen=True)
class Expected:
    """What a published set holds.

    Attributes:
        images: How many images in total.
        by_split: Images by ``train``, ``dev`` and ``test``; empty: the set publishes no split.
        by_class: Images by raw label, over all splits; empty: not checked.
        source: URL or citation where these counts were read.
    """

    images: int
    by_split: Mapping[str, int] = field(default_factory=dict)
    by_class: Mapping[str, int] = field(default_factory=dict)
    source: str = ""


def set_root(value: str, name: str) -> Path:
    """Resolve ``source.root`` to the folder of the user's copy.

    Raises:
        DataError: If there is no such folder.
    """
    root = resolve_path(value)
    if not root.is_dir():
        raise DataError(f"folder of {name} not found", item=root, remedy="set source.root to your copy of the set")
    return root


def require_files(root: Path, names: Sequence[str], name: str) -> None:
    """Check that every file and folder a set is made of is there.

    Args:
        root: Folder of the copy.
        names: Paths below it; an ending ``/`` asks for a folder.
        name: What the set is called.

    Raises:
        DataError: Naming up to five that are missing, and how many more.
    """
    missing = [known for known in names if not _is_there(root, known)]
    if missing:
        raise DataError(
            f"{name} lacks {several(missing)}",
            item=root,
            remedy="download and unpack what is missing, and set source.root to the folder that holds it",
        )


def check_sums(root: Path, digests: Mapping[str, str]) -> None:
    """Compare files with their published MD5 or SHA-256, told apart by the number of digits.

    Raises:
        DataError: A file that is absent or not the published one, with both digests.
    """
    for known, published in digests.items():
        path = root / known
        if not path.is_file():
            raise DataError("file not found", item=path, remedy="download it again")
        method = _DIGESTS[len(published)]
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, bound(hashlib.new, method, usedforsecurity=False)).hexdigest()
        if found != published.lower():
            raise DataError(
                f"{method.upper()} is {found}, the published one {published}",
                item=path,
                remedy="the file is damaged or another version: download it again",
            )


def check_listing(listing: Listing, expected: Expected, name: str, *, partial: bool, unit: str = "images") -> None:
    """Compare what was found with what was published; images of ``listing.dropped`` are no longer counted.

    Args:
        listing: All images of the copy.
        expected: The published counts, of the parts that were asked for.
        name: What the set is called.
        partial: The user knows that the copy differs: count the differences in ``listing.notes`` instead.
        unit: What is counted, as the messages call it.

    Raises:
        DataError: No image at all; without ``partial`` the first difference: an unknown class, or too many or too few
            images in a class, a split or in total.
    """
    if not listing.items:
        raise DataError(f"no {unit} found", item=name, remedy="check source.root, and that the archives are unpacked")
    classes = Counter(label for item in listing.items for label in item.all_labels)
    splits = Counter(item.split for item in listing.items if item.split is not None)
    for label in sorted(set(classes) - set(expected.by_class)) if expected.by_class else []:
        remedy = f"the classes are {several(expected.by_class)}"
        differs(listing, f"unknown class {label!r} ({classes[label]:,} {unit})", name, remedy, partial, expected.source)
    found = [(f"class {label!r}", classes[label], count) for label, count in expected.by_class.items()]
    found += [(f"split {split}", splits[split], count) for split, count in expected.by_split.items()]
    found += [("total", len(listing.items), expected.images)]
    for what, have, want in found:
        if have != want:
            remedy = "download and unpack the rest" if have < want else "take out what is not of the set"
            problem = f"{what}: {have:,} {unit}, expected {want:,}"
            differs(listing, problem, name, remedy, partial, expected.source)


def differs(listing: Notes, problem: str, name: str, remedy: str, partial: bool, source: str = "") -> None:
    """Refuse a copy that is not the published set, or note it where the user said ``partial: true``.

    Args:
        listing: Takes the note.
        problem: What differs, without names of files or persons.
        name: What the set is called.
        remedy: How to make the copy whole.
        partial: Note it and go on.
        source: Where the right counts were read.

    Raises:
        DataError: Unless ``partial``.
    """
    if partial:
        listing.note(f"{name}, {problem}")
        return
    read = f" (counts: {source})" if source else ""
    raise DataError(problem, item=name, remedy=f"{remedy}, or set partial: true to go on without{read}")


def several(names: Iterable[str]) -> str:
    """Join up to five names, and say how many more there are."""
    every = list(names)
    more = f" and {len(every) - _MAX_TOLD:,} more" if len(every) > _MAX_TOLD else ""
    return ", ".join(every[:_MAX_TOLD]) + more


def _is_there(root: Path, known: str) -> bool:
    return (root / known).is_dir() if known.endswith("/") else (root / known).exists()
