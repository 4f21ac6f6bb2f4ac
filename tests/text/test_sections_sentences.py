"""Reports are cut where a reader would cut them, and no word is lost."""

import pytest

from data_prep.text.sections import SectionKind, kind_of, split_sections
from data_prep.text.sentences import sentence_of, sentences


def parts(text):
    return [text[a:b] for a, b in sentences(text)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("No effusion. Heart normal.", ["No effusion.", "Heart normal."]),
        ("No effusion.No pneumothorax.", ["No effusion.", "No pneumothorax."]),
        ("A 1.5 cm nodule vs. scar in the left lung.", ["A 1.5 cm nodule vs. scar in the left lung."]),
        ("1. Cardiomegaly. 2. No effusion.", ["1. Cardiomegaly.", "2. No effusion."]),
        ("Dr. Smith was called at 3 p.m. on Monday. Clear.", ["Dr. Smith was called at 3 p.m. on Monday.", "Clear."]),
        ("The heart is of normal\nsize and shape.", ["The heart is of normal\nsize and shape."]),
        ("Findings:\n- small effusion\n- no edema", ["Findings:", "- small effusion", "- no edema"]),
        ("Heart normal\nLungs clear", ["Heart normal", "Lungs clear"]),
        ("Pneumonia? Unlikely.", ["Pneumonia?", "Unlikely."]),
        ("Indication: ?pneumonia, cough", ["Indication: ?pneumonia, cough"]),
        ("Abnormality.. XXXX sternotomy.", ["Abnormality..", "XXXX sternotomy."]),
        (" \n ", []),
    ],
)
def test_sentences(text, wanted):
    assert parts(text) == wanted


def test_a_wrapped_line_goes_on():
    text = (
        "There is a large opacity in the left lower lobe that has not\nChanged since the last examination of the chest."
    )
    assert len(parts(text)) == 1


def test_endless_sentences_are_cut_at_blanks_and_nothing_is_lost():
    text = "word " * 5000
    spans = sentences(text)
    assert max(b - a for a, b in spans) <= 1000
    assert "".join(text[a:b] for a, b in spans).replace(" ", "") == text.replace(" ", "")
    assert sentences("x" * 2500) == [(0, 1000), (1000, 2000), (2000, 2500)]


def test_sentence_of_a_place():
    spans = sentences("One. Two. Three.")
    assert [sentence_of(spans, place) for place in (0, 5, 10, 15)] == [0, 1, 2, 2]


REPORT = """EXAM: chest, two views
Clinical History: cough for 3 weeks. Rule out pneumonia.
COMPARISON: None.  FINDINGS: The heart is normal.
LUNGS: Clear. Note: nothing.
IMPRESSION
1. No acute disease.

ADDENDUM #2: Discussed by phone."""


def test_sections_of_a_report():
    found = [(s.kind.value, REPORT[s.start : s.end].strip()) for s in split_sections(REPORT)]
    assert found == [
        ("header", "chest, two views"),
        ("indication", "cough for 3 weeks. Rule out pneumonia."),
        ("comparison", "None."),
        ("findings", "The heart is normal.\nLUNGS: Clear. Note: nothing."),
        ("impression", "1. No acute disease."),
        ("addendum", "Discussed by phone."),
    ]


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("REASON FOR EXAM", "indication"),
        ("Reason for the examination", "indication"),
        ("Findings and Impression", "impression"),
        ("FINDINGS/IMPRESSION", "impression"),
        ("Conclusion", "impression"),
        ("past medical history", "history"),
        ("FAMILY HISTORY", "family_history"),
        ("Comparison Study", "comparison"),
        ("TECHNIQUE", "technique"),
        ("Addendum", "addendum"),
        ("LUNGS", "other"),
    ],
)
def test_spellings(heading, kind):
    assert kind_of(heading) is SectionKind(kind)


def test_no_heading_is_one_body():
    (section,) = split_sections("Lungs clear. Heart: normal.")
    assert (section.kind, section.start, section.end) == (SectionKind.body, 0, 27)
    assert split_sections("") == []
    assert split_sections("FINDINGS:\nIMPRESSION:\n") == []


def test_text_before_the_first_heading_stays():
    text = "Chest radiograph of today.\nFINDINGS: Clear."
    assert [section.kind.value for section in split_sections(text)] == ["body", "findings"]


def test_a_word_in_a_sentence_is_no_heading():
    text = "FINDINGS: The findings: see above. No history of note, comparison: none."
    assert [section.kind.value for section in split_sections(text)] == ["findings"]


def kinds(text):
    return [(section.kind.value, text[section.start : section.end].strip()) for section in split_sections(text)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "COMPARISON: None.\n\nThe lungs are clear. Heart normal.\n\nIMPRESSION: Normal.",
            [("comparison", "None."), ("body", "The lungs are clear. Heart normal."), ("impression", "Normal.")],
        ),
        (
            "Technique - CT\nLungs: Clear.\nBones: normal.\nConclusion - Normal.\nDr A Smith, Consultant Radiologist",
            [
                ("technique", "CT"),
                ("findings", "Lungs: Clear.\nBones: normal."),
                ("impression", "Normal."),
                ("closing", "Dr A Smith, Consultant Radiologist"),
            ],
        ),
        (
            "Rule out fracture. Two views of the wrist were obtained. No fracture. In summary, a normal wrist.",
            [
                ("indication", "Rule out fracture."),
                ("technique", "Two views of the wrist were obtained."),
                ("body", "No fracture."),
                ("impression", "In summary, a normal wrist."),
            ],
        ),
        (
            "HISTORY Cough. FINDINGS The lungs are clear. IMPRESSION Normal.",
            [("indication", "Cough."), ("findings", "The lungs are clear."), ("impression", "Normal.")],
        ),
        ("2. **Findings**\nClear.\n3. PLAN: None.", [("findings", "Clear."), ("recommendation", "None.")]),
    ],
)
def test_headings_that_are_marked_otherwise_or_missing(text, wanted):
    assert kinds(text) == wanted


@pytest.mark.parametrize("piece", ["_", "\n", "- ", "1. ", "Lungs: ", "FINDINGS "])
def test_endless_marks_take_no_time(piece):
    split_sections(piece * (20_000 // len(piece)))  # one that goes back over what it read takes minutes
