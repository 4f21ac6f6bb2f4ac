"""The job `medvlp entities` over report texts and class labels, its ledger, and what it refuses."""

import numpy as np
import pytest
from PIL import Image

from data_prep.entities.build import build
from data_prep.entities.config import ClassesSource, EntitiesConfig, ReportsSource
from data_prep.entities.triples import text_triples
from data_prep.text.mentions import annotate
from data_prep.text.triplets import load_vocabulary
from medvlp.cli import run
from medvlp.data.batch import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN, Triple
from medvlp.data.entities import Entities
from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.errors import ConfigError, DataError
from medvlp.io import read_json
from medvlp.knowledge.graph import DiseaseGraph

CONCEPTS = {
    "T:0": {"name": "disease"},
    "T:1": {"name": "lung disease", "parents": ["T:0"], "definitions": ["A disease of the lung."]},
    "T:2": {"name": "lung carcinoma", "parents": ["T:1"], "definitions": ["A malignant tumour of the lung."]},
    "T:3": {"name": "lung adenocarcinoma", "parents": ["T:2"]},
    "T:4": {"name": "nevus", "parents": ["T:0"]},
    "T:5": {"name": "effusion", "parents": ["T:1"], "definitions": ["Fluid in the pleural cavity.", "Two.", "Three."]},
}
CLASSES = {"carcinoma": ["T:2"], "adeno": ["T:3"], "nevus": ["T:4"], "normal": []}
REPORTS = {
    "a": ["There is a small left pleural effusion. No pneumothorax."],
    "b": ["Possible pneumonia in the right lower lobe.", "Left pleural effusion is seen."],
    "c": ["Nothing to add."],
}


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("entities") / "graph"
    DiseaseGraph.from_dict(CONCEPTS).save(folder)
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    rows = [("a", "carcinoma"), ("b", "adeno"), ("c", "nevus"), ("d", "normal"), ("e", None)]
    return write(tmp_path_factory.mktemp("entities") / "labelled", {key: [key] for key, _ in rows}, dict(rows), CLASSES)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    return write(tmp_path_factory.mktemp("entities") / "reports", REPORTS, {}, None)


def write(folder, texts, labels, classes):
    image = Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8))
    rows = [
        Row(key, image, [Text(text, "report") for text in of_key], "test" if key == "c" else "train", key, number,
            label=labels.get(key))
        for number, (key, of_key) in enumerate(texts.items())
    ]  # fmt: skip
    PairsStore.write(folder, rows, classes=classes)
    return folder


def states(entities, key):
    return {entity.name: int(state) for entity, state in zip(entities.entities, entities.of(key).label_Q, strict=True)}


def test_reports_are_read_into_states_and_places(reports, graph, tmp_path):
    config = EntitiesConfig(data=str(reports), graph=str(graph), source=ReportsSource())
    made = Entities.load(build(config, tmp_path / "out"))
    assert states(made, "a") == {"effusion": PRESENT, "pneumothorax": ABSENT, "pneumonia": NOT_MENTIONED}
    assert states(made, "b") == {"effusion": PRESENT, "pneumothorax": NOT_MENTIONED, "pneumonia": UNCERTAIN}
    assert set(states(made, "c").values()) == {NOT_MENTIONED}
    place = [position.name for position in made.positions]
    effusion = [entity.name for entity in made.entities].index("effusion")
    found = {place[p]: s for p, s in enumerate(made.of("a").position_QP[effusion].tolist()) if s != NOT_MENTIONED}
    assert found == {"left_pleural": PRESENT}
    assert made.above_PP[place.index("left_pleural"), place.index("pleural_unspec")]
    text = REPORTS["a"][0]
    assert set(made.of("a").triples_of(text)) == {
        Triple("effusion", "is", "present"),
        Triple("effusion", "located at", "left pleural"),
        Triple("effusion", "on side", "left"),
        Triple("effusion", "has severity", "small"),
        Triple("pneumothorax", "is", "absent"),
    }
    described = dict.fromkeys(aspect for aspect, _ in made.entities[effusion].descriptions)
    assert list(described) == ["definition", "appearance", "ontology-path", "name"]
    assert [text for aspect, text in made.entities[effusion].descriptions if aspect == "definition"] == [
        "Fluid in the pleural cavity.", "Two.",
    ]  # fmt: skip
    manifest = read_json(tmp_path / "out" / "manifest.json")
    assert manifest["ledger"]["dropped"] == {"image of which nothing is known": 1}
    assert manifest["states"]["present"] == 2


