"""One comparison with the loops of the seed systems, and what may be done to its arguments without effect.

Arguments are kept by name, and a name's last part says its axes: `text_MD` has texts on axis 0. Permuting, padding and
emptying an axis therefore work for every function alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Arguments = dict[str, Any]
TOLERANCE = 1e-9
SIZELESS = {"uncertain": "Q", "bias": "Q"}  # one for all or one for each
CONSTANT = ("weight_M", "pixel_BNC", "uncertain")  # floating, but nothing is learned through them
# Which axis the values of an index count.
INDEXES = {"owner_M": "B", "swap_of_K": "M", "entity_E": "Q", "positive_R": "P", "negative_RJ": "P"}
OUTPUT_AXES = {"guidance_weights": "M", "word_region_scores": "BM", "many_description_scores": "BQ"}


class Disagreement(AssertionError):
    """The function under test is not the reference."""


@dataclass(frozen=True)
class Case:
    """Arguments by name; floating ones are leaves, of which those in `unit` are divided by their length on the way."""

    name: str
    arguments: Arguments
    unit: tuple[str, ...] = ()
    smooth: bool = True  # False where equal values make the derivative a matter of taste

    def leaves(self, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
        """Fresh floating tensors that gather gradients."""
        floating = {k: v for k, v in self.arguments.items() if isinstance(v, Tensor) and v.is_floating_point()}
        return {k: v.to(dtype, copy=True).requires_grad_() for k, v in floating.items() if k not in CONSTANT}

    def call(self, function: Callable, leaves: dict[str, Tensor]) -> Tensor:
        """`function` of the case with its vectors made unit."""
        given = {**self.arguments, **leaves}
        dtype = next(iter(leaves.values())).dtype
        for key, value in given.items():
            if key in self.unit:
                given[key] = value / value.square().sum(-1, keepdim=True).sqrt().clamp(min=1e-30)
            elif isinstance(value, Tensor) and value.is_floating_point():
                given[key] = value.to(dtype)
        return function(**given)


def outcome(case: Case, function: Callable) -> tuple[Tensor, dict[str, Tensor]]:
    """Value, and the gradient of a fixed mixture of the values with respect to every leaf (0 if it plays no part)."""
    leaves = case.leaves()
    value = case.call(function, leaves)
    if value.dtype != torch.float64:
        raise Disagreement(f"{case.name}: {value.dtype} from float64 arguments")
    if not value.requires_grad:
        return value, {}
    mixture = torch.linspace(1, 2, value.numel(), dtype=torch.float64).reshape(value.shape)
    gradients = torch.autograd.grad((mixture * value).sum(), list(leaves.values()), materialize_grads=True)
    return value.detach(), dict(zip(leaves, gradients, strict=True))


def close(actual: Tensor, expected: Tensor, what: str, tolerance: float = TOLERANCE) -> None:
    """Raise unless shapes are equal and all numbers finite and equal to a tolerance that is relative above 1."""
    if actual.shape != expected.shape:
        raise Disagreement(f"{what}: shape {tuple(actual.shape)} instead of {tuple(expected.shape)}")
    if not ((actual - expected).abs() <= tolerance * expected.abs().clamp(min=1)).all():
        raise Disagreement(f"{what}: {actual.tolist()} instead of {expected.tolist()}")


def compare(case: Case, function: Callable, expected: tuple[Tensor, dict[str, Tensor]]) -> None:
    """Raise Disagreement unless `function` has the expected value and gradients on the case."""
    actual, gradients = outcome(case, function)
    close(actual, expected[0], f"{case.name} value")
    if set(gradients) != set(expected[1]):
        raise Disagreement(f"{case.name}: gradients reach {sorted(gradients)} instead of {sorted(expected[1])}")
    for key, slope in expected[1].items() if case.smooth else ():
        # A scale of 60 or a temperature of 0.07 stretches the rounding of the value.
        close(gradients[key], slope, f"{case.name} gradient of {key}", 100 * TOLERANCE)


# What changes nothing


def axes(name: str, value: Any) -> str:
    """Letters of an argument's axes."""
    if not isinstance(value, Tensor) or not value.ndim:
        return ""
    return SIZELESS.get(name, name.rsplit("_", 1)[-1])


def select(case: Case, letter: str, rows: list[int]) -> Case:
    """The case with the rows of one axis in another order, or fewer of them; indexes into the axis follow."""
    changed = dict(case.arguments)
    place = {row: new for new, row in enumerate(rows)}
    for name, value in case.arguments.items():
        letters = axes(name, value)
        for axis, own in enumerate(letters):
            if own == letter and not (name in SIZELESS and value.shape[axis] == 1):
                changed[name] = changed[name].index_select(axis, torch.tensor(rows, dtype=torch.int64))
        if INDEXES.get(name) == letter and rows:
            flat = [place[int(old)] for old in changed[name].flatten()]
            changed[name] = torch.tensor(flat, dtype=torch.int64).reshape(changed[name].shape)
    return Case(f"{case.name} {letter}{rows}", changed, case.unit, case.smooth)


def size(case: Case, letter: str) -> int:
    """Length of an axis, 0 if the function has none of that letter."""
    for name, value in case.arguments.items():
        letters = axes(name, value)
        if letter in letters and name not in SIZELESS:
            return value.shape[letters.index(letter)]
    return 0


def permutation(case: Case, letter: str, seed: int) -> tuple[Case, list[int]]:
    """One axis in a random order, and the order."""
    rows = np.random.default_rng([7, seed]).permutation(size(case, letter)).tolist()
    return select(case, letter, rows), rows


def pad(case: Case, letter: str, fills: Arguments, seed: int) -> Case:
    """Two rows more on one axis: `fills` says what the marks hold there, everything else is noise."""
    rng = np.random.default_rng([8, seed])
    changed = dict(case.arguments)
    for name, value in case.arguments.items():
        letters = axes(name, value)
        for axis, own in enumerate(letters):
            if own != letter or (name in SIZELESS and value.shape[axis] == 1):
                continue
            shape = list(changed[name].shape)
            shape[axis] = 2
            if name in fills:
                more = torch.full(shape, fills[name], dtype=value.dtype)
            elif value.is_floating_point():
                more = torch.tensor(rng.normal(size=shape))
            elif value.dtype == torch.bool:
                more = torch.tensor(rng.random(shape) < 0.5)
            else:
                more = torch.tensor(rng.integers(0, 2, size=shape))
            if name in INDEXES and name not in fills:
                more = more % (size(case, INDEXES[name]) or 1)
            changed[name] = torch.cat([changed[name], more], axis)
    return Case(f"{case.name} padded {letter}", changed, case.unit, case.smooth)
