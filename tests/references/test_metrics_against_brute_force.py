"""Every metric equals loops written from its definition, ties and weights included; a flipped operator is noticed."""

import importlib
from collections.abc import Callable

import brute_force_metric_checks
import brute_force_mutants as mutation
import pytest
from brute_force_metric_checks import CHECKS

PACKAGE = "medvlp.metrics"


def load(name: str) -> Callable:
    module, function = name.split(".")
    return getattr(importlib.import_module(f"{PACKAGE}.{module}"), function)


@pytest.mark.parametrize("name", CHECKS)
def test_metric_equals_the_loops_on_a_thousand_cases(name: str, monkeypatch) -> None:
    monkeypatch.setattr(brute_force_metric_checks, "NUM_CASES", 1000)
    CHECKS[name](load(name))


@pytest.mark.filterwarnings("ignore")
def test_every_flipped_operator_in_the_source_is_noticed(tmp_path) -> None:
    """By one metric at least of those that run it."""
    for name in CHECKS:
        for control in mutation.copies(load(name), PACKAGE):
            with mutation.swapped_in(control, load(name), PACKAGE, tmp_path) as same:
                CHECKS[name](same)
    survivors, num = mutation.survivors(CHECKS, load, PACKAGE, tmp_path)
    assert num >= 20
    assert not survivors
