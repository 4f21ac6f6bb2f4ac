"""Names of persons, found by what stands around them: titles, labels, verbs of telling, degrees, greetings.

Without any of these, a given name of the list with a capitalised word behind it is a name, unless an eponym's noun
follows. Nothing else is: "Hodgkin lymphoma", "Barrett oesophagus" and "Swan-Ganz catheter" name no person here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from data_prep.deid.spans import Span
from data_prep.deid.words import AMBIGUOUS_NAMES, EPONYM_NOUNS, EPONYM_PHRASES, eponyms, given_names, is_common, is_report_word, surnames

_WORD = re.compile(r"[^\W\d_]+(?:['’\-‐][^\W\d_]+){0,4}\.?")
_PARTICLES = frozenset("de del della di da dos du van von der den ter la le el al bin ibn abu st. st mac o' zu".split())
_GAP = re.compile(r"[ \t]")  # two blanks part the fields of a header
_NICKNAME = re.compile(r"[ \t][\"“(][A-ZÀ-Þ][\w'’-]{1,15}[\"”)][ \t](?=[A-ZÀ-Þ])")
_COMMA = re.compile(r",[ \t]{0,2}")
_LIST_GAP = re.compile(r"[ \t]{0,2}(?:,|;|/|&|\band\b|,\s?and\b)[ \t]{0,2}")
_CREDENTIALS = (
    r"(?:M\.?D\.?|D\.?O\.?|M\.?B\.?B\.?S\.?|MBChB|MB BCh|Ph\.?\s?D\.?|R\.?N\.?|N\.?P\.?|C\.?N\.?P\.?|FNP(?:-C|-BC)?|A\.?P\.?R\.?N\.?|ARNP|"
    r"P\.?A\.?-?C|C\.?R\.?N\.?A\.?|L\.?P\.?N\.?|B\.?S\.?N\.?|R\.?T\.?(?:\([A-Z]{1,3}\)|R)|RDMS|RVT|RDCS|FRCR|FRCS|FRCP(?:ath)?|FACR|FACS|FACP|FCAP|"
    r"FRANZCR|MRCP|DNB|MCh|DM|DPM|DDS|DMD|PharmD|MPH|MSc|BSc|LCSW|CNM|CT\(ASCP\)|Esq\.?|Jr\.?|Sr\.?|I{2,3}|IV)"
)
_CREDENTIAL = re.compile(rf"\s?,?\s{{0,2}}(?<![A-Za-z]){_CREDENTIALS}(?![\w-])")
_BEFORE_CREDENTIAL = re.compile(
    rf"(?<=[\w.’'])(?:,[ \t]{{0,2}}|[ \t]{{1,2}})(?:M\.?D\.?|D\.?O\.?|MBBS|MBChB|Ph\.?D\.?|R\.?N\.|RN|NP|C\.?N\.?P|FNP(?:-C|-BC)?|APRN|ARNP|PA-C|"
    r"CRNA|LPN|BSN|RDMS|RVT|FRCR|FRCS|FRCPath|FRCP|FACR|FACS|FCAP|FRANZCR|DNB|DPM|DDS|PharmD|MSc|LCSW|CNM)(?![\w-])"
)
_NAME_AT_END = re.compile(
    r"(?:(?:[^\W\d_][\w'’-]{1,30},[ \t])?(?:[^\W\d_](?:[\w'’-]{1,30}|\.)?[ \t]){0,3}[^\W\d_][\w'’-]{1,30},?(?:[ \t][^\W\d_]\.?)?)$"
)
_TITLE = re.compile(
    r"(?<![\w-])(?:(?:Dr|DR|dr|Drs|DRS|drs|Prof|PROF|prof|Mr|Mrs|mrs|Ms|Mx|Lt|Col|Capt|Maj|Sgt|Rev|Hon|Mme|Mlle|Sra|Srta|Dra)"
    r"(?:\.[ \t]{0,2}|[ \t]{1,2})|(?:MR|MRS|mr|MS|Sr|Fr|SR)\.[ \t]{1,2}|(?:mr|MRS|MR)[ \t]|(?:Doctor|DOCTOR|Professor|Dame|Sir|Miss|Mister|Master|Herr|Frau|Señora?|Signora?|"
    r"Monsieur|Madame|Nurse|NP|RN|Sister|Father|Rabbi|Imam|Pastor|Chaplain|Fru|Mevrouw|Meneer|Shri|Smt\.?|Kumari|Begum)[ \t]{1,2}|(?:Hr|Mevr|Dhr|Sig|Sig\.ra|Dott|Dott\.ssa|Med|Ing|Sgt)\.[ \t]{1,2})(?=[^\W\d_])"
)
_WEAK_TITLES = frozenset(("Nurse", "NP", "RN", "Sister", "Father", "Miss", "Master", "Sir", "Doctor", "Professor", "DOCTOR", "Lt", "Col"))
_ROLES = (
    r"(?:physician|doctor|provider|clinician|radiologist|pathologist|surgeon|cardiologist|oncologist|resident|fellow|attending|"
    r"consultant|registrar|technologist|technician|tech|sonographer|radiographer|nurse|midwife|assistant|anaesthetist|"
    r"anesthesiologist|anaes|therapist|cytotechnologist|cytologist|dermatologist|neurologist|practitioner|pcp|gp|hcp|interpreter|"
    r"translator|operator|performer|reader|reporter|author|transcriptionist|typist|secretary|scribe|witness|specialist|"
    r"coordinator|pharmacist|dietitian|psychologist|social worker|case manager|examiner|observer|endoscopist|proceduralist|"
    r"primary care physician|family doctor|referrer|requester|clinical lead|chair)"
)
_KIN = (
    r"(?:wife|husband|spouse|partner|mother|father|mom|mum|dad|son|daughter|sister|brother|sibling|twin|aunt|uncle|niece|nephew|"
    r"cousin|grandmother|grandfather|grandson|granddaughter|guardian|carer|caregiver|caretaker|neighbou?r|friend|fianc[ée]e?|"
    r"boyfriend|girlfriend|roommate|next of kin|nok|emergency contact|surrogate|proxy|poa|lpa|donor|recipient)"
)
_COLON = re.compile(r"[:=][ \t]{0,4}(?=[^\W\d_\[\"“])")
_COLON_LABEL = re.compile(
    rf"(?<![\w-])(?:(?:pat|paciente|patiente|nombre|nom|naam|cognome|nome|vorname|nachname)|patient(?:['’]?s|en)?(?:[ \t]full)?(?:[ \t]name)?|pt\.?(?:[ \t]name)?|(?:full[ \t]|last[ \t]|first[ \t]|middle[ \t]|maiden[ \t]|"
    rf"family[ \t]|given[ \t])?name(?:[ \t]of[ \t]patient)?|surname|forenames?|(?:[\w/-]{{2,14}}[ \t]){{0,2}}{_ROLES}s?(?:['’]?s)?(?:[ \t](?:name|of record))?|"
    rf"{_KIN}(?:['’]?s)?(?:[ \t]name)?|(?:[\w]{{2,14}}[ \t]){{0,2}}(?:by|to|from)|attn|attention|cc|c\.c\.|bcc|re|present|attendees|in attendance|"
    r"participants|apologies|staff|team|contact(?:[ \t]person)?|signed|signature|e-?signed|electronically[ \t]signed|signed[ \t]electronically|dictated|"
    r"transcribed|typed|approved|verified|finali[sz]ed|authenticated|reviewed|interpreted|reported|read|"
    r"authori[sz]ed|copies|copy|requestor|ordering|referring|attending|admitting)[ \t]{0,3}$",
    re.I,
)
_LAST_WORD = re.compile(r"([^\W\d_]+)['’.]?(?:s['’]?)?[ \t]{0,3}$")
# Words of the labels: a colon behind any other word needs no closer look.
_LABEL_WORDS = frozenset(re.findall(r"[^\W\d_]+", re.sub(r"\\.|\[[^\]]*\]|\?", " ", _COLON_LABEL.pattern.lower()))) | frozenset(
    ("forename", "neighbour", "neighbor", "authorised", "authorized", "finalised", "finalized", "fiancé", "fiancée", "fiance", "fiancee", "c")
)
_LOWER_LABEL = re.compile(r"(?<![\w-])(?:pt|patient)(?:['’]s)?[ \t]name[ \t](?:is[ \t])?(?=[^\W\d_])|(?<![\w-])(?:my|his|her|whose)[ \t]name[ \t]is[ \t](?=[^\W\d_])", re.I)  # fmt: skip
_TOLD = re.compile(
    rf"(?<![\w-])(?:(?:(?:signed|dictated|transcribed|typed|approved|verified|finali[sz]ed|authenticated|reviewed|interpreted|reported|read|performed|"
    r"authori[sz]ed|requested|ordered|referred|seen|examined|evaluated|followed|managed|done|consulted|assisted|supervised|prepared|"
    r"discussed|reviewed|spoken|spoke|talked|conferred|communicated|conveyed|called|relayed|telephoned|phoned|faxed|reported|notified|"
    r"given|texted|message|letter|mail|call|note|addendum|accompanied|d/w|f/u|care|confirmed|shared|per|via|attn|contact(?:ed)?|informed|paged|"
    r"notified|alerted|updated|thank(?:s| you)|labell?ed|named|nurse|interpreter|prelim(?:inary)?)"
    r"(?:[ \t](?:electronically|directly|personally|verbally|over the phone|by (?:tele)?phone|immediately|then|also|today|results?))?"
    r"(?:[ \t](?:by|with|to|from|of|w/?|via|for|and|,))?)[ \t]{1,2}[\"“']?)$",
    re.I,
)
_ROLE_NO_COLON = re.compile(
    rf"(?<![\w-])(?:{_ROLES}|{_KIN}|patient|pt|child|infant|pt\.|veteran|gentleman|lady|client)(?:,|[ \t]is|[ \t]named|[ \t]called)?[ \t]{{1,2}}[(“\"]?$",
    re.I,
)
_BABY = re.compile(r"\b(?i:baby|bb|bg)[ \t]+(?=(?i:boy|girl)[ \t][A-ZÀ-ÖØ-Þ])")
_GREETING = re.compile(
    r"(?<![\w-])(?:Hi|Hello|Hey|Dear|Ta|Thanks|Thank you|Many thanks|Cheers|Regards|Best|Best wishes|Kind regards|Warm regards|Sincerely|"
    r"(?:Yours )?(?:sincerely|truly|faithfully)|Yours|Love|Best regards)[,!.]?[ \t]{0,2}(?:\n[ \t]{0,8}){0,3}$"
)
_SIGN_OFF = re.compile(r"(?:(?:^|\s)[—–-]{1,2}|/s/|~)[ \t]{0,2}$", re.M)
_TO_LINE_END = re.compile(r"[A-ZÀ-ÖØ-Þ][\w'’. -]{1,40}\s{0,3}(?:\n|$)")
_LABEL_REACH = 48
_LAST_BEFORE = re.compile(r"([^\W\d_]+|[/~—–-])[\s,.!(“\"']{0,12}$")
# Words of the three patterns above, which are tried only behind one of these.
_TELLING_WORDS = frozenset(
    word
    for pattern in (_TOLD, _ROLE_NO_COLON, _GREETING)
    for word in re.findall(r"[^\W\d_]+", re.sub(r"\\.|\[ \\t\]|\?", " ", pattern.pattern.lower()))
) | frozenset(
    ("neighbour", "neighbor", "authorised", "authorized", "finalised", "finalized", "labelled", "labeled", "fiancé", "fiancée")
    + ("fiance", "fiancee", "contacted", "phone", "telephone", "result", "results", "w", "u", "thank", "thanks", "you")
)
_CARET = re.compile(r"(?<![\w^/])[A-Za-zÀ-Þ][^\W\d_][\w'’-]{0,30}\^(?=[^\W\d_])[\w'’. -]{1,30}(?:\^[\w'’. -]{0,30}){0,3}")
_INITIALS = re.compile(r"(?<![\w.-])[A-Z]{2,3}(?=[/:,.;)\s]|$)(?!:\d)")
_BEFORE_INITIALS = re.compile(
    rf"(?<![\w-])(?:(?i:dictated|transcribed|typed|signed|{_ROLES}|reviewed|initials)(?:[ \t]?:|[ \t]by:?)?[ \t]{{1,2}}|"
    r"(?:[TDtd]|TR|DD|TT)[ \t]?:[ \t]{0,2})$"
)
_INITIAL_SURNAME = re.compile(r"(?<![\w.'’^/-])(?:[A-ZÀ-Ý]\.[ \t]?){1,3}(?:(?:van|von|de|der|la|di|da|el|al|bin)[ \t]){0,2}[A-ZÀ-ÖØ-Þ][\w'’-]{2,30}")
_START = re.compile(r"(?<![\w'’.^-])[A-ZÀ-ÖØ-Þ](?:[^\W\d_]{1,30}|(?=\.? ?[A-ZÀ-ÖØ-Þ][\w'’-]{2}))")
_CAPITALISED = re.compile(r"(?<![\w'’.^-])[A-ZÀ-ÖØ-Þ][^\W\d_]{2,30}(?:['’-][^\W\d_]{1,30}){0,3}(?![\w'’-])")
_BEFORE_BY = re.compile(r"(?:\b(?:by|with|from|to|per|Dr|Drs|and|cc|GP|consultant|surgeon)\.?:?|[,(/]|^|\n)[ \t]{0,3}$", re.I)
_LINE_NAME = re.compile(r"^[ \t]{0,8}([A-ZÀ-ÖØ-Þ][\w'’-]{1,20}(?:[ \t][A-Z]\.?)?(?:[ \t][A-ZÀ-ÖØ-Þ][\w'’-]{1,25}){1,2})[ \t]{0,8}$", re.M)
_VERB = re.compile(
    r"[ \t](?:was|is|has|had|presented|presents|reports|reported|states|stated|denies|denied|underwent|returned|returns|came|complains|"
    r"complained|notes|feels|felt|lives|takes|tolerated|continues|will|requires|required|wants|asked|agrees|understands|did|does|says|said|"
    r"called|smokes|drinks|works|attended|attends|phoned|rang|thinks|wonders)\b"
    rf"|[ \t]\((?:{_KIN}|the patient)\b"
)
_ENDS = re.compile(rf"\s?[,;:()\n]|\.?\s*$|\.\s|{_VERB.pattern}")
_MIDDLE = re.compile(r"[ \t](?:[A-ZÀ-Ý]\.?(?:[ \t]?[A-ZÀ-Ý]\.?)?[ \t])?(?=[^\W\d_])")
_PARTS = re.compile(r"[-'’]")
_MIDDLE_INITIAL = re.compile(r"[ \t][A-Z]\.?(?!\w)")
_BEHIND = re.compile(r"(?:['’]s?)?[ \t-](?:[A-Za-z0-9]{1,14}[ \t-])?([A-Za-z-]+)")
_DIRECTLY_BEHIND = re.compile(r"(?:['’]s?)?[ \t-]([A-Za-z-]+)")
_MAX_WORDS = 5


def names(text: str) -> Iterator[Span]:
    """Find names of persons, and every later mention of a surname so found."""
    words = [match for match in _START.finditer(text) if not is_common(match[0])]
    found = sorted({*_titled(text), *_labelled(text), *_told(text, words), *_with_degree(text), *_bare(text)})
    yield from (Span(start, end, "name") for start, end in found)
    yield from _repeated(text, found)


def _titled(text: str) -> Iterator[tuple[int, int]]:
    for match in _TITLE.finditer(text):
        title = match[0].strip(" \t.")
        first = _WORD.match(text, match.end())
        if first is None or _TITLE.match(text, match.end()):
            continue
        if title in _WEAK_TITLES and (is_common(first[0]) or not first[0][0].isupper()):
            continue
        if title in ("MR", "MRS", "DR") and "." not in match[0] and (not _is_surname(first[0]) or is_common(first[0])):
            continue
        plural = title.lower() == "drs"
        lower = title.lower() in ("dr", "drs", "mr", "mrs", "prof")
        for start, end in _read(text, match.end(), sure=True, several=plural, lower=lower):
            if title not in _WEAK_TITLES or not _is_eponym(text, start, end):
                yield start, end


def _labelled(text: str) -> Iterator[tuple[int, int]]:
    for match in _COLON.finditer(text):
        last = _LAST_WORD.search(text, max(0, match.start() - 20), match.start())
        if last is None or not {last[1].lower(), last[1].lower().rstrip("s")} & _LABEL_WORDS:
            continue
        if not _COLON_LABEL.search(text[max(0, match.start() - _LABEL_REACH) : match.start()]):
            continue
        start = match.end()
        title = _TITLE.match(text, start)
        while title is not None:
            start = title.end()
            title = _TITLE.match(text, start)
        yield from _read(text, start, several=True, last_first=True)
    for match in _LOWER_LABEL.finditer(text):
        yield from _read(text, match.end(), lower=True, last_first=True)
    for match in _CARET.finditer(text) if "^" in text else ():
        yield match.span()
    for match in _INITIALS.finditer(text):
        if match[0] not in _ABBREVIATIONS and _BEFORE_INITIALS.search(text[max(0, match.start() - 32) : match.start()]):
            if not is_common(match[0]):
                yield match.span()
    for match in _BABY.finditer(text):
        yield from _read(text, match.end(), sure=True)


def _told(text: str, words: list[re.Match[str]]) -> Iterator[tuple[int, int]]:
    """Names behind a verb of telling, a role, a relative, a greeting: two words, or one of the lists."""
    for match in words:
        last = _LAST_BEFORE.search(text, max(0, match.start() - 24), match.start())
        if last is None or (last[1][0].isalpha() and last[1].lower() not in _TELLING_WORDS):
            continue
        before = text[max(0, match.start() - _LABEL_REACH) : match.start()]
        told = _TOLD.search(before) is not None
        if not told and not _ROLE_NO_COLON.search(before) and not _GREETING.search(before):
            if not (_SIGN_OFF.search(before) and _TO_LINE_END.match(text, match.start())):
                continue
        for start, end in _read(text, match.start(), several=told):
            found = text[start:end].split()
            if (len(found) > 1 or _known(found[0])) and not _is_eponym(text, start, end):
                yield start, end


def _with_degree(text: str) -> Iterator[tuple[int, int]]:
    for match in _BEFORE_CREDENTIAL.finditer(text):
        window = max(0, match.start() - 64)
        before = _NAME_AT_END.search(text[window : match.start()].rsplit("\n", 1)[-1])
        if before is None:
            continue
        offset = match.start() - len(before[0])
        words = [(found.start() + offset, found.end() + offset, found[0]) for found in _WORD.finditer(before[0])]
        keep = len(words)
        while keep > 0 and _may_be_name(words[keep - 1][2]):
            keep -= 1
        if keep < len(words) and any(len(word.rstrip(".")) > 1 for _, _, word in words[keep:]):
            yield words[keep][0], match.start()


def _bare(text: str) -> Iterator[tuple[int, int]]:
    """Names that only the lists give away."""
    for match in _INITIAL_SURNAME.finditer(text):
        surname = re.split(r"[. \t]", match[0])[-1]
        sure = _is_surname(surname) or _BEFORE_BY.search(text[max(0, match.start() - 14) : match.start()]) is not None
        if sure and not is_common(surname) and not _is_eponym(text, *match.span()):
            yield match.span()
    given, family = given_names(), surnames()
    for match in _CAPITALISED.finditer(text):
        lower = match[0].lower()
        if lower in given or "-" in lower or "'" in lower:
            yield from _given_and_surname(text, match)
        if lower in family or "-" in lower or "'" in lower:
            yield from _last_first(text, match)
    for match in _LINE_NAME.finditer(text):
        words = match[1].split()
        last = not text[match.end() :].strip()
        if (words[0].lower() in given_names() or (last and _is_surname(words[-1]))) and not any(map(is_common, words)):
            yield match.span(1)


def _given_and_surname(text: str, match: re.Match[str]) -> Iterator[tuple[int, int]]:
    given = match[0]
    if _PARTS.split(given.lower())[0] not in given_names():
        return
    middle = _MIDDLE.match(text, match.end())
    second = _WORD.match(text, middle.end()) if middle else None
    if second is not None and middle is not None and _surname_shaped(given, second[0], text[second.end() : second.end() + 12]):
        end = second.end() - second[0].endswith(".")
        third = _MIDDLE.match(text, end)
        further = _WORD.match(text, third.end()) if third else None
        if further is not None and _surname_shaped(given, further[0], text[further.end() : further.end() + 12]) and _is_surname(further[0]):
            end = further.end() - further[0].endswith(".")
        end -= 2 * text[:end].endswith(("'s", "’s"))
        last = second[0].rstrip(".")
        strong = _is_surname(last) or not is_common(given)
        if strong and not _is_eponym(text, match.start(), end):
            yield match.start(), end
    elif not is_common(given) and given.istitle() and given.lower() not in _ambiguous() and _VERB.match(text, match.end()):
        yield match.span()


def _last_first(text: str, match: re.Match[str]) -> Iterator[tuple[int, int]]:
    comma = _COMMA.match(text, match.end())
    first = _WORD.match(text, comma.end()) if comma else None
    if first is None or not _is_surname(match[0]) or is_common(match[0]) or first[0].rstrip(".").lower() not in given_names():
        return
    if not first[0][0].isupper() or is_common(first[0]) or match[0].isupper() != first[0].rstrip(".").isupper():
        return
    end = first.end() - first[0].endswith(".")
    middle = _MIDDLE_INITIAL.match(text, end)
    yield match.start(), middle.end() if middle else end


def _repeated(text: str, found: list[tuple[int, int]]) -> Iterator[Span]:
    """A surname that was found once is the same person's wherever it is capitalised."""
    parts = {
        word
        for start, end in found
        for word in re.findall(r"[^\W\d_][\w'’-]{2,}", text[start:end])
        if word[0].isupper() and not is_common(word) and (len(word) > 4 or not word.isupper() or _is_surname(word))
    }
    if not parts:
        return
    taken = dict(found)
    for match in _CAPITALISED.finditer(text):
        word = match[0]
        if (word in parts or word.title() in parts or word.upper() in parts) and match.start() not in taken:
            if not _is_eponym(text, *match.span()):
                yield Span(*match.span(), "name")


