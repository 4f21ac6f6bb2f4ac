"""The form of `assertion_gold.jsonl` and `sections_gold.jsonl`, which score the rules for report text.

Every text was composed singly, not from templates, apart from the rules and without sight of them; none comes from a
real report. One author wrote and labelled them, and no second reader checked the labels. What the labels follow:

* assertion is the state at the time of the report: stable, smaller or chronic is present; resolved, no longer seen
  and ruled out are absent; past or treated, status post, is historical; anybody but the patient is family.
  Unlikely, questionable, to be ruled out, and conditions ("if pneumonia is suspected") are uncertain.
* side is that of the marked finding, none where the text names no side for it; a lobe by its initials has one.
* sections are the bodies without their heading, named by what they hold: a body without a heading has the name a reader
  would give it; addenda, recommendations and signatures are other. Titles and salutations are in no section.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def read(name):
    return [json.loads(line) for line in (HERE / name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", ["assertion_gold.jsonl", "sections_gold.jsonl"])
def test_ids_are_unique(name):
    items = read(name)
    assert len({item["id"] for item in items}) == len(items)


def test_assertion_spans_are_whole_words_of_their_text():
    items = read("assertion_gold.jsonl")
    assert len({(item["text"], *item["span"]) for item in items}) == len(items)
    for item in items:
        assert set(item) == {"id", "text", "span", "assertion", "side"}, item["id"]
        start, end = item["span"]
        text = item["text"]
        assert 0 <= start < end <= len(text), item["id"]
        assert text[start:end] == text[start:end].strip(" .,;:"), item["id"]
        around = (text[start - 1] if start else " ") + (text[end] if end < len(text) else " ")
        assert not any(character.isalnum() for character in around), item["id"]


def test_assertion_classes_and_sides_are_balanced():
    items = read("assertion_gold.jsonl")
    classes = Counter(item["assertion"] for item in items)
    least = {"present": 35, "absent": 35, "uncertain": 35, "historical": 20, "family": 20}
    assert len(items) >= 200
    assert set(classes) == set(least)
    assert {name: classes[name] for name in least if classes[name] < least[name]} == {}
    sides = Counter(item["side"] for item in items)
    assert set(sides) == {"left", "right", "bilateral", None}
    assert min(sides.values()) >= 10


def test_sections_lie_in_order_apart_and_are_trimmed():
    names = {"indication", "comparison", "technique", "findings", "impression", "other"}
    items = read("sections_gold.jsonl")
    assert len(items) >= 25
    for item in items:
        assert set(item) == {"id", "text", "sections"}, item["id"]
        end_before = 0
        for name, start, end in item["sections"]:
            assert name in names, item["id"]
            assert end_before <= start < end <= len(item["text"]), item["id"]
            assert item["text"][start:end] == item["text"][start:end].strip(), item["id"]
            end_before = end
    counts = Counter(name for item in items for name, *_ in item["sections"])
    assert set(counts) == names
    assert min(counts.values()) >= 8
