"""LC25000's hundred images through the default image tower: probes, neighbours and few shots learn what is there."""

import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from protocols.protocol_cases import context_of, means_of, task_config

from benchmarks.harness.protocols import few_shot, knn, linear_probe
from medvlp.data.pairs import PairsStore, Row, Text

ROOT = Path(os.environ.get("MEDVLP_DATA", "")) / "path_mini" / "lc25000"
pytestmark = [
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "labels.csv").is_file(), reason="needs MEDVLP_DATA/path_mini/lc25000"),
]


@pytest.fixture(scope="module")
def subject():
    from benchmarks.harness.subjects import Subject
    from medvlp.encoders.image import EFFICIENTNET_LITE0, TimmImage
    from medvlp.tile_encoder import TileEncoder

    image = TimmImage.Config(model="tf_efficientnet_lite0", weights=EFFICIENTNET_LITE0)
    return Subject.of(TileEncoder(TileEncoder.Config(image=image)).eval(), "lite0")


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    folder, seen, rows = tmp_path_factory.mktemp("lc25000"), {}, []
    with (ROOT / "labels.csv").open() as file:
        for line in csv.DictReader(file):
            place = seen[line["label"]] = seen.get(line["label"], -1) + 1
            split = "train" if place < 8 else ("dev" if place < 12 else "test")
            data = (ROOT / "images" / line["file"]).read_bytes()
            rows.append(Row(line["file"], data, [Text("x")], split, line["file"], len(rows), line["label"], []))
    store = PairsStore.write(folder / "store", rows)
    return context_of(folder, store, num_draws=200)


def relabelled(question, seed):
    train = question.parts.train
    order = np.random.default_rng(seed).permutation(len(train))
    question.parts = replace(question.parts, train=replace(train, target_NK=train.target_NK[order]))
    return question


@pytest.mark.parametrize("name", ["linear_probe", "knn", "few_shot"])
def test_real_features_are_learned_and_wrong_labels_are_not(name, subject, context):
    module, settings = {
        "linear_probe": (linear_probe, linear_probe.Config(name="linear_probe")),
        "knn": (knn, knn.Config(name="knn", k=[1, 3, 5, 10])),
        "few_shot": (few_shot, few_shot.Config(name="few_shot", shots=[1, 5])),
    }[name]
    real = module.open(task_config(settings), settings, context).score(subject, 0)
    assert (real.metrics[0].n, real.metrics[0].num_cases) == (40, 40)
    assert real.metrics[0].value > 0.6
    controls = [
        relabelled(module.open(task_config(settings), settings, context), seed).score(subject, 0).metrics[0].value
        for seed in range(6)
    ]
    assert np.mean(controls) == pytest.approx(0.2, abs=0.12)
    if name == "few_shot":
        assert means_of(real)["balanced_accuracy.linear.5"] > means_of(real)["balanced_accuracy.linear.1"]