def _read(
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
            comma = _COMMA.match(text, end)
            if comma is not None and not _CREDENTIAL.match(text, end):
                given, _ = _one_name(text, comma.end(), False, lower)
                end = given if given > comma.end() else end
        yield start, end
        if not several:
            return
        credential = _CREDENTIAL.match(text, end)
        while credential is not None:
            end = credential.end()
            credential = _CREDENTIAL.match(text, end)
        gap = _LIST_GAP.match(text, end)
        if gap is None:
            return
        start = gap.end()
        title = _TITLE.match(text, start)
        start, last_first = (title.end() if title else start), False


def _one_name(text: str, start: int, sure: bool, lower: bool) -> tuple[int, int]:
    """Return where the name ends (``start`` if there is none) and how many full words it has."""
    end, position, full = start, start, 0
    for number in range(_MAX_WORDS):
        match = _WORD.match(text, position)
        if match is None:
            break
        word = match[0].rstrip(".")
        initial = len(word) == 1 and word.isupper()
        short = match[0] in ("Wm.", "Jas.", "Chas.", "Geo.", "Thos.", "St.", "Ste.")
        particle = word.lower() in _PARTICLES and match[0][0].islower() and number < 4
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
        gap = _NICKNAME.match(text, match.end()) or _GAP.match(text, match.end())
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
        return full == 0 or _known(word)
    if word in _ABBREVIATIONS or word.lower() in _NEVER or re.fullmatch(_CREDENTIALS, word):
        return False
    if not is_common(word):
        return True
    if full == 0:
        return sure and not (word.isupper() and not _is_surname(word))
    # An ordinary word behind a name: a surname like "Standing" if the text goes on in small letters.
    tail = text[match.end() : match.end() + 2]
    if word.isupper() or full != 1 or is_report_word(word):
        return False
    ends = match[0].endswith(".") or re.match(r"[.,;)\n]|$", tail) is not None
    return ends or (_is_surname(word) and re.match(r" [a-z(]", tail) is not None)


def _may_be_name(word: str) -> bool:
    bare = word.rstrip(".")
    if len(bare) == 1:
        return bare.isupper()
    return bare[0].isupper() and bare not in _ABBREVIATIONS and (not is_common(bare) or bare.lower() in _PARTICLES)


def _surname_shaped(given: str, word: str, behind: str) -> bool:
    """Whether a word may be the surname to a given name; an ordinary word only if the phrase ends with it."""
    bare = word.rstrip(".")
    if len(bare) < 2 or not bare[0].isupper() or bare in _ABBREVIATIONS or given.isupper() != bare.isupper():
        return False
    if given.isupper():
        return _is_surname(bare) and not is_common(bare)
    return not is_common(bare) or (_is_surname(bare) and not is_report_word(bare) and _ENDS.match(behind) is not None)


def _known(word: str) -> bool:
    bare = word.rstrip(".").lower().removesuffix("'s").removesuffix("’s")
    if is_common(bare):
        return False
    return any(part in given_names() or part in surnames() for part in _PARTS.split(bare))


def _is_surname(word: str) -> bool:
    return any(part in surnames() for part in _PARTS.split(word.rstrip(".").lower()))


def _is_eponym(text: str, start: int, end: int) -> bool:
    """Whether what follows, or the phrase itself, makes it a disease, a sign or a device."""
    if EPONYM_PHRASES.search(text[start : end + 24]):
        return True
    behind = _BEHIND.match(text, end)
    if behind is None:
        return False
    near = _DIRECTLY_BEHIND.match(text, end)
    return behind[1].lower() in EPONYM_NOUNS or (near is not None and near[1].lower() in EPONYM_NOUNS)


_NEVER = frozenset("the this that these those who whom which what he she it they we you is was has had will a an and or of in on at to for by with patient not no dr drs mr mrs ms miss mx prof professor doctor lt col capt maj sgt rev hon sir dame".split())  # fmt: skip
_ABBREVIATIONS = frozenset(
    """
    AP PA CT MR MRI MRA MRV US XR CXR KUB PET SPECT NM DEXA ER ED ICU NICU PICU CCU OR IV IM PO PRN BID TID QID QD NPO DNR
    MRN DOB SSN ID SEX AGE M F RT LT R L ON TO IN AT NO DR MD DO RN NP OD OS OU HX DX RX TX SX FX PT OT BP HR RR LV RV LA RA
    EF ECG EKG EEG EMG LAD RCA LCX IVC SVC GI GU CNS CSF CVA TIA MI PE DVT COPD CHF CAD HTN DM HIV HCV HBV TB UTI URI BPH
    ETT NG OG PICC CVC PIV AICD ICD IABP ECMO CABG TAVR PCI II III IV VI VII VIII IX XI XII WNL NAD PERRL ROS HPI PMH PSH FH
    SH A/P LLL RLL LUL RUL RML LLQ RLQ LUQ RUQ TNM ER PR HER ALK ROS EGFR KRAS BRAF PAS HE IHC FISH PCR DNA RNA AFB GMS UK
    USA NHS WHO FDA IRB HIPAA PACS RIS EMR EHR DICOM AM PM EST CST PST MST UTC GMT SIGNED DICTATED FINAL
    """.split()
)


@functools.cache
def _ambiguous() -> frozenset[str]:
    return eponyms() | AMBIGUOUS_NAMES
