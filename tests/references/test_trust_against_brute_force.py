"""Trust, localisation and hierarchy metrics equal loops from their definitions; a flipped operator is noticed."""

import importlib
from collections.abc import Callable

import brute_force_mutants as mutation
import brute_force_trust_checks
import pytest
from brute_force_trust_checks import CHECKS
from test_metrics_against_brute_force import PACKAGE, fails


def load(name: str) -> Callable:
    module, function = name.split(".")
    return getattr(importlib.import_module(f"{PACKAGE}.{module}"), function)


@pytest.mark.parametrize("name", CHECKS)
def test_metric_equals_the_loops_on_a_thousand_cases(name: str, monkeypatch) -> None:
    monkeypatch.setattr(brute_force_trust_checks, "NUM_CASES", 1000)
    CHECKS[name](load(name))


@pytest.mark.filterwarnings("ignore")
def test_every_flipped_operator_in_the_source_is_noticed(tmp_path) -> None:
    runs: dict[mutation.Mutant, list[str]] = {}
    for name in CHECKS:
        for mutant in mutation.mutants(load(name), PACKAGE):
            runs.setdefault(mutant, []).append(name)
    assert len(runs) >= 40
    survivors = []
    for mutant, names in runs.items():
        for name in names:
            with mutation.swapped_in(mutant, load(name), PACKAGE, tmp_path) as broken:
                if fails(CHECKS[name], broken):
                    break
        else:
            survivors.append(mutant.text)
    assert not survivors
