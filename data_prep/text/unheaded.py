"""Text under no heading, read by what it says: why and how it was looked at, what sums up, who signed."""

from __future__ import annotations

import re

from data_prep.text.headings import SectionKind
from data_prep.text.sentences import sentences

Part = tuple[SectionKind, int, int]

_STUDY = (
    r"(?:ct|mri?|mra|cta|pet|spect|x-?rays?|radiographs?|films?|views?|images?|scans?|sequences?|sections?|slices?"
    r"|ultrasound|sonography|mammograms?|stud(?:y|ies)|exam(?:ination)?s?|contrast|projections?)"
)
_OPENING = {
    SectionKind.indication: re.compile(
        r"(?:(?:a|an|this|the|our)\s+)?(?:(?:very\s+)?(?:pleasant|unfortunate)\s+)?\d{1,3}[\s-]*(?:years?|yrs?"
        r"|months?|weeks?|days?|yo|y/o|y\.o\.)\b"
        r"|(?:(?:this|the|a)\s+)?(?:patient|man|woman|lady|gentleman|boy|girl|child|infant|baby|neonate|newborn"
        r"|male|female|smoker)\b"
        r"[^.]*\b(?:with|presents?|presented|presenting|referred|complain\w*|known|history|who)\b"
        r"|(?:(?:clinical|known|past|previous|prior|remote)\s+)*(?:history|hx)\s+of\b|h/o\b|c/o\b|s/p\b"
        r"|status post\b|complain(?:s|ing)\s+of\b"
        r"|(?:presents?|presented|presenting|admitted|referred|seen|attended)\s+(?:with|for|because|after"
        r"|following|in|to|by)\b"
        r"|(?:many\s+)?thank(?:s|\s+you)\b|(?:rule\s+out|r/o|exclude|query|evaluate|assess|assessment"
        r"|evaluation|evaluating|check|look\s+for|please)\b"
        r"|\?|(?:follow[\s-]?up|surveillance|screening|staging|restaging|work-?up|suspected|suspicion\s+of"
        r"|pre-?op(?:erative)?)\b[^.]{0,80}[.?]?$"
        r"|(?:requested|ordered|performed|done|obtained|examined)\s+(?:for|because|to)\b|(?:reason|indication"
        r"|clinical)\b"
        r"|(?:the\s+)?(?:reason|indication|clinical (?:question|history|concern))\b[^.]*\b(?:is|was)\b",
        re.IGNORECASE,
    ),
    SectionKind.comparison: re.compile(
        r"(?:a\s+)?comparison\s+(?:is|was|has been)?\s*(?:made\s+)?(?:with|to)\b[^,;]*$|(?:compared"
        r"|in comparison)\s+(?:with|to)\b[^,;]*$"
        r"|(?:no|there\s+(?:is|are|was|were)\s+no)\s+(?:relevant\s+|prior\s+|previous\s+|old\s+"
        r"|comparison\s+)+\w*\s*(?:\w+\s+){0,3}"
        r"(?:available|for comparison|to compare|on file|on record|for direct comparison)?[\s\w]{0,30}\.?$"
        r"|(?:prior|previous|old)\s+\w+(?:\s+\w+){0,6}\s+(?:is|are|was|were)\s+(?:available|reviewed|used)\b"
        r"|none (?:available|for comparison)",
        re.IGNORECASE,
    ),
    SectionKind.technique: re.compile(
        rf"[^.]*\b{_STUDY}\b[^.]*\b(?:(?:was|were|is|are|has been|have been)\s+(?:\w+ly\s+)?(?:performed"
        rf"|obtained|acquired|taken|done|carried out|administered|reconstructed|reformatted|given|reviewed"
        rf"|submitted|injected|used)|obtained|acquired|performed)\b"
        rf"|[^.]*\b(?:performed|obtained|acquired|administered|reconstructed|reformatted|scanned|imaged"
        rf"|injected|carried out)\b[^.]*\b(?:{_STUDY}|intravenous(?:ly)?|iv|protocol|plane|planes|transducer"
        rf"|probe|coil)\b"
        r"|[^.]*\b(?:after|following|with|without)\s+(?:the\s+)?(?:(?:intravenous|iv|oral|administration\s+of"
        r"|injection\s+of)\s+)+(?:contrast|gadolinium)\b[^.]*$",
        re.IGNORECASE,
    ),
}
_SUMS_UP = re.compile(
    r"(?:in\s+(?:summary|conclusion|brief|short|my opinion|our opinion)|to\s+(?:conclude|summari[sz]e|sum up)"
    r"|in\s+sum|summari[sz]ing|taken together"
    r"|(?:my|our|the)\s+(?:overall\s+)?(?:impression|opinion|conclusion|diagnosis)\s+(?:is|was)"
    r"|(?:the\s+)?(?:overall\s+)?(?:appearances|findings|features|constellation|picture|above|these)\b"
    r"[^.]{0,60}\b(?:are|is|were|was|would be|in keeping|remain)\b[^.]{0,30}\b(?:consistent|compatible"
    r"|in keeping|suggest\w*|diagnostic|suspicious|typical|characteristic|most likely)\b"
    r"|overall[,:]|altogether[,:]?|therefore\b|conclusion\b|impression\b)",
    re.IGNORECASE,
)
_ADVICE = re.compile(
    r"(?:(?:i|we)\s+(?:would\s+|do\s+|also\s+)?(?:recommend|suggest|advise|propose)|(?:please\s+)?(?:recommend"
    r"|suggest|advise)\b|(?:recommended|suggested|advised)\b"
    r"|(?:further|repeat|interval|clinical|short[\s-]term|urgent|routine)\s+[^.]{0,80}\b(?:is|are|would be"
    r"|may be|should be)\s+(?:recommended|advised|suggested|helpful|advisable|considered|warranted)"
    r"|(?:a\s+)?follow[\s-]?up\b[^.]{0,80}\b(?:recommended|advised|suggested|advisable|weeks|months|year)"
    r"|[^.]{0,100}\b(?:is|are)\s+(?:recommended|advised|suggested|advisable)\.?$)",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"(?:[-*_=•>\[]{0,8}[ \t]*)(?:(?:this\s+(?:report|document)\s+(?:was|has been|is)\s+)?(?:electronically"
    r"|digitally)\s+(?:signed|authenticated|verified|approved|authori[sz]ed|reviewed)\b"
    r"|(?:report\s+)?(?:dictated|transcribed|signed|authenticated|verified|approved|authori[sz]ed|finali[sz]ed"
    r"|reported|read|interpreted|reviewed|typed|checked)"
    r"(?:\s+(?:and|&)\s+\w+)?(?:\s+(?:electronically|final|off|report))?(?:\s+(?:by|on|at|with|for)\b|\s*:|\s*/)"
    r"|(?:kind|best|warm|with\s+(?:kind|best|warm)(?:est)?)\s+(?:regards|wishes)\b|regards\s*,"
    r"|yours\s+(?:sincerely|faithfully|truly)\b|sincerely\b|many\s+thanks\s*(?:,|$)"
    r"|thank\s+you\s+for\s+(?:the\s+referral|allowing|involving)"
    r"|(?:dr|prof(?:essor)?)\b\.?\s*[A-Z\[][\w.\-\[\] ]{0,40}(?:,|$|\(|\b(?:consultant|radiologist|md|frcr|was"
    r"|has))|[A-Z][\w.\-]*(?:\s+[A-Z][\w.\-]*){1,3},?\s+(?:MD|M\.D\.|DO|FRCR|FRCPath|MBBS|MBChB|PhD)\b"
    r"|(?:consultant|reporting|attending|specialist|senior|staff|resident"
    r"|interpreting)\s+(?:\w+\s+)?(?:radiologist|pathologist|dermatologist|radiographer|registrar|physician)\b"
    r"|(?:these|the|this|above|critical|urgent|all)\s+(?:\w+\s+){0,3}(?:findings?|results?|report|information"
    r"|impressions?)\s+(?:was|were|has been|have been|are being)\s+(?:\w+ly\s+)?"
    r"(?:discussed|communicated|telephoned|conveyed|relayed|reported|called|phoned|notified|given|emailed|faxed"
    r"|sent|entered|posted)\b"
    r"|(?:(?:result|finding)s?\s+)?(?:discussed|communicated|telephoned|phoned|relayed"
    r"|conveyed)\s+(?:\w+\s+){0,3}(?:to|with|by)\b|i,?\s+(?:the\s+"
    r"|dr)?[^.]{0,80}have\s+(?:personally\s+)?(?:reviewed|interpreted|examined|viewed)"
    r"|(?:cc|copy to|copies to|d/t|t/d|end of report|report (?:ends?|status)|\*+\s*(?:final|end))\b"
    r"|this report (?:was|has been) (?:created|generated|produced|dictated|prepared|transcribed)\b)",
    re.IGNORECASE,
)
_UNCASED = re.compile(r"\n[ \t]*(?=\S)")
_PARAGRAPH = re.compile(r"\n[ \t]*\n(?=[ \t]*\S)")
_LAST_PARAGRAPHS = 3
_IN_LINE = re.compile(
    r"(?<=[.!?])\s+(?=(?:electronically|digitally)?\s*(?:signed|dictated|transcribed)\s+(?:electronically\s+)?by\b)",
    re.IGNORECASE,
)


