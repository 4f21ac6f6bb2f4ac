"""The losses of the seed systems equal their loops in value and gradient, and every flipped operator is noticed.

The arithmetic under test is that of each method's own file; what it borrows from another loss is proven there.
"""

import ast
import inspect

import brute_force_mutants as mutation
import brute_force_seed_checks as seed
import brute_force_seed_systems as ref
import pytest
import torch
from brute_force_seed_cases import LOSSES, NUM_CASES, PACKAGE, cases, check, expected, load

ALL = range(NUM_CASES)
# `a & b` that may as well be `a | b`, by function, each with its reason in a comment.
WITHOUT_EFFECT: dict[str, set[str]] = {}


def rejects(loss, index, function):
    try:
        check(loss, index, function)
    except seed.Disagreement:
        return True
    return False


def agrees(loss, function):
    for index in ALL:
        check(loss, index, function)


@pytest.mark.parametrize("loss", LOSSES)
def test_names_and_defaults_of_the_arguments_are_the_agreed_ones(loss):
    found = list(inspect.signature(load(loss)).parameters.values())
    agreed = list(inspect.signature(getattr(ref, loss.split(".")[1])).parameters.values())
    kept = [p for p in found if p.name in {other.name for other in agreed}]
    assert [(p.name, p.kind, p.default) for p in kept] == [(p.name, p.kind, p.default) for p in agreed]
    assert all(p in kept or p.default is not p.empty for p in found)


@pytest.mark.parametrize("loss", LOSSES)
def test_value_and_gradient_equal_the_loops(loss):
    agrees(loss, load(loss))


@pytest.mark.parametrize("loss", LOSSES)
def test_cases_of_the_loops_are_worth_comparing(loss):
    outcomes = [expected(loss, index) for index in ALL]
    assert sum(bool(value.abs().sum() > 0.01) for value, _ in outcomes) >= 12
    assert all(torch.isfinite(value).all() for value, _ in outcomes)
    if loss != "make.guidance_weights":
        assert all(torch.isfinite(slope).all() for _, slopes in outcomes for slope in slopes.values())
        for key in cases(loss)[0].leaves():
            assert sum(bool(slopes[key].abs().sum() > 1e-4) for _, slopes in outcomes if key in slopes) >= 8, key


@pytest.mark.parametrize("loss", LOSSES)
def test_a_wrong_sign_or_half_a_gradient_is_rejected(loss):
    function, values = load(loss), 0

    def negated(*args, **options):
        return -function(*args, **options)

    def stopped(*args, **options):
        value = function(*args, **options)
        return value.detach() + 0.5 * (value - value.detach())

    for index in ALL:
        value, slopes = seed.outcome(cases(loss)[index], function)
        if value.abs().sum() > 0.1:
            assert rejects(loss, index, negated)
            values += 1
        if cases(loss)[index].smooth and any(slope.abs().sum() > 0.1 for slope in slopes.values()):
            assert rejects(loss, index, stopped)
    assert values >= 10


def _flipped_without_notice(loss, folder):
    function = load(loss)
    module = function.__module__
    found = [mutant for mutant in mutation.mutants(function, PACKAGE) if mutant.owner.__module__ == module]
    left = []
    for mutant in found:
        with mutation.swapped_in(mutant, function, PACKAGE, folder) as broken:
            if not mutation.fails(lambda other: agrees(loss, other), broken):
                left.append(mutant.text.split(": ", 1)[1])
    for control in mutation.copies(function, PACKAGE):
        if control.owner.__module__ == module:
            with mutation.swapped_in(control, function, PACKAGE, folder) as same:
                check(loss, 0, same)
    return left


@pytest.mark.parametrize("loss", LOSSES)
def test_every_flipped_operator_in_the_source_is_noticed(loss, tmp_path):
    assert _flipped_without_notice(loss, tmp_path) == []


@pytest.mark.parametrize("loss", LOSSES)
def test_every_mask_joined_by_or_instead_of_and_is_noticed(loss, tmp_path, monkeypatch):
    monkeypatch.setattr(mutation, "SWAPS", {ast.BitAnd: ast.BitOr})
    assert set(_flipped_without_notice(loss, tmp_path)) <= WITHOUT_EFFECT.get(loss, set())
