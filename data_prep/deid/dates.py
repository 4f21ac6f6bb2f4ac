"""Dates more precise than a year, with the clock times written to them, and ages over 89 (HIPAA Safe Harbor C).

A bare ``10/12`` is a fraction unless something says that it is a day: lymph nodes and dosing intervals look the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from data_prep.deid.numbers import is_coded
from data_prep.deid.spans import Span, in_windows
from data_prep.deid.words import is_common

_MONTH = (
    r"(?:Jan(?:uary|uar|vier|uari|\.)?|Feb(?:ruary|ruar|\.)?|Mar(?:ch|s|\.)?|M[aä]rz|Apr(?:il|\.)?|May|Mai|June?\.?|"
    r"Juni|J[aä]nner|Fev(?:ereiro)?|Mar[cç]o|maart|mei|maj|augusti?|Dic|Ene|Abr|Ago|"
    r"July?\.?|Juli|Aug(?:ust|\.)?|Sept?(?:ember|embre|\.)?|O[ck]t(?:ober|obre|\.)?|Nov(?:ember|embre|\.)?|"
    r"De[cz](?:ember|\.)?|f[ée]vrier|avril|mai|juin|juillet|ao[uû]t|d[ée]cembre|"
    r"enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre)"
)
# Month names that no list here holds: between a day and a year, a word that is no ordinary English one.
_FOREIGN = re.compile(
    r"(?<![\w.,/-])(?:0?[1-9]|[12]\d|3[01])(?:\.|º|er|\sde)?\s{1,2}([^\W\d_]{3,14})\.?,?\s{1,2}(?:de\s|del\s)?(?:19|"
    r"20)\d\d(?!\w|[.,]\d)"
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
_ROMAN = "(?:i{1,3}|iv|vi{0,3}|ix|xi{0,2})"
_NO_UNIT = rf"(?!\s?{_UNITS})(?!\s?%)"
_FREE = r"(?<![\w.,+-])(?<![\d.]/)"
_END = r"(?![\w/])(?![.,-]\d)"
_CLOCK = r"(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?(?:\s?[AaPp]\.?[Mm]\b\.?)?"

_NUMERIC = re.compile(
    rf"{_FREE}(?:"
    rf"(?:19|20)\d\d([-/.])\s?{_NUMBER}\1\s?{_DAY}(?:T?(?=\d\d:)|"
    rf"\.?(?![\w/])(?![.-]\d))"  # 2019-03-12, also with T14:30
    rf"|(?:{_NUMBER}\s?([-/.])\s?{_DAY}|{_DAY}\s?([-/.])\s?{_NUMBER})\s?(?:\2|\3)\s?(?:19|"
    rf"20)\d\d{_END}"  # 3/12/2019, 12. 3. 2019
    rf"|(?:(?:0\d|1[0-2])\s(?:0\d|[12]\d|3[01])|(?:0\d|[12]\d|3[01])\s(?:0\d|1[0-2]))\s(?:19|"
    rf"20)\d\d{_END}{_NO_UNIT}"  # 12 03 2019
    r"|(?:19|20)\d\d年\s?\d{1,2}月(?:\s?\d{1,2}日)?"
    rf"|(?:{_NUMBER}([-/]){_DAY}|{_DAY}([-/]){_NUMBER})(?:\4|\5)\d\d{_END}{_NO_UNIT}"  # 3/12/19, 7-4-33
    rf"|(?:(?:0?\d|[12]\d|3[01])\.(?:0\d|1[0-2])|(?:0\d|1[0-2])\.(?:[012]\d|"
    rf"3[01]))\.['’]?\d\d{_END}{_NO_UNIT}"  # 12.03.19
    rf"|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:T\d{{2,6}}(?:\.\d{{1,6}})?Z?|"
    rf"\d{{4,6}})?{_END}"  # 20190312
    rf"|(?:19|20)\d\d([-/.])(?:0[1-9]|1[0-2]){_END}"  # 2019-03
    rf"|(?:19|20)\d\d-W(?:[0-4]\d|5[0-3])(?:-\d)?{_END}"  # 2019-W12
    rf"|(?:0[1-9]|1[0-2])[.-](?:19|20)\d\d{_END}{_NO_UNIT}"  # 03.2019
    rf"|{_DAY}[./ -](?i:{_ROMAN})\.?[./ -]\s?(?:19|20)\d\d{_END}|"
    rf"{_DAY}[./-](?i:{_ROMAN})[./-]['’]?\d\d{_END}{_NO_UNIT}"  # 12 iii 2019
    rf"|{_NUMBER}[/]\s?(?:19|20)\d\d{_END}"  # 03/2019
    r")"
)
_RATIO = re.compile(
    r"(?:tit(?:er|re)s?|dilut\w{1,6}|ratio|risk|prevalence|incidence|frequency|chance)\W[^\n]{0,20}$",
    re.I,
)
_WRITTEN = re.compile(
    rf"(?<![\w-]){_WEEKDAY}(?:"
    rf"{_DAY}{_ORDINAL}(?:\.?\s?(?:[-–&/]|to|and|bis)\s?{_DAY}{_ORDINAL})?\.?[\s/,.-]{{0,2}}(?:of\s|de\s|day\sof\s)?"
    rf"{_MONTH}(?:[\s,./-]{{0,3}}(?:de\s)?{_YEAR}|[ /-]\d\d(?!\s?{_UNITS}|"
    rf"[\d:%]))?(?![\w%])"  # 12 March 2019, 12-Mar-19
    rf"|{_MONTH}[\s./-]{{0,2}}{_DAY}{_ORDINAL}(?:\s?(?:[-–&]|and|to)\s?{_DAY}{_ORDINAL})?"
    rf"(?:[\s,./-]{{1,3}}{_YEAR})?(?![\w/%-])(?![:.]\d)"  # March 12, 2019
    rf"|(?:19|20)\d\d[\s,./-]{{1,2}}{_MONTH}[\s,./-]{{1,2}}{_DAY}{_ORDINAL}(?![\w/%-])"  # 2019 Mar 12
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
    r"(?:\b(?:(?:on or )?about|(?:week|wk|w/c|wc|night|morning|evening|afternoon|day|weekend|labs?|note) of|w/c|wk|"
    r"week|"
    r"mon(?:day)?|tues?(?:day)?|wed(?:nesday)?|thu(?:rs?)?(?:day)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?|labs|bcx|"
    r"started|stopped|given|removed|placed|extubated|intubated|transferred|called|rtc|return|adm|disch|expires?|exp|"
    r"between|before|after|starting|ending|beginning|on|dated?|since|from|until|till|through|thru|by|seen|pt|patient|"
    r"dob|d\.o\.b\.?|lmp|edd|edc|exam|study|"
    r"film|"
    r"films|scan|cxr|ct|mri|xr|us|prior|yesterday|today|tomorrow|admitted|discharged|arrived|received|reported|signed|"
    r"due|appt|appointment|f/u|visit|clinic|surgery|effective|as of|again|dos|collected|drawn|done|performed|ordered)"
    r"|[\ue000])(?:[\s:,(]{1,3}|\s?(?:-|–|to|thru|through|and|&)\s?)$",
    re.I,
)
_AFTER_PARTIAL = re.compile(
    r"\s{0,2}(?:of\b|bottles?|sets?|lymph|node|core|block|slide|strength|pain|positive|negative|involved|sampled|"
    r"intensity|murmur|"
    r"systolic|"
    r"pack|tab|dose|cup|teaspoon|power|motor|day|week|month|visit|view|point|quadrant|level|segment|glomerul|"
    rf"case|patient|vision|{_UNITS})",
    re.I,
)
_SURE_PARTIAL = re.compile(r"(?:0\d/\d{1,2}|\d{1,2}/0\d)$")
_LABELLED = re.compile(
    r"(?:\b(?:d\.?o\.?[ba]\.?|d\.?o\.?d\.?|date(?: of (?:birth|death|exam|service|admission|discharge|visit))?|"
    r"birth ?date|born(?: on)?|"
    r"geb(?:oren)?|n[ée]e? le|dated|received|reported|collected|signed|lmp|edd|edc|dos|exam|study|scan|xray|x-ray|cxr|"
    r"kub|ct|"
    r"mri|us|film|adm(?:itted)?|disch(?:arged)?|d/c|printed|acq)"
    r"(?=[.\s:=#-])\.?\s{0,2}[:=#\-]?\s{0,3})(\d{1,2}([./ -])\d{1,2}\2\d\d(?:\d\d)?|\d{8}|"
    r"(?:\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])\d\d|"
    r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d\d))(?![\d/]|[.,]\d)",
    re.I,
)
# A scanner's letters for digits: O4/12/1944, l2.O3.2019
_SCANNED = re.compile(
    r"(?<![\w/.-])[0-9OoIlS|]{1,2}([/.-])[0-9OoIlS|]{1,2}\1(?:[12Il][90Oo][0-9OoIlS|]{2}|[0-9OoIl|]{2})(?![\w/]|[.-]\d)"
)
# 160514 with nothing that explains it: day, month and year in one of their orders.
_PACKED = re.compile(
    r"(?<![\w.,/#+^*:=<>≥≤-])(?<![#=<>:] )(?:\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|(?:0[1-9]|[12]\d|"
    r"3[01])(?:0[1-9]|1[0-2])\d\d)"
    r"(?<!00)(?![\w/%+-]|[.,]\d|\s?(?:cells|copies|IU|U\b|/|x\s?10|patients|subjects|ng|pg|mg|steps|base|bp\b|kb\b|"
    r"women|men\b|"
    r"people|individuals|births|live|euro|dollars|platelets|years?))"
)
_DAY_MONTH = re.compile(
    r"\b(?:on|am|vom|vor|ab|bis|seit|from|since|until|dated|le|du|dne|op|til|den)\s((?:0?[1-9]|[12]\d|"
    r"3[01])\.\s?(?:0?[1-9]|1[0-2])\.)(?!\d)"
)
_WEEKDAY_BEFORE = re.compile(r"\b(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs?)?|Fri|Sat(?:ur)?|Sun)(?:day)?\.?,?\s{1,2}$", re.I)
# What makes a bare 3/1 a day: a clock behind it, a blood pressure behind it, the head of a note's line.
_DAY_BEHIND = re.compile(rf"\s?(?:@|at\s|[-–:;,]?\s?{_CLOCK}|\s\d{{2,3}}/\d{{2,3}}(?!\d|/)|\s(?:AM|PM|am|pm)\b)")
_LINE_HEAD = re.compile(r"(?:\s?[:–]|\s-)\s")
_PRESSURES = re.compile(
    r"\b(?:bi-?pap|c-?pap|ipap|epap|peep|pip|pressures?|settings?|vent|apgars?|ratio|reflex\w*|score[ds]?|scale|power|"
    r"strength|motor|"
    r"epworth|gcs|visual|acuity|va|vision|snellen|pain|grade|ef|insulin|tabs?|mg|sats?|dose[ds]?|mmse|moca|phq|test|"
    r"tests|"
    r"vas|nrs|beighton|pupils?|murmur|titre|titer|grams?|x|×|teeth|rate)\W{1,3}(?:\w{1,12}\W{1,2}){0,2}$",
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

_TENS = "(?:ninety|nintey|ninty|(?:one|a)[ -]hundred(?:[ -]and)?)"
_UNITS_WORDS = "(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)"
_DIGITS = r"0?(?:9\d|1[01]\d|12[0-5])"
_AGE_NUMBER = rf"({_DIGITS}|{_TENS}(?:[ -]{_UNITS_WORDS})?)"
_YEARS = (
    r"(?:[\s-]{0,2}(?:years?|yrs?|yr\.|y)[\s-]{0,2}(?:old|of[\s-]age|young|/o|o\b)|[\s-]?y\s?/?\.?\s?o\b\.?|"
    r"[\s-]?yo(?=[MF]\b|\b)|"
    r"[\s-]?y[- ]o\b|[- ]?jährige?[rnsm]?\b|\s?(?:Jahre?n?|ans|años|anni|anos|jaar|år|lat)\b|\s?yrs?\b|"
    r"\s?-?\s?years?\)|"
    r"[\s-]years?[\s-](?:male|female|man|woman|gentleman|lady|[MF]\b))"
)
_AGE = re.compile(
    rf"(?<![\w./-])(?:{_AGE_NUMBER}|(9[OolI]|1O\d))\+?(?:{_YEARS}|(?:st|nd|rd|th)\s(?:birthday|year)|"
    r"\s?/\s?[MF]\b|\s?y\s?[/-]?\s?[MF]\b|\s?[MF]\b(?!\s?[/=])|\s?Y\b|"
    r"\s(?:yo\b|y\.o\.|year[s-]{0,2})\s?(?:male|female|man|woman|gentleman|lady|[MF]\b)|"
    r"\syears?\sand\s|[\s-](?:male|female|man|woman|gentleman|lady)\b(?!\s(?:[a-z]{2,20}s|mice|meio\w+)\b))"
    rf"|\b[MF]\s?/\s?({_DIGITS})(?![\d/.%]|\s?%)|(?<![\w./-])[MF]({_DIGITS})(?=[,;.)]\s|\s(?:with|c/o|p/w|w/|adm))",
    re.I,
)
_NOT_YEARS = (
    r"(?![\d:/]|[.,]\d|\s?(?:%|°|per\s?cent|mm|cm|m\b|ml|mcg|µg|g\b|months?|mos?\b|weeks?|wks?|days?|hours?|hrs?|h\b|"
    r"min|mins|minutes?|sec|seconds?|kg|lb|"
    r"mg|bpm|mmol|meq|l\b|u\b|iu|units?|beats|breaths|times|cases|patients|degrees|on\s(?:ra|room|\d)|on\soxygen|c\b|"
    r"f\b|systolic|"
    r"over\s\d|x\b|[-–]\s?\d{1,3}\s?%|pounds|cigar|pack|steps|meters?|metres?|feet|inches|in\.|ft\b))"
)
_WHO = (
    r"(?:patient|pt|client|resident|s?he|mother|father|mom|mum|dad|ma|wife|husband|spouse|partner|brother|sister|aunt|"
    r"uncle|"
    r"(?:great[- ])?grand(?:mother|father|ma|pa|mum|dad)|granny|gran|nana|widow(?:er)?|man|woman|lady|gentleman|male|"
    r"female|gent|"
    r"veteran|donor|proband|nonagenarian|centenarian|twin|sibling|neighbou?r|friend|carer|nun|farmer|teacher)"
)
_AGED = re.compile(
    rf"(?:\b(?:aged?|ages|alter|edad|[âa]ge|leeftijd)(?:/sex)?(?:\s(?:of|is|was|at|about|approximately|over|around|"
    rf"between|nearly|almost|above|now|"
    rf"just))*\s{{0,3}}[:=(-]?\s{{0,3}}|"
    rf"\bturn(?:s|ed|ing)?\s(?:just\s)?|\b(?:now|almost|nearly|just|only|barely|is|was|be)\s(?=\S{{2,12}}\s(?:years?|"
    rf"yrs?)\b)|"
    rf"\b(?:died|passed(?:\saway)?|deceased|dead|alive|living|lived\sto|death|expired|dx(?:'d)?|diagnosed)\s(?:at|"
    rf"aged?|to)\s(?:age\s|the\sage\sof\s)?|"
    rf"\b{_WHO}(?:['’]s|['’]ll\s(?:soon\s)?be|\s(?:is|was|turned|will\sbe|would\sbe|will\sturn|turns))\s(?:now\s|"
    rf"currently\s|already\s|only\s|"
    rf"about\s|almost\s|nearly\s|around\s)?|"
    rf"\b(?:will\s(?:soon\s)?be|(?:'|’)ll\sbe|he['’]s|she['’]s|i['’]?m|i\sam)\s(?:now\s|almost\s|nearly\s)?|"
    rf"\b{_WHO},?\s{{1,2}}\(?(?:age\s)?)"
    rf"{_AGE_NUMBER}{_NOT_YEARS}"
    rf"(?=\s?(?:years?\b|yrs?\b|y\b|[MF]\b|and\b|to\b|[-–,.;)!?\n/+\"”']|$|\ue000|\s[a-z]))",
    re.I,
)
# Behind what was a name: "Ms [NAME], 92, was" and "Mr [NAME] (94)".
_AFTER_NAME = re.compile(
    rf"\ue000(?:,\s({_DIGITS})(?=,\s[a-z])|\s?\(({_DIGITS})\)|\s({_DIGITS})\s?(?=[MF]\b))"
    rf"|\ue000\s(?:is|was|turned|turns)\s(?:now\s)?({_DIGITS}){_NOT_YEARS}(?=[,.;]|\sand\s|\syears)",
    re.I,
)
_IN_WORDS = re.compile(
    rf"\b(ninety[ -]{_UNITS_WORDS})(?=[,.;!?)]|\s(?:last|next|this|in|on|when|years?|and\s(?:still|lives|well|active|"
    rf"independent))\b|$)",
    re.I | re.M,
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
        before = text[max(0, match.start() - 30) : match.start()]
        if _PRESSURES.search(before):
            continue
        if _SURE_PARTIAL.search(match[0]) or _BEFORE_PARTIAL.search(before) or _is_day(text, match):
            found.append(match.span())
    found += [
        match.span()
        for match in _SCANNED.finditer(text)
        if re.search(r"[OoIlS|]", match[0]) and len(re.findall(r"\d", match[0])) >= 3
    ]
    found += [match.span() for match in _FOREIGN.finditer(text) if not is_common(match[1])]
    found += [match.span(1) for match in _DAY_MONTH.finditer(text)]
    for start, end in found:
        weekday = _WEEKDAY_BEFORE.search(text, max(0, start - 13), start)
        start = weekday.start() if weekday else start
        behind = _TIME_BEHIND.match(text, end)
        yield Span(start, behind.end() if behind else end, "date")


def _is_day(text: str, match: re.Match[str]) -> bool:
    """Whether a bare 3/12 is a day by what follows it, or by being no share of anything."""
    if _DAY_BEHIND.match(text, match.end()):
        return True
    head = text[max(0, match.start() - 9) : match.start()].rpartition("\n")[2]
    if not head.strip(" \t•*-") and (match.start() < 9 or "\n" in text[max(0, match.start() - 9) : match.start()]):
        return _LINE_HEAD.match(text, match.end()) is not None
    first, second = map(int, match[0].split("/"))
    return first > second and re.match(r"(?:\.(?!\d)|;|\)|\s?$)", text[match.end() : match.end() + 2]) is not None


def packed_dates(text: str) -> Iterator[Span]:
    """Find dates of six digits without any mark; tried when labels and telephones have taken theirs."""
    for match in _PACKED.finditer(text):
        if not is_coded(text, match.start(), match[0]):
            yield Span(*match.span(), "date")


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


_AGE_HINT = re.compile(r"(?<!\d)0?(?:9[\dOolI]|1[012O]\d)(?!\d)|\b(?:nin|hundred)", re.I)


def ages(text: str) -> Iterator[Span]:
    """Find ages over 89; the span is the number alone."""
    for pattern in (_AGE, _AGED, _AFTER_NAME, _IN_WORDS):
        for match in in_windows(pattern, text, _AGE_HINT):
            yield Span(*match.span(match.lastindex or 0), "age")
