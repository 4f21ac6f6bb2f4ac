"""The report benchmark: codes are read right, the questions are the 30 most frequent, scores equal a slow count."""

import os

import pytest

from benchmarks.reports.run import codes_of, finding_names, is_coded, is_development, run
from benchmarks.reports.table import markdown
from medvlp.config import load
from medvlp.errors import DataError

TABLE = """id,findings,impression,codes
a,Left pleural effusion. No pneumothorax.,,Pleural Effusion/left
b,Lungs are clear. No effusion.,Normal chest.,normal
c,Aorta is tortuous.,,"Aorta, Thoracic/tortuous/mild"
d,Possible effusion.,,Pleural Effusion
e,Effusion.,,No Indexing
f,,,normal
g,Effusion on the right.,,normal
h,Cardiomegaly.,,Cardiomegaly
"""
CONFIG = """
kind: reports_benchmark
reports: {source: {name: table, file: FILE, key: id, texts: {findings: FINDINGS, impression: IMPRESSION}}}
codes: codes
body_parts: [Aorta]
states: [tortuous]
same: {"Aorta, Thoracic": Aorta}
num_draws: 100
questions:
  - {name: Effusion, codes: [Pleural Effusion], answers: [{finding: effusion}]}
  - name: Aorta/tortuous
    codes: ["Aorta/tortuous", "Aorta, Thoracic/tortuous"]
    answers: [{finding: tortuous, at: [aorta]}]
"""


@pytest.fixture
def config(tmp_path):
    (tmp_path / "t.csv").write_text(TABLE, encoding="utf-8")
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG.replace("FILE", str(tmp_path / "t.csv")), encoding="utf-8")
    return load(path)


def test_codes(config):
    codes = codes_of("Opacity/lung/right;Aorta, Thoracic/mild/tortuous; normal ;")
    assert codes == [("Opacity", "lung", "right"), ("Aorta, Thoracic", "mild", "tortuous"), ("normal",)]
    assert finding_names(codes, config) == {"Opacity", "Aorta/tortuous"}
    assert is_coded(codes, config.questions[1])
    assert not is_coded(codes_of("Aorta/enlarged"), config.questions[1])


def test_scores_equal_a_count_by_hand(config):
    results = run(config)
    assert (results["num_reports"], results["num_normal"]) == (6, 2)
    assert results["left_out"] == {"nobody coded it": 1, "empty": 1}
    effusion, aorta = results["findings"]
    assert (effusion["num_coded"], effusion["num_said"]) == (2, 2)  # said: a, g; coded: a, d
    assert [effusion[name][0] for name in ("precision", "recall", "f1")] == [0.5, 0.5, 0.5]
    assert effusion["words_alone"] == pytest.approx([0.5, 1.0, 2 / 3])  # a, b, d, g
    assert effusion["always_f1"] == pytest.approx(2 * 2 / (6 + 2))
    assert aorta["f1"][0] == 1
    sums = results["sums"]["all"]
    assert sums["triplets"]["micro_f1"][0] == pytest.approx(2 * 2 / (3 + 3))
    assert sums["triplets"]["macro_f1"][0] == pytest.approx(0.75)
    assert sums["triplets"]["normal_alarm"][0] == 0.5  # g of b, g
    assert sums["words alone"]["normal_alarm"][0] == 1
    assert sums["triplets"]["abnormal_any"][0] == pytest.approx(2 / 3)  # a, c of a, c, d
    assert sums["triplets, uncertain too"]["abnormal_any"][0] == 1
    assert sum(results["sums"][half]["triplets"]["num"] for half in ("development half", "other half")) == 6
    assert "1 of 2: 50.0 %" in markdown(results)
    assert "not met" in markdown(results)


def test_the_halves_are_fixed():
    first = [is_development(f"CXR{number}") for number in range(1, 9)]
    assert first == [True, True, False, False, False, False, True, False]
    assert 0.45 < sum(is_development(str(n)) for n in range(2000)) / 2000 < 0.55


def test_unknown_findings_are_named(config):
    question = config.questions[0].model_copy(
        update={"answers": [config.questions[0].answers[0].model_copy(update={"finding": "efusion"})]}
    )
    with pytest.raises(DataError, match="questions: Effusion: the vocabulary has no efusion"):
        run(config.model_copy(update={"questions": [question]}))


@pytest.mark.data
@pytest.mark.skipif("MEDVLP_DATA" not in os.environ, reason="MEDVLP_DATA is not set")
def test_the_questions_are_the_most_frequent_findings():
    import csv
    from collections import Counter

    from medvlp.config import resolve_path

    config = load("reports_benchmark")
    with resolve_path(config.reports.source.file).open(encoding="utf-8", newline="") as stream:
        cells = [codes_of(row[config.codes]) for row in csv.DictReader(stream)]
    counted = Counter(name for codes in cells for name in finding_names(codes, config))
    assert {question.name for question in config.questions} == {name for name, _ in counted.most_common(30)}
    assert len(config.questions) == 30
