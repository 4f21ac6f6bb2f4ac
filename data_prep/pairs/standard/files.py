"""Files of a set's folders by the set's own naming scheme; what does not fit it is told, never read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from data_prep.pairs.standard.checks import Notes, require_files
from medvlp.errors import DataError

_JUNK = frozenset({"thumbs.db", ".ds_store", "desktop.ini", "__macosx"})  # left behind by systems and archives


def matching(
    folder: Path, pattern: re.Pattern[str], listing: Notes, name: str, *, partial: bool
) -> list[tuple[Path, re.Match[str]]]:
    """Return the entries of a folder whose whole name fits a pattern, in order of their names.

    Args:
        folder: Folder to look into, not deeper.
        pattern: Naming scheme of the set.
        listing: Takes the number of foreign entries with ``partial``.
        name: What the set is called.
        partial: Leave foreign entries out instead of refusing them.

    Raises:
        DataError: Without ``partial``, naming the first entry that does not fit.
    """
    fitting, foreign = [], []
    for path in sorted(folder.iterdir()):
        match = pattern.fullmatch(path.name)
        if match is not None:
            fitting.append((path, match))
        elif path.name.lower() not in _JUNK and not path.name.startswith("._"):
            foreign.append(path)
    if foreign and not partial:
        raise DataError(
            f"is no file of {name} ({len(foreign):,} such in this folder)",
            item=foreign[0],
            remedy="take it out, or set partial: true to leave such files unread",
        )
    if foreign:
        listing.note(f"{name}, foreign files, left out", len(foreign))
    return fitting


def subfolders(
    root: Path, known: Sequence[str], listing: Notes, name: str, *, partial: bool, foreign: bool = True
) -> list[str]:
    """Return which of the set's folders are there, in the given order.

    Args:
        root: Where they lie.
        known: Their names in the set.
        listing: Takes notes with ``partial``.
        name: What the set is called.
        partial: Note missing and unknown folders instead of refusing them.
        foreign: Look for unknown folders as well.

    Raises:
        DataError: Without ``partial``, naming what is missing or unknown.
    """
    if not partial:
        require_files(root, [f"{folder}/" for folder in known], name)
    present = [folder for folder in known if (root / folder).is_dir()]
    if len(present) < len(known):
        listing.note(f"{name}, folders of the set that are absent", len(known) - len(present))
    unknown = sorted(path.name for path in root.iterdir() if path.is_dir()) if foreign and root.is_dir() else []
    unknown = [folder for folder in unknown if folder not in known and folder.lower() not in _JUNK]
    if unknown and not partial:
        raise DataError(
            f"is no folder of {name} ({len(unknown):,} such here)",
            item=root / unknown[0],
            remedy="take it out, or set partial: true to leave such folders unread",
        )
    listing.note(f"{name}, foreign folders, left out", len(unknown))
    return present
