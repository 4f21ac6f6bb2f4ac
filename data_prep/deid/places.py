"""Postal addresses and names of institutions.

A street needs a number and a word like "Road"; a town needs a state, a post code or a verb of living. An institution
needs a word like "Hospital" behind (or before) a word that is not ordinary, so "pain clinic" stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from data_prep.deid.spans import Span, in_windows, word_set
from data_prep.deid.words import EPONYM_NOUNS, eponyms, is_common, is_report_word

_STATES = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|ND|OH|OK|OR|"
    "PA|RI|"
    "SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY|DC|PR|ON|QC|BC|AB|MB|SK|NS|NB|NL|PE|NSW|VIC|QLD|TAS|ACT"
)
_STATE_NAMES = (
    "Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida|Georgia|Hawaii|Idaho|Illinois|"
    "Indiana|Iowa|Kansas|Kentucky|Louisiana|Maine|Maryland|Massachusetts|Michigan|Minnesota|Mississippi|Missouri|"
    "Montana|"
    "Nebraska|Nevada|New Hampshire|New Jersey|New Mexico|New York|North Carolina|North Dakota|Ohio|Oklahoma|Oregon|"
    "Pennsylvania|Rhode Island|South Carolina|South Dakota|Tennessee|Texas|Utah|Vermont|Virginia|Washington|"
    "West Virginia|Wisconsin|Wyoming|Ontario|Quebec|Alberta|Manitoba|Saskatchewan|Nova Scotia|New South Wales|"
    "Queensland"
)
# Possessive, and with its hyphens: there is one way to read a word, so that nothing is read twice.
_CAP = r"(?:(?:St|Ste|Sta|Mt|Ft|[NSEW])\.|[A-ZÀ-ÖØ-Þ][\w'’-]{1,30}+)"
_TOWN = rf"{_CAP}(?: {_CAP}){{0,3}}"
_US_ZIP = r"\d{5}(?:-\d{4})?"
_UK_CODE = r"[A-Z]{1,2}\d[A-Z\d]?\s\d(?!MM|CM|ST|ND|RD|TH|MG|ML|DA)[A-Z]{2}"
_CA_CODE = r"(?![TNM])[A-CEGHJ-NPR-TVXY]\d[A-CEGHJ-NPR-TV-Z]\s\d[A-CEGHJ-NPR-TV-Z]\d"
_CODE = rf"(?:{_US_ZIP}|{_UK_CODE}|{_CA_CODE}|\d{{6}}|\d{{3}}\s\d{{2,3}})"
_WAY = (
    r"(?:Street|Str|St|Avenue|Ave|Av|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Circle|Cir|Way|Place|Pl|"
    r"Terrace|Ter|"
    r"Parkway|Pkwy|Highway|Hwy|Square|Sq|Trail|Trl|Close|Crescent|Cres|Parade|Row|Walk|Gardens|Grove|Mews|Hill|Quay|"
    r"Alley|"
    r"Loop|Plaza|Turnpike|Pike|Broadway|Esplanade|Promenade|Path|Run|Ridge|Green|Park|Rise|View|Vale|Wharf|Bypass|"
    r"Expressway|Plz|Bridge|Mill|Gate|Wynd|Brae|Approach|Cross|Mount|Nagar|Marg|Colony|Layout|Cove|Crossing|Point|Pt|"
    r"STREET|AVENUE|AVE|ROAD|RD|BOULEVARD|BLVD|LANE|DRIVE|COURT|CIRCLE|TERRACE|PARKWAY|HIGHWAY|CRESCENT)"
)
_FLAT = r"(?:(?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Fl|Rm|Room|Bldg|Building|No)\.?\s?#?|#\s?)[\w-]{1,6}"
_TAIL = (
    rf"(?:,?\s(?:{_FLAT}|Rear|Front|Upper|Lower))?(?:(?:,\s?|\n)(?!(?:Tel|Fax|Phone|Dear|Re|Date|DOB|MRN|"
    rf"Patient)\b){_TOWN}){{0,3}}"
    rf"(?:,?\s(?:{_STATES}|{_STATE_NAMES})\b\.?)?(?:,?\s{_CODE})?(?![\w])"
)
_STREET = re.compile(
    rf"(?<![\w./-])(?:The\s{_CAP}(?:\s{_CAP})?,\s)?(?:{_FLAT},?\s)?\d{{1,6}}[A-Za-z]?(?:[-/]\d{{1,5}}|"
    r"\s1/2)?,?\s(?:(?:[NSEW]|NE|NW|SE|SW)\.?\s)?"
    rf"((?:{_CAP}|\d{{1,3}}(?:st|nd|rd|th)|of|de|la|the)(?:\s(?:{_CAP}|of|de|la|the)){{0,3}})\s{_WAY}\b\.?"
    rf"(?!\s(?:elevation|depression|segment|changes?))(?:\s(?:[NSEW]|NE|NW|SE|SW)\b\.?)?{_TAIL}"
)
_SURE_STREET = re.compile(r",|\d{5}|Street|Road|Avenue|Ave\b|Lane|Drive")
_STREET_BEHIND = re.compile(  # Lindenallee 14, 80331 München; 12 rue de la Paix, 75002 Paris; Via Roma 3
    rf"(?<![\w])(?:[A-ZÄÖÜ][\w-]{{2,30}}(?:straße|strasse|str\.|stræti|gata|vej|vägen|vei|kuja|katu|ring|stieg|steig|"
    r"graben|markt|hof|berg|bach|allee|weg|platz|gasse|damm|ufer|gade|gatan|laan|"
    r"straat)|"
    r"(?:Via|Viale|Calle|C/|Avenida|Avda\.|Rua|Rue|Plaza|Piazza|Paseo)\s(?:[\w'’.-]{1,20}\s?){1,5},?)"
    rf"\s\d{{1,4}}[a-z]?\b(?:,\s?(?:[A-Z]{{1,2}}-)?\d{{4,5}}\s{_TOWN})?"
    r"|(?<![\w])(?:[Aa]m|[Aa]n der|[Aa]uf der|[Ii]m|[Zz]um|[Zz]ur|Unter den|"
    rf"[Ii]n der)\s[A-ZÄÖÜ][\w-]{{2,30}}\s\d{{1,4}}[a-z]?\b,?\s(?:[A-Z]{{1,2}}-)?\d{{4,5}}\s{_TOWN}"
    rf"|(?<![\w])(?:{_CAP}[.-])?{_CAP}\s\d{{1,4}}[a-z]?(?:,\s[\w.º° ]{{1,16}})?,\s(?:[A-Z]{{1,2}}-)?\d{{4}}(?:\d|"
    rf"-\d{{3}}|\s[A-Z]{{2}})?\s{_TOWN}"
    rf"|(?<![\w])(?:{_CAP}[.-]){{1,3}}(?:Ring|Straße|Strasse|Str\.|Platz|Weg|"
    rf"Allee)\s\d{{1,4}}[a-z]?(?:,\s\d{{4,5}}\s{_TOWN})?"
    r"|(?<![\w])(?:Rua|Via|Calle|Av\.?|Avenida|Rue|Travessa|Largo|"
    rf"Praça)\s(?:[\w'’.-]{{1,20}}\s?){{1,5}}\d{{1,4}}(?:,\s[\w.º° ]{{1,16}})?,\s\d{{4,5}}(?:-\d{{3}})?\s{_TOWN}"
    rf"|(?<![\w])\d{{1,4}},?\s(?:bis\s)?(?:rue|avenue|boulevard|place|chemin|quai|via|"
    rf"calle)\s[\w'’ -]{{3,40}},\s\d{{5}}\s{_TOWN}"
)
_HOUSE = re.compile(  # Flat 3B, Rowan Court, Leeds; Rose Cottage, Mill Lane, Upper Wexford
    rf"(?<![\w])(?:{_FLAT},\s{_CAP}(?:\s{_CAP}){{0,2}}\s(?:House|Mansions|Towers|{_WAY})\b|"
    rf"{_CAP}(?:\s{_CAP})?\s(?:Cottage|House|Farm|Lodge|Villa)(?=,\s{_CAP}))"
    rf"(?:,\s{_CAP}(?:\s{_CAP}){{0,2}}){{0,3}}(?:,?\s{_CODE})?(?!\w)"
    rf"|(?<![\w])\d{{1,6}}\s(?:County Road|State Route|Highway|Hwy|Route)\s\d{{1,4}}\b{_TAIL}"
    r"|(?<![\w])(?:County Road|County Rd|Co\.? Rd|CR|State Route|SR|Rural Route|RR|RD|Highway|Hwy|Route|"
    rf"Rte)\s?#?\d{{1,4}}(?:,?\sBox\s\d{{1,5}})?"
    rf",\s{_TOWN},?\s(?:{_STATES})\b(?:\s{_US_ZIP})?"
    r"|(?<![\w])(?:H\.?\s?No\.?|House\sNo\.?|Plot(?:\sNo)?\.?|Door\sNo\.?|D\.?\s?No\.?|Flat(?:\sNo)?\.?|"
    rf"Qtr\.?\s?No\.?)\s?[\w/-]{{1,8}},\s[^\n;]{{3,70}}?\d{{3}}\s?\d{{3}}(?!\d)"
    rf"|(?<![\w]){_CAP}(?:\s{_CAP})?\s{_WAY},\s{_CAP}(?:\s{_CAP}){{0,2}}(?:,\s(?:Co\.?|"
    rf"County)\s{_CAP})?(?:,?\s(?:{_UK_CODE}|[A-Z]\d[\dW]\s[A-Z\d]{{4}}))(?!\w)"
    rf"|(?<![\w])(?:Sector|Phase|Block)\s\d{{1,3}}(?:-[A-Z])?,\s{_TOWN}(?:[ ,–-]{{1,3}}\d{{6}})?"
    rf"|(?<![\w]){_CAP},\s(?:Co\.|County)\s{_CAP}(?:,\s[A-Z]\d[\dW]\s[A-Z\d]{{4}})?(?!\w)"
)
_BOX = re.compile(rf"\bP\.?\s?O\.?\s?Box\s\d{{1,6}}{_TAIL}", re.I)
_TOWN_CODE = re.compile(
    rf"(?<![\w]){_TOWN},?\s(?:(?:{_STATES}|{_STATE_NAMES})\.?,?\s(?:{_US_ZIP}|{_CA_CODE}|\d{{4}}(?=[,.;)\n]))|"
    rf"{_UK_CODE})(?!\w)|(?<!\w)(?:D-|A-|CH-|DE-|NL-)?\d{{4,5}}\s(?:[A-Z]{{2}}\s)?{_CAP}(?=[,.;)\n]|$)(?<!\d)"
)
_TOWN_STATE = re.compile(
    rf"(?<![\w.-]){_TOWN},\s(?:(?!MD\b|PA\b|DO\b|MA\b|ND\b|MS\b|DC\b|CT\b|PE\b|OR\b|IN\b|VA\b)(?:{_STATES})\b|"
    rf"(?:{_STATE_NAMES})\b)(?![-\w])"
)
_CODE_ALONE = re.compile(
    rf"(?<![\w-])(?:{_UK_CODE}(?!\w)|\b(?:zip|postcode|postal code|post code)(?:\scode)?\s?[:#]?\s?{_CODE}(?!\w))",
    re.I,
)
_LIVING = re.compile(
    r"\b(?i:lives?|living|lived|resides?|residing|resided|resident|native|citizen|born|moved|moving|relocated|"
    r"travel(?:l?ed|s|l?ing)?|"
    r"trip|returned|hails?|commutes|grew up|raised|originally|comes|hailing|visiting|vacation(?:ing)?|"
    r"homeless shelter)\s(?:\w+\s)?(?:in|of|from|to|at)\s"
    rf"(?:the\s(?:city|town|village)\sof\s)?({_TOWN}(?:,\s(?:{_STATES}|{_STATE_NAMES})\b)?)"
)
_LIVING_ON = re.compile(
    rf"\b(?i:lives?|living|lived|resid(?:es?|ing|ed))\s(?:on|in)\s({_CAP}(?:\s{_CAP}){{0,2}}\s{_WAY})\b"
)
_ADDRESS_LABEL = re.compile(
    r"\b(?:home |mailing |street |postal )?address\s?:\s{0,3}([^\s:\ue000][^\n:\ue000]{3,100})", re.I
)

_TYPE = (
    r"(?:Hospitals?|Medical Cent(?:er|re)|Med(?:ical)? Ctr\.?|Health(?:care)? Cent(?:er|re)|Cent(?:er|"
    r"re) for [A-Z][a-z]+(?: [A-Z][a-z]+)?|"
    r"Cancer Cent(?:er|re)|Cancer Institute|Heart Institute|Heart Cent(?:er|re)|Eye Cent(?:er|re)|Eye Institute|"
    r"Surgery Cent(?:er|re)|Surgical Cent(?:er|re)|Imaging Cent(?:er|re)|Imaging|Diagnostics?|"
    r"Dialysis Cent(?:er|re)|Rehab(?:ilitation)?(?: Cent(?:er|re))?|Trauma Cent(?:er|re)|Birth Cent(?:er|re)|"
    r"(?:Skin|Laser|Women['’]s|Spine|Pain|Sleep|Wound|Breast|Fertility|Vein|Allergy|Sports|Kidney|Vascular|Endoscopy|"
    r"Stroke|Nursing|Treatment|"
    r"Recovery|Wellness|Counsell?ing|Birthing|Day|Health Care|Community|Pediatric|Children['’]s|& Laser|Radiotherapy|"
    r"Oncology|Rehabilitation) (?:Cent(?:er|re)|Unit)|"
    r"(?:Women['’]s|Children['’]s|Elder|Senior|Home|Primary|Family|Palliative|Dental|Eye|Memory|Respite|Health|Day|"
    r"Heart|Kidney) Care|Women['’]s Care|Home Health|Hospice Care|"
    r"Dental(?: Studio| Practice| Clinic| Surgery| Care| Group)?|Dentistry|Opticians?|Optometry|Physiotherapy|"
    r"Veterinary|Maternity(?: Unit| Hospital| Home)?|Birth Cent(?:er|re)|"
    r"(?:Student |College |University |Occupational |Community )?Health Services?|Sports Medicine|Genomics|Biobank|"
    r"Bioscience|"
    r"(?:Radiology|Imaging|Pathology|Medical|Cardiology|Surgical|Dermatology|Orthop(?:a)?edic|Eye|Urology|Oncology|"
    r"Anesthesia|Neurology|Cancer|Pain|Heart|Kidney|GI|Lung) "
    r"(?:Consultants|Specialists|Associates|Partners|Physicians|Institute|Services|Network|Group)|Consultants|"
    r"Specialists|"
    r"Hospital Group|Hospital Trust|Care Cent(?:er|re)|Residential Home|Residential Care|House Nursing Home|"
    r"Nursing Cent(?:er|re)|Clinic Group|"
    r"Krankenhaus|Spital|Praxis|Zentrum|Ziekenhuis|Sjukhus|Sygehus|Sykehus|Szpital|Hastanesi|Nursing|"
    r"Clinics?|Polyclinic|Infirmary|Sanatorium|Sanitarium|Hospice|Nursing Home|Care Home|Maternity Home|Rest Home|"
    r"Retirement (?:Home|Community|Village)|Assisted Living|Senior Living|Manor|Skilled Nursing(?: Facility)?|"
    r"Urgent Care|Walk-in|Emergency Care|Family Practice|Family Medicine|Family Health|Internal Medicine|Primary Care|"
    r"Medical Practice|Medical Group|Medical Associates|Medical Partners|Physicians Group|Practice|Surgery|"
    r"Radiology(?: Associates| Group| Partners)?|Pathology(?: Associates| Group| Laborator(?:y|ies))?|"
    r"Orthop(?:a)?edics|Cardiology|Oncology|Dermatology|Pediatrics|Gastroenterology|Urology|Neurology|"
    r"Associates|Health System|Health Services|Health Network|Health Trust|NHS (?:Foundation )?Trust|NHS|Healthcare|"
    r"Health|"
    r"(?:Genetics |Reference |Clinical |Medical |Diagnostic )?Laborator(?:y|ies)|Labs?|Pharmacy|"
    r"Institute(?: of [A-Z][a-z]+)?|"
    r"School of Medicine|Medical School|Medical College|College|University|Foundation|Charité|Klinik|Klinikum|"
    r"Krankenhaus|Universitätsklinikum|Spital|General(?= (?:ER|ED|Emergency|Hospital)\b))"
)
# Types that are also departments or procedures: the words before have to leave no doubt.
_WEAK_TYPE = re.compile(
    r"(?:Imaging|Diagnostics?|Consultants|Specialists|Dental|Dentistry|Nursing|Praxis|Zentrum|Health Services?|"
    r"Sports Medicine|Physiotherapy|Maternity|Rehab(?:ilitation)?|Manor|Walk-in|Practice|Surgery|Radiology|Pathology|"
    r"Orthop(?:a)?edics|Cardiology|"
    r"Oncology|Dermatology|Pediatrics|Gastroenterology|Urology|Neurology|Associates|Health|NHS|Labs?|Laborator(?:y|"
    r"ies)|College|"
    r"Foundation|Institute|Primary Care|Internal Medicine|Family Medicine|Family Health|Emergency Care|Hospice|"
    r"Clinics?|Klinik|Pharmacy|Assisted Living)"
)
_CONNECTED = r"(?:(?:\s(?:(?:of|and|the|de|la|del|&|St\.?|Saint|San|Santa|Sta\.?)\s){1,2}|\s)" + _CAP + r")"
_NAMED = re.compile(
    rf"(?<![\w'’-])((?:(?:St\.?|Saint|Mt\.?|Ft\.?|The)\s)?{_CAP}{_CONNECTED}{{0,5}}?)\s({_TYPE})\b"
    rf"(?:\s(?:of|at|for)\s(?:the\s)?({_CAP}(?: (?:of\s)?{_CAP}){{0,3}}))?"
    r"(\s(?:Hospitals?|Medical Cent(?:er|re)|Clinics?|Cent(?:er|re)|Trust|Campus|(?=LLC|LLP|P\.?C|Inc|"
    r"Ltd)))?(?:,?\s?(?:LLC|LLP|P\.C\.|PC|Inc\.?|Ltd\.?|GmbH|PLLC)(?!\w))?(?![\w])"
)
_PREFIXED = re.compile(
    r"(?<![\w'’-])(?:Hospital|H[ôo]pital|Hospice|Clinique|Cl[íi]nica|Ospedale|Klinikum|Klinik|Krankenhaus|"
    r"Universit[äa]tsklinikum|"
    r"University|Universit[äa]t|Universit[ée]|Universidad|Institut|Instituto|Policlinico|CHU|VA|Kaiser)[ ]"
    rf"(?:(?:of|de|del|di|der|du|the|am|im|St\.?|Sankt|Saint|San|Santa)\s){{0,3}}({_CAP}(?: (?:(?:of|de|und|"
    rf"and)\s)?{_CAP}){{0,3}})"
)
_FAMOUS = re.compile(
    r"\b(?:Mayo Clinic|Cleveland Clinic|Johns Hopkins|Mount Sinai|Mt\.? Sinai|MD Anderson|M\.D\. Anderson|"
    r"Memorial Sloan[ -]Kettering|Sloan[ -]Kettering|MSKCC|Kaiser Permanente|Cedars[ -]Sinai|"
    r"Mass(?:achusetts)?\.? General|"
    r"Brigham and Women['’]s|Dana[ -]Farber|Beth Israel|Royal Marsden|Addenbrooke['’]s|Moorfields|Great Ormond Street|"
    r"Guy['’]s and St\.? Thomas['’]?|Karolinska|Stanford Health Care|UCSF|UCLA|NYU Langone|Duke University)"
    r"(?:\s(?:Hospitals?|Medical Center|Medical School|Health|Cancer Center))?\b"
    r"(?!\s(?:scores?|classification|criteria|staging|grade|scale|system|solution))"
)
_POSSESSIVE_SAINT = re.compile(
    r"\b(?:at|from|to)\s((?:St\.?|Saint)\s[A-Z][a-z]{2,20}(?:['’]s|s['’])?)(?![\w'’])(?!\s(?:valve|score|disease|fire))"
)
_WHERE = re.compile(
    r"\b(?:transfer(?:red)?|admitted|referred|sent|discharged|followed|biopsied|seen|imaged|treated|performed|done|"
    r"obtained|scanned|"
    r"transplanted|delivered|evaluated|hospitali[sz]ed)\s(?:back\s)?(?:to|from|"
    rf"at)\s(?:the\s)?({_CAP}(?:\s{_CAP}){{0,3}})"
)
_LOWER = re.compile(
    r"\b(?:in|at|from|to|@)\s((?:[a-z'’.]{2,20}\s){1,3}(?:clinic|hospital|infirmary|medical cent(?:er|re)|hospice|"
    r"imaging|radiology|diagnostics|rehab|medical|health|dental|urgent care|"
    r"nursing home|care home))\b"
)
_GENERAL = re.compile(
    rf"\b(?:at|from|to|in)\s({_CAP}(?:\s{_CAP}){{0,2}}\s(?:General|Memorial|Presbyterian|Baptist|Methodist|Regional|"
    r"Mercy))\b(?!\s[A-Z])"
)
_COMPOUND = re.compile(
    r"(?<![\w-])((?:[A-ZÄÖÜ][\w.-]{2,24}\s)?[A-ZÄÖÜ][\w-]{2,24}(?:klinik|klinikum|kliniken|zentrum|spital|"
    r"krankenhaus|praxis|hospital|ziekenhuis|sjukhus|sjukhuset|"
    r"sykehus|sygehus|sairaala)(?:\s(?:am\s)?[A-ZÄÖÜ][\w-]{2,24}){0,2})(?![\w-])"
)
_SHOUTED = re.compile(
    r"(?<![\w'’-])((?:(?:ST\.|[A-Z][A-Z'’&-]{1,20})\s){1,4})(HOSPITALS?|MEDICAL CENT(?:ER|RE)|MED CTR|"
    r"HEALTH CENT(?:ER|RE)|CLINIC|INFIRMARY|HOSPICE|REHAB|"
    r"NURSING HOME|CARE HOME|CANCER CENT(?:ER|RE)|IMAGING(?: CENT(?:ER|RE))?|DIAGNOSTICS|LABORATOR(?:Y|IES)|LABS|"
    r"SURGERY CENT(?:ER|RE)|NHS TRUST|MANOR|SNF)\b"
)
_SAINT_PLACE = re.compile(
    r"\b(?:St\.?|Saint)\s[A-Z][a-z]{2,20}(?:['’]s|s['’])\s(?:Court|House|Lodge|Home|Hospice|Ward|Unit|Cent(?:er|re)|"
    r"Place|Manor|Hall|Surgery|Practice)\b"
)
_TYPE_HINT = re.compile(
    r"\b(?:Hospital|Med(?:ical)?\b|Health|Cent(?:er|re)|Cancer|Heart|Eye|Surg|Imaging|Diagnostic|Dialysis|Rehab|"
    r"Trauma|Birth|Clinic|"
    r"Poly|Infirm|Sanat|Sanit|Hospice|Nursing|Care|Maternity|Rest Home|Retire|Assisted|Senior|Manor|Skilled|Urgent|"
    r"Walk|Emergency|"
    r"Family|Internal|Primary|Physicians|Practice|Radiol|Pathol|Ortho|Cardiol|Oncol|Dermat|Pediat|Gastro|Urolo|Neuro|"
    r"Assoc|NHS|Skin|Laser|Women|Spine|Pain|Sleep|Breast|Vein|Allergy|Sports|Home|Dent|Optic|Optom|Physio|Veter|"
    r"Matern|Student|Occup|Genom|Bio|"
    r"Consult|Special|Resid|Praxis|Zentrum|Zieken|S[jy][uky]|Szpital|Hast|Treat|Recov|Well|Kidney|Vasc|Endosc|Stroke|"
    r"Day|Child|Commun|Radioth|Couns|Fertil|Wound|Elder|Palliat|Memory|Respite|"
    r"Genetics|Reference|Lab|Pharm|Institute|School|College|Universit|Found|Charit|Klinik|Kranken|Spital|General)"
)
_DIGITS = re.compile(r"\d{1,20}")
_HOUSES = re.compile(
    r"\b(?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Fl|Rm|Room|Bldg|Building|Cottage|House|Farm|Lodge|Villa|County|Co|"
    r"CR|SR|RR|Rural|Rte|Plot|Door|H\.|D\.|Qtr|Sector|Phase|Block|Street|Road|Lane|"
    r"State|Highway|Hwy|Route)\b"
)
_BOXES = re.compile(r"\b[Bb][Oo][Xx]\b")
# Words that say which kind of place it is, and not which place.
_KINDS_OF_PLACE = word_set(
    """
    the this that our your their his her my a an its any each another outside local nearby same other day night
    acute adult ambulatory anticoagulation antenatal breast burn cancer cardiac cardiology care chest children
    children's childrens community county cross dental department device diabetes diabetic district ear emergency
    eye family field first fracture general geriatric gp head health heart hiv home host inpatient intensive kidney
    liver local long lung medical memory mental military mobile neurology new nursing oncology optimum orthopaedic
    orthopedic outpatient outside pacemaker pain parent pathology pediatric paediatric physician post pre previous
    primary private psychiatric psychiatry public radiation radiology reference referral referring regional rehab
    rehabilitation renal research retina rural satellite second secondary sexual sister skin sleep speciality
    specialist specialty spine sports state stroke student surgery surgical teaching tertiary the transplant trauma
    travel university urgent urology vascular veterans virtual walk-in weekly well women women's womens wound
    anesthesia dermatology endocrine gastroenterology hematology nephrology rheumatology fertility genetics headache
    asthma allergy hepatology infectious preoperative postoperative follow-up followup current admitting treating
    initial laparoscopic robotic open elective plastic cosmetic general previous prior bariatric thoracic colorectal
    cataract hand knee hip orthognathic vitreoretinal molecular clinical medicine diagnostic nuclear interventional
    x-ray ct mr mri us pet academic free central
    """
)
_NOT_FIRST = word_set(
    "to from at in the of by for with and on via d/c dc adm admitted transferred our per see seen this is was copy"
)
_LEADING = re.compile(
    r"^(?:(?:The|In|At|From|To|By|For|With|And|On|Of|Per|See|Seen|Via|Our|This|Dr|Dept|Department|Clinic|Copy|"
    r"Courtesy|Records?|Admitted|Transferred|Referred|Location|Facility|Site|Hospital|Institution|Dear|Re|Date|"
    r"Age)\b[.:]?\s(?:of\s|to\s|from\s)?)+"
)


def addresses(text: str) -> Iterator[Span]:
    """Find streets, boxes, towns with state or code, and towns people live in."""
    for match in in_windows(_STREET, text, _DIGITS):
        words = re.findall(r"[^\W\d_]{3,}", match[1])
        if match[1].isupper() and all(is_common(word) for word in words):
            continue
        if words and all(is_common(word) for word in words) and not _SURE_STREET.search(match[0]):
            continue
        yield Span(match.start(), match.end(), "address")
    for pattern, hint in (
        (_STREET_BEHIND, _DIGITS),
        (_HOUSE, _HOUSES),
        (_BOX, _BOXES),
        (_TOWN_CODE, _DIGITS),
        (_CODE_ALONE, _DIGITS),
    ):
        yield from (Span(*match.span(), "address") for match in in_windows(pattern, text, hint))
    for match in _TOWN_STATE.finditer(text):
        last = match[0].split(",")[0].split()[-1]
        grade = re.match(
            r"\s(?:grade|class|score|criteria|classification|I{1,3}\b|system|virus|task)",
            text[match.end() : match.end() + 16],
            re.I,
        )
        if not is_common(last) and last.lower() not in eponyms() and not grade:
            yield Span(*match.span(), "address")
    for match in _LIVING.finditer(text):
        place = match[1].rstrip(".")
        words = place.replace(",", " ").split()
        if not all(is_common(word) for word in words) and not place.isupper() and not re.fullmatch(_STATE_NAMES, place):
            yield Span(match.start(1), match.start(1) + len(place), "address")
    yield from (Span(*match.span(1), "address") for match in _LIVING_ON.finditer(text))
    for match in _ADDRESS_LABEL.finditer(text):
        if re.search(r"\d", match[1]):
            yield Span(match.start(1), match.start(1) + len(match[1].rstrip()), "address")


def institutions(text: str) -> Iterator[Span]:
    """Find hospitals, practices, laboratories and the like that are named."""
    yield from (Span(*match.span(), "institution") for match in _FAMOUS.finditer(text))
    for match in in_windows(_NAMED, text, _TYPE_HINT):
        start = match.start()
        leading = _LEADING.match(match[1])
        if leading is not None:
            start += leading.end()
        words = re.findall(r"[\w'’-]+", text[start : match.end(1)])
        weak = _WEAK_TYPE.fullmatch(match[2]) is not None and not match[4]
        strong = not weak and len(words) > (not match[4])
        named = [word for word in words if not (_kind_of_place(word) if strong else _ordinary_place(word))]
        if match[3] and not _ordinary_place(match[3].split()[-1]):
            named.append(match[3])
        if named and (not weak or len(words) > 1 or _is_place(text, start)):
            yield _undotted(text, start, match.end())
    yield from (Span(*match.span(1), "institution") for match in _COMPOUND.finditer(text))
    yield from (Span(*match.span(), "institution") for match in _SAINT_PLACE.finditer(text))
    for match in _SHOUTED.finditer(text):
        words = list(re.finditer(r"\S+", match[1]))
        while words and (words[0][0].lower() in _NOT_FIRST or (is_report_word(words[0][0]) and len(words) > 1)):
            words.pop(0)
        names = [word for word in words if not _ordinary_place(word[0])]
        if words and (names or (len(words) > 1 and not any(_kind_of_place(word[0]) for word in words))):
            yield Span(match.start() + words[0].start(), match.end(), "institution")
    for match in _PREFIXED.finditer(text):
        if not all(_ordinary_place(word) for word in re.findall(r"[\w'’-]+", match[1])):
            yield _undotted(text, *match.span())
    for pattern in (_POSSESSIVE_SAINT, _GENERAL):
        yield from (
            Span(*match.span(1), "institution") for match in pattern.finditer(text) if not _all_ordinary(match[1])
        )
    for match in _WHERE.finditer(text):
        words = re.findall(r"[\w'’-]+", match[1])
        behind = re.match(r"\s([a-z-]+)", text[match.end() : match.end() + 24])
        if behind is not None and behind[1] in EPONYM_NOUNS:
            continue
        if (
            len(words[0]) > 3
            and not words[0].isupper()
            and not any(_ordinary_place(word) or word.lower() in eponyms() for word in words)
        ):
            yield _undotted(text, *match.span(1))
    for match in _LOWER.finditer(text):
        words = match[1].split()[:-1]
        if not any(_ordinary_place(word) for word in words):
            yield Span(*match.span(1), "institution")


def _undotted(text: str, start: int, end: int) -> Span:
    return Span(start, start + len(text[start:end].rstrip(".")), "institution")


def _all_ordinary(phrase: str) -> bool:
    return all(_ordinary_place(word) for word in phrase.split()[:-1])


def _is_place(text: str, start: int) -> bool:
    """Whether a preposition before it makes one word and a department's word an institution."""
    before = text[max(0, start - 14) : start]
    return re.search(r"\b(?:at|from|to|in|by|of|the|with)\s(?:the\s)?$", before, re.I) is not None


def _kind_of_place(word: str) -> bool:
    lower = word.lower().rstrip(".")
    return lower in _KINDS_OF_PLACE or len(lower) < 2 or lower.isdigit() or is_report_word(lower)


def _ordinary_place(word: str) -> bool:
    return _kind_of_place(word) or is_common(word.lower().removesuffix("'s").removesuffix("’s"))
