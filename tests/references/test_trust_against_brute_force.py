"""Trust, localisation and hierarchy metrics equal loops from their definitions; a flipped operator is noticed."""

import brute_force_mutants as mutation
import brute_force_trust_checks
import pytest
from brute_force_trust_checks import CHECKS
from test_metrics_against_brute_force import PACKAGE, load


@pytest.mark.parametrize("name", CHECKS)
def test_metric_equals_the_loops_on_a_thousand_cases(name: str, monkeypatch) -> None:
    monkeypatch.setattr(brute_force_trust_checks, "NUM_CASES", 1000)
    CHECKS[name](load(name))


@pytest.mark.filterwarnings("ignore")
def test_every_flipped_operator_in_the_source_is_noticed(tmp_path) -> None:
    survivors, num = mutation.survivors(CHECKS, load, PACKAGE, tmp_path)
    assert num >= 40
    assert not survivors
