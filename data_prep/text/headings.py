"""Names of headings: which section a heading announces, by its words in any spelling and order."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache


class SectionKind(StrEnum):
    """What a section is about; ``body`` is text under no heading, ``other`` under one not known here.

    ``header`` says what was examined, of whom and when; ``recommendation`` what to do next; ``closing`` who signed, who
    was told, and disclaimers.
    """

    indication = "indication"
    history = "history"
    family_history = "family_history"
    comparison = "comparison"
    technique = "technique"
    findings = "findings"
    impression = "impression"
    addendum = "addendum"
    header = "header"
    recommendation = "recommendation"
    closing = "closing"
    body = "body"
    other = "other"


_IMAGING = (
    "radiolog(?:ic|ical|y)|radiographic|imaging|image|ct|cta|mri?|mra|pet|us|ultrasound|ultrasonographic"
    "|sonographic|doppler"
    "|echo|echocardiographic|mammographic|fluoroscopic|angiographic|scintigraphic|nuclear|scan|x ?ray|xr|cxr|film"
    "|endoscopic|colonoscopic|patholog(?:ic|ical|y)|histolog(?:ic|ical|y)|histopatholog(?:ic|ical|y)"
    "|cytolog(?:ic|ical|y)|immunohistochemical|dermoscopic|dermatoscopic|fundoscopic|ophthalmoscopic|surgical|operative"
    "|intra ?operative|electrocardiographic|chest|lung|cardiac|vascular|abdominal|abdomen|pelvic|pelvis|head|brain|neck"
    "|spine|breast|musculoskeletal|extracardiac|incidental|physical"
)
_PLAIN = (
    "the|main|key|principal|primary|pertinent|positive|negative|significant|relevant|other|additional|detailed|general"
    "|final|overall|preliminary|provisional|diagnostic|brief|short|full|new|study|exam|examination|report|integrated"
    "|synoptic|clinical|patient'?s?|current|attending|resident|radiologist'?s?|pathologist'?s?|updated|revised"
)
_ADJECTIVES = rf"(?:(?:{_IMAGING}|{_PLAIN}) )*"
_STUDY = (
    r"(?:stud(?:y|ies)|exams?|examinations?|films?|imaging|images?|radiographs?|x ?rays?|scans?|reports?|mammograms?)"
)
_OF_STUDY = (
    rf"(?: (?:of|for|to|on) (?:the |this |today'?s )?(?:{_IMAGING}|stud(?:y|ies)|exams?|examinations?|tests?|scan)s?)?"
)

_NAMES: dict[SectionKind, str] = {
    SectionKind.addendum: (
        r"(?:\w+ )?addend(?:um|a)\b.*|(?:amended|corrected|supplement(?:al|ary)|revised) (?:report|findings|diagnosis)"
        r"|amendments?|supplement|report (?:amendment|correction)"
    ),
    SectionKind.closing: (
        "(?:electronically |digitally )?(?:signed|dictated|transcribed|reported|read|interpreted|reviewed"
        "|verified|authenticated"
        "|approved|authori[sz]ed|finali[sz]ed)(?: (?:by|on|at|off by|and \\w+ by))?|(?:electronic "
        "|digital )?signatures?"
        "|(?:reporting |attending |resident |interpreting |consultant )*(?:radiologist|pathologist"
        "|dermatologist|reporter)"
        "|attending|resident|consultant|transcriptionist|(?:critical|urgent|unexpected|alert|significant|actionable)"
        "(?: or unexpected)? (?:results?|findings?|values?|alerts?)(?: (?:communication|notification|discussion"
        "|reporting))*"
        "|(?:results? |findings? |verbal |physician )?(?:communicat(?:ion|ions|ed(?: to)?)|notifications?"
        "|notified|alert)"
        "(?: of (?:critical )?(?:results?|findings?))?|discussed with|disclaimer|attestation"
        "|(?:teaching physician )?statement"
        "|cc|copy to|copies|distribution|electronically|reporting doctor|author|sign off"
    ),
    SectionKind.recommendation: (
        "(?:\\w+ )?(?:recommend(?:ation|ations|ed)|advice|advised)(?: follow ?up)?|suggest(?:ion|ions"
        "|ed)(?: \\w+)?|plan"
        "|treatment plan|management(?: plan| advice)?|next steps?|further (?:management|action|imaging|work ?up"
        "|investigations?)"
        "|actions?(?: required)?|disposition|suggested follow ?up|follow ?up(?: plan| recommendations?| imaging)?"
    ),
    SectionKind.family_history: "(?:pertinent |relevant )?fam(?:ily)? (?:medical )?(?:history|hx)|fhx?",
    SectionKind.history: (
        "(?:relevant )?(?:past|previous|prior|other) (?:\\w+ ){0,2}(?:history|hx)|pmhx?|psh|pshx|medical (?:history|hx)"
        "|(?:past )?surgical (?:history|hx)|relevant history|past history|significant history"
    ),
    SectionKind.indication: (
        rf"{_ADJECTIVES}(?:indications?|history|hx|hist|ind){_OF_STUDY}|{_ADJECTIVES}(?:reasons?|rationale|purpose)"
        rf"{_OF_STUDY}(?: (?:visit|consultation|referral|request|attendance|admission))?"
        "|(?:reasons?|indications?|purpose) (?:for|of) (?:the |this )?(?:\\w+ )?(?:\\w+)"
        "|(?:chief|presenting|main|current) (?:complaints?|symptoms?|problems?|concerns?)"
        "|clinical(?: (?:information|info|questions?|data|details?|statement|background|problem|context"
        "|presentation|notes?"
        "|summary|findings|features|impression|diagnosis|indications?|symptoms?|concerns?|setting|query|request"
        "|scenario"
        "|history and question))?"
        "|(?:history|hx) of (?:the )?present(?:ing)? (?:illness|complaint|problem)|hpi|hpc|presentation"
        "|provided history"
        "|(?:signs? and )?symptoms?|complaints?|(?:referral|referring|referrer'?s?|order|ordering|request"
        "|requested|requisition)"
        " (?:information|info|reasons?|details?|diagnosis|questions?|comments?|indications?|history)|referral|request"
        "|(?:questions?|query|background|case|problem)(?: to be answered)?|(?:patient )?background"
        "|(?:pre ?operative|pre ?op|admitting|admission|working|suspected|referring|presumptive) diagnos[ie]s"
    ),
    SectionKind.comparison: (
        rf"{_ADJECTIVES}(?:comparisons?|comp|priors?|correlation)(?: (?:made |is made )?(?:to|with"
        rf"|made))?(?: {_STUDY})?"
        rf"|(?:compared?|correlat(?:ed|ion)) (?:to|with)(?: priors?)?|comparative {_STUDY}"
        rf"|(?:relevant |available |outside |most recent |recent )?(?:prior|previous|old|earlier|past|last) "
        rf"(?:(?:{_IMAGING}|relevant|similar|outside) )*{_STUDY}(?: (?:available|for comparison))?"
        "|(?:relevant|available|outside) priors?|previous(?: available)?|reference (?:stud(?:y|ies)|exams?)"
    ),
    SectionKind.technique: (
        rf"{_ADJECTIVES}(?:techniques?|tech|protocols?|views?|methods?|methodology|acquisition|sequences?|projections?)"
        r"(?: (?:used|and views|details|obtained|description|comments?))?"
        r"|(?:iv |oral |intravenous )?contrast(?: (?:agent|medium|media|material|dose|administration|used|type))?"
        r"|(?:radiation |effective )?(?:dose|dlp|ctdi(?:vol)?)(?: (?:report|information|length product|reduction))?"
        r"|radiopharmaceuticals?|(?:radio)?tracers?|injected activity|an(?:a)?esthe(?:sia|tic)|(?:conscious )?sedation"
        r"|procedures?(?: (?:comments?|details?|performed|description|note|and technique|technique|in detail))?"
        r"|description of procedure"
        r"|(?:image |study |examination |technical )?(?:quality|adequacy|limitations?"
        r"|limiting factors)(?: of (?:the )?\w+)?"
        r"|stains?|staining|fixation|technical (?:factors|details|information|comments?|notes?|aspects)"
        r"|equipment|scanner"
        r"|(?:scan|imaging|acquisition) (?:parameters|range|details|information)|preparation|fluoroscopy time"
    ),
    SectionKind.impression: (
        rf"{_ADJECTIVES}(?:impressions?|impr?|imps?|conclusions?|concl|conc|summar(?:y|ies)|opinions?|opin"
        rf"|assessments?|synopsis"
        rf"|verdict|bottom line|diagnos[ie]s|dx|comments?|wet read|final read|reading summary)"
        r"(?: of (?:the )?findings)?"
        r"|summary (?:of|and) \w+(?: \w+)?|interpretation and conclusions?|in (?:summary|conclusion)|ai[- ]?rads|a/?p"
        r"|(?:bi|ti|pi|li|lung|o|c)[ -]?rads(?: (?:category|assessment|score|classification))?"
        r"|overall(?: (?:\w+ ){0,2}category)?"
        r"|(?:post ?operative|post ?op|discharge|differential|histological|tissue) diagnos[ie]s"
        r"|differential(?: considerations)?"
    ),
    SectionKind.findings: (
        rf"{_ADJECTIVES}(?:findings?|find|fdgs|results?|observations?|descriptions?|narrative|interpretations?"
        rf"|reports?|readings?)"
        rf"(?: (?:of|on|at|in|from)(?: the)?(?: (?:{_IMAGING}|stud(?:y|ies)|exams?|examinations?))+)?"
        r"|(?:body of|text of|the) (?:the )?report|(?:gross|macroscopic|microscopic|micro|macro)"
        r"(?: (?:description|findings?|exam|examination|appearances?))?|microscop(?:y|ic)|macroscop(?:y|ic)"
        r"|histology|cytology"
        r"|immunohistochemistry|(?:on )?(?:physical|clinical|general|microscopic|dermatoscopic"
        r"|dermoscopic) (?:exam|examination)"
        r"|on (?:exam|examination)|o/e|(?:dermatoscopy|dermoscopy|lesion description|skin exam(?:ination)?)"
        r"|appearances?|what (?:is|was) (?:seen|found)"
    ),
    SectionKind.header: (
        rf"{_ADJECTIVES}(?:exam|examination|study|test|investigation|modality|order|scan|service)s?"
        r"(?: (?:type|date|time|name|performed|description|requested|title|ordered|code|number|date and time))*"
        r"|(?:type|date|time|name|title|nature) of (?:the )?(?:exam|examination|study|procedure|service|birth"
        r"|report|scan|patient)"
        r"|(?:patient'?s? )?(?:name|id|dob|age|sex|gender|mrn|identifier)|patient|accession(?: (?:number|no\.?"
        r"|#))?|mrn|dob|date"
        r"|(?:report|reported|collection|received|collected|admission|discharge) date|date (?:reported|received"
        r"|collected)"
        r"|(?:referring|ordering|requesting|primary care) (?:physician|provider|doctor|clinician|consultant)"
        r"|referrer|gp|ward|location"
        r"|(?:hospital|nhs|case|specimen|lab|laboratory|file)(?: (?:number|no\.?|id))|department|facility|institution"
        r"|specimens?(?: (?:type|source|submitted|received))?|material(?: submitted)?|(?:site"
        r"|source)(?: of (?:specimen|biopsy))?"
        r"|nature of specimen|body (?:part|region|site)"
    ),
}
_KIND = {kind: re.compile(rf"(?:{pattern})", re.IGNORECASE) for kind, pattern in _NAMES.items()}
_STRONG = re.compile(
    rf"{_ADJECTIVES}(?:findings?|impressions?|conclusions?|techniques?|comparisons?|indications?|history"
    rf"|opinion|summary"
    r"|recommendations?|addendum|clinical (?:history|details?|information|data|question|indication)|diagnosis"
    r"|reason for \w+"
    r"|tech|comp|find|impr?|hx|views?|procedure|report|assessment|interpretation|results?)",
    re.IGNORECASE,
)
_ORGAN = re.compile(
    r"(?:(?:the|upper|lower|other|visuali[sz]ed|left|right|both|great|osseous|soft|major|central|bony|thoracic|cervical"
    r"|lumbar|cardiac|support|paranasal|mastoid|biliary|gall|urinary|lymph|pleural|chest|abdominal|aortic|small"
    r"|large|adrenal) )*"
    r"(?:lungs?|airways?|trachea|heart|pleura|spaces?|mediastinum|hil[au]m?|aorta|bones?|structures?|tissues?"
    r"|wall|diaphragms?"
    r"|lines|tubes|devices|liver|gallbladder|ducts?|tree|pancreas|spleen|kidneys?|adrenals?|glands?|ureters?"
    r"|bladder|prostate"
    r"|uterus|ovar(?:y|ies)|adnexae?|bowel|stomach|colon|appendix|oesophagus|esophagus|vessels?|vasculature"
    r"|arter(?:y|ies)"
    r"|veins?|valves?|nodes?|ventricles?|atri(?:a|um)|parenchyma|brain|cerebellum|orbits?|sinus(?:es)?"
    r"|calvarium|skull|spine"
    r"|vertebrae|discs?|disks?|cord|joints?|ligaments?|tendons?|menisc(?:i|us)|cartilage|muscles?|skin|breasts?"
    r"|thyroid|neck"
    r"|chest|abdomen|pelvis|peritoneum|retroperitoneum|silhouette|skeleton|epidermis|dermis)"
    r"(?:(?:,? and |/|, )[a-z/ ]+)?",
    re.IGNORECASE,
)
_JOINT = re.compile(r"\s*(?:/|&|,|\+|\band\b|\bwith\b)\s*", re.IGNORECASE)
_JOINED = (SectionKind.impression, SectionKind.findings)
_LONGEST_NAME = 60


def kind_of(heading: str) -> SectionKind:
    """Return what a heading announces; a joined one ("findings and impression") counts as impression."""
    return _kind(" ".join(heading.split()))


@lru_cache(maxsize=65536)
def _kind(name: str) -> SectionKind:
    name = re.sub(r"\((s|es)\)", r"\1", name, flags=re.IGNORECASE)
    name = re.sub(r"\s*[(\[][^)\]]{0,40}[)\]]$", "", name).replace("-", " ").replace("’", "'").rstrip(".").strip()
    if not name or len(name) > _LONGEST_NAME:
        return SectionKind.other
    whole = next((kind for kind, pattern in _KIND.items() if pattern.fullmatch(name)), None)
    if whole is not None:
        return whole
    parts = [part for part in _JOINT.split(name) if part]
    if not 1 < len(parts) < 4:
        return SectionKind.other
    kinds = [next((kind for kind, pattern in _KIND.items() if pattern.fullmatch(part)), None) for part in parts]
    joined = next((kind for kind in _JOINED if kind in kinds), None)
    if joined is not None and len(name.split()) < 7:  # "breast composition and findings": the other part is of it
        return joined
    return SectionKind.other if None in kinds else next(kind for kind in kinds if kind is not None)


@lru_cache(maxsize=65536)
def is_strong(heading: str) -> bool:
    """Whether a name is used for hardly anything but a heading: it needs no colon to be one."""
    return _STRONG.fullmatch(" ".join(heading.split()).replace("-", " ")) is not None


@lru_cache(maxsize=65536)
def is_organ(heading: str) -> bool:
    """Whether a heading names a part of the body, as those inside findings do."""
    return len(heading) < _LONGEST_NAME and _ORGAN.fullmatch(" ".join(heading.split())) is not None
