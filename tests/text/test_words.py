"""Keys: spellings of one name agree, different names do not, and offsets lead back to the text."""

import pytest

from data_prep.text.linking.words import key, read


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Metastases", "metastasis"),
        ("diseases", "Disease"),
        ("pleural effusions", "Pleural Effusion"),
        ("tumour", "TUMORS"),
        ("oedema", "edema"),
        ("leukaemias", "leukemia"),
        ("type II diabetes", "Type-2 diabetes"),
        ("type I diabetes", "type 1 diabetes"),
        ("factor V deficiency", "factor 5 deficiency"),
        ("β-thalassaemia", "beta thalassemia"),
        ("non-small cell", "nonsmall cell"),
        ("anti-phospholipid", "antiphospholipid"),
        ("Wilson's disease", "Wilson disease"),
        ("Wilson’s disease", "Wilsons disease"),
        ("Sjögren", "Sjogren"),
        ("viruses", "virus"),
        ("abscesses", "abscess"),
        ("biopsies", "biopsy"),
        ("adenomata", "adenoma"),
        ("vertebrae", "vertebra"),
        ("loss of hearing", "loss hearing"),
    ],
)
def test_spellings_of_one_name(one, other):
    assert key(one) == key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("type 1 diabetes", "type 2 diabetes"),
        ("test", "testis"),
        ("hepatitis A", "hepatitis"),
        ("vitamin C", "vitamin 100"),
        ("hypotension", "hypertension"),
        ("colitis", "colic"),
        ("pus", "pu"),
        ("breast cancer", "cancer breast"),
    ],
)
def test_names_that_differ(one, other):
    assert key(one) != key(other)


def test_offsets_and_places():
    text = "Non-small cell, lung.\nThe carcinoma of a β-cells (left)"
    words = read(text)
    assert [text[a:b] for a, b in zip(words.starts, words.ends, strict=True)] == [
        "Non-small", "cell", "lung", "carcinoma", "β", "cells", "left",
    ]  # fmt: skip
    assert words.keys == ["nonsmall", "cell", "lung", "carcinoma", "beta", "cell", "left"]
    assert words.sentence == [0, 0, 0, 1, 1, 1, 1]
    assert words.clause == [0, 0, 1, 2, 2, 2, 3]


def test_line_ends_part_clauses_and_blank_lines_sentences():
    words = read("one\ntwo\n\nthree\n- four")
    assert words.sentence == [0, 0, 1, 2]
    assert words.clause == [0, 1, 2, 3]


def test_long_forms_and_skipped_spans():
    text = "The AB (Alpha) gene"
    words = read(text, [(4, 6, ["alpha", "beta"])], [(7, 14)])
    assert words.keys == ["alpha", "beta", "gene"]
    assert [(a, b) for a, b in zip(words.starts, words.ends, strict=True)] == [(4, 6), (4, 6), (15, 19)]
    cut = [(a, b) for a in range(3) for b in range(a, 3) if words.cut_long_form(a, b)]
    assert cut == [(0, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize("text", ["", " \n", "of the", "...", "\x00", "()"])
def test_texts_without_words(text):
    assert len(read(text)) == 0