def test_entities_can_be_chosen_and_must_exist(reports, tmp_path):
    chosen = ReportsSource(entities=["effusion", "nodule"])
    made = Entities.load(build(EntitiesConfig(data=str(reports), source=chosen), tmp_path / "out"))
    assert states(made, "a") == {"effusion": PRESENT, "nodule": NOT_MENTIONED}
    with pytest.raises(ConfigError, match=r"source\.entities: oedemas: is no entity of the vocabulary"):
        build(EntitiesConfig(data=str(reports), source=ReportsSource(entities=["effusion", "oedemas"])), tmp_path / "x")
    with pytest.raises(DataError, match="no text speaks of an entity"):
        build(EntitiesConfig(data=str(reports), source=ReportsSource(aspects=["caption"])), tmp_path / "x")


def test_an_ancestor_is_present_and_a_descendant_no_negative(labelled, graph, tmp_path):
    config = EntitiesConfig(data=str(labelled), graph=str(graph), source=ClassesSource(ancestors=2))
    made = Entities.load(build(config, tmp_path / "out"))
    assert [position.name for position in made.positions] == ["anywhere"]
    yes, no = PRESENT, ABSENT
    assert list(states(made, "a")) == ["adeno", "carcinoma", "nevus", "normal", "disease", "lung disease"]
    assert list(states(made, "a").values()) == [NOT_MENTIONED, yes, no, no, yes, yes]
    assert list(states(made, "b").values()) == [yes, yes, no, no, yes, yes]
    assert list(states(made, "c").values()) == [no, no, yes, no, yes, no]
    assert list(states(made, "d").values()) == [no, no, no, yes, no, no]
    assert set(states(made, "e").values()) == {NOT_MENTIONED}
    assert read_json(tmp_path / "out" / "manifest.json")["ledger"]["dropped"] == {
        "image without a label, nothing mentioned": 1
    }


def test_what_lies_above_every_class_is_left_out(graph, tmp_path):
    folder = write(
        tmp_path / "pairs",
        {"a": ["x"], "c": ["y"]},
        {"a": "carcinoma", "c": "nevus"},
        {"carcinoma": ["T:2"], "nevus": ["T:4"]},
    )
    config = EntitiesConfig(data=str(folder), graph=str(graph), source=ClassesSource(ancestors=3))
    made = Entities.load(build(config, tmp_path / "out"))
    assert [entity.name for entity in made.entities] == ["carcinoma", "nevus", "lung disease"]
    assert ("definition", "A malignant tumour of the lung.") in made.entities[0].descriptions


def test_without_a_graph_there_are_classes_alone(labelled, tmp_path):
    made = Entities.load(build(EntitiesConfig(data=str(labelled), source=ClassesSource()), tmp_path / "out"))
    assert list(states(made, "a").values()) == [ABSENT, PRESENT, ABSENT, ABSENT]


def test_the_command_line_writes_refuses_and_rehearses(labelled, graph, tmp_path, capsys):
    (tmp_path / "entities.yaml").write_text(
        f"kind: entities\ndata: {labelled}\ngraph: {graph}\nsource: {{name: classes}}\n"
    )
    command = ["entities", str(tmp_path / "entities.yaml"), "--out", str(tmp_path / "out")]
    assert run([*command, "--dry-run"]) == 0
    assert not (tmp_path / "out").exists()
    assert run(command) == 0
    assert Entities.load(tmp_path / "out").keys[0] == "a"
    assert run(command) == 2
    assert "already exists" in capsys.readouterr().err
    assert run([*command, "--overwrite", "--set", "appearance=/nowhere.yaml"]) == 2
    assert "/nowhere.yaml: no such file" in capsys.readouterr().err


def test_history_says_nothing_and_a_default_place_is_not_made_up():
    words = load_vocabulary("radiology")
    text = "Indication: history of pneumonia. Findings: moderate right effusion; cardiomegaly is likely."
    found = text_triples(text, annotate(text, None, vocabulary=words), words)
    assert Triple("effusion", "has severity", "moderate") in found
    assert Triple("effusion", "on side", "right") in found
    assert Triple("cardiomegaly", "is", "uncertain") in found
    assert not any(triple.head == "pneumonia" for triple in found)
    assert not any(triple.relation == "located at" for triple in found)
