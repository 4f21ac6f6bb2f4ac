"""How far a name reaches from a place where one is expected, and which words can be one."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from data_prep.deid.name_patterns import (
    ABBREVIATIONS,
    BEHIND,
    COMMA,
    CREDENTIAL,
    CREDENTIALS,
    DIRECTLY_BEHIND,
    ENDS,
    GAP,
    INITIAL_ALONE,
    LIST_GAP,
    MAX_WORDS,
    NEVER,
    NICKNAME,
    PARTICLES,
    PARTS,
    TITLE,
    WORD,
)
from data_prep.deid.words import (
    AMBIGUOUS_NAMES,
    EPONYM_NOUNS,
    EPONYM_PHRASES,
    eponyms,
    given_names,
    is_common,
    is_report_word,
    surnames,
)


def read_names(
    text: str, start: int, *, sure: bool = False, several: bool = False, lower: bool = False, last_first: bool = False
) -> Iterator[tuple[int, int]]:
    """Read one name, or a list of them, from a place where one is expected.

    Args:
        text: The text.
        start: Where the name would begin.
        sure: The first word is a name whatever it means elsewhere ("Dr. Drain").
        several: Names may follow after commas and "and".
        lower: The name may be written without capitals.
        last_first: The first comma may part the surname from the given name.
    """
    while True:
        end, count = _one_name(text, start, sure, lower)
        if end == start:
            return
        if last_first and count == 1:
            comma = COMMA.match(text, end)
            if comma is not None and not CREDENTIAL.match(text, end):
                given, _ = _one_name(text, comma.end(), False, lower)
                initial = INITIAL_ALONE.match(text, comma.end())
                if given > comma.end():
                    end = given
                elif initial is not None:
                    end = initial.end()
        yield start, end
        if not several:
            return
        credential = CREDENTIAL.match(text, end)
        while credential is not None:
            end = credential.end()
            credential = CREDENTIAL.match(text, end)
        gap = LIST_GAP.match(text, end)
        if gap is None:
            return
        start = gap.end()
        title = TITLE.match(text, start)
        start, last_first = (title.end() if title else start), False


def _one_name(text: str, start: int, sure: bool, lower: bool) -> tuple[int, int]:
    """Return where the name ends (``start`` if there is none) and how many full words it has."""
    end, position, full = start, start, 0
    for number in range(MAX_WORDS):
        match = WORD.match(text, position)
        if match is None:
            break
        word = match[0].rstrip(".")
        initial = len(word) == 1 and word.isupper()
        short = match[0] in ("Wm.", "Jas.", "Chas.", "Geo.", "Thos.", "St.", "Ste.")
        particle = word.lower() in PARTICLES and match[0][0].islower() and number < 4
        if initial or short:
            end = match.end() if match[0].endswith(".") and (initial or short) else match.start() + len(word)
            if short and not match[0].endswith("."):
                break
        elif particle:
            pass
        elif _fits(text, match, number, full, sure, lower):
            cut = 2 if word.endswith(("'s", "’s")) else 0
            end, full = match.start() + len(word) - cut, full + 1
            if cut or match[0].endswith("."):
                break
        else:
            break
        gap = NICKNAME.match(text, match.end()) or GAP.match(text, match.end())
        if gap is None:
            glued = match[0].endswith(".") and initial and text[match.end() : match.end() + 1].isupper()
            if not glued:
                break
            position = match.end()
        else:
            position = gap.end()
    if full == 0 and not (sure and end > start):
        return start, 0
    return end, full


def _fits(text: str, match: re.Match[str], number: int, full: int, sure: bool, lower: bool) -> bool:
    word = match[0].rstrip(".")
    if not word[0].isupper():
        if not lower or is_common(word) or full >= 2 or len(word) < 2:
            return False
        return full == 0 or is_known(word)
    if word in ABBREVIATIONS or word.lower() in NEVER or re.fullmatch(CREDENTIALS, word):
        return False
    if not is_common(word):
        return True
    if full == 0:
        return sure and not (word.isupper() and not is_surname(word))
    # An ordinary word behind a name: a surname like "Standing" if the text goes on in small letters.
    tail = text[match.end() : match.end() + 2]
    if word.isupper() or full != 1 or is_report_word(word):
        return False
    ends = match[0].endswith(".") or re.match(r"[.,;)\n]|$", tail) is not None
    return ends or (is_surname(word) and re.match(r" [a-z(]", tail) is not None)


def may_be_name(word: str) -> bool:
    """Tell whether a word can stand in a name."""
    bare = word.rstrip(".")
    if len(bare) == 1:
        return bare.isupper()
    return bare[0].isupper() and bare not in ABBREVIATIONS and (not is_common(bare) or bare.lower() in PARTICLES)


def surname_shaped(given: str, word: str, behind: str) -> bool:
    """Whether a word may be the surname to a given name; an ordinary word only if the phrase ends with it."""
    bare = word.rstrip(".")
    if len(bare) < 2 or not bare[0].isupper() or bare in ABBREVIATIONS or given.isupper() != bare.isupper():
        return False
    if given.isupper():
        return is_surname(bare) and not is_common(bare)
    return not is_common(bare) or (is_surname(bare) and not is_report_word(bare) and ENDS.match(behind) is not None)


def is_known(word: str) -> bool:
    """Tell whether a word is a listed given name or surname and no ordinary word."""
    bare = word.rstrip(".").lower().removesuffix("'s").removesuffix("’s")
    if is_common(bare):
        return False
    return any(part in given_names() or part in surnames() for part in PARTS.split(bare))


def is_surname(word: str) -> bool:
    """Tell whether a word, or a part of it, is a listed surname."""
    return any(part in surnames() for part in PARTS.split(word.rstrip(".").lower()))


def is_eponym(text: str, start: int, end: int) -> bool:
    """Whether what follows, or the phrase itself, makes it a disease, a sign or a device."""
    if EPONYM_PHRASES.search(text[start : end + 24]):
        return True
    behind = BEHIND.match(text, end)
    if behind is None:
        return False
    near = DIRECTLY_BEHIND.match(text, end)
    return behind[1].lower() in EPONYM_NOUNS or (near is not None and near[1].lower() in EPONYM_NOUNS)


@functools.cache
def ambiguous() -> frozenset[str]:
    """Return names that mean something else too: eponyms and words of medicine."""
    return eponyms() | AMBIGUOUS_NAMES
