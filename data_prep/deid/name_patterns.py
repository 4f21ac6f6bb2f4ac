"""What stands around a name of a person, as patterns; :mod:`data_prep.deid.names` reads the name itself."""

from __future__ import annotations

import re

from data_prep.deid.spans import word_set

WORD = re.compile(r"[^\W\d_]+(?:['’\-‐][^\W\d_]+){0,4}\.?")
PARTICLES = word_set("de del della di da dos du van von der den ter la le el al bin ibn abu st. st mac o' zu")
GAP = re.compile(r"[ \t]")  # two blanks part the fields of a header
NICKNAME = re.compile(r"[ \t][\"“(][A-ZÀ-Þ][\w'’-]{1,15}[\"”)][ \t](?=[A-ZÀ-Þ])")
COMMA = re.compile(r",[ \t]{0,2}")
LIST_GAP = re.compile(r"[ \t]{0,2}(?:,|;|/|&|\band\b|,\s?and\b)[ \t]{0,2}")
CREDENTIALS = (
    r"(?:M\.?D\.?|D\.?O\.?|M\.?B\.?B\.?S\.?|MBChB|MB BCh|Ph\.?\s?D\.?|R\.?N\.?|N\.?P\.?|C\.?N\.?P\.?|FNP(?:-C|-BC)?|"
    r"A\.?P\.?R\.?N\.?|ARNP|"
    r"P\.?A\.?-?C|C\.?R\.?N\.?A\.?|L\.?P\.?N\.?|B\.?S\.?N\.?|R\.?T\.?(?:\([A-Z]{1,3}\)|R)|RDMS|RVT|RDCS|FRCR|FRCS|"
    r"FRCP(?:ath)?|FACR|FACS|FACP|FCAP|"
    r"FRANZCR|MRCP|DNB|MCh|DM|DPM|DDS|DMD|PharmD|MPH|MSc|BSc|LCSW|CNM|CT\(ASCP\)|Esq\.?|Jr\.?|Sr\.?|I{2,3}|IV)"
)
CREDENTIAL = re.compile(rf"\s?,?\s{{0,2}}(?<![A-Za-z]){CREDENTIALS}(?![\w-])")
BEFORE_CREDENTIAL = re.compile(
    r"(?<=[\w.’'])(?:,[ \t]{0,2}|[ \t]{1,2})(?:M\.?D\.?|D\.?O\.?|MBBS|MBChB|Ph\.?D\.?|R\.?N\.|RN|NP|C\.?N\.?P|"
    r"FNP(?:-C|-BC)?|APRN|ARNP|PA-C|"
    r"CRNA|LPN|BSN|RDMS|RVT|FRCR|FRCS|FRCPath|FRCP|FACR|FACS|FCAP|FRANZCR|DNB|DPM|DDS|PharmD|MSc|LCSW|CNM)(?![\w-])"
)
NAME_AT_END = re.compile(
    r"(?:(?:[^\W\d_][\w'’-]{1,30},[ \t])?(?:[^\W\d_](?:[\w'’-]{1,30}|"
    r"\.)?[ \t]){0,3}[^\W\d_][\w'’-]{1,30},?(?:[ \t][^\W\d_]\.?)?)$"
)
TITLE = re.compile(
    r"(?<![\w-])(?:(?:Dr|DR|dr|Drs|DRS|drs|Prof|PROF|prof|Mr|Mrs|mrs|Ms|Mx|Lt|Col|Capt|Maj|Sgt|Rev|Hon|Mme|Mlle|Sra|"
    r"Srta|Dra)"
    r"(?:\.[ \t]{0,2}|[ \t]{1,2})|(?:MR|MRS|mr|MS|Sr|Fr|SR|MISS|REV|FR|BR|Br|Smt|SMT|Shri|SHRI|Sri|SRI|Kum|Ven|Adv|Er|"
    r"Ar)\.[ \t]{1,2}|(?:mr|MRS|MR)[ \t]|(?:Doctor|DOCTOR|"
    r"Professor|Dame|Sir|Miss|Mister|Master|Herr|Frau|Señora?|Signora?|"
    r"Monsieur|Madame|Nurse|NP|RN|Sister|Father|Rabbi|Imam|Pastor|Chaplain|Fru|Mevrouw|Meneer|Shri|Smt\.?|Kumari|"
    r"Begum|S/N|SR|Matron|Midwife|Brother|MISS|Frl|Pani|Pan|Señor|Dona|Dom|Tante|Onkel|Auntie|Aunty|Uncle|Grandma|"
    r"Grandpa)[ \t]{1,2}|(?:Hr|Mevr|Dhr|Sig|Sig\.ra|Dott|Dott\.ssa|Med|Ing|Sgt)\.[ \t]{1,2})(?=[^\W\d_])"
)
WEAK_TITLES = frozenset(
    (
        "Nurse",
        "NP",
        "RN",
        "Sister",
        "Father",
        "Miss",
        "Master",
        "Sir",
        "Doctor",
        "Professor",
        "DOCTOR",
        "Lt",
        "Col",
        "S/N",
        "SN",
        "SR",
        "Matron",
        "Midwife",
    )
)
ROLES = (
    r"(?:physician|doctor|provider|clinician|radiologist|pathologist|surgeon|cardiologist|oncologist|resident|fellow|"
    r"attending|"
    r"consultant|registrar|technologist|technician|tech|sonographer|radiographer|nurse|midwife|assistant|anaesthetist|"
    r"anesthesiologist|anaes|therapist|cytotechnologist|cytologist|dermatologist|neurologist|practitioner|pcp|gp|hcp|"
    r"interpreter|"
    r"translator|operator|performer|reader|reporter|author|transcriptionist|typist|secretary|scribe|witness|specialist|"
    r"coordinator|pharmacist|dietitian|psychologist|social worker|case manager|examiner|observer|endoscopist|monitor|"
    r"officer|teacher|"
    r"podiatrist|optometrist|dentist|counsell?or|chaplain|driver|paramedic|medic|locum|hospitalist|intensivist|"
    r"physiotherapist|physio|dosimetrist|physicist|perfusionist|phlebotomist|housemate|employer|solicitor|attorney|"
    r"lawyer|"
    r"proceduralist|"
    r"primary care physician|family doctor|referrer|requester|clinical lead|chair)"
)
KIN = (
    r"(?:wife|husband|spouse|partner|mother|father|mom|mum|dad|son|daughter|sister|brother|sibling|twin|aunt|uncle|"
    r"niece|nephew|"
    r"cousin|grandmother|grandfather|grandson|granddaughter|guardian|carer|caregiver|caretaker|neighbou?r|friend|"
    r"fianc[ée]e?|"
    r"boyfriend|girlfriend|roommate|next of kin|nok|emergency contact|surrogate|proxy|poa|lpa|donor|recipient|dtr|dau|"
    r"dghtr|gf|"
    r"bf|grandma|grandpa|grandmother|granny|gran|nan|nana|mam|auntie|hubby|stepmother|stepfather|stepson|stepdaughter|"
    r"half-brother|half-sister|father-in-law|mother-in-law|son-in-law|daughter-in-law|"
    r"brother-in-law|sister-in-law|landlord|landlady|flatmate|colleague|[sdw]/o)"
)
COLON = re.compile(r"[:=][ \t]{0,4}(?=[^\W\d_\[\"“])")
COLON_LABEL = re.compile(
    r"(?<![\w-])(?:(?:pat|paciente|patiente|nombre|nom|naam|cognome|nome|vorname|nachname)|patient(?:['’]?s|"
    r"en)?(?:[ \t]full)?(?:[ \t]name)?|pt\.?(?:[ \t]name)?|(?:full[ \t]|last[ \t]|first[ \t]|middle[ \t]|maiden[ \t]|"
    r"family[ \t]|given[ \t])?name(?:[ \t]of[ \t]patient)?|surname|(?:first|given|last|middle|"
    r"family)[ \t]names?(?:[ \t]?\(s\))?|first[ \t]name\(s\)|forenames?|"
    rf"(?:[\w/-]{{2,14}}[ \t]){{0,2}}{ROLES}s?(?:['’]?s)?(?:[ \t](?:name|of record))?|"
    rf"{KIN}(?:['’]?s)?(?:[ \t]name)?|(?:[\w]{{2,14}}[ \t]){{0,2}}(?:by|to|from)|attn|attention|"
    r"(?:[\w]{2,12}[ \t])?m\.?d\.?|cc|c\.c\.|bcc|re|"
    r"present|attendees|in attendance|"
    r"participants|apologies|staff|team|contact(?:[ \t]person)?|signed|signature|e-?signed|electronically[ \t]signed|"
    r"signed[ \t]electronically|dictated|"
    r"transcribed|typed|approved|verified|finali[sz]ed|authenticated|reviewed|interpreted|reported|read|"
    r"authori[sz]ed|copies|copy|requestor|ordering|referring|attending|admitting)[ \t]{0,3}$",
    re.I,
)
LAST_WORD = re.compile(r"([^\W\d_]+)['’.]?(?:s['’]?)?[ \t]{0,3}$")
LOWER_LABEL = re.compile(
    r"(?<![\w-])(?:pt|patient)(?:['’]s)?[ \t]name[ \t](?:is[ \t])?(?=[^\W\d_])|(?<![\w-])(?:my|his|her|"
    r"whose)[ \t]name[ \t]is[ \t](?=[^\W\d_])",
    re.I,
)
TOLD = re.compile(
    r"(?<![\w-])(?:(?:(?:signed|dictated|transcribed|typed|approved|verified|finali[sz]ed|authenticated|reviewed|"
    r"interpreted|reported|read|performed|"
    r"authori[sz]ed|requested|ordered|referred|seen|examined|evaluated|followed|managed|done|consulted|assisted|"
    r"supervised|prepared|"
    r"discussed|reviewed|review|spoken|spoke|talked|ask|asked|liaised|meeting|met|"
    r"instructed|obtained|written|wrote|drawn|taken|inserted|removed|placed|sent|transferred|handover|handed[ \t]over|"
    r"relieved|d/w'd|dw|"
    r"escalated|collected|delivered|checked|cosigned|co-signed|countersigned|witnessed|labels?|reads|says|attending|"
    r"att|conferred|communicated|conveyed|called|relayed|telephoned|phoned|faxed|"
    r"reported|notified|"
    r"given|texted|message|letter|mail|call|note|addendum|accompanied|d/w|f/u|care|confirmed|shared|per|via|attn\.?|"
    r"contact(?:ed)?|informed|paged|"
    r"notified|alerted|updated|thank(?:s| you)|labell?ed|named|nurse|interpreter|prelim(?:inary)?)"
    r"(?:[ \t](?:electronically|directly|personally|verbally|over the phone|by (?:tele)?phone|immediately|then|also|"
    r"today|results?))?"
    r"(?:[ \t]?(?:by|with|to|from|of|w/?|via|for|and|,))?[ \t]?:?)[ \t]{1,2}[\"“']?)$",
    re.I,
)
ROLE_NO_COLON = re.compile(
    rf"(?<![\w-])(?:{ROLES}|{KIN}|patient|pt|child|infant|pt\.|veteran|gentleman|lady|client)(?:,|[ \t]is|[ \t]named|"
    rf"[ \t]called)?[ \t]{{1,2}}[(“\"]?$",
    re.I,
)
BABY = re.compile(r"\b(?i:baby|bb|bg)[ \t]+(?=(?i:boy|girl)[ \t][A-ZÀ-ÖØ-Þ])")
GREETING = re.compile(
    r"(?<![\w-])(?:Hi|hi|Hello|hello|Hey|hey|dear|thx|Thx|thanks|cheers|regards|Dear|Ta|Thanks|Thank you|Many thanks|"
    r"Cheers|Regards|Best|Best wishes|Kind regards|"
    r"Warm regards|Sincerely|"
    r"(?:Yours )?(?:sincerely|truly|faithfully)|Yours|Love|Best regards)[,!.]?[ \t]{0,2}(?:\n[ \t]{0,8}){0,3}$"
)
SIGN_OFF = re.compile(r"(?:(?:^|\s)[—–-]{1,2}|/s/|~)[ \t]{0,2}$", re.M)
TO_LINE_END = re.compile(r"[A-ZÀ-ÖØ-Þ][\w'’. -]{1,40}\s{0,3}(?:\n|$)")
LABEL_REACH = 48
LAST_BEFORE = re.compile(r"([^\W\d_]+|[/~—–-])[\s,.!(“\"']{0,12}$")
# Words of the three patterns above, which are tried only behind one of these.
_SPELLINGS = word_set(
    """
    neighbour neighbor authorised authorized finalised finalized labelled labeled fiancé fiancée fiance fiancee
    contacted phone telephone result results thank thanks md forename c u w you
    """
)
# Words of the labels: a colon behind any other word needs no closer look.
LABEL_WORDS = _SPELLINGS | set(re.findall(r"[^\W\d_]+", re.sub(r"\\.|\[[^\]]*\]|\?", " ", COLON_LABEL.pattern.lower())))
TELLING_WORDS = _SPELLINGS | {
    word
    for pattern in (TOLD, ROLE_NO_COLON, GREETING)
    for word in re.findall(r"[^\W\d_]+", re.sub(r"\\.|\[ \\t\]|\?", " ", pattern.pattern.lower()))
}
CARET = re.compile(
    r"(?<![\w^/])[A-Za-zÀ-Þ][^\W\d_][\w'’-]{0,30}\^(?=[^\W\d_])[\w'’. -]{1,30}(?:\^[\w'’. -]{0,30}){0,3}"
)
INITIALS = re.compile(r"(?<![\w.-])[A-Z]{2,3}(?=[/:,.;)\s]|$)(?!:\d)")
BEFORE_INITIALS = re.compile(
    rf"(?<![\w-])(?:(?i:dictated|transcribed|typed|signed|{ROLES}|reviewed|initials)(?:[ \t]?:|[ \t]by:?)?[ \t]{{1,2}}|"
    r"(?:[TDtd]|TR|DD|TT)[ \t]?:[ \t]{0,2})$"
)
INITIAL_SURNAME = re.compile(
    r"(?<![\w.'’^/-])(?:[A-ZÀ-Ý]\.[ \t-]?){1,3}(?:(?:van|von|de|der|la|di|da|el|al|"
    r"bin)[ \t]){0,2}[A-ZÀ-ÖØ-Þ][\w'’-]{2,30}"
)
START = re.compile(r"(?<![\w'’.^-])[A-ZÀ-ÖØ-Þ](?:[^\W\d_]{1,30}|(?=\.? ?[A-ZÀ-ÖØ-Þ][\w'’-]{2}))")
CAPITALISED = re.compile(r"(?<![\w'’.^-])[A-ZÀ-ÖØ-Þ][^\W\d_]{2,30}(?:['’-][^\W\d_]{1,30}){0,3}(?![\w'’-])")
BEFORE_BY = re.compile(
    r"(?:\b(?:by|with|from|to|per|Dr|Drs|and|cc|GP|consultant|surgeon)\.?:?|[,(/]|^|\n)[ \t]{0,3}$", re.I
)
LINE_NAME = re.compile(
    r"^[ \t]{0,8}([A-ZÀ-ÖØ-Þ][\w'’-]{1,20}(?:[ \t][A-Z]\.?)?(?:[ \t][A-ZÀ-ÖØ-Þ][\w'’-]{1,25}){1,2})[ \t]{0,8}$", re.M
)
VERB = re.compile(
    r"[ \t](?:was|is|has|had|presented|presents|reports|reported|states|stated|denies|denied|underwent|returned|"
    r"returns|came|complains|"
    r"complained|notes|feels|felt|lives|takes|tolerated|continues|will|requires|required|wants|asked|agrees|"
    r"understands|did|does|says|said|"
    r"called|smokes|drinks|works|attended|attends|phoned|rang|thinks|wonders)\b"
    rf"|[ \t]\((?:{KIN}|the patient)\b"
)
ENDS = re.compile(rf"\s?[,;:()\n]|\.?\s*$|\.\s|{VERB.pattern}")
MIDDLE = re.compile(r"[ \t](?:[A-ZÀ-Ý]\.?(?:[ \t]?[A-ZÀ-Ý]\.?)?[ \t])?(?=[^\W\d_])")
PARTS = re.compile(r"[-'’]")
INITIAL_ALONE = re.compile(r"[A-ZÀ-Ý](?:\.(?:[ \t]?[A-ZÀ-Ý]\.)?)?(?!\w)")
MIDDLE_INITIAL = re.compile(r"[ \t][A-Z]\.?(?!\w)")
BEHIND = re.compile(r"(?:['’]s?)?[ \t-](?:[A-Za-z0-9]{1,14}[ \t-])?([A-Za-z-]+)")
DIRECTLY_BEHIND = re.compile(r"(?:['’]s?)?[ \t-]([A-Za-z-]+)")
# Before a lone name of no list: only what is said of persons.
NAMES_FOLLOW = re.compile(
    rf"(?:\b(?:{ROLES}|{KIN}|patient|pt|client|veteran|child|infant)(?:,|[ \t](?:is|named|called))?[ \t]{{1,2}}[(“\"]?"
    r"|\b(?:signed|dictated|transcribed|typed|approved|verified|finali[sz]ed|authenticated|reviewed|review|"
    r"interpreted|reported|read|"
    r"performed|requested|ordered|referred|seen|examined|assisted|supervised|prepared|discussed|d/w|discussion|spoke|"
    r"spoken|talked|"
    r"conferred|communicated|relayed|notified|informed|paged|called|phoned|written|checked|witnessed|obtained|"
    r"handover|inserted|met|meeting|"
    r"labell?ed|named|ask|asked|attn|thanks|thank you|regards|hi|hello|dear|hey|cc|cosigned|countersigned|att|"
    r"attending)"
    r"(?:[ \t](?:electronically|directly|personally|verbally|today|then|also))?[ \t]?(?:by|with|to|w/|for|"
    r",)?[ \t]?[:!]?[ \t]{1,2})$",
    re.I,
)
_CAPPED = r"[A-ZÀ-ÖØ-Þ](?:[^\W\d_]{1,24}|['’][A-Z][a-z]{2,20})(?:['’-][^\W\d_]{1,24}){0,2}"
NAME_CHAIN = re.compile(
    rf"{_CAPPED}(?:[ ](?:[A-Z]\.[ ]?(?:[A-Z]\.[ ])?)?(?:(?:de|del|della|di|da|dos|van|von|der|den|ter|la|al|el|bin|"
    rf"ibn|binti|ap|Ní|Nic|Ó|Mac|Te|De|Van|"
    rf"Von|Di|Da|La|Le|El|Al|St\.|Ben|Abu|Bin)[ ]){{0,2}}{_CAPPED}){{1,3}}(?![\w'’-])"
)
BEFORE_APART = re.compile(
    r"(?:^|[\n|:;(\[]|\]|[-–—]|\d\)|[.?!]\s|\b(?:reads|for|re|name|index|patient|pt|proband|subject|child|mother|"
    r"affixed|on|of|via|attn|cc|and|by|with|w/|"
    r"to|from|locum|late|called|named|is|was|spoke|father|monitor|cert(?:ified)?|author|also|against|versus|vs?\.?|"
    r"about))[ \t]{0,4}[\"“(]?$",
    re.I,
)
AFTER_APART = re.compile(
    r"\s?(?:[,;:|)\]\n(\"”]|[-–—]\s|\.\s?(?:$|[A-Z\n(])|$|\d|b\.|née|nee|is\b|was\b|has\b|dob\b|d\.o\.b|aged?\b|MRN\b|"
    r"DOB\b|"
    r"(?:re-)?(?:present|attend|ask|report|call|phone|rang|state|complain|want|agree|refuse|declin|arriv|return|deni|"
    r"sign|consent)(?:s|ed|ing)?\b)"
)
PLACE_WORD = re.compile(
    r"^(?:north|south|east|west|new|san|santa|los|las|fort|mount|lake|port|city|street|road|avenue|lane|drive|court|"
    r"square|park|valley|"
    r"river|ridge|hill|hills|beach|island|islands|county|bay|bridge|house|ward|unit|team|wing|tower|building|floor|"
    r"room|suite|station|"
    r"airport|school|university|institute|company|inc|ltd|llc|gmbh|corp|monday|tuesday|wednesday|thursday|friday|"
    r"saturday|sunday|"
    r"january|february|march|april|may|june|july|august|september|october|november|december|blvd|ave|street|plz|plaza)$"
    r"|(?:straße|strasse|platz|weg|klinik|klinikum|zentrum|hospital|ville|burgh|ine|ole|mab|nib|cillin|mycin|pril|"
    r"sartan|statin|azole|vir)$"
)
PLACE_BEHIND = re.compile(
    r"(?:['’]s)?[ ](?:(?:Valley|General|Memorial|Regional|Community|County|University|Family|Women['’]s|Children['’]s|"
    r"Skin|Eye|Sports|Heart|Medical|"
    r"Health|Care|Dental|City|Park|Lane|District|Mission)[ ]){0,2}"
    r"(?:Hospital|Clinic|Medical|Health|Healthcare|Cent(?:er|re)|Infirmary|Trust|Practice|Surgery|Street|St\b|Road|Rd|"
    r"Avenue|Ave|Lane|Ln|Drive|"
    r"Court|Ct\b|Blvd|Boulevard|Way|Place|Square|Close|Terrace|Parkway|Highway|County|University|College|School|"
    r"Institute|Laborator|Lab|Labs|"
    r"Pharmacy|Hospice|Home|House|Lodge|Manor|Imaging|Radiology|Pathology|Diagnostics|Associates|Group|Partners|"
    r"Foundation|Maternity|"
    r"Rehab|Nursing|Care|Consultants|Dental|Cancer|Heart|Eye|Community|Regional|General|Memorial|Ltd|LLC|Inc|GmbH|Plz|"
    r"Plaza|"
    r"(?:[A-Z]{2}\s)?\d{5})\b|,[ ](?:[A-Z]{2}\b|(?:Co\.|County)[ ])"
)
PLACE_BEFORE = re.compile(r"(?:\d[A-Za-z]?,?|\b(?:St\.?|at|in|near|the|von|de|of))[ ]$")
NAME_AND_AGE = re.compile(
    r"(?<![\w'’.-])([A-ZÀ-ÖØ-Þ][\w'’-]{2,24}(?:,?[ ][A-ZÀ-ÖØ-Þ](?:\.|"
    r"[\w'’-]{0,24})){0,2}),?[ ]\(?(?:aged?[ ])?(?:\d{1,3}|\ue000{2,3})[ -]?"
    r"(?:[yY]\.?/?[oO]\b|[yY]rs?\b|YRS?\b|[yY]ears?[ -]?old|YEARS?\b|[yY]?[MF]\b(?![/=])|[yY]\b)"
)
DOTTED_INITIALS = re.compile(
    r"(?<![\w.])(?:[A-ZÀ-Ý]\.[ -]?){1,3}[A-ZÀ-Ý]\.?(?![\w.])|(?<![\w.])(?:[A-Z]\. ?){2,3}(?![\w.])"
)
BEFORE_DOTTED = re.compile(
    rf"\b(?:pt|patient|patients?['’]s?|client|child|baby|mr|mrs|ms|initials?|signed|dictated|typed|transcribed|read|"
    rf"reviewed|reported|by|"
    rf"{KIN}|{ROLES})\b[ .:,-]{{1,3}}(?:by[ :]{{1,2}})?$",
    re.I,
)
PAIR_OF_INITIALS = re.compile(r"(?<![\w/.-])([A-Z]{2,4})/([A-Z]{2,4}|[a-z]{2,3})\.?\s{0,3}(?:$|\n(?=\n|$))")
GIVEN_INITIAL = re.compile(r"(?<![\w'’.-])([A-ZÀ-ÖØ-Þ][a-zà-ÿ]{2,15})[ ][A-Z]\.(?=[,;:)\s]|$)(?![ ][A-Z][a-z])")
LAST_INITIAL = re.compile(
    r"(?<![\w'’.-])([A-ZÀ-ÖØ-Þ][\w'’-]{2,20}),?[ ][A-Z]\.?(?=[ ](?:came|seen|attended|dob|DOB|\d|is|was|presented|"
    r"MRN)|,[ ]\d|\))"
)
SMALL_SIGNATURE = re.compile(
    r"(?i:\b(?:thx|thanks|thank you|ta|cheers|regards|best|love|sincerely|hi|hello|hey|dear|"
    r"rgds))[,!. ]\s{0,4}([a-zà-ÿ]{3,14})(?=\s{0,3}(?:$|\n|[-–,]))"
)
SIGNATURE_LINE = re.compile(r"\n[ \t]{0,4}(?:[-–—~][ ]?)?([A-ZÀ-ÖØ-Þ][a-zà-ÿ]{2,15})[ \t]{0,4}(?=\n|$)")
LISTED_NAME = re.compile(
    r"(?:(?<=\s)|^|(?<=[:;]))\d{1,2}[).][ ](?!\d)((?:(?:De|Van|Von|Di|Da|La|Le|El|Al|"
    r"O['’])[ ]?)?[A-ZÀ-ÖØ-Þ][\w'’-]{2,20}(?:[ ][A-ZÀ-ÖØ-Þ][\w'’-]{2,20})?)(?=[ ]?[-–—:][ ])"
)
US_STATES = word_set(
    """
    alabama alaska arizona arkansas california colorado connecticut delaware florida georgia hawaii idaho
    illinois indiana iowa kansas kentucky louisiana maine maryland massachusetts michigan minnesota
    mississippi missouri montana nebraska nevada ohio oklahoma oregon pennsylvania tennessee texas utah
    vermont virginia washington wisconsin wyoming ontario quebec alberta manitoba
    """
)
MAX_WORDS = 5


