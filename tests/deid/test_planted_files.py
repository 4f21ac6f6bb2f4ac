"""The form of the texts with planted identifiers: `planted_dev.jsonl`, `planted_test.jsonl`, `planted_test2.jsonl`.

Every text was composed singly, not from templates, apart from the rules and without sight of them; persons, places and
numbers are invented. One author wrote and marked the first two files, in many styles; a second author, who saw neither
of them, wrote and marked the third, closer to the ordinary mix of an archive, with short texts (half of them under 30
words, nearly half without an identifier). No second reader checked the marks: scores on them are no score on clinical
text. Rules may be tuned on the first file; the others are only scored.
What the spans follow:

* name: without title or degree ("Dr. [Feldstein], MD"); initials in a signature count. Eponyms are no names.
* date: more precise than a year, with its weekday, without a time of day set apart; a month alone is a date;
  a time glued on (ISO) belongs to it; a weekday or a year alone is none.
* age: the number only, over 89. id: the value without its label. phone: with prefix, without "ext".
* address: one span a line; a place alone is marked only with its state, postcode or street.
* institution: the proper name of a hospital, clinic, practice, laboratory or care home; "the hospital clinic" is none.
* keep: words with medical content that must come back letter by letter.
"""

import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = ["planted_dev.jsonl", "planted_test.jsonl", "planted_test2.jsonl"]
KINDS = {"date", "name", "id", "phone", "email", "url", "address", "age", "institution"}


def read(name):
    return [json.loads(line) for line in (HERE / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(params=FILES)
def items(request):
    return read(request.param)


def test_spans_lie_in_order_apart_and_are_trimmed(items):
    for item in items:
        assert set(item) == {"id", "text", "spans", "keep"}, item["id"]
        end_before = 0
        for start, end, kind in item["spans"]:
            assert kind in KINDS, item["id"]
            assert end_before <= start < end <= len(item["text"]), item["id"]
            assert item["text"][start:end] == item["text"][start:end].strip(), item["id"]
            end_before = end


def test_kept_phrases_stand_outside_every_span(items):
    for item in items:
        for phrase in item["keep"]:
            at = item["text"].find(phrase)
            places = []
            while at >= 0:
                places.append((at, at + len(phrase)))
                at = item["text"].find(phrase, at + 1)
            free = [all(b <= s or e <= a for s, e, _ in item["spans"]) for a, b in places]
            assert any(free), (item["id"], phrase)


def test_texts_and_ids_are_unique_across_the_files():
    every = [item for name in FILES for item in read(name)]
    assert len({item["id"] for item in every}) == len({item["text"] for item in every}) == len(every)


@pytest.mark.parametrize(("one", "other"), list(combinations(FILES, 2)))
def test_no_planted_name_place_or_number_of_one_file_comes_again_in_another(one, other):
    def values(name):
        return {
            item["text"][start:end].casefold()
            for item in read(name)
            for start, end, kind in item["spans"]
            if kind not in ("age", "date")
        }

    assert values(one) & values(other) == set()


@pytest.mark.parametrize(
    ("name", "texts", "bare", "least"),
    [
        ("planted_dev.jsonl", 100, 20, {"date": 40, "name": 40, "id": 25, "institution": 15, "phone": 10}),
        (
            "planted_test.jsonl",
            220,
            25,
            {"date": 40, "name": 40, "id": 40} | dict.fromkeys(KINDS - {"date", "name", "id"}, 25),
        ),
        (
            "planted_test2.jsonl",
            220,
            55,
            {"date": 80, "name": 90, "id": 50} | dict.fromkeys(KINDS - {"date", "name", "id"}, 25),
        ),
    ],
)
def test_counts(name, texts, bare, least):
    items = read(name)
    spans = Counter(kind for item in items for *_, kind in item["spans"])
    assert len(items) >= texts
    assert sum(not item["spans"] for item in items) >= bare
    assert {kind: spans[kind] for kind in least if spans[kind] < least[kind]} == {}
    assert sum(bool(item["keep"]) for item in items) >= texts * 0.7
