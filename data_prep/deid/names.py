"""Names of persons, found by what stands around them: titles, labels, verbs of telling, degrees, greetings.

Without any of these, a given name of the list with a capitalised word behind it is a name, unless an eponym's noun
follows. Nothing else is: "Hodgkin lymphoma", "Barrett oesophagus" and "Swan-Ganz catheter" name no person here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from data_prep.deid.name_patterns import (
    ABBREVIATIONS,
    AFTER_APART,
    BABY,
    BEFORE_APART,
    BEFORE_BY,
    BEFORE_CREDENTIAL,
    BEFORE_DOTTED,
    BEFORE_INITIALS,
    CAPITALISED,
    CARET,
    COLON,
    COLON_LABEL,
    COMMA,
    CREDENTIALS,
    DOTTED_INITIALS,
    GIVEN_INITIAL,
    GREETING,
    INITIAL_SURNAME,
    INITIALS,
    LABEL_REACH,
    LABEL_WORDS,
    LAST_BEFORE,
    LAST_INITIAL,
    LAST_WORD,
    LINE_NAME,
    LISTED_NAME,
    LOWER_LABEL,
    MIDDLE,
    MIDDLE_INITIAL,
    NAME_AND_AGE,
    NAME_AT_END,
    NAME_CHAIN,
    NAMES_FOLLOW,
    NEVER,
    PAIR_OF_INITIALS,
    PARTICLES,
    PARTS,
    PLACE_BEFORE,
    PLACE_BEHIND,
    PLACE_WORD,
    ROLE_NO_COLON,
    SIGN_OFF,
    SIGNATURE_LINE,
    SMALL_SIGNATURE,
    START,
    TELLING_WORDS,
    TITLE,
    TO_LINE_END,
    TOLD,
    US_STATES,
    VERB,
    WEAK_TITLES,
    WORD,
)
from data_prep.deid.one_name import ambiguous, is_eponym, is_known, is_surname, may_be_name, read_names, surname_shaped
from data_prep.deid.spans import Span
from data_prep.deid.words import eponyms, given_names, is_common


def names(text: str) -> Iterator[Span]:
    """Find names of persons, and every later mention of a surname so found."""
    words = [match for match in START.finditer(text) if not is_common(match[0])]
    found = sorted({*_titled(text), *_labelled(text), *_told(text, words), *_with_degree(text), *_bare(text)})
    found = sorted({*found, *_unlisted(text, words), *_with_age(text), *_initials(text), *_signed(text)})
    yield from (Span(start, end, "name") for start, end in found)
    yield from _repeated(text, found)


def _titled(text: str) -> Iterator[tuple[int, int]]:
    for match in TITLE.finditer(text):
        title = match[0].strip(" \t.")
        first = WORD.match(text, match.end())
        if first is None or TITLE.match(text, match.end()):
            continue
        if title in WEAK_TITLES and (is_common(first[0]) or not first[0][0].isupper() or first[0].lower() in eponyms()):
            continue
        if title in ("MR", "MRS", "DR") and "." not in match[0] and (not is_surname(first[0]) or is_common(first[0])):
            continue
        plural = title.lower() == "drs"
        lower = title.lower() in ("dr", "drs", "mr", "mrs", "prof")
        for start, end in read_names(text, match.end(), sure=True, several=plural, lower=lower):
            if title not in WEAK_TITLES or not is_eponym(text, start, end):
                yield start, end


def _labelled(text: str) -> Iterator[tuple[int, int]]:
    for match in COLON.finditer(text):
        last = LAST_WORD.search(text, max(0, match.start() - 20), match.start())
        if last is None or not {last[1].lower(), last[1].lower().rstrip("s")} & LABEL_WORDS:
            continue
        if not COLON_LABEL.search(text[max(0, match.start() - LABEL_REACH) : match.start()]):
            continue
        start = match.end()
        title = TITLE.match(text, start)
        while title is not None:
            start = title.end()
            title = TITLE.match(text, start)
        yield from read_names(text, start, several=True, last_first=True)
    for match in LOWER_LABEL.finditer(text):
        yield from read_names(text, match.end(), lower=True, last_first=True)
    for match in CARET.finditer(text) if "^" in text else ():
        yield match.span()
    for match in INITIALS.finditer(text):
        usual = match[0] in ABBREVIATIONS or is_common(match[0])
        if not usual and BEFORE_INITIALS.search(text[max(0, match.start() - 32) : match.start()]):
            yield match.span()
    for match in BABY.finditer(text):
        yield from read_names(text, match.end(), sure=True)


def _told(text: str, words: list[re.Match[str]]) -> Iterator[tuple[int, int]]:
    """Names behind a verb of telling, a role, a relative, a greeting: two words, or one of the lists."""
    for match in words:
        last = LAST_BEFORE.search(text, max(0, match.start() - 24), match.start())
        if last is None or (last[1][0].isalpha() and last[1].lower() not in TELLING_WORDS):
            continue
        before = text[max(0, match.start() - LABEL_REACH) : match.start()]
        told = TOLD.search(before) is not None
        introduced = told or ROLE_NO_COLON.search(before) or GREETING.search(before)
        if not introduced and not (SIGN_OFF.search(before) and TO_LINE_END.match(text, match.start())):
            continue
        for start, end in read_names(text, match.start(), several=told):
            found = text[start:end].split()
            if len(found) == 1 and not _lone_name(found[0], before, told):
                continue
            if not is_eponym(text, start, end):
                yield start, end


def _lone_name(word: str, before: str, told: bool) -> bool:
    """Whether one capitalised word behind a verb, a role or a relative is a name although nothing follows it."""
    bare = word.rstrip(".'’").lower()
    if word.isupper() and not before[-16:].isupper():  # a gene or a scale, where the text around is not in capitals
        return len(bare) > 4 and is_known(word) and NAMES_FOLLOW.search(before) is not None
    odd = bare in ambiguous() or any(part in eponyms() for part in PARTS.split(bare))
    if is_known(word):
        return not odd or NAMES_FOLLOW.search(before) is not None
    return word.istitle() and len(bare) > 2 and not odd and NAMES_FOLLOW.search(before) is not None


def _unlisted(text: str, words: list[re.Match[str]]) -> Iterator[tuple[int, int]]:
    """Capitalised words in a row, none ordinary or an eponym, of which one is of the lists or which stand apart."""
    done = 0
    for match in words:
        if match.start() < done or len(match[0]) < 3 or is_common(match[0]):
            continue
        chain = NAME_CHAIN.match(text, match.start())
        if chain is None:
            continue
        parts = [found for found in WORD.finditer(chain[0])]
        full = [found[0].rstrip(".") for found in parts if len(found[0].rstrip(".")) > 1 and found[0][0].isupper()]
        end = chain.end()
        if len(full) < 2 or any(_not_a_person(word) for word in full) or len(set(map(str.isupper, full))) > 1:
            continue
        listed = [is_known(word) for word in full]
        apart = BEFORE_APART.search(text[max(0, match.start() - 14) : match.start()]) and AFTER_APART.match(text, end)
        enough = sum(listed) >= (2 if full[0].isupper() else 1) if not apart else any(listed) or not full[0].isupper()
        if not enough or (
            PLACE_BEHIND.match(text, end) or PLACE_BEFORE.search(text[max(0, match.start() - 12) : match.start()])
        ):
            continue
        if not is_eponym(text, match.start(), end):
            yield match.start(), end
            done = end


def _not_a_person(word: str) -> bool:
    lower = word.lower()
    return (
        is_common(word)
        or word in ABBREVIATIONS
        or lower in PARTICLES
        or lower in NEVER
        or any(len(part) > 3 and part in eponyms() for part in PARTS.split(lower))
        or PLACE_WORD.search(lower) is not None
    )


def _with_age(text: str) -> Iterator[tuple[int, int]]:
    """Names that an age or a birth date follows: MCGILLICUDDY, 90 Y/O."""
    for match in NAME_AND_AGE.finditer(text):
        words = re.findall(r"[^\W\d_]{2,}", match[1])
        if words and not any(is_common(word) or word in ABBREVIATIONS or word.lower() in NEVER for word in words):
            yield match.span(1)


def _initials(text: str) -> Iterator[tuple[int, int]]:
    """A patient's or a reader's initials, and a given name with one."""
    for match in DOTTED_INITIALS.finditer(text):
        before = text[max(0, match.start() - 40) : match.start()]
        if re.fullmatch(CREDENTIALS, match[0]):
            continue
        if BEFORE_DOTTED.search(before) or (
            match[0].count(".") == 2 and re.match(r"\s{0,2}(?::|$)", text[match.end() : match.end() + 4])
        ):
            yield match.span()
    for match in PAIR_OF_INITIALS.finditer(text):
        if not {match[1], match[2]} & ABBREVIATIONS and not is_common(match[1]):
            yield match.span(1)
            yield match.span(2)
    for match in GIVEN_INITIAL.finditer(text):
        lower = match[1].lower()
        if len(lower) > 3 and lower in given_names() and not is_common(lower) and lower not in ambiguous():
            yield match.span()
    for match in LAST_INITIAL.finditer(text):
        if is_surname(match[1]) and not is_common(match[1]) and match[1].lower() not in ambiguous():
            yield match.span()


def _signed(text: str) -> Iterator[tuple[int, int]]:
    """A name alone on the last lines, or in small letters behind a farewell."""
    for match in SMALL_SIGNATURE.finditer(text):
        if is_known(match[1]) or match[1].lower() in given_names():
            yield match.span(1)
    for match in SIGNATURE_LINE.finditer(text):
        if not is_common(match[1]) and match[1].lower() in given_names() and match[1].lower() not in eponyms():
            yield match.span(1)
    for match in LISTED_NAME.finditer(text):
        words = match[1].split()
        if not any(map(is_common, words)) and any(map(is_known, words)):
            yield match.span(1)


def _with_degree(text: str) -> Iterator[tuple[int, int]]:
    for match in BEFORE_CREDENTIAL.finditer(text):
        window = max(0, match.start() - 64)
        before = NAME_AT_END.search(text[window : match.start()].rsplit("\n", 1)[-1])
        if before is None:
            continue
        offset = match.start() - len(before[0])
        words = [(found.start() + offset, found.end() + offset, found[0]) for found in WORD.finditer(before[0])]
        keep = len(words)
        while keep > 0 and may_be_name(words[keep - 1][2]):
            keep -= 1
        if keep < len(words) and any(len(word.rstrip(".")) > 1 for _, _, word in words[keep:]):
            yield words[keep][0], match.start()


def _bare(text: str) -> Iterator[tuple[int, int]]:
    """Names that only the lists give away."""
    for match in INITIAL_SURNAME.finditer(text):
        surname = re.split(r"[. \t]", match[0])[-1]
        before = text[max(0, match.start() - 14) : match.start()]
        odd = any(part in eponyms() for part in PARTS.split(surname.lower()))
        sure = (
            (is_surname(surname) and not odd)
            or BEFORE_BY.search(before) is not None
            or (BEFORE_APART.search(before) and AFTER_APART.match(text, match.end()))
        )
        if odd and match[0][:2] in ("L.", "R."):
            continue
        if sure and not is_common(surname) and not is_eponym(text, *match.span()):
            yield match.span()
    given = given_names()
    for match in CAPITALISED.finditer(text):
        lower = match[0].lower()
        if lower in given or "-" in lower or "'" in lower:
            yield from _given_and_surname(text, match)
        if text.startswith(",", match.end()):
            yield from _last_first(text, match)
    for match in LINE_NAME.finditer(text):
        words = match[1].split()
        last = not text[match.end() :].strip()
        if (words[0].lower() in given_names() or (last and is_surname(words[-1]))) and not any(map(is_common, words)):
            yield match.span(1)


def _given_and_surname(text: str, match: re.Match[str]) -> Iterator[tuple[int, int]]:
    given = match[0]
    if given.endswith("-like"):
        return
    if PARTS.split(given.lower())[0] not in given_names():
        return
    middle = MIDDLE.match(text, match.end())
    second = WORD.match(text, middle.end()) if middle else None
    if (
        second is not None
        and middle is not None
        and surname_shaped(given, second[0], text[second.end() : second.end() + 12])
    ):
        end = second.end() - second[0].endswith(".")
        third = MIDDLE.match(text, end)
        further = WORD.match(text, third.end()) if third else None
        if (
            further is not None
            and surname_shaped(given, further[0], text[further.end() : further.end() + 12])
            and is_surname(further[0])
        ):
            end = further.end() - further[0].endswith(".")
        end -= 2 * text[:end].endswith(("'s", "’s"))
        last = second[0].rstrip(".")
        strong = is_surname(last) or not is_common(given)
        if strong and not is_eponym(text, match.start(), end):
            yield match.start(), end
    elif (
        not is_common(given) and given.istitle() and given.lower() not in ambiguous() and VERB.match(text, match.end())
    ):
        yield match.span()


def _last_first(text: str, match: re.Match[str]) -> Iterator[tuple[int, int]]:
    comma = COMMA.match(text, match.end())
    first = WORD.match(text, comma.end()) if comma else None
    given = first[0].rstrip(".").lower() if first else ""
    if first is None or is_common(match[0]) or not (is_surname(match[0]) or given in given_names()):
        return
    apart = BEFORE_APART.search(text[max(0, match.start() - 14) : match.start()]) and is_known(match[0])
    if (
        (given not in given_names() and not apart)
        or given in US_STATES
        or _not_a_person(match[0])
        or given in eponyms()
    ):
        return
    if not first[0][0].isupper() or is_common(first[0]) or match[0].isupper() != first[0].rstrip(".").isupper():
        return
    end = first.end() - first[0].endswith(".")
    middle = MIDDLE_INITIAL.match(text, end)
    yield match.start(), middle.end() if middle else end


def _repeated(text: str, found: list[tuple[int, int]]) -> Iterator[Span]:
    """A surname that was found once is the same person's wherever it is capitalised."""
    parts = {
        word
        for start, end in found
        for word in re.findall(r"[^\W\d_][\w'’-]{2,}", text[start:end])
        if word[0].isupper() and not is_common(word) and (len(word) > 4 or not word.isupper() or is_surname(word))
    }
    if not parts:
        return
    taken = dict(found)
    for match in CAPITALISED.finditer(text):
        word = match[0]
        again = (word in parts or word.title() in parts or word.upper() in parts) and match.start() not in taken
        if again and not is_eponym(text, *match.span()):
            yield Span(*match.span(), "name")
