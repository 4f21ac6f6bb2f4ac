"""Texts of several aspects: what each kind of knowledge gives, how many, and what a row's own texts do to them."""

import numpy as np
import pytest

from medvlp.data.pairs import Text
from medvlp.errors import ConfigError
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.training.align_data import AlignData
from medvlp.training.aspects import AspectTexts, exchanged, sentences
from medvlp.training.draws import Draw
from medvlp.training.knowledge import control_hierarchy

GRAPH = DiseaseGraph.from_dict({
    "T:0": {"name": "disease"},
    "T:1": {"name": "skin disease", "parents": ["T:0"]},
    "T:2": {"name": "skin tumour", "parents": ["T:1"], "definitions": ["A growth of the skin. Most are harmless."]},
    "T:3": {"name": "melanoma", "parents": ["T:2"], "synonyms": ["black tumour", "malignant mole"],
            "definitions": ["A tumour of pigment cells. It spreads early; Sunlight is a cause."]},
    "T:4": {"name": "nevus", "parents": ["T:2"], "definitions": ["A mole. It is harmless."]},
    "T:5": {"name": "eczema", "parents": ["T:1"], "synonyms": ["dermatitis"]},
    "T:6": {"name": "acne", "parents": ["T:1"]},
})  # fmt: skip
OWN = [Text("a brown patch on the back"), Text("a patch")]
ROWS = [(3,), (5,), (3, 4), ()]


def maker(knowledge, graph=GRAPH, **settings):
    hierarchy = control_hierarchy(GRAPH, knowledge, 1)
    config = AspectTexts.Config(**settings)
    return AspectTexts(config, ROWS, graph, hierarchy, {"healthy": "healthy skin"}, 0)


def texts(make, row=0, own=OWN, label=None, seed=0):
    return make(row, own, label, np.random.default_rng(seed))


def of(made, aspect):
    return [text.text for text in made if text.aspect == aspect]


def test_real_knowledge_gives_path_concepts_definitions_and_synonyms():
    made = texts(maker("real", general_depth=0))
    assert [text.aspect for text in made] == ["caption", "ontology-path", "concepts", *["sentence"] * 8]
    assert made[0] in OWN
    assert of(made, "ontology-path") == ["melanoma, a kind of skin tumour, a kind of skin disease"]
    assert of(made, "concepts") == ["melanoma"]
    subs = of(made, "sentence")
    assert {"A tumour of pigment cells.", "It spreads early;", "Sunlight is a cause."} <= set(subs)
    assert sum("black tumour" in text for text in subs) == sum("malignant mole" in text for text in subs) == 1
    assert sum("melanoma" in text for text in subs) == 3
    assert len(set(subs)) == 8
    assert of(texts(maker("real"), row=2), "concepts") == ["melanoma, nevus"]


def test_without_knowledge_there_are_bare_names_and_with_the_control_other_concepts_facts_equally_many():
    for row in range(3):
        made = {kind: texts(maker(kind), row) for kind in ("real", "permuted", "none")}
        counted = {kind: [text.aspect for text in found] for kind, found in made.items()}
        assert counted["none"] == counted["permuted"] == counted["real"]
        assert of(made["none"], "concepts") == of(made["permuted"], "concepts") == of(made["real"], "concepts")
    made = texts(maker("none"))
    assert of(made, "ontology-path") == ["melanoma"]
    assert all("melanoma" in text for text in of(made, "sentence"))
    control = maker("permuted")
    assert control.names == maker("real").names
    assert all(control.definitions[row] != GRAPH.definitions(GRAPH.ids[row]) for row in control.definitions)
    told = {text for found in control.definitions.values() for text in found}
    assert told == {text for concept in GRAPH.ids for text in GRAPH.definitions(concept)}


def test_a_rows_own_texts_come_first_but_its_own_knowledge_only_when_it_is_real():
    own = [*OWN, Text("skin > mole", "ontology-path"), Text("brown, flat", "concepts"), Text("it is flat", "sentence"),
           Text("moles are common", "definition")]  # fmt: skip
    real = texts(maker("real"), own=own)
    assert of(real, "ontology-path") == ["skin > mole"]
    assert of(real, "sentence")[:2] == ["it is flat", "moles are common"]
    for kind in ("permuted", "none"):
        made = texts(maker(kind), own=own)
        assert of(made, "ontology-path") != ["skin > mole"]
        assert of(made, "concepts") == ["brown, flat"]
        assert of(made, "sentence")[0] == "it is flat"
        assert "moles are common" not in of(made, "sentence")
        assert len(made) == len(real) == 11


def test_a_class_without_a_concept_has_its_name_and_a_row_without_either_its_own_texts():
    for kind in ("real", "none"):
        made = texts(maker(kind), row=3, label="healthy")
        assert of(made, "ontology-path") == of(made, "concepts") == ["healthy skin"]
        assert len(of(made, "sentence")) == 8
        assert texts(maker(kind), row=3) == [made[0]]
    assert of(texts(maker("none", graph=None), label="skin_spot"), "concepts") == ["skin spot"]


def test_the_same_draw_gives_the_same_texts_and_another_one_others():
    make = maker("real", num_sub=3)
    assert texts(make) == texts(make)
    assert len({tuple(texts(make, seed=seed)) for seed in range(9)}) > 3


def test_parts_and_refusals():
    assert sentences("One, e.g. this. Two; and more; Three") == ["One, e.g. this.", "Two; and more;", "Three"]
    assert exchanged({4: ["a"]}, 0) == {}
    for seed in range(4):
        swapped = exchanged({row: [str(row)] for row in range(5)}, seed)
        assert sorted(text for found in swapped.values() for text in found) == list("01234")
        assert all(found != [str(row)] for row, found in swapped.items())
    with pytest.raises(ConfigError, match="1 wordings are too few for 8 sub-captions"):
        maker("real", templates="plain")


class Split:
    keys = ("a", "b", "c", "d")

    def __len__(self):
        return 4

    def column(self, name):
        return {"label": [None] * 4, "group": np.arange(4), "texts": [OWN] * 4}[name]


def test_an_items_texts_and_aspects_stay_together_and_are_filled_up():
    features = np.zeros((4, 2), np.float32)
    data = AlignData(
        Split(), ROWS, [], None, None, None, features, 11, 0, repeat_texts=False, aspect_texts=maker("real", num_sub=4)
    )
    assert data.fills
    item = data[Draw(0, 0, 0)]
    assert len(item.texts) == len(item.aspects) == 11
    assert item.texts[7:] == item.aspects[7:] == [""] * 4
    made = dict(zip(item.texts[:7], item.aspects, strict=False))
    assert made["melanoma, a kind of skin tumour"] == "ontology-path"
    assert sorted(made.values()) == sorted(["caption", "ontology-path", "concepts", *["sentence"] * 4])
