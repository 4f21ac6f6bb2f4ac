"""Every pooling, the prompt screening and the smoothing equal loops; a flipped operator in their source is noticed."""

import importlib
from collections.abc import Callable

import brute_force_mutants as mutation
import brute_force_slide as ref
import numpy as np
import pytest

PACKAGE = "medvlp.zeroshot"
SEEDS = range(8)


def cosines(seed: int) -> np.ndarray:
    rng = np.random.default_rng([31, seed])
    num, classes = int(rng.integers(1, 30)), int(rng.integers(2, 5))
    table = rng.uniform(-0.3, 0.6, (num, classes))
    return table.round(1) if seed % 2 else table


def places(seed: int, step: int) -> np.ndarray:
    """Cells of a grid with gaps, in a random order, the grid itself starting anywhere."""
    rng = np.random.default_rng([32, seed])
    every = np.argwhere(np.ones((5, 6)))
    kept = rng.permutation(every)[: int(rng.integers(1, 25))]
    return kept * step + rng.integers(0, 50, 2)


def close(actual: object, expected: object) -> None:
    np.testing.assert_allclose(actual, expected, atol=1e-12)


def check_probabilities(function: Callable) -> None:
    for seed in SEEDS:
        for scale in (7.0, 1000.0):  # the second overflows without the shift by the largest
            close(function(cosines(seed), scale), ref.probabilities(cosines(seed).tolist(), scale))


def check_tumour_ratio(function: Callable) -> None:
    for seed in SEEDS:
        table = ref.probabilities(cosines(seed).tolist(), 4.0)
        normal = seed % len(table[0])
        for threshold in (0.3, 0.5, 0.7):
            close(function(np.array(table), normal, threshold), ref.tumour_ratio(table, normal, threshold))


def check_shares(function: Callable) -> None:
    for seed in SEEDS:
        close(function(cosines(seed)), ref.shares(cosines(seed).tolist()))


def check_top_k(function: Callable) -> None:
    for seed in SEEDS:
        for k in (1, 3, 100):
            value, used = function(cosines(seed), k)
            close(value, ref.top_k(cosines(seed).tolist(), k))
            assert used == min(k, len(cosines(seed)))


def check_mean(function: Callable) -> None:
    for seed in SEEDS:
        close(function(cosines(seed)), ref.mean(cosines(seed).tolist()))


def check_log_sum_exp(function: Callable) -> None:
    for seed in SEEDS:
        close(function(cosines(seed), 5.0), ref.log_sum_exp(cosines(seed).tolist(), 5.0))


def check_screening(function: Callable) -> None:
    for seed in SEEDS:
        rng = np.random.default_rng([33, seed])
        tiles, texts = rng.normal(size=(9, 4)) / 2, rng.normal(size=(7, 4)) / 2
        pool = rng.integers(0, 7, (11, 2 + seed % 3))
        for compat in (None, "keep"):
            score, num = function(iter([tiles[:4], tiles[4:]]), texts, pool, compat=compat)
            close(score, ref.screening(tiles.tolist(), texts.tolist(), pool.tolist(), compat == "keep"))
            assert num == 9


def check_window(function: Callable) -> None:
    for seed in SEEDS:
        where = places(seed, 37)
        value = np.random.default_rng(seed).random(len(where))
        for radius in (0, 1, 2):
            expected = ref.window(value.tolist(), [tuple(place) for place in where.tolist()], 37, radius)
            close(function(value, where, 37, radius), expected)
            close(function(value[:, None], where, 37, radius)[:, 0], expected)


def check_up_left(function: Callable) -> None:
    for seed in SEEDS:
        where = places(seed, 20)
        value = np.random.default_rng(seed).random((len(where), 1))
        for shift in (20, 40, 7):
            expected = ref.up_left(value[:, 0].tolist(), [tuple(place) for place in where.tolist()], shift)
            close(function(value, where, shift)[:, 0], expected)


def check_cells(function: Callable) -> None:
    for seed in SEEDS:
        for patch, step in ((4, 4), (8, 4), (7, 3), (3, 5)):
            where = places(seed, step)
            value = np.random.default_rng(seed).random(len(where))
            found = function(value, where, patch, step)
            expected = ref.cells(value.tolist(), [tuple(place) for place in where.tolist()], patch, step)
            assert [tuple(place) for place in found.coords_MX.tolist()] == sorted(expected, key=lambda xy: xy[::-1])
            close(found.value_MK, [expected[tuple(place)] for place in found.coords_MX.tolist()])
            assert found.side == step


CHECKS = {
    "slide_pooling.tile_probabilities": check_probabilities,
    "slide_pooling.tumour_ratio": check_tumour_ratio,
    "slide_pooling.answered_shares": check_shares,
    "slide_pooling.top_k_mean": check_top_k,
    "slide_pooling.mean_pool": check_mean,
    "slide_pooling.log_sum_exp_pool": check_log_sum_exp,
    "slide_prompts.screening_scores": check_screening,
    "smoothing.smooth": check_window,
    "smoothing.smooth_as_keep": check_up_left,
    "smoothing.cells": check_cells,
}


def load(name: str) -> Callable:
    module, function = name.split(".")
    return getattr(importlib.import_module(f"{PACKAGE}.{module}"), function)


@pytest.mark.parametrize("name", CHECKS)
def test_it_equals_the_loops(name: str) -> None:
    CHECKS[name](load(name))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CHECKS)
def test_a_flipped_operator_is_noticed(name: str, tmp_path) -> None:
    survivors, num = [], 0
    for mutant in mutation.mutants(load(name), PACKAGE):
        num += 1
        with mutation.swapped_in(mutant, load(name), PACKAGE, tmp_path) as broken:
            try:
                CHECKS[name](broken)
            except Exception:
                continue
            survivors.append(mutant.text)
    assert survivors == []
    assert num > 0 or name in ("slide_pooling.mean_pool", "slide_pooling.top_k_mean")  # no operator in these
