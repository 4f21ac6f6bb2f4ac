"""The table of objectives on simulated scenes: what is asked of which scene, and the model's own maps."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_models import write_bert

from benchmarks.objectives import ask
from benchmarks.objectives.config import TableSet
from benchmarks.objectives.floors import floor_answers
from benchmarks.objectives.measure import measured, scores_of
from benchmarks.objectives.sets import Prepared, simulated
from benchmarks.objectives.train import Trained
from data_prep.entities.build import build
from data_prep.entities.config import EntitiesConfig, SimulationSource
from medvlp.data.entities import Entities
from medvlp.encoders.image import TimmImage
from medvlp.encoders.text import TextEncoder
from medvlp.fusion.query_decoder import QueryDecoder
from medvlp.model import DualEncoder
from medvlp.zeroshot.explain import explain


@pytest.fixture(scope="module")
def prepared(store, graph_folder, tmp_path_factory):
    config = EntitiesConfig(data=str(store.folder), graph=str(graph_folder), source=SimulationSource())
    entities = Entities.load(build(config, tmp_path_factory.mktemp("objectives") / "entities"))
    settings = TableSet(
        title="Scenes", simulation="simulation/chest", entities="entities/simulation", prompts="plain", aspect="report"
    )
    return Prepared("scenes", settings, store, entities, {}, *simulated(store), "")


def model(tmp_path, *, decoder):
    torch.manual_seed(0)
    return DualEncoder(
        DualEncoder.Config(
            image=TimmImage.Config(model="test_efficientnet", image_size=64),
            text=TextEncoder.Config(model=str(write_bert(tmp_path / "bert")), context_length=32),
            embed_dim=32,
            decoder=QueryDecoder.Config(width=16, layers=1, heads=2) if decoder else None,
        )
    ).eval()


def test_only_ordinary_test_scenes_and_known_findings_are_marked(prepared):
    ordinary = {prepared.test.keys[row] for row in prepared.asked_rows}
    assert len(ordinary) == 16, "not those of the held-out parts"
    assert {item.key for item in prepared.marked["test"]} <= ordinary
    assert "pulmonary mass" not in {item.label for items in prepared.marked.values() for item in items}
    assert {one.row for one in prepared.swaps} <= set(prepared.asked_rows.tolist())
    assert set(prepared.gallery.rows_R.tolist()) <= set(prepared.asked_rows.tolist())
    names = dict(zip(prepared.kinds, prepared.names["unseen"], strict=True))
    assert names["nodule"] == ("spot on the lung",)


@pytest.mark.parametrize("decoder", [True, False])
def test_maps_are_those_of_explain(prepared, tmp_path, decoder):
    encoder = model(tmp_path, decoder=decoder)
    shown = ask.images_of(encoder, prepared, "test", tmp_path / "cache")
    items = prepared.marked["test"][:4]
    names = [own[0] for own in prepared.names["seen"]]
    with torch.no_grad():
        found = ask.place_maps(encoder, prepared, items, shown, names)
    for item, map_HW in zip(items, found, strict=True):
        theirs = explain(encoder, prepared.test[item.row].image, names).maps[0]
        np.testing.assert_allclose(map_HW, theirs[prepared.labels.index(item.label)], atol=1e-5)


@pytest.mark.parametrize(("decoder", "heads"), [(True, []), (True, ["heads"]), (False, [])])
def test_everything_is_asked_and_scored(prepared, tmp_path, decoder, heads):
    encoder = model(tmp_path, decoder=decoder)
    settings = SimpleNamespace(
        cache=str(tmp_path / "cache"), freeze=SimpleNamespace(always=heads), objective=SimpleNamespace(aspects=None),
        knowledge="real", seed=0,
    )  # fmt: skip
    record = ask.answer(Trained(encoder, None, {}), settings, prepared)
    wanted = {"scores": "decoder", "texts": "decoder" if heads else "cosine", "maps": "attention"}
    assert record["by"] == (wanted if decoder else {"scores": "cosine", "texts": "cosine", "maps": "cosine"})
    found = {score.name: measured(score, [record], 100) for score in scores_of(prepared)}
    for name in ("auroc_own", "pointing_own"):
        assert (found.pop(name) is not None) == decoder
    for name, one in found.items():
        assert one is not None, name
        assert np.isfinite(one.value), name
    assert 0 <= found["pointing"].value <= 1


def test_findings_have_usual_places_which_is_the_floor(prepared):
    floors = floor_answers(prepared)
    scores = {score.name: score for score in scores_of(prepared)}
    prior = measured(scores["pointing"], [floors], 100)
    assert prior.value > scores["pointing"].chance == pytest.approx(np.mean(floors["area"]))
    mass = prepared.labels.index("pulmonary mass")
    column = [row[mass] for row in floors["scores"]["seen"]]
    assert column == [None] * len(column), "training does not know what is held out"
