"""The order of data: pure, complete, equal for every number of processes."""

from collections import Counter

import numpy as np
import pytest

from medvlp.data.plan import GroupPlan, PairPlan
from medvlp.errors import TrainingError

LABELS = ["a"] * 40 + ["b"] * 8 + [None] * 2


def test_an_epoch_of_pairs_visits_every_row_at_most_once_and_epochs_differ():
    plan = PairPlan(23, 5, seed=0)
    epochs = [np.concatenate([plan.batch(step) for step in range(4 * e, 4 * e + 4)]) for e in range(2)]
    assert plan.steps_per_epoch == 4
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 20
        assert set(epoch.tolist()) <= set(range(23))
    assert not np.array_equal(*epochs)


def test_every_row_is_visited_over_the_epochs():
    plan = PairPlan(23, 5, seed=0)
    assert {int(row) for step in range(40) for row in plan.batch(step)} == set(range(23))


def test_a_plan_is_a_pure_function_of_seed_and_step():
    first, second = PairPlan(50, 8, seed=3), PairPlan(50, 8, seed=3)
    later = [first.batch(step) for step in (17, 2, 9)]
    assert all(np.array_equal(second.batch(step), rows) for step, rows in zip((17, 2, 9), later, strict=True))
    assert not np.array_equal(PairPlan(50, 8, seed=4).batch(17), later[0])


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_together_hold_the_batch_of_one_process(world):
    pairs = PairPlan(50, 8, seed=0)
    groups = GroupPlan(np.arange(60) // 3, 8, 2, seed=0)
    for plan in (pairs, groups):
        parts = [plan.batch(5, rank, world) for rank in range(world)]
        assert len({len(part) for part in parts}) == 1
        assert np.array_equal(np.concatenate(parts), plan.batch(5))


def test_a_batch_holds_distinct_groups_of_equal_size_each_rank_whole_ones():
    groups = np.array([0, 0, 0, 0, 1, 2, 2, 3, 3, 3, 7, 7])
    plan = GroupPlan(groups, groups_per_batch=4, instances=3, seed=0)
    for step in range(20):
        rows = plan.batch(step)
        counts = Counter(groups[rows].tolist())
        assert len(counts) == 4
        assert set(counts.values()) == {3}
        for rank in range(2):
            assert len(set(groups[plan.batch(step, rank, 2)].tolist())) == 2


def test_members_repeat_only_where_a_group_is_too_small():
    groups = np.array([0] * 5 + [1] * 2)
    plan = GroupPlan(groups, groups_per_batch=2, instances=4, seed=0)
    for step in range(20):
        rows = plan.batch(step)
        assert len(set(rows[groups[rows] == 0].tolist())) == 4
        assert sorted(Counter(rows[groups[rows] == 1].tolist()).values()) == [2, 2]


def test_all_members_of_a_large_group_are_seen():
    plan = GroupPlan(np.array([0] * 9 + [1] * 9), 2, 2, seed=0)
    assert {int(row) for step in range(60) for row in plan.batch(step)} == set(range(18))


def shares(sampling):
    plan = PairPlan(50, 5, seed=0, sampling=sampling, labels=LABELS)
    drawn = Counter(LABELS[row] for step in range(1000) for row in plan.batch(step))
    return {label: count / 5000 for label, count in drawn.items()}


def test_sampling_weighs_labels_as_it_says():
    assert shares("natural") == pytest.approx({"a": 0.8, "b": 0.16, None: 0.04}, abs=0.01)
    root = np.sqrt([40, 8, 2])
    assert shares("sqrt") == pytest.approx(dict(zip(["a", "b", None], root / root.sum(), strict=True)), abs=0.01)
    assert shares("balanced") == pytest.approx(dict.fromkeys(["a", "b", None], 1 / 3), abs=0.02)


def test_oversampled_rows_never_meet_themselves_in_a_batch():
    plan = PairPlan(50, 5, seed=0, sampling="balanced", labels=LABELS)
    assert all(len(set(plan.batch(step).tolist())) == 5 for step in range(100))


def test_a_label_too_rare_to_reach_its_share_comes_in_every_batch():
    plan = PairPlan(40, 10, seed=0, sampling="balanced", labels=["a"] * 39 + ["b"])
    assert all(39 in plan.batch(step) for step in range(20))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PairPlan(7, 8, 0), "batch_size: a batch of 8 rows is more than the 7 rows"),
        (lambda: GroupPlan([1, 1, 2], 3, 2, 0), "groups_per_batch: a batch of 3 groups is more than the 2 groups"),
        (lambda: PairPlan(7, 2, 0, "sqrt"), "sampling: sqrt: needs labels"),
        (lambda: PairPlan(9, 9, 0).batch(0, 0, 2), "batch_size: 9 does not divide over 2 processes"),
        (
            lambda: GroupPlan(np.arange(9), 3, 2, 0).batch(0, 1, 2),
            "groups_per_batch: 3 does not divide over 2 processes; choose a multiple of 2, for example 4",
        ),
    ],
)
def test_what_cannot_be_planned_is_refused_with_the_numbers(make, message):
    with pytest.raises(TrainingError) as caught:
        make()
    assert str(caught.value).startswith(message)
