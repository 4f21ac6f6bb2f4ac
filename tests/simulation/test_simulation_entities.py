"""Entities of simulated scenes against the scenes themselves, and that swapped captions contradict the truth."""

import numpy as np
import pytest

from data_prep.entities.build import build
from data_prep.entities.config import EntitiesConfig, SimulationSource
from data_prep.entities.from_reports import read_texts
from data_prep.simulation.side_files import read_scenes
from data_prep.text.triplets import load_vocabulary
from medvlp.data.batch import ABSENT, NOT_MENTIONED, PRESENT
from medvlp.data.entities import Entities
from medvlp.data.swaps import swaps_of


@pytest.fixture(scope="module")
def made(store, graph_folder, tmp_path_factory):
    config = EntitiesConfig(data=str(store.folder), graph=str(graph_folder), source=SimulationSource())
    return Entities.load(build(config, tmp_path_factory.mktemp("entities") / "out"))


def test_states_are_the_planted_findings(made, store):
    name = {entity.name: number for number, entity in enumerate(made.entities)}
    place = {position.name: number for number, position in enumerate(made.positions)}
    scenes = {scene["scene"]: scene for scene in read_scenes(store.folder)}
    training = {key for split in ("train", "dev") for key in store.split(split).keys}
    assert set(made.keys) == set(scenes)
    for key, scene in scenes.items():
        known = made.of(key)
        for triplet in scene["triplets"]:
            entity = name[triplet["entity"]]
            if triplet["existence"] == "present":
                assert known.label_Q[entity] == PRESENT
                assert known.position_QP[entity, place[triplet["position"]]] == PRESENT
                assert (known.position_QP[entity] == PRESENT).sum() == 1
            elif triplet["entity"] == "pulmonary mass" and key in training:
                assert known.label_Q[entity] == NOT_MENTIONED
            else:
                assert known.label_Q[entity] == ABSENT
                assert (known.position_QP[entity] == ABSENT).all()


def test_what_is_part_or_whole_of_a_finding_s_place_is_no_negative(made):
    above_PP = made.above_PP
    present = made.position_NQP == PRESENT
    for row, entity, position in np.argwhere(present):
        near = above_PP[position] | above_PP[:, position]
        assert (made.position_NQP[row, entity, near] == NOT_MENTIONED).all()
        far = ~near
        far[position] = False
        assert (made.position_NQP[row, entity, far] == ABSENT).all()


def test_descriptions_hold_no_held_out_name(made):
    by_name = {entity.name: entity for entity in made.entities}
    assert [aspect for aspect, _ in by_name["pulmonary nodule"].descriptions] == ["appearance", "ontology-path", "name"]
    texts = " ".join(text.lower() for entity in made.entities for _, text in entity.descriptions)
    assert "spot on the lung" not in texts
    assert "airspace opacity" not in texts


def test_triples_are_words_of_their_text(made, store):
    seen = 0
    for name in ("train", "test"):
        split = store.split(name)
        for key, texts in zip(split.keys, split.column("texts"), strict=True):
            for text in texts:
                for triple in made.of(key).triples_of(text.text):
                    assert triple.head in text.text.lower()
                    if triple.relation in ("located at", "has severity"):
                        assert triple.tail in text.text.lower()
                    seen += 1
    assert seen > 200


def test_swapped_captions_contradict_what_was_said(made, store):
    """Read by the rules for reports, a swapped sentence never says what the sentence said."""
    vocabulary = load_vocabulary("radiology")
    split = store.split("train")
    swapped = 0
    for key, texts in zip(split.keys, split.column("texts"), strict=True):
        for text in texts:
            state_QP, _ = read_texts([text.text], vocabulary)
            for kind in ("side", "presence", "anatomy"):
                for other in swaps_of(text.text, kind, made.of(key).triples_of(text.text)):
                    other_QP, _ = read_texts([other], vocabulary)
                    swapped += 1
                    lost = (state_QP == PRESENT) & (other_QP != PRESENT)
                    gained = (state_QP == ABSENT) & (other_QP == PRESENT)
                    assert (lost | gained).any(), (kind, text.text, other)
    assert swapped > 100