NEVER = word_set(
    """
    the this that these those who whom which what he she it they we you is was has had will a an and or of in on at
    to for by with patient not no dr drs mr mrs ms miss mx prof professor doctor lt col capt maj sgt rev hon sir
    dame frau herr smt shri sri señor señora mme mlle monsieur madame madam sra srta signora fr sr
    """
)
ABBREVIATIONS = word_set(
    """
    AP PA CT MR MRI MRA MRV US XR CXR KUB PET SPECT NM DEXA ER ED ICU NICU PICU CCU OR IV IM PO PRN BID TID QID QD
    NPO DNR MRN DOB SSN ID SEX AGE M F RT LT R L ON TO IN AT NO DR MD DO RN NP OD OS OU HX DX RX TX SX FX PT OT BP
    HR RR LV RV LA RA EF ECG EKG EEG EMG LAD RCA LCX IVC SVC GI GU CNS CSF CVA TIA MI PE DVT COPD CHF CAD HTN DM HIV
    HCV HBV TB UTI URI BPH ETT NG OG PICC CVC PIV AICD ICD IABP ECMO CABG TAVR PCI II III IV VI VII VIII IX XI XII
    WNL NAD PERRL ROS HPI PMH PSH FH SH A/P LLL RLL LUL RUL RML LLQ RLQ LUQ RUQ TNM ER PR HER ALK ROS EGFR KRAS BRAF
    PAS HE IHC FISH PCR DNA RNA AFB GMS UK USA NHS WHO FDA IRB HIPAA PACS RIS EMR EHR DICOM AM PM EST CST PST MST
    UTC GMT SIGNED DICTATED FINAL
    """
)
