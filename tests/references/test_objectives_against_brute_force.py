"""Every objective equals loops written from its formula alone, in value and gradient, and a flipped sign is noticed."""

import importlib
import math
from collections.abc import Callable
from dataclasses import replace

import brute_force as ref
import brute_force_cases as cases
import brute_force_mutants as mutation
import numpy as np
import pytest
import torch

PACKAGE = "medvlp.objectives"
OBJECTIVES = {
    "clip.info_nce": cases.info_nce_cases,
    "kep.kep_loss": cases.kep_cases,
    "siglip.sigmoid_loss": cases.sigmoid_cases,
    "knowledge_metric.adasp_loss": cases.adasp_cases,
    "semantic_groups.group_metric_loss": cases.group_cases,
}


def load(name: str) -> Callable:
    module, function = name.split(".")
    return getattr(importlib.import_module(f"{PACKAGE}.{module}"), function)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_value_and_gradient_equal_the_loops(name: str) -> None:
    function, num = load(name), 0
    for case in OBJECTIVES[name]():
        cases.check(case, function)
        num += 1
    assert num >= 50


def rejects(case: cases.Case, function: Callable) -> bool:
    try:
        cases.check(case, function)
    except cases.Disagreement:
        return True
    return False


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_negated_loss_is_rejected(name: str) -> None:
    function = load(name)
    case = next(case for case in OBJECTIVES[name]() if abs(case.reference(case.inputs)) > 0.1)
    assert not rejects(case, function)
    assert rejects(case, lambda *a, **k: -function(*a, **k))


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("key", ["similarity", "text", "scale", "bias"])
def test_a_reference_with_one_input_negated_is_rejected(name: str, key: str) -> None:
    function, num = load(name), 0
    for case in OBJECTIVES[name]():
        if key not in case.inputs or abs(case.inputs[key]).max() == 0:
            continue
        wrong = replace(case, reference=lambda a, c=case, k=key: c.reference({**a, k: -a[k]}))
        if abs(wrong.reference(case.inputs) - case.reference(case.inputs)) > 1e-3:
            assert rejects(wrong, function), case.name
            num += 1
        if num == 10:
            break
    if num == 0:
        assert key not in next(iter(OBJECTIVES[name]())).inputs


@pytest.mark.parametrize("name", OBJECTIVES)
def test_right_value_with_wrong_gradient_is_rejected(name: str) -> None:
    function = load(name)
    for case in OBJECTIVES[name]():
        if "2x" in case.name or "3x" in case.name:
            break

    def stopped(*args: object, **options: object) -> torch.Tensor:
        loss = function(*args, **options)
        return loss.detach() + 0.5 * (loss - loss.detach())

    loss_tensors = {k: torch.tensor(v) for k, v in case.inputs.items()}
    assert case.call(stopped, loss_tensors).item() == pytest.approx(case.call(function, loss_tensors).item(), abs=1e-12)
    assert rejects(case, stopped)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_flipped_operator_in_the_source_is_noticed(name: str, tmp_path) -> None:
    function = load(name)
    # Large cases first: most mutants die at once, and only a survivor pays for the whole list.
    ordered = sorted(OBJECTIVES[name](), key=lambda case: sum(array.size for array in case.inputs.values()) < 8)
    found = mutation.mutants(function, PACKAGE)
    assert len(found) >= 3
    survivors = []
    for mutant in found:
        with mutation.swapped_in(mutant, function, PACKAGE, tmp_path) as broken:
            if not any(fails(case, broken) for case in ordered):
                survivors.append(mutant.text)
    assert not survivors
    for control in mutation.copies(function, PACKAGE):
        with mutation.swapped_in(control, function, PACKAGE, tmp_path) as same:
            for case in ordered[:20]:
                cases.check(case, same)
    cases.check(ordered[0], load(name))


def fails(case: cases.Case, function: Callable) -> bool:
    """Whether a mutant gives another answer, or none: an exception is as loud as a wrong number."""
    try:
        cases.check(case, function)
    except Exception:
        return True
    return False


def test_known_values_of_32_equal_groups_of_4() -> None:
    loss = load("semantic_groups.group_metric_loss")
    equal = torch.full((128, 128), 0.3, dtype=torch.float64)
    published = loss(equal, 4, 25.0, compat="keep").item()
    assert published == pytest.approx(math.log(1 + 31 * 16), abs=1e-9)
    assert round(published, 4) == 6.2086
    assert loss(equal, 4, 25.0, aggregate="sum").item() == pytest.approx(published, abs=1e-9)
    for variant in ref.VARIANTS:
        assert loss(equal, 4, 25.0, variant=variant).item() == pytest.approx(math.log(32), abs=1e-9), variant


def test_keep_overwrites_where_the_default_drops() -> None:
    loss = load("semantic_groups.group_metric_loss")
    similarity = torch.tensor(np.random.default_rng(5).uniform(-1, 1, size=(6, 6)))
    everything = torch.ones(3, 3, dtype=torch.bool)
    assert loss(similarity, 2, 10.0, exclude=everything).item() == pytest.approx(0.0, abs=1e-12)
    assert loss(similarity, 2, 10.0, exclude=everything, compat="keep").item() > 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_float32_stays_finite_and_close(name: str) -> None:
    """Logits of 100 overflow a float32 exponential; a stable formula must not notice."""
    function, num = load(name), 0
    for case in OBJECTIVES[name]():
        tensors = {k: torch.tensor(v, dtype=torch.float32, requires_grad=True) for k, v in case.inputs.items()}
        loss = case.call(function, tensors)
        loss.backward()
        expected = case.reference(case.inputs)
        assert loss.item() == pytest.approx(expected, rel=2e-3, abs=2e-3), case.name
        assert all(torch.isfinite(t.grad).all() for t in tensors.values()), case.name
        num += 1
    assert num >= 50


def test_info_nce_owner_equals_positive_matrix_and_one_hot_targets() -> None:
    info_nce = load("clip.info_nce")
    rng = np.random.default_rng(3)
    image, text = (torch.tensor(cases.unit(rng.normal(size=shape)), dtype=torch.float64) for shape in ((4, 5), (9, 5)))
    owner = torch.tensor([0, 0, 1, 2, 2, 2, 3, 1, 0])
    positive = torch.arange(4)[:, None] == owner[None, :]
    value = info_nce(image, text, 14.3, owner_M=owner).item()
    assert info_nce(image, text, 14.3, positive_BM=positive).item() == pytest.approx(value, abs=1e-12)
    assert info_nce(image, text, 14.3, target_BM=positive.double()).item() == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 100])
def test_chunks_change_nothing(chunk: int) -> None:
    rng = np.random.default_rng(chunk)
    image, text = (torch.tensor(cases.unit(rng.normal(size=(7, 4))), dtype=torch.float64) for _ in range(2))
    for name, extra in (("clip.info_nce", ()), ("siglip.sigmoid_loss", (-3.0,))):
        function = load(name)
        whole, pieces = (function(image, text, 20.0, *extra, chunk=c).item() for c in (None, chunk))
        assert pieces == pytest.approx(whole, abs=1e-12)
