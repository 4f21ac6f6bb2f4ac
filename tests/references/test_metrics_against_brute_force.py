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
    runs: dict[mutation.Mutant, list[str]] = {}
    for name in CHECKS:
        for control in mutation.copies(load(name), PACKAGE):
            with mutation.swapped_in(control, load(name), PACKAGE, tmp_path) as same:
                CHECKS[name](same)
        for mutant in mutation.mutants(load(name), PACKAGE):
            runs.setdefault(mutant, []).append(name)
    assert len(runs) >= 20
    survivors = []
    for mutant, names in runs.items():
        for name in names:
            with mutation.swapped_in(mutant, load(name), PACKAGE, tmp_path) as broken:
                if fails(CHECKS[name], broken):
                    break
        else:
            survivors.append(mutant.text)
    assert not survivors


def fails(check: Callable[[Callable], None], function: Callable) -> bool:
    """Whether a mutant gives another answer, or none: an exception is as loud as a wrong number."""
    try:
        check(function)
    except Exception:
        return True
    return False
