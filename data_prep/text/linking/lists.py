"""Mentions that hold several: "breast and ovarian cancer", "Duchenne/Becker dystrophy", "cleft lip or palate"."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_JOINER = re.compile(r"\s*(?:,\s*(?:and/or|and|or)\b|\band/or\b|\band\b|\bor\b|[,/]|(?<=\w)-(?=\w))\s*", re.IGNORECASE)
_LONGEST = 12


def parts(mention: str, known: Callable[[str], bool], *, shared: bool = False) -> list[str]:
    """Return the names a mention joins, each written out, or the mention alone.

    The words shared by all members are at the end ("breast and ovarian | cancer") or at the start
    ("cleft | lip and palate"). Only if every member is ``known`` is the mention taken apart.

    Args:
        mention: What may be a list.
        known: Tells whether a text is a name.
        shared: Take only lists whose members share words, not "fever and cough".
    """
    pieces = [piece for piece in _JOINER.split(mention.strip()) if piece.strip()]
    if len(pieces) < 2 or len(mention.split()) > _LONGEST:
        return [mention]
    if known(pieces[-1]):  # written as it stands in all lists of this kind
        for written in _shared_end(pieces):
            if all(map(known, written[:-1])):
                return written
    if known(pieces[0]):
        for written in _shared_start(pieces):
            if all(map(known, written[1:])):
                return written
    return pieces if not shared and all(map(known, pieces)) else [mention]


def _shared_end(pieces: Sequence[str]) -> list[list[str]]:
    last = pieces[-1].split()
    return [[f"{piece} {' '.join(last[cut:])}" for piece in pieces[:-1]] + [pieces[-1]] for cut in range(1, len(last))]


def _shared_start(pieces: Sequence[str]) -> list[list[str]]:
    first = pieces[0].split()
    return [
        [pieces[0]] + [f"{' '.join(first[:cut])} {piece}" for piece in pieces[1:]]
        for cut in range(len(first) - 1, 0, -1)
    ]
