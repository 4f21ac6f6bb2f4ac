"""Word lists behind the rules: names people have, words that are none, and eponyms that look like names."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from data_prep.deid.spans import word_set

_FOLDER = Path(__file__).with_name("words")

# Capitalised in reports and titles, but in no name: beyond what the list of common words holds.
_REPORT_WORDS = word_set(
    """
    abdomen about above accession account addendum address admission admitted after age aged agree all also and any
    appears appointment approved are arrival assessment assistant at attending author authorised authorized avenue
    baby back barium baseline been before below bilateral biomedical biopsy block body bone boy brain breast but by
    call called cardiac care case cc center centre cervical chart chest child clinic clinical college colon comment
    comments comparison compared complete conclusion condition consultant contact contrast copy coronary could
    coronal csf cta ctpa daily data date dated daughter day days dear department dept diagnosis dictated did
    discharge discharged discussed doctor doppler dose ear echo electronically emergency endoscopy ent evaluation
    exam examination excision exposure eye facility family father faxed fellow female femur file films final
    findings foot for former frontal from full further gastroenterologist gender general generic girl given gross
    group had hand has have head healthcare heart height hello her here him his history home hospital how however
    husband images imaging immunohistochemistry impression in indication information informed infirmary initial
    insurance interpretation interpreted interpreting interval into is it its kidney knee laboratory lab labs last
    later lateral left level liver location low lower lumbar lung lungs magnetic male mammogram mammography manager
    mass may medical medication medications medicine member microscopic microscopy morning mother mri name named
    neck neurology new next nodule no nonspecific normal not note noted notes notified now number nurse obstetrics
    office oncology one operation operative operator opinion or order ordered ordering other our outpatient outside
    over page paged pain past pathologist pathology patient patients pelvis performed perhaps per pharmacy phone
    physician plan please pleural portable possible post practitioner preliminary present presents previous prior
    probable procedure prof professor prostate protocol provider pulmonary radiograph radiographer radiographs
    radiologist radiology reading reason received recommend recommendation recommendations record referral referred
    referring regarding registered regular reported report reports request requested resident results retired
    reviewed right room same scan scientist screening see seen senior serial series service services sex she should
    shoulder sign signature signed since sincerely sister skin slide slides small soft son sonographer sonography
    spine spouse status staff stable study surgeon surgery surgical table team technician technique technologist
    telephone thank thanks that the their then there these they this thoracic thorax three throat thyroid tissue
    today tomography tonight total transcribed transcription transcriptionist transferred two ultrasound unchanged
    unit unknown unremarkable until upper urgent urine urology valve verified version very via view views visit
    waiting ward was weight were what when which while who whom whose wife will with within without woman would
    wrist yes yesterday you your yours zone alert airway anterior aorta apex apical appendix bowel cholecystectomy
    date dobs effusion er icu ed pacu mdt gp pcp orthopaedic orthopedic interventional nuclear pediatric paediatric
    primary secondary tertiary regional national hospitalist cardiologist neurologist oncologist pulmonologist
    urologist anaesthetist anesthesiologist therapist dermatology dermatologist gynaecology gynecology haematology
    hematology nephrology rheumatology psychiatry midwife speech occupational physical social worker officer intern
    registrar houseman trainee student interpreter guardian limited cranial axial sagittal oblique supine upright
    erect prone decubitus bedside semi inspiratory expiratory med genet assoc engl acad natl biol chem hum arabs
    pneumothorax pneumonia cardiomegaly atelectasis opacity opacities infiltrate infiltrates consolidation granuloma
    emphysema edema oedema fracture fractures catheter tube lines line tip mediastinum hilar hila hilum silhouette
    diaphragm costophrenic vascularity osseous calcified tortuous degenerative kyphosis scoliosis sternotomy clips
    stent billing court justice pacemaker picc port cath redemonstrated redemonstration visualized visualised
    demonstrated demonstrates suggest suggested suggests consistent correlate correlation clinically acute chronic
    mild moderate severe interim followup negative positive increased decreased grossly stably again mildly heart
    size contour contours midline trachea
    """
)
# Given names that are words: alone before a verb they prove nothing.
AMBIGUOUS_NAMES = word_set(
    """
    al alpha amber angel april art august autumn bill bob buddy candy chase christian clay crystal dale dawn dean
    delta drew earl eve faith forest frank gene ginger glen grace grant harmony heath holly hope iris ivy jewel joy
    june king lane lily mark marsh max may melody mercedes miles misty norm olive opal page pansy pat patience pearl
    penny pepper phoenix pierce piper poppy precious ray reed rich rob robin rocky rod rose ruby rusty sage sandy
    scarlet sierra sky star sterling stone storm summer sunny tab tan terry unique van violet wade warren will
    willow winter woody
    """
)
COUNTRIES = word_set(
    """
    afghanistan africa albania algeria america american angola argentina armenia asia australia austria azerbaijan
    bahrain bangladesh belarus belgium bolivia bosnia botswana brazil britain bulgaria cambodia cameroon canada
    chile china colombia congo croatia cuba cyprus denmark dominican ecuador egypt england eritrea estonia ethiopia
    europe fiji finland france gabon gambia germany ghana greece greenland grenada guatemala guinea guyana haiti
    honduras hungary iceland india indonesia iran iraq ireland israel italy jamaica japan kazakhstan kenya korea
    kosovo kuwait kyrgyzstan laos latvia lebanon liberia libya lithuania luxembourg macau macedonia madagascar
    malawi malaysia mali malta mexico moldova mongolia montenegro morocco mozambique myanmar namibia nepal
    netherlands nicaragua niger nigeria norway oman pakistan palestine panama paraguay peru philippines poland
    portugal qatar romania russia rwanda scotland senegal serbia singapore slovakia slovenia somalia spain sudan
    suriname sweden switzerland syria taiwan tajikistan tanzania thailand togo tonga tunisia turkey turkmenistan
    uganda ukraine uruguay uzbekistan venezuela vietnam wales yemen zambia zimbabwe states kingdom republic zealand
    saudi arabia
    """
)
_PROFESSION = re.compile(
    r"(?:olog(?:y|ist|ists|ical)|iatr(?:y|ics|ist|ician)|[td]ician|rapher|scop(?:y|ist)|gram|itis|osis|oma|emia|"
    r"aemia|ectomy|plasty|pathy|graphy)s?$"
)
# What an eponym is followed by: with one of these behind it, a name is not a person.
EPONYM_NOUNS = word_set(
    """
    abscess anaemia anemia aneurysm angina angle anomaly antibody antigen aphasia approach artery arthropathy ataxia
    atrophy bacillus band bands body bodies breathing bundle calcification canal carcinoma cartilage catheter cell
    cells chorea cirrhosis clamp classification clip complex contracture corpuscle corpuscles criteria criterion
    curve cyst deformity dermatosis disease diseases disorder dissection diverticulum drain drains duct dystrophy
    dysplasia eczema embolectomy encephalopathy erythema fascia fever fibers fibres fibrosis filter fistula fixation
    flap foramen forceps formula fossa fracture fractures frame ganglion gastritis gene gland glands goitre goiter
    grade grades grading graft granuloma hernia hormone hump hydrocele illness incision index inclusion jelly joint
    law leukemia leukaemia ligament line lines lobe loop lymphoma malformation manoeuvre maneuver mass medium
    melanosis membrane method murmur mutation myopathy naevus nail nephritis nerve neuralgia neuroma nevus node
    nodes nodule nodules oesophagus esophagus operation organ palsy papule paralysis patch patches pattern
    phenomenon phlegmon plane plaque plate plexus point polyp position pouch prosthesis protocol pupil pupils
    purpura radiograph rash reaction reflex repair resection retinopathy ring rings rule sarcoma scale score scores
    screw sequence shunt sign signs sinus skin solution space spaces sphincter spot spots stage staging stain
    stapler stenosis stent stethoscope stricture stroke sulcus suture swelling syndrome syndromes tamponade
    technique tendon test tests thyroiditis tissue tongs tonsil triad triangle trial tube tubercle tumor tumors
    tumour tumours tunnel typing ulcer ulcers unit units valve valves variant vein vessel view virus vitiligo zone
    and-a-half
    """
)  # fmt: skip
# Eponyms of a given name and a surname, which the two lists would take for a person.
EPONYM_PHRASES = re.compile(
    r"\b(?:Ann Arbor|Bence[ -]Jones|Jones Criteria|Arnold[ -]Chiari|Austin Flint|Austin Moore|Bernard[ -]Soulier|"
    r"Charcot[ -]Marie[ -]Tooth|"
    r"Dandy[ -]Walker|Dorothy Reed|Gilles de la Tourette|Glasgow Coma|Gordon Holmes|Graham Steell|Graham Patch|"
    r"Jean Casey|Lance Adams|Louis[ -]Bar|Lou Gehrig|Marcus Gunn|Marie[ -]Str[uü]mpell|Marshall Marchetti|"
    r"Mary Joseph|Sister Mary Joseph|Miller Fisher|Norman[ -]Roberts|Parkes Weber|Paul[ -]Bunnell|Perry Romberg|"
    r"Russell[ -]Silver|Silver[ -]Russell|Stewart[ -]Treves|Tom Smith|Van Buren|Warren Shunt|Ziehl Neelsen|"
    r"Albers[ -]Sch[oö]nberg|Kaplan[ -]Meier|Wilson Mikity|Allen[ -]Davidson|Benedict Talbot|Duncan Bishop)\b"
)


@functools.cache
def _read(name: str) -> frozenset[str]:
    lines = (_FOLDER / name).read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


@functools.cache
def common_words() -> frozenset[str]:
    """Words that are no evidence of a name, in lower case."""
    return _read("common_words.txt") | _read("common_words_reports.txt") | _REPORT_WORDS | EPONYM_NOUNS | COUNTRIES


@functools.cache
def given_names() -> frozenset[str]:
    """Given names, in lower case; some are ordinary words too."""
    return _read("given_names.txt") | _read("given_names_world.txt")


@functools.cache
def surnames() -> frozenset[str]:
    """Surnames, in lower case; some are ordinary words too."""
    return _read("surnames.txt") | _read("surnames_world.txt")


@functools.cache
def eponyms() -> frozenset[str]:
    """Capitalised words of disease names, in lower case."""
    return _read("eponyms.txt") | _read("eponyms_clinical.txt")


def is_report_word(word: str) -> bool:
    """Whether a word belongs to reports and hospitals, and to no name even behind one."""
    lower = word.rstrip(".").lower()
    return lower in _REPORT_WORDS or lower in EPONYM_NOUNS or _is_profession(lower)


def _is_profession(lower: str) -> bool:
    return len(lower) > 6 and _PROFESSION.search(lower) is not None


@functools.lru_cache(maxsize=1 << 16)
def is_common(word: str) -> bool:
    """Whether a word is an ordinary or medical one, whatever its case."""
    lower = word.rstrip(".").lower()
    return lower in common_words() or _is_profession(lower)
