"""Dates more precise than a year, with the clock times written to them, and ages over 89 (HIPAA Safe Harbor C).

A bare ``10/12`` is a fraction unless something says that it is a day: lymph nodes and dosing intervals look the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from data_prep.deid.spans import Span

_MONTH = (
    r"(?:Jan(?:uary|uar|vier|\.)?|Feb(?:ruary|ruar|\.)?|Mar(?:ch|s|\.)?|M[aä]rz|Apr(?:il|\.)?|May|Mai|June?\.?|Juni|"
    r"July?\.?|Juli|Aug(?:ust|\.)?|Sept?(?:ember|embre|\.)?|O[ck]t(?:ober|obre|\.)?|Nov(?:ember|embre|\.)?|"
    r"De[cz](?:ember|\.)?|f[ée]vrier|avril|mai|juin|juillet|ao[uû]t|d[ée]cembre|"
    r"enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre)"
)
_FULL_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_WEEKDAY = r"(?:(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs?)?|Fri|Sat(?:ur)?|Sun)(?:day)?\.?,?\s{1,2})?"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_NUMBER = r"(?:0?[1-9]|1[0-2])"
_YEAR = r"(?:(?:19|20)\d\d|['’]\d\d)"
_ORDINAL = r"(?:\s?(?:st|nd|rd|th))?"
_UNITS = (
    r"(?:mm|cm|mg|mcg|µg|ug|g|kg|ml|cc|dl|mL|dL|L|m|Gy|mGy|mSv|MBq|mCi|Hz|kV|mA|HU|U|IU|%|x|×|weeks?|months?|days?|"
    r"hours?|years?|"
    r"hrs?|times|cycles?|units?|nodes?|cores?|lymph|points?|levels?|slides?|blocks?|fractions?)\b"
)
_NO_UNIT = rf"(?!\s?{_UNITS})(?!\s?%)"
_FREE = r"(?<![\w.,+-])(?<![\d.]/)"
_END = r"(?![\w/])(?![.,-]\d)"
_CLOCK = r"(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?(?:\s?[AaPp]\.?[Mm]\b\.?)?"

_NUMERIC = re.compile(
    rf"{_FREE}(?:"
    rf"(?:19|20)\d\d([-/.]){_NUMBER}\1{_DAY}(?:T?(?=\d\d:)|(?![\w/])(?![.-]\d))"  # 2019-03-12, also with T14:30
    rf"|(?:{_NUMBER}([-/.]){_DAY}|{_DAY}([-/.]){_NUMBER})(?:\2|\3)(?:19|20)\d\d{_END}"  # 3/12/2019, 12.3.2019
    rf"|(?:{_NUMBER}([-/]){_DAY}|{_DAY}([-/]){_NUMBER})(?:\4|\5)\d\d{_END}{_NO_UNIT}"  # 3/12/19, 7-4-33
    rf"|(?:0\d|[12]\d|3[01])\.(?:0\d|1[0-2])\.\d\d{_END}{_NO_UNIT}"  # 12.03.19
    rf"|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]){_END}"  # 20190312
    rf"|(?:19|20)\d\d-(?:0[1-9]|1[0-2]){_END}"  # 2019-03
    rf"|{_NUMBER}[/]\s?(?:19|20)\d\d{_END}"  # 03/2019
    r")"
)
_RATIO = re.compile(
    r"(?:tit(?:er|re)s?|dilut\w{1,6}|ratio|risk|prevalence|incidence|frequency|chance)\W[^\n]{0,20}$",
    re.I,
)
_WRITTEN = re.compile(
    rf"(?<![\w-]){_WEEKDAY}(?:"
    rf"{_DAY}{_ORDINAL}(?:\s?[-–&/]\s?{_DAY}{_ORDINAL})?\.?[\s-]{{0,2}}(?:of\s)?"
    rf"{_MONTH}(?:[\s,./-]{{0,3}}{_YEAR}|[ -]\d\d(?!\s?{_UNITS}|[\d:%]))?(?![\w%])"  # 12 March 2019, 12-Mar-19
    rf"|{_MONTH}[\s./-]{{0,2}}{_DAY}{_ORDINAL}(?:\s?(?:[-–&]|and|to)\s?{_DAY}{_ORDINAL})?"
    rf"(?:[\s,./-]{{1,3}}{_YEAR})?(?![\w/%-])(?![:.]\d)"  # March 12, 2019
    rf"|(?:{_MONTH}\s?[/–-]\s?)?{_MONTH}[\s,./-]{{0,3}}(?:of\s)?{_YEAR}(?!\w)"  # March 2019, May/June 2019
    r"|(?:the\s)?(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth)\sof\s" + _FULL_MONTH + r"\b"
    r")"
    rf"{_NO_UNIT}",
    re.I,
)
# Month names that are ordinary words need more than a number behind them when they are not capitalised.
_WORD_MONTH = re.compile(r"\b(?:may|mar|mars|march|dec|sep|sept|jan|jun|oct|mai)\b")
_MONTH_START = re.compile(
    r"\b(?:[Jj](?:an|AN|u[nilI]|U[NL])|[Ff](?:eb|EB|[eé]v)|[Mm](?:a[riyR]|A[RYI]|är)|[Aa](?:[pPvb]r|PR|[uU][gG]|"
    r"o[uû]t|go)|[Ss](?:ep|EP)|"
    r"[Oo](?:[ck]t|CT)|[Nn](?:ov|OV)|[Dd](?:[eé][czi]|EC)|[Ee]ner|\d{1,2}(?:[A-Z][A-Z]{2}|[A-Z][a-z]{2})(?=\d|\b))"
)
_MONTH_ALONE = re.compile(
    r"(January|February|April|June|July|August|September|October|November|December)\b|(March|May)\b"
)
_BEFORE_MONTH = re.compile(r"\b(?:in|since|last|this|next|early|late|mid|until|of|by|during)[ -]$")
_REACH = 26  # longest weekday and day before a month's name, and day and year behind it
_FULL_STOP = re.compile(rf"{_FULL_MONTH}\.$")  # the sentence's, where no abbreviation needs it
_SEASON = re.compile(
    r"\b(?:(?:in|since|last|early|late|during|of)\s(?:the\s)?)(?:spring|summer|fall|autumn|winter)(?:\sof)?\s((?:19|"
    r"20)\d\d)\b"
    r"|\b(?:Christmas(?:\s(?:Day|Eve))?(?!\s(?:disease|tree|factor))|Thanksgiving|Easter(?:\s(?:Sunday|Monday))?|"
    r"New\sYear['’]s\s(?:Day|Eve)|Halloween|(?:Memorial|Labou?r|Independence|Boxing)\sDay|4th\sof\sJuly)\b"
)
_PARTIAL = re.compile(
    rf"(?<![\w/.,+-]){_NUMBER}/{_DAY}(?![\w/%+])(?![.-]\d)|(?<![\w/.,+-])(?:1[3-9]|2\d|"
    rf"3[01])/{_NUMBER}(?![\w/%+])(?![.-]\d)"
)
_BEFORE_PARTIAL = re.compile(
    r"(?:\b(?:on|dated?|since|from|until|till|through|thru|by|seen|pt|patient|dob|d\.o\.b\.?|lmp|edd|edc|exam|study|"
    r"film|"
    r"films|scan|cxr|ct|mri|xr|us|prior|yesterday|today|tomorrow|admitted|discharged|arrived|received|reported|signed|"
    r"due|appt|appointment|f/u|visit|clinic|surgery|effective|as of|again|dos|collected|drawn|done|performed|ordered)"
    r"|[\ue000])[\s:,(]{1,3}$",
    re.I,
)
_AFTER_PARTIAL = re.compile(
    r"\s{0,2}(?:of\b|lymph|node|core|block|slide|strength|pain|positive|negative|involved|sampled|intensity|murmur|"
    r"systolic|"
    r"pack|tab|dose|cup|teaspoon|power|motor|day|week|month|visit|view|point|quadrant|level|segment|glomerul|"
    rf"case|patient|vision|{_UNITS})",
    re.I,
)
_SURE_PARTIAL = re.compile(r"(?:0\d/\d{1,2}|\d{1,2}/0\d)$")
_LABELLED = re.compile(
    r"(?:\b(?:d\.?o\.?b\.?|date of birth|birth ?date|born(?: on)?|date|dated|received|reported|collected|lmp|edd|dos)"
    r"\s{0,2}[:\-]?\s{0,3})(\d{1,2}([./ -])\d{1,2}\2\d\d(?:\d\d)?|\d{8})(?!\d)",
    re.I,
)
_ON_THE_NTH = re.compile(
    rf"\b(?:on|since|until|for|by)\sthe\s({_DAY}(?:st|nd|rd|th))(?=\s?[.;)]|,|\s?$|\s(?:of\s(?:this|last|the|"
    r"next)\smonth))",
    re.M,
)
_TIME_BEHIND = re.compile(
    rf"(?:\s{{0,2}}(?:at|@|,|T)?\s{{0,2}}|T){_CLOCK}(?:\s?(?:hrs?|hours|h|[A-Z]{{2,3}}T|UTC|GMT|Z)\b|[+-]\d\d:?\d\d\b)?"
)

_TENS = "(?:ninety|one[ -]hundred(?:[ -]and)?)"
_UNITS_WORDS = "(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)"
_AGE_NUMBER = rf"((?:9\d|1[01]\d|12[0-5])|{_TENS}(?:[ -]{_UNITS_WORDS})?)"
_AGE = re.compile(
    rf"(?<![\w./-]){_AGE_NUMBER}(?:\+)?(?:"
    r"[\s-]{0,2}(?:years?|yrs?|yr\.|y)[\s-]{0,2}(?:old|of[\s-]age|/o|o\b)|\s?y/?o\b|[- ]?jährige?[rns]?\b|\sans\b|"
    r"(?:st|nd|rd|th)\sbirthday|\s?/\s?[MF]\b|\s?[yY]\s?/?\s?[MF]\b|\s?-?\s?years?\)"
    r"|\s?[MF]\b(?!\s?[/=])|\s(?:yo\b|y\.o\.|year[s-]{0,2})\s?(?:male|female|man|woman|gentleman|lady|[MF]\b)"
    r"|\syears?\sand\s)",
    re.I,
)
_AGED = re.compile(
    rf"(?:\b(?:aged?|ages)(?:/sex)?(?:\s(?:of|is|was|at|about|approximately|over))?\s{{0,3}}[:=]?\s{{0,3}}|"
    rf"\bturn(?:ed|ing)\s|\bis\s(?:now\s)?(?=\S{{2,12}}\syears\b)|\b(?:s?he|patient)\sis\s(?:now\s)?)"
    rf"{_AGE_NUMBER}(?!\d|\.\d|\s?(?:%|mm|cm|months?|weeks?|days?|hours?|minutes?|mins?|kg|lb|mg|bpm))"
    r"(?=\s?(?:years?\b|yrs?\b|y\b|[MF]\b|and\b|[,.;)\n/+]|$|\ue000|\s[a-z]))",
    re.I,
)


def dates(text: str) -> Iterator[Span]:
    """Find dates, each with a clock time directly behind or before it."""
    found: list[tuple[int, int]] = []
    for match in _NUMERIC.finditer(text):
        if "/" in match[0] and len(match[0]) <= 7 and _RATIO.search(text[max(0, match.start() - 40) : match.start()]):
            continue
        found.append(match.span())
    found += [match.span(1) for match in _LABELLED.finditer(text)]
    for match in _around_months(text):
        if (
            match[0].islower()
            and _WORD_MONTH.search(match[0])
            and not re.search(r"\d{4}|\d(?:st|nd|rd|th)\b", match[0])
        ):
            continue
        if not re.search(r"[A-Z]", match[0]) and not re.search(r"\d", match[0]):
            continue
        found.append((match.start(), match.end() - (_FULL_STOP.search(match[0]) is not None)))
    found += [match.span() for match in _SEASON.finditer(text)]
    found += [match.span(1) for match in _ON_THE_NTH.finditer(text)]
    for match in _PARTIAL.finditer(text):
        if _AFTER_PARTIAL.match(text, match.end()):
            continue
        before = text[max(0, match.start() - 16) : match.start()]
        if _SURE_PARTIAL.search(match[0]) or _BEFORE_PARTIAL.search(before):
            found.append(match.span())
    for start, end in found:
        behind = _TIME_BEHIND.match(text, end)
        yield Span(start, behind.end() if behind else end, "date")


def _around_months(text: str) -> Iterator[re.Match[str]]:
    """Dates with a month's name, which is looked for first: far fewer places than there are numbers."""
    done = 0
    for month in _MONTH_START.finditer(text):
        if month.start() < done:
            continue
        match = _WRITTEN.search(text, max(done, month.start() - _REACH), min(len(text), month.end() + 2 * _REACH))
        if match is None:
            match = _MONTH_ALONE.match(text, month.start())
            if match is None or (
                match[2] and not _BEFORE_MONTH.search(text[max(0, month.start() - 8) : month.start()])
            ):
                continue
        yield match
        done = match.end()


def ages(text: str) -> Iterator[Span]:
    """Find ages over 89; the span is the number alone."""
    for pattern in (_AGE, _AGED):
        for match in pattern.finditer(text):
            yield Span(*match.span(1), "age")
