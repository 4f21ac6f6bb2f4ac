"""Normalised names: what counts as the same name, and what must not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.knowledge.names import Name, deduplicate, normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Type-2  Diabetes", "type 2 diabetes"),
        ("Sjögren's syndrome", "sjogren s syndrome"),
        ("derives_from", "derives from"),
        ("ﬁbrosis", "fibrosis"),
        ("β-thalassemia", "β thalassemia"),
        (" (!) ", ""),
    ],
)
def test_normalise(text, expected):
    assert normalise(text) == expected


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)


def test_lesions_of_different_grade_stay_apart():
    assert normalise("grade 1 glioma") != normalise("grade 2 glioma")


def test_deduplicate_keeps_the_first_of_each_spelling():
    names = [
        Name("Angiosarcoma", "preferred", "A", ""),
        Name("ANGIOSARCOMA ", "exact", "B", ""),
        Name(" ", "exact", "B", ""),
    ]
    assert deduplicate(names) == names[:1]
