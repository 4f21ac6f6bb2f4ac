"""Masks of simulated scenes are read by the grounding protocol under the names of the findings."""

import numpy as np

from benchmarks.harness.protocol import Context
from benchmarks.harness.protocols import grounding
from benchmarks.harness.task import PairsData, TaskConfig
from data_prep.simulation.side_files import read_masks, read_scenes


def test_every_marked_finding_of_the_test_scenes_is_asked(store, tmp_path):
    settings = grounding.Config(name="grounding", most=None)
    task = TaskConfig(
        title="scenes", citation="none", licence="none", data=PairsData(store=str(store.folder)), protocols=[settings]
    )
    context = Context(folder=tmp_path, graph=None, num_draws=50, level=0.95, store=store)
    question = grounding.open(task, settings, context)
    label_of = {f["kind"]: f["label"] for scene in read_scenes(store.folder) for f in scene["findings"]}
    known = set(store.split("test").keys)
    wanted = {(key, label_of[kind]): mask for (key, kind), mask in read_masks(store.folder).items() if key in known}
    wanted = {pair: mask for pair, mask in wanted.items() if mask.any()}
    assert {(item.key, item.label) for item in question.scored} == set(wanted)
    assert all(np.array_equal(item.mask, wanted[item.key, item.label]) for item in question.scored)
    centre, prior = question.floor("centre", None, 0), question.floor("prior-map", None, 0)
    assert prior.metrics[0].value > centre.metrics[0].value, "findings have usual places"
    assert prior.metrics[2].value > 0
