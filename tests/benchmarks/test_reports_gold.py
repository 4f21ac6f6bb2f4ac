"""The score of sentences labelled apart from the rules."""

import json

import pytest

from benchmarks.reports import gold
from medvlp.errors import DataError

MENTIONS = [
    {"text": "No effusion.", "span": [3, 11], "assertion": "absent", "side": None},
    {"text": "Left effusion.", "span": [5, 13], "assertion": "present", "side": "left"},
    {"text": "Left effusion.", "span": [5, 13], "assertion": "absent", "side": "right"},  # a label the rules contradict
]
REPORTS = [
    {"text": "FINDINGS: Clear lungs.\nIMPRESSION: Normal.", "sections": [["findings", 10, 22], ["impression", 35, 42]]}
]


def test_counts_and_letters_are_those_of_the_rules():
    asserted, sided = gold.confusion(MENTIONS)
    assert asserted == {("absent", "absent"): 1, ("present", "present"): 1, ("absent", "present"): 1}
    assert sided == {("none", "none"): 1, ("left", "left"): 1, ("right", "left"): 1}
    assert gold.section_letters(REPORTS) == {"findings": (10, 10), "impression": (6, 6)}


def test_the_halves_are_counted_apart():
    mentions = [{"id": f"m-{number}", **item} for number, item in enumerate(MENTIONS, 1)]
    text = gold.markdown(mentions, [{"id": "r-11", **REPORTS[0]}])
    odd, even = text.splitlines()[4:6]
    assert odd.startswith("| odd | 2 | 0.500 [0.095, 0.905] | 0.000 | 0.500 [0.095, 0.905] | 0.500 | 1 |")
    assert odd.endswith("| 1 | 1.000 | 1.000 |")
    assert even.startswith("| even | 1 | 1.000 [0.207, 1.000] | 1.000 | 1.000")
    assert even.endswith("| 0 | – | – |")
    assert "| absent | 1 | 1 | 0 | 0 | 0 | 0.500 [0.095, 0.905] |" in text


def test_a_swapped_label_costs_letters():
    swapped = [{**REPORTS[0], "sections": [["impression", 10, 22], ["findings", 35, 42]]}]
    assert gold.section_letters(swapped) == {"impression": (0, 10), "findings": (0, 6)}


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(DataError, match="no JSON lines"):
        gold.read(tmp_path / "none.jsonl")
    (tmp_path / "list.jsonl").write_text(json.dumps([1]), encoding="utf-8")
    with pytest.raises(DataError, match="holds no objects"):
        gold.read(tmp_path / "list.jsonl")
