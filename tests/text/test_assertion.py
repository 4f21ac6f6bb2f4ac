"""Each of the five assertions, its triggers, their reach and what ends it.

The sentences here and in ``assertion_sentences.txt`` were written together with the rules: they guard against
regressions, and measure nothing.
"""

from pathlib import Path

import pytest
from marked_texts import marked

from data_prep.text import assertion as rules
from data_prep.text.assertion import Assertion, assertions
from data_prep.text.phrases import PhraseMatcher

CASES = """\
No evidence of [pneumothorax].|absent
There is no [effusion], [pneumothorax], or [consolidation].|absent
No focal consolidation, mild [cardiomegaly].|present
No [effusion] but [pneumonia] cannot be excluded.|absent,uncertain
[Pneumonia] cannot be excluded.|uncertain
Cannot exclude [pneumonia].|uncertain
No change in [effusion].|present
No interval change in the large right [effusion].|present
History of [asthma].|historical
No history of [asthma].|absent
Family history of [breast cancer].|family
Mother had [stroke].|family
[Breast cancer] in her mother.|family
Mother reports [fever].|present
Patient denies [chest pain] but has [cough].|absent,present
Left basilar [opacity], likely [atelectasis].|present,uncertain
[Opacity] likely represents [atelectasis] or [pneumonia].|present,uncertain,uncertain
[Pneumonia] is unlikely.|uncertain
[Pneumonia] is likely.|uncertain
Previously seen [effusion] has resolved.|absent
[Effusion] has not resolved.|present
s/p [appendectomy] in 2010 with new [fever].|historical,present
The [nodule] is not seen.|absent
[Pneumothorax] or [effusion] are not identified.|absent,absent
The heart shows [enlargement] and [pneumothorax] is not seen.|present,absent
Rule out [pneumonia].|uncertain
?[pneumonia]|uncertain
Evidence of prior [granulomatous disease].|historical
Compared to the prior study, [effusion] is larger.|present
Without [pneumothorax], the heart is [enlarged].|absent,present
Lungs are clear of [infiltrate], heart is [enlarged].|absent,present
Negative for [acute bone abnormality].|absent
[Effusion]: none|absent
Gram negative [sepsis].|present
No [effusion] and [pneumothorax] are seen.|absent,absent
Brother died of [colon cancer]; patient has [polyps].|family,present
If [fever] develops return.|uncertain
[Atelectasis] versus [pneumonia].|uncertain,uncertain
Had [pneumonia] two years ago.|historical
The heart is not [enlarged].|absent
Not only [effusion] but also [edema].|present,present
No new [opacity].|absent
Small [effusion] (no [pneumothorax]) with [edema].|present,absent,present
PAST MEDICAL HISTORY: [diabetes], [hypertension]. Stable.|historical,historical
No family history of [cancer].|family
Relative elevation of the [hemidiaphragm].|present
No [pneumonia] is seen, however there is [scarring].|absent,present
Findings suspicious for [malignancy].|uncertain
[Diabetes] runs in the family.|family
No definite [effusion] seen, left [scar].|absent,present
Opacity may be due to [atelectasis].|uncertain
No acute [findings].|absent
Vascular [engorgement] appears within limits of normal.|absent
Please note that [fractures] may not be demonstrated.|uncertain
Age indeterminate [wedging] of a vertebra.|present
Lungs are clear without [effusion]. Small [nodule].|absent,present
No [cardiomegaly] with bilateral [effusions].|absent,present"""


def labelled(line):
    """``"No [effusion].|absent"`` as text, spans and the wanted assertions."""
    sentence, wanted = line.rsplit("|", 1)
    text, spans = marked(sentence)
    kinds = wanted.split(",")
    return text, spans, kinds * len(spans) if len(kinds) == 1 else kinds


@pytest.mark.parametrize("line", CASES.splitlines())
def test_sentences(line):
    text, spans, wanted = labelled(line)
    assert [found.value for found in assertions(text, spans)] == wanted


def test_further_sentences():
    lines = Path(__file__).with_name("assertion_sentences.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 300
    wrong = []
    for line in lines:
        text, spans, wanted = labelled(line)
        if [found.value for found in assertions(text, spans)] != wanted:
            wrong.append(line)
    assert wrong == []


def test_placeholders_of_deidentification_change_nothing():
    text = "Stroke in [DATE]. Seen by Dr. [NAME], no effusion. No change since [DATE] in the nodule."
    spans = [(text.index(word), text.index(word) + len(word)) for word in ("Stroke", "effusion", "nodule")]
    assert assertions(text, spans) == [Assertion.historical, Assertion.absent, Assertion.present]


def test_order_of_spans_is_kept():
    text, spans, wanted = labelled("No [effusion] but [edema]. Possible [scar].|absent,present,uncertain")
    assert [found.value for found in assertions(text, spans[::-1])] == wanted[::-1]
    assert assertions(text, []) == []


def test_sections_speak_where_no_trigger_does():
    text = "PAST MEDICAL HISTORY: asthma.\nFAMILY HISTORY: gout, no stroke.\nFINDINGS: scar."
    spans = [(text.index(word), text.index(word) + len(word)) for word in ("asthma", "gout", "stroke", "scar")]
    assert assertions(text, spans) == [Assertion.historical, Assertion.family, Assertion.family, Assertion.present]


def test_a_trigger_inside_a_name_is_part_of_it():
    text = "There is no-reflow phenomenon and possible edema."
    assert assertions(text, [(9, 29), (43, 48)]) == [Assertion.present, Assertion.uncertain]


@pytest.mark.parametrize("group", ["ends", "ignored"])
def test_without_a_group_the_cases_fail(monkeypatch, group):
    whole = rules._lexicon()
    less = PhraseMatcher([])
    for name in ("_by_word", "_by_prefix"):
        entries = getattr(whole, name)
        kept = {word: [e for e in found if e[1].place != group] for word, found in entries.items()}
        setattr(less, name, kept)
    less._lengths = whole._lengths
    monkeypatch.setattr(rules, "_lexicon", lambda: less)
    wrong = 0
    for line in CASES.splitlines():
        text, spans, wanted = labelled(line)
        wrong += [found.value for found in assertions(text, spans)] != wanted
    assert wrong >= 3


def test_a_megabyte_takes_seconds():
    import time

    text = "No effusion, possible scar " * 40_000  # 1.08 MB
    spans = [(27 * i + 3, 27 * i + 11) for i in range(0, 40_000, 20)]
    start = time.process_time()
    assert len(assertions(text, spans)) == 2000
    assert time.process_time() - start < 60
