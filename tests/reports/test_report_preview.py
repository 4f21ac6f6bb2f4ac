"""The page: every mention marked by its assertion, no text unasked, everything escaped, nothing from outside."""

import re

import pytest

from data_prep.reports.prepare import Counts
from data_prep.reports.preview import NUM_SHOWN, Example, write_preview
from data_prep.text.mentions import GraphLinker, annotate
from medvlp.knowledge.graph import DiseaseGraph

GRAPH = DiseaseGraph.from_dict(
    {"X:1": {"name": "lung disease", "parents": []}, "X:2": {"name": "pneumonia", "parents": ["X:1"]}}
)
TEXT = (
    "FINDINGS: <b>Small</b> left pleural effusion. No pneumothorax. Possible pneumonia & more.\n"
    "PAST MEDICAL HISTORY: fracture.\nFAMILY HISTORY: emphysema.\nIMPRESSION: <script>alert(1)</script> SECRET"
)


@pytest.fixture
def example():
    return Example(TEXT, annotate(TEXT, GraphLinker(GRAPH)))


def page_of(tmp_path, examples, **options):
    counts = Counts()
    counts.ledger.keep(len(examples))
    counts.ledger.drop("lost.txt", "empty")
    counts.removed["date"] = 3
    for one in examples:
        counts.assertions.update(mention.assertion.value for mention in one.mentions)
    return write_preview(tmp_path / "page.html", examples, counts.to_json(), GRAPH, **options).read_text("utf-8")


def test_each_mention_is_marked_by_its_assertion(example, tmp_path):
    page = page_of(tmp_path, [example], show_texts=True)
    for kind, words in (
        ("present", "effusion"),
        ("absent", "pneumothorax"),
        ("uncertain", "pneumonia"),
        ("historical", "fracture"),
        ("family", "emphysema"),
    ):
        assert re.search(rf'<mark class="{kind}" title="[^"]*"><span class="s">.</span>{words}', page), kind
    assert '<span class="at">left pleura</span>' in page
    assert 'href="#X:2"' in page
    assert '<tr id="X:2"><td class="mono">X:2</td><td>pneumonia</td><td>lung disease</td>' in page
    assert "left out: empty" in page
    assert "identifiers taken out: date" in page


def test_no_text_unasked_and_nothing_from_outside(example, tmp_path):
    hidden, shown = page_of(tmp_path, [example]), page_of(tmp_path, [example], show_texts=True)
    assert "SECRET" not in hidden
    assert "SECRET" in shown
    assert 'class="chip uncertain"' in hidden
    for page in (hidden, shown):
        assert "<script" not in page
        assert "<b>Small" not in page
        assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
        assert "http" not in page.replace("http-equiv", "")
        assert "default-src 'none'" in page


def test_the_text_is_whole(example, tmp_path):
    page = page_of(tmp_path, [example], show_texts=True)
    marked = re.sub(r'<span class="(?:at|s)">[^<]*</span>', "", page.split('<section class="report">')[1])
    words = re.sub(r"<[^>]+>", "", marked.split("<details>")[0])
    for part in ("Small", "left pleural effusion. No pneumothorax. Possible pneumonia &amp; more."):
        assert part in words


def test_the_most_telling_reports_are_shown(example, tmp_path):
    dull = Example("FINDINGS: Clear.", annotate("FINDINGS: Clear.", None))
    page = page_of(tmp_path, [dull] * 30 + [example], show_texts=True)
    assert page.count('<section class="report">') == NUM_SHOWN
    assert "SECRET" in page.split('<section class="report">')[1]
    assert "Dry run" in page_of(tmp_path, [], dry_run=True)
