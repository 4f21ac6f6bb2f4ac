"""The names of a graph under the keys by which they are compared, with the rules for short and ambiguous ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_prep.text.linking.words import key, unordered
from medvlp.knowledge.names import Name, normalise

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

MIN_LETTERS = 3
TRUSTED = ("preferred", "exact", "xref_merge")
"""Kinds of names that name the concept itself, not something narrower or broader."""

_EPONYM = re.compile(r"((?:[Vv]on )?[A-Z][a-z]+(?:-[A-Z][a-z]+)+|[Vv]on [A-Z][a-z]+)(?:'s)? (?:disease|syndrome)")
_INITIAL = re.compile(r"[^\W_]+")
_LOWER_CASE = 5
_ACRONYM = re.compile(r"[^\W_]{2,6}")

ENGLISH = frozenset(
    re.findall(
        r"\w+",
        """add air all and arc are bad bag bee bind bud but can candle canvas car cat charge cold dish does ear end est
        face fan far fast fat few fish flat for gap get glass glow had has hat helix help her hers him his hit how iris
        its jet lad ladd led let lid light lip low mad man map may men met net new not now off old one our out own pain
        papa plan rad rat red rich sad saw scan scar see set she short soft star stop tab tan tar tear ten the thin tic
        tin too top two use van was wet who why with you""",
    )
)
"""Everyday words that are acronyms of diseases too: an acronym only where the writing shows it."""


@dataclass(frozen=True)
class Owner:
    """A concept that carries a name.

    Attributes:
        row: The concept's row in the graph.
        preferred: The name is the concept's preferred one.
        surface: The name, normalised.
    """

    row: int
    preferred: bool
    surface: str


@dataclass(frozen=True)
class Lexicon:
    """Names by key.

    Attributes:
        names: Key of a name's words in order, to the concepts that carry it.
        reordered: The same words sorted, to the keys that consist of them; names of two words and more.
        acronyms: Acronyms as written, to the concepts.
        longest: Number of words of the longest name.
    """

    names: dict[str, list[Owner]]
    reordered: dict[str, list[str]]
    acronyms: dict[str, list[Owner]]
    longest: int

    def extended(self, extra: Iterable[tuple[int, str]]) -> Lexicon:
        """Return a lexicon with further (row, name) pairs: such a name is that concept's alone, whoever else has it."""
        names, acronyms, reordered = dict(self.names), dict(self.acronyms), dict(self.reordered)
        for row, text in extra:
            if is_acronym(text):
                acronyms[text] = [Owner(row, True, text)]
            elif words := key(text):
                if words not in names and " " in words:
                    same = unordered(words.split(" "))
                    reordered[same] = sorted([*reordered.get(same, ()), words])
                names[words] = [Owner(row, True, normalise(text))]
        longest = max((words.count(" ") + 1 for words in names), default=0)
        return Lexicon(names, reordered, acronyms, longest)


def build(graph: DiseaseGraph, min_letters: int = MIN_LETTERS) -> Lexicon:
    """Collect the trusted names of a graph's concepts; those with fewer letters and digits are left out."""
    table = graph.tables.names
    found: list[tuple[int, str, bool]] = []
    row_of = {concept: row for row, concept in enumerate(graph.ids)}
    columns = (table[column].to_pylist() for column in ("concept", "text", "kind"))
    for concept, text, kind in zip(*columns, strict=True):
        if kind in TRUSTED:
            found.append((row_of[concept], text, kind == "preferred"))
    names: dict[str, dict[int, Owner]] = {}
    acronyms: dict[str, dict[int, Owner]] = {}
    for row, text, preferred in found:
        words = key(text)
        if len(words.replace(" ", "")) < min_letters:
            continue
        if is_acronym(text):
            _add(acronyms, text, Owner(row, preferred, text))
        elif (
            not preferred
            and len(text) <= _LOWER_CASE
            and text.isalpha()
            and stands_for(text, graph.names(graph.ids[row]))
        ):
            _add(acronyms, text.upper(), Owner(row, preferred, text.upper()))
        else:
            _add(names, words, Owner(row, preferred, normalise(text)))
            if short := eponym(text):
                _add(names, key(short), Owner(row, False, normalise(text)))
    reordered: dict[str, list[str]] = {}
    for words in sorted(names):
        if " " in words:
            reordered.setdefault(unordered(words.split(" ")), []).append(words)
    longest = max((words.count(" ") + 1 for words in names), default=0)
    return Lexicon(
        {words: _sorted(owners) for words, owners in names.items()},
        reordered,
        {text: _sorted(owners) for text, owners in acronyms.items()},
        longest,
    )


def is_acronym(text: str) -> bool:
    """Tell whether a name is one short word with two capitals or more: it is compared letter by letter.

    Its lower-case form is often an everyday word ("ALL", "FAST", "MAP").
    """
    return bool(_ACRONYM.fullmatch(text)) and sum(letter.isupper() for letter in text) >= 2


def stands_for(text: str, names: Sequence[Name]) -> bool:
    """Tell whether a short name in small letters ("gave", "men") is made of the initials of a longer one.

    Some sources write acronyms in small letters; as words they would be found everywhere.
    """
    letters = text.casefold()
    for name in names:
        words = _INITIAL.findall(name.text.casefold())
        if len(words) > 1 and letters not in words and _spelt_by(letters, words):
            return True
    return False


def _spelt_by(letters: str, words: Sequence[str]) -> bool:
    """Tell whether letters are beginnings of the words, one or more letters of each, in order; small words may miss."""
    if not letters:
        return True
    if not words:
        return False
    if len(words[0]) <= 3 and _spelt_by(letters, words[1:]):
        return True
    taken = 1
    while letters[:taken] == words[0][:taken] and taken <= min(len(letters), 3):
        if _spelt_by(letters[taken:], words[1:]):
            return True
        taken += 1
    return False


def eponym(text: str) -> str | None:
    """Return a disease's name without "disease", where two persons' names or a "von" are left: "Tay-Sachs"."""
    match = _EPONYM.fullmatch(text)
    return match[1] if match else None


def best(owners: Sequence[Owner], surface: str) -> list[Owner]:
    """Return the owners that a spelling means: those who write it so, of these those who prefer it."""
    if len(owners) > 1:
        same = [owner for owner in owners if owner.surface == surface]
        owners = same or owners
        owners = [owner for owner in owners if owner.preferred] or owners
    return list(owners)


def _add(table: dict[str, dict[int, Owner]], name: str, owner: Owner) -> None:
    owners = table.setdefault(name, {})
    if owner.row not in owners or (owner.preferred and not owners[owner.row].preferred):
        owners[owner.row] = owner


def _sorted(owners: dict[int, Owner]) -> list[Owner]:
    return [owners[row] for row in sorted(owners)]