def split_tail(text: str, start: int, end: int) -> list[Part]:
    """Return the closing of ``text[start:end]``, and the paragraph of advice before it; empty if it has neither."""
    lines = [start, *(found.end() for found in _UNCASED.finditer(text, start, end))]
    lines += [found.end() for found in _IN_LINE.finditer(text, start, end)]
    closing = next((at for at in sorted(lines) if at > start and _CLOSING.match(text, at, end)), end)
    parts: list[Part] = [(SectionKind.closing, closing, end)] if closing < end else []
    paragraphs = [found.end() for found in _PARAGRAPH.finditer(text, start, closing)][-_LAST_PARAGRAPHS:]
    first = next((at for at in paragraphs if at > start and _is_advice(text, at, closing)), None)
    return [(SectionKind.recommendation, first, closing), *parts] if first is not None else parts


def _is_advice(text: str, start: int, end: int) -> bool:
    spans = sentences(text, start, end)
    return bool(spans) and all(_ADVICE.match(text[a:b]) for a, b in spans)


def parts_of_body(text: str, start: int, end: int) -> list[Part]:
    """Return the parts of ``text[start:end]``, which stands under no heading, in order and without gaps.

    Sentences at its beginning say why and how it was looked at, if they say so in so many words; from one that sums
    up ("In conclusion, ...") on it is an impression. What is left is ``body``.
    """
    parts: list[Part] = []
    opening, kind = True, SectionKind.body
    for first, last in sentences(text, start, end):
        said = " ".join(text[first:last].split())
        if opening:
            kind = next((one for one, cue in _OPENING.items() if cue.match(said)), SectionKind.body)
            opening = kind is not SectionKind.body or _is_title(text, first, last)
        elif kind is SectionKind.body and _SUMS_UP.match(said):
            kind = SectionKind.impression
        begin = first if parts else start
        if parts and parts[-1][0] is kind:
            parts[-1] = (kind, parts[-1][1], last)
        else:
            parts.append((kind, begin, last))
    return [(kind, first, parts[i + 1][1] if i + 1 < len(parts) else end) for i, (kind, first, _) in enumerate(parts)]


def _is_title(text: str, first: int, last: int) -> bool:
    """Whether a line without a full stop, or a salutation, comes before the text proper."""
    line_end = text.find("\n", last)
    alone = line_end >= 0 and not text[last:line_end].strip()
    return alone and text[last - 1] not in ".!?" and last - first < 90
