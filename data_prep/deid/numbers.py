"""Numbers and addresses of machines: record and account numbers, telephones, e-mail, web and IP addresses.

A number is an identifier by its label ("MRN", "accession", "no."), by its form (a social security number), or by
having so many digits that nothing measured has them; codes of public vocabularies and trials are spared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from data_prep.deid.spans import Span, in_windows

EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}\s?@\s?(?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,24}\b")
URL = re.compile(
    r"\b(?:https?|ftps?|sftp)://[^\s<>\"'\ue000]{1,2000}"
    r"|(?<![\w.@-])(?:www\.)?(?:[A-Za-z0-9-]{1,63}\.){1,6}"
    r"(?:com|org|net|edu|gov|mil|info|io|health|hospital|clinic|med|nhs\.uk|co\.uk|ac\.uk|uk|de|fr|ca|au|in|example|"
    r"test)\b"
    r"(?:/[^\s<>\"'\ue000]{0,2000})?"
)
IP = re.compile(
    r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.]\d|\w)"
    r"|(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){5,7}[0-9A-Fa-f]{1,4}(?![\w:])|"
    r"(?<![\w:])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![\w:])"
)
_UID = re.compile(r"(?<![\w.])\d{1,10}(?:\.\d{1,40}){5,24}(?![\w.]\d|\w)")
_MACHINE = re.compile(
    r"\d\.\d{1,40}\.\d|[0-9A-Fa-f]{2}[:-][0-9A-Fa-f]{2,4}[:-][0-9A-Fa-f]{2,4}[:-][0-9A-Fa-f]{2,4}|:[0-9A-Fa-f]{1,4}:"
)
_UUID = re.compile(r"\b[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}\b")
SSN = re.compile(
    r"(?<![\w-])(?:\d{4} \d{4} \d{4}|\d{2}-\d{2}-\d{2}-\d{2}|\d{3}-\d{2}-\d{4}|\d{3} \d{2} \d{4}|"
    r"(?:\d{4}[ -]){3}\d{4})(?![\w-])"
)

_EXTENSION = r"(?:\s{0,2},?\s{0,2}(?:x|ext\.?|extension)\s{0,2}\d{1,6})?"
_PHONE = re.compile(
    r"(?<![\w.+-])(?:"
    rf"(?:\+?1[-. ]{{0,2}})?(?:\(\d{{3}}\)\s?[-.]?\s?|\d{{3}}\s?[-./–]\s?|"
    rf"\d{{3}}\s)\d{{3}}\s?[-. –]\s?\d{{4}}{_EXTENSION}"
    rf"|\(\d{{3}}\)\s?\d{{7}}{_EXTENSION}"
    rf"|\+\d{{1,3}}(?:[\s.-]?\(0?\d{{0,4}}\))?(?:[\s.-]?\d{{1,5}}){{2,6}}{_EXTENSION}"
    rf"|\(?0\d{{1,4}}\)?[ -]\d{{3,5}}[ -]?\d{{2,5}}(?:[ -]\d{{2,4}})?{_EXTENSION}"
    r"|\(0\d{1,5}\)\s?\d{2,5}(?:[ /-]?\d{2,5}){1,3}|00\d{2}(?:[ -]\d{1,5}){2,6}|0[1-9]\d{8,9}|[6-9]\d{9}"
    r"|0\d{2,5}\s?[/-]\s?\d{2,5}(?:[ ]\d{2,5}){1,3}|1[38]00[ -]\d{3}[ -]\d{3}"
    r"|\(?0\d{4}\)?[ ]\d{5,6}|0\d(?:[ .-]\d{2}){4}|0\d{2,5}[/-]\d{5,9}|[6-9]\d{4}[ -]\d{5}"
    r"|555[-. ]?\d{4}|1-8\d\d-[A-Z0-9-]{4,9}"
    r"|[2-9]\d{2}[2-9]\d{6}"
    r")(?![\w-])(?!\.\d)"
)
_LABELLED_PHONE = re.compile(
    r"\b(?:tel|phone|telephone|ph|handy|tél|telefon|teléfono|telefono|whatsapp|sms|text|txt|msg|landline|direct|"
    r"switchboard|extn|dect|spectralink|"
    r"vocera|voicemail|emergency|bip|rang|phoned|ring|mobile|mob|cell|fax|facsimile|pager|pgr|beeper|bleep|hotline|"
    r"call(?:back)?|contact|"
    r"home|"
    r"direct line|reached at|dial|ext|extension)\b(?:\s(?:no|number|#|at|is|on|me at|us at))?\.?\s{0,2}[:#]?\s{0,2}"
    r"((?>\+?[(\d](?:[\d().-]| (?=[\d(])){1,18}\d))(?![\d%]|\.\d|\s?(?:mm|cm|mg|ml|%|hours?|days?|weeks?|months?|"
    r"years?|am\b|pm\b|times))",
    re.I,
)

_EXTENSION_CALLED = re.compile(
    r"\b(?:call|dial|phone|tel|contact|reached|at|on)\s(?:me\s|at\s|on\s)?((?:x|ext\.?|extn\.?|extension)\s?\d{3,6})\b",
    re.I,
)

_VALUE = (
    r"(?:(?:[A-Za-z]{1,4}[ /-]){0,2}"
    r"(?:\d{2,5}(?:[ -]\d{2,5}){1,4}+(?:-[A-Z]{1,3})?(?![\w/-])(?!\.\d)|[A-Za-z0-9]{0,8}\d[\w./-]{0,24}))"
)
_LABEL = re.compile(
    r"(?<![\w-])(?:"
    r"(?:nhi|nsc|hosp|hn|rn|mf|microfiche|film|patid|pat|subject|participant|randomi[sz]ation|form|card|screen|"
    r"request|donation|"
    r"donor|bag|implant|catalog(?:ue)?|ward|bed|mpid|sns|nif|nss|dni|cnp|pesel|cnic|nin|ahc|phn|ihi|dva|abn|provider|"
    r"family|"
    r"fam|kindred|pedigree|username|user\sname|handle|screen\sname|account\sname|jacket|x-?ray|accn|acsn|acc#|rego|"
    r"docket|"
    r"cheque|check|transaction|consent|protocol|appointment|booking|confirmation|referral|ubrn|asset|pump|scanner|"
    r"probe|lens|"
    r"iol|valve|graft|stent|lead|generator|pacemaker|icd|cassette|container|kit|tube|freezer|vial|aliquot|"
    r"mrn|mr\s?#|m\.r\.n\.|cpi|emrn|pid|ptid|fin|csn|har|nhs|hicn|mbi|npi|dea|upin|ssn|ss\s?#|s\.s\.n\.|vin|imei|"
    r"udi|"
    r"aadhaar|uhid|chi|bsn|cpf|ohip|ramq|nino|ppsn|hkid|nric|ahv|svnr|kvnr|ipd|opd|crn|urn|umr|mpi|empi|edipi|dod id|"
    r"dodid|"
    r"tax id|ein|itin|iban|h&c|unit|hospital card|social security|medicare|medicaid|accession|acc|acct|account|"
    r"encounter|requisition|req|specimen|cytology|"
    r"histology|member|policy|subscriber|insurance|claim|group|authori[sz]ation|prior auth|health card|medical record|"
    r"med rec|med\.? record|unit record|chart|patient(?:\sid)?|pt\sid|pat\sid|hospital|hosp|visit|order|exam|study|"
    r"report|"
    r"job|document|doc|dictation|file|folder|case|path(?:ology)?|lab|slide|block|biopsy|autopsy|surgical|sample|"
    r"barcode|"
    r"tracking|courier\sref|our\sref|your\sref|ref(?:erence)?|serial|s/n|sn|lot|batch|device|model|regd|"
    r"reg(?:istration)?|"
    r"run\ssheet|badge|employee|staff|user|login|passport|driver['’]?s? licen[cs]e|licen[cs]e|licen[cs]e plate|"
    r"plate|permit|certificate|cert|gmc|crm|confirmation|eeg|ecg|ekg|id|uid|identifier|ticket|invoice|receipt|voucher)"
    r")(?:\s{0,2}(?:id|no|nr|num|number|code|ref|sheet|card|plate))?(?:\s?\.)?[\s:=#.(]{1,5}(?:is\s|was\s|no\.?\s|"
    r"number\s)?"
    rf"({_VALUE})(?![\w%])",
    re.I,
)
# Labels after which even a short or wordless number is an identifier; after the others it has to look like one.
_STRONG = re.compile(
    r"^(?:nhi|phn|pesel|cnic|username|user|handle|patid|jacket|microfiche|subject|participant|"
    r"mrn|mr\s?#|m\.r\.n|cpi|emrn|pid|ptid|fin|csn|har|nhs|hicn|mbi|npi|dea|upin|ssn|ss\s?#|s\.s\.n|vin|imei|udi|"
    r"social|"
    r"accession|acct|account|medical record|med\.? ?rec|health card|"
    r"member|policy|s/n|serial|passport|licen|driver|badge|employee|staff|login|plate)",
    re.I,
)
_NUMBERED = re.compile(
    rf"(?:\bno\b\.?|\bnr\b\.?|\bnumber\b|#|\bid\b|\bref\b)\s{{0,2}}[:.#]?\s{{0,2}}({_VALUE})(?![\w%])",
    re.I,
)
_USERNAME = re.compile(
    r"\b(?:user(?:\s?name)?|handle|login|screen name|skype|twitter|instagram|alias)(?:\s(?:id|"
    r"is))?\s?[:=]?\s?([@\w](?=[\w.-]{0,30}(?:\d|_))[\w.-]{3,30}\w)",
    re.I,
)
_HANDLE = re.compile(r"(?<![\w@.])@[A-Za-z_][\w.]{2,29}\b(?!@)")
_NO_ID = re.compile(r"[a-z]{1,4} |(?:\w{1,4} )?(?:19|20)\d\d-(?:19|20)\d\d$")
_THREE_DIGITS = re.compile(r"\d(?:[ ().-]{0,3}\d){2}")
_DIGIT_RUN = re.compile(r"\d[\d /.-]{1,20}\d")
_LABEL_REACH, _VALUE_REACH = 48, 40
_FORM = re.compile(
    r"(?<![\w.-])(?:"
    r"[A-Z]{1,4}-?(?:19|20)?\d{2}-\d{3,8}(?:-[A-Z0-9]{1,3})?"  # S19-20417, SP-2019-00412
    r"|"
    r"(?=[A-Z0-9-]{7,20}(?![\w-]))(?=[0-9-]{0,19}[A-Z])(?=(?:[A-Z-]{0,20}\d){6})"  # US00713355, 19LB08841
    r"[A-Z0-9]{1,12}(?:-[A-Z0-9]{1,10}){0,3}"
    r"|"
    r"[A-Z]{1,8}\d{0,4}(?:[-/.]?[A-Z0-9]{0,6})?(?:[-/.]\d{2,6})?[-/.]\d{4,10}(?:[-/.][A-Z0-9]{1,4})?"  # HX22/18830
    r"|[A-Z]{1,4}[-/.](?:\d{2,6}[-/.])?\d{4,8}(?:[-/.][A-Z0-9]{1,4})?|[A-Z]{1,5}\.\d{1,4}\.\d{3,8}"
    r"|[A-Z]{1,4}[-/](?:[A-Z]{1,4}[-/])?\d{2,5}[-/]\d{2,6}(?:[-/][A-Z0-9]{1,4})?"
    r"|[A-Z]{1,3}\d{3,4}\s\d{2,4}\s\d{4,7}|\d{2,3}[A-Z]{1,2}\d{4,8}"
    r"|0\d{1,4}[-/]\d{3,6}(?:[-/]\d{1,6})?|\d{2,6}-\d{2,6}-\d{3,8}(?:-\d{1,6})?|"
    r"\d{3,8}[-/][A-Z]{1,3}(?:[-/]\d{1,4})?(?<=\d)"
    r"|\d{2}[-/][A-Z]{1,4}[-/]?\d{3,8}|\d{4,8}/\d{2,4}/\d{1,6}|[A-Z]{3}\d{4}(?=[\s.,;)]|$)(?<!\d00)"
    r"|\d{7,20}"
    r")(?![\w-])(?!\.\d)(?!\s?(?:copies|IU|U\b|cells|cfu|platelets|/|x\s?10|mg|ml|mL|µ|particles|base|bp\b|kb\b|"
    r"years|Bq))"
)
_VOCABULARY = re.compile(
    r"(?:\b(?:C\d{7}|[CD]\d{6}|NCT\d{8}|GSE\d+|GSM\d+|GPL\d+|ENS[A-Z]+\d+|N[MPRG]_\d+|rs\d+|OMIM\d+|ISRCTN\d+|PMC\d+|"
    r"D\d{1,2}S\d+|DXS\d+)$"
    r"|(?:\b(?:SNOMED|SCTID|CUI|UMLS|MeSH|MESH|DOID|HP|HPO|MONDO|OMIM|MIM|ORPHA|ICD(?:-O)?|LOINC|RadLex|RID|PMID|"
    r"PMCID|NCT|"
    r"NCIT|ATC|CAS|DrugBank|UniProt|RefSeq|GenBank|dbSNP|ClinVar|CPT|NDC|doi)\b[\w\s.:#(-]{0,8}$))"
)
# Names of proteins, cells, drugs and trials that look like numbers of a record.
_OPENS_ORDINARY = re.compile(
    r"(?:HLA|HMB|CD\d|IL-?\d|TGF|TNF|COVID|SARS|HPV|HIV|HTLV|HSV|PIK3|BRCA|CYP|ABCB|SLC|FGFR|PD-?L?1|CTLA|KRAS|NRAS|"
    r"BRAF|EGFR|JAK|"
    r"MUC|SOX|PAX|TTF|GATA|CDX|ICD|CPT|ISO|DSM|AJCC|FIGO|WHO|RTOG|ECOG|SWOG|NSABP|TAX|MK|GSK|AZD|BMS|LY|PF|RO|ABT|"
    r"CAR-T|T\d|L\d|C\d)"
    r"(?=[-/. \d])(?!CAR-\d)"
)
_DIGITS = re.compile(r"\d")


def machine_addresses(text: str) -> Iterator[Span]:
    """Find e-mail, web, IP and MAC addresses, DICOM UIDs and UUIDs."""
    if "@" in text:
        yield from (Span(*match.span(), "email") for match in EMAIL.finditer(text))
    for match in URL.finditer(text):
        yield Span(match.start(), match.end() - len(match[0]) + len(match[0].rstrip(".,;:)]}")), "url")
    for pattern in (IP, _UID, _UUID) if _MACHINE.search(text) else ():
        yield from (Span(*match.span(), "id") for match in pattern.finditer(text))


def labelled_ids(text: str) -> Iterator[Span]:
    """Find what stands behind a label, and social security numbers."""
    yield from (Span(*match.span(), "id") for match in SSN.finditer(text))
    yield from (Span(*match.span(1), "id") for match in _USERNAME.finditer(text))
    yield from (Span(*match.span(), "id") for match in _HANDLE.finditer(text) if "@" in text)
    for window in _windows(text):
        for pattern, match in ((p, m) for p in (_LABEL, _NUMBERED) for m in p.finditer(text, *window)):
            value = match[1].rstrip(".-/")
            digits = len(_DIGITS.findall(value))
            strong = pattern is _LABEL and _STRONG.match(match[0]) is not None
            if (
                _NO_ID.match(value)
                or is_coded(text, match.start(1), value)
                or digits < (3 if strong else 4)
                or len(value) < (3 if strong else 5)
            ):
                continue
            yield Span(match.start(1), match.start(1) + len(value), "id")


def _windows(text: str) -> Iterator[tuple[int, int]]:
    """Stretches around numbers of three digits or more: a label without one says nothing."""
    start = end = -1
    for run in _DIGIT_RUN.finditer(text):
        if sum(map(str.isdigit, run[0])) < 3:
            continue
        first, last = max(0, run.start() - _LABEL_REACH), min(len(text), run.end() + _VALUE_REACH)
        if first <= end:
            end = last
            continue
        if end > 0:
            yield start, end
        start, end = first, last
    if end > 0:
        yield start, end


def phones(text: str) -> Iterator[Span]:
    """Find telephone and fax numbers by their form."""
    yield from (Span(*match.span(), "phone") for match in _PHONE.finditer(text))


def labelled_phones(text: str) -> Iterator[Span]:
    """Find telephone, fax and pager numbers behind a label, however short."""
    yield from (Span(*match.span(1), "phone") for match in in_windows(_EXTENSION_CALLED, text, _THREE_DIGITS))
    for match in in_windows(_LABELLED_PHONE, text, _THREE_DIGITS):
        if 3 <= len(_DIGITS.findall(match[1])) <= 15:
            yield Span(*match.span(1), "phone")


def formed_ids(text: str) -> Iterator[Span]:
    """Find identifiers that no label announces."""
    for match in _FORM.finditer(text):
        if not is_coded(text, match.start(), match[0]) and not _OPENS_ORDINARY.match(match[0]):
            yield Span(*match.span(), "id")


def is_coded(text: str, start: int, value: str) -> bool:
    """Whether a code is one of a public vocabulary, registry or database."""
    return _VOCABULARY.search(value) is not None or _VOCABULARY.search(text[max(0, start - 24) : start]) is not None
