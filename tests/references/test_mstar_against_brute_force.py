"""mSTAR's losses equal loops written from the formulas, in value and gradient, and every flipped sign is noticed."""

import brute_force_cases as cases
import brute_force_mstar as ref
import brute_force_mutants as mutation
import pytest
import torch

from medvlp.objectives import mstar

PACKAGE = "medvlp.objectives"
LOSSES = {
    "modality_contrast": ref.contrast_cases,
    "cancer_triplet": ref.triplet_cases,
    "self_taught_loss": ref.self_taught_cases,
    "decoder_loss": ref.decoder_cases,
}


def agrees(case, function):
    try:
        cases.check(case, function)
    except Exception:  # an exception of a mutant is as loud as a wrong number
        return False
    return True


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_equal_the_loops(name):
    function, worst = getattr(mstar, name), []
    for case in LOSSES[name]():
        cases.check(case, function)
        worst.append(abs(case.reference(case.inputs)))
    assert len(worst) >= 50
    assert sum(value > 0.01 for value in worst) >= 40


@pytest.mark.parametrize("name", LOSSES)
def test_every_flipped_operator_is_noticed(name, tmp_path):
    function = getattr(mstar, name)
    ordered = sorted(LOSSES[name](), key=lambda case: -sum(array.size for array in case.inputs.values()))
    found = mutation.mutants(function, PACKAGE)
    # What is shared with other losses is covered there, the arithmetic over ranks by tests of several processes.
    found = [m for m in found if m.owner.__module__ == mstar.__name__ and "gather.rank" not in m.text]
    assert len(found) >= 3
    survivors = []
    for mutant in found:
        with mutation.swapped_in(mutant, function, PACKAGE, tmp_path) as broken:
            if all(agrees(case, broken) for case in ordered):
                survivors.append(mutant.text)
    assert survivors == []
    for control in mutation.copies(function, PACKAGE):
        with mutation.swapped_in(control, function, PACKAGE, tmp_path) as same:
            assert agrees(ordered[0], same)


@pytest.mark.parametrize("name", ["modality_contrast", "cancer_triplet"])
def test_float32_stays_finite_and_close(name):
    function = getattr(mstar, name)
    for case in LOSSES[name]():
        tensors = {key: torch.tensor(array, dtype=torch.float32) for key, array in case.inputs.items()}
        assert case.call(function, tensors).item() == pytest.approx(case.reference(case.inputs), rel=2e-3, abs=2e-3)
