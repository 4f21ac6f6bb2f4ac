"""Abbreviations defined in a text: Schwartz and Hearst's examples, their uses, and what is no definition."""

import pytest

from data_prep.text.linking import abbreviations

FOUND = [
    ("magnetic resonance imaging (MRI)", "MRI", "magnetic resonance imaging"),
    ("the heat shock protein (HSP) family", "HSP", "heat shock protein"),
    ("in von Hippel-Lindau (VHL) disease", "VHL", "von Hippel-Lindau"),
    ("X-linked adrenoleukodystrophy (X-ALD)", "X-ALD", "X-linked adrenoleukodystrophy"),
    ("glucose-6-phosphate dehydrogenase (G6PD)", "G6PD", "glucose-6-phosphate dehydrogenase"),
    ("HSP (heat shock protein)", "HSP", "heat shock protein"),
    ("familial Mediterranean fever (FMF, MIM 249100)", "FMF", "familial Mediterranean fever"),
]


@pytest.mark.parametrize(("text", "short", "long"), FOUND)
def test_definitions(text, short, long):
    (definition,) = abbreviations.find(text).values()
    assert definition.short == short
    assert text[definition.long_start : definition.long_end] == long
    assert text[slice(*definition.bracket)].startswith("(")


@pytest.mark.parametrize(
    "text",
    [
        "a mass (left)",
        "value (3)",
        "no match here (QZ)",
        "(MRI)",
        "It ends. Resonance (MRI)",
        "x (A)",
        "MRI (MRI)",
        "(",
        "",
    ],
)
def test_what_is_no_definition(text):
    assert abbreviations.find(text) == {}


def test_the_first_definition_counts_and_all_uses_are_found():
    text = "pulmonary embolism (PE). Large PEs; no PE-like, PET; pleural effusion (PE)"
    found = abbreviations.find(text)
    assert list(found) == ["PE"]
    assert text[found["PE"].long_start : found["PE"].long_end] == "pulmonary embolism"
    assert [text[a : b + 2] for a, b in abbreviations.uses(text, "PE")] == ["PE).", "PEs;"[:4], "PE-l", "PE)"]


def test_expand():
    forms = {"VHL": "von Hippel-Lindau", "APC": "adenomatous polyposis coli"}
    assert abbreviations.expand("VHL tumours", forms) == "von Hippel-Lindau tumours"
    assert abbreviations.expand("von Hippel-Lindau (VHL) disease", forms) == "von Hippel-Lindau disease"
    assert abbreviations.expand("VHLX APC2", forms) == "VHLX APC2"


@pytest.mark.extras
def test_agrees_with_scispacy_on_its_own_ground():
    spacy = pytest.importorskip("spacy", reason="needs the nlp extra")
    pytest.importorskip("scispacy", reason="needs the nlp extra")
    from scispacy.abbreviation import AbbreviationDetector

    nlp = spacy.blank("en")
    for text, short, long in FOUND[:3] + FOUND[4:5]:
        (found,) = {(str(a), str(a._.long_form)) for a in AbbreviationDetector(nlp)(nlp(text))._.abbreviations}
        assert found == (short, long)
