"""Random cases for every objective, and the one comparison that decides whether tensor code agrees with the loops.

A case holds float64 inputs, a loop reference of them, and how to call the product's function. `check` compares the
value and, along random directions, the gradient: autograd of the product against a five-point difference of the loops.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import brute_force as ref
import numpy as np
import torch

Arrays = dict[str, np.ndarray]
STEP = 1e-4
TOLERANCE = 1e-6
NUM_DIRECTIONS = 2


class Disagreement(AssertionError):
    """The function under test is not the reference."""


@dataclass(frozen=True)
class Case:
    """One comparison: `reference(arrays)` and `call(function, tensors)` must be the same number."""

    name: str
    inputs: Arrays
    reference: Callable[[Arrays], float]
    call: Callable[[Callable, dict[str, torch.Tensor]], torch.Tensor]


def near(actual: float, expected: float, what: str) -> None:
    """Raise unless both are finite and equal to 1e-6, relative above 1."""
    if not abs(actual - expected) <= TOLERANCE * max(1.0, abs(expected)):
        raise Disagreement(f"{what}: {actual!r} instead of {expected!r}")


def check(case: Case, function: Callable) -> None:
    """Raise Disagreement unless `function` has the reference's value and gradient on `case`."""
    tensors = {key: torch.tensor(array, dtype=torch.float64, requires_grad=True) for key, array in case.inputs.items()}
    loss = case.call(function, tensors)
    if loss.dtype != torch.float64 or loss.ndim != 0:
        raise Disagreement(f"{case.name}: {loss.dtype} of shape {tuple(loss.shape)} instead of a float64 scalar")
    near(loss.item(), case.reference(case.inputs), f"{case.name} value")
    loss.backward()
    rng = np.random.default_rng(0)
    for key, array in case.inputs.items():
        gradient = tensors[key].grad
        if gradient is None or not torch.isfinite(gradient).all():
            raise Disagreement(f"{case.name}: no finite gradient reaches {key}")
        for _ in range(NUM_DIRECTIONS if array.ndim else 1):
            direction = rng.normal(size=array.shape)
            direction /= np.linalg.norm(direction)
            expected = _derivative(case, key, direction)
            near(float((gradient.numpy() * direction).sum()), expected, f"{case.name} gradient of {key}")


def _derivative(case: Case, key: str, direction: np.ndarray) -> float:
    def at(distance: float) -> float:
        return case.reference({**case.inputs, key: case.inputs[key] + distance * direction})

    return (8 * (at(STEP) - at(-STEP)) - (at(2 * STEP) - at(-2 * STEP))) / (12 * STEP)


def unit(array: np.ndarray) -> list[list[float]]:
    """Rows divided by their length, as lists."""
    return [[float(v) / sum(float(x) ** 2 for x in row) ** 0.5 for v in row] for row in array]


def unit_t(tensor: torch.Tensor) -> torch.Tensor:
    """Rows divided by their length, as a tensor."""
    return tensor / tensor.square().sum(-1, keepdim=True).sqrt()


def _embeddings(rng: np.random.Generator, num_images: int, num_texts: int, scale: float) -> Arrays:
    width = int(rng.integers(2, 6))
    image, text = rng.normal(size=(num_images, width)), rng.normal(size=(num_texts, width))
    return {"image": image, "text": text, "scale": np.array(scale)}


def _some(rng: np.random.Generator, rows: int, columns: int, share: float) -> np.ndarray:
    marks = rng.random((rows, columns)) < share
    marks[rng.integers(rows), rng.integers(columns)] = True
    return marks


def info_nce_cases(num: int = 64) -> Iterator[Case]:
    """CLIP: diagonal, owners, several positives with empty rows and columns, soft targets; whole and in chunks."""
    kinds = ("diagonal", "owner", "positive", "target")
    scales, chunks = (1.0, 14.3, 100.0), (None, 1, 2, 3, 64)
    for index in range(num):
        rng = np.random.default_rng([11, index])
        kind, scale, chunk = kinds[index % 4], scales[index % 3], chunks[index % 5]
        b = int(rng.integers(1, 7))
        m = b if kind == "diagonal" else int(rng.integers(1, 8))
        marks, options = np.eye(b, m, dtype=bool), {}
        if kind == "owner":
            owner = rng.integers(0, b, size=m)
            marks = np.arange(b)[:, None] == owner[None, :]
            options = {"owner_M": torch.tensor(owner)}
        elif kind == "positive":
            marks = _some(rng, b, m, 0.35)
            options = {"positive_BM": torch.tensor(marks)}
        elif kind == "target":
            marks = np.where(_some(rng, b, m, 0.5), rng.uniform(0.05, 2.0, size=(b, m)), 0.0)
            options = {"target_BM": torch.tensor(marks)}
        loops = ref.soft_info_nce if kind == "target" else ref.info_nce
        yield Case(
            f"info_nce[{index}] {kind} {b}x{m} scale {scale} chunk {chunk}",
            _embeddings(rng, b, m, scale),
            lambda a, loops=loops, marks=marks: loops(
                unit(a["image"]), unit(a["text"]), float(a["scale"]), marks.tolist()
            ),
            lambda f, t, o=options, c=chunk: f(unit_t(t["image"]), unit_t(t["text"]), t["scale"], chunk=c, **o),
        )


def kep_cases(num: int = 54) -> Iterator[Case]:
    """KEP: own texts or equal texts as positives, equal texts dropped or not, weights 0 included, whole and chunked."""
    scales, chunks, weights = (1.0, 25.0, 60.0), (None, 1, 3), ((1.0, 0.3), (0.4, 2.0), (0.0, 1.0), (1.5, 0.0))
    for index in range(num):
        rng = np.random.default_rng([15, index])
        kind, scale, chunk = ("own", "equal", "dropped")[index % 3], scales[index // 3 % 3], chunks[index // 2 % 3]
        share = weights[index % 4]
        b = int(rng.integers(1, 6))
        m = b if kind == "own" else int(rng.integers(1, 7))
        owner, word = rng.integers(0, b, size=m), rng.integers(0, 4, size=m)
        own = np.eye(b, dtype=bool) if kind == "own" else np.arange(b)[:, None] == owner[None, :]
        same, itself = word[:, None] == word[None, :], np.eye(m, dtype=bool)
        carries = own.astype(int) @ same.astype(int) > 0
        marks = {
            "own": (own, own & False, itself, itself & False),
            "equal": (carries, carries & False, same, same & False),
            "dropped": (own, carries, itself, same),
        }[kind]
        options = {"image_text": share[0], "text_knowledge": share[1], "chunk": chunk}
        if kind != "own":  # the diagonal is what no matrix means
            names = ("positive_BM", "exclude_BM", "positive_MM", "exclude_MM")
            options |= {name: torch.tensor(mark) for name, mark in zip(names, marks, strict=True)}
        inputs = _embeddings(rng, b, m, scale)
        knowledge, lists = unit(rng.normal(size=inputs["text"].shape)), [mark.tolist() for mark in marks]
        yield Case(
            f"kep[{index}] {kind} {b}x{m} scale {scale} chunk {chunk} weights {share}",
            inputs,
            lambda a, k=knowledge, x=lists, w=share: ref.kep(
                unit(a["image"]), unit(a["text"]), k, float(a["scale"]), (x[0], x[1]), (x[2], x[3]), w
            ),
            lambda f, t, k=knowledge, o=options: f(
                unit_t(t["image"]), unit_t(t["text"]), t["text"].new_tensor(k), t["scale"], **o
            ),
        )


def sigmoid_cases(num: int = 60) -> Iterator[Case]:
    """SigLIP: the diagonal or random positives, unequal counts, whole and in chunks."""
    scales, biases, chunks = (1.0, 10.0, 100.0), (-10.0, 0.0, 2.5, -100.0), (None, 1, 2, 3, 64)
    for index in range(num):
        rng = np.random.default_rng([12, index])
        scale, bias, chunk = scales[index % 3], biases[index % 4], chunks[index % 5]
        b = int(rng.integers(1, 7))
        m = b if index % 2 else int(rng.integers(1, 8))
        marks, options = np.eye(b, m, dtype=bool), {}
        if index % 2 == 0:
            marks = _some(rng, b, m, 0.3)
            options = {"positive_BM": torch.tensor(marks)}
        yield Case(
            f"sigmoid[{index}] {b}x{m} scale {scale} bias {bias} chunk {chunk}",
            {**_embeddings(rng, b, m, scale), "bias": np.array(bias)},
            lambda a, marks=marks: ref.sigmoid_loss(
                unit(a["image"]), unit(a["text"]), float(a["scale"]), float(a["bias"]), marks.tolist()
            ),
            lambda f, t, o=options, c=chunk: f(
                unit_t(t["image"]), unit_t(t["text"]), t["scale"], t["bias"], chunk=c, **o
            ),
        )


def adasp_cases(num: int = 60) -> Iterator[Case]:
    """AdaSP: loose groups (weight 0) and tight ones (weight up to 1), groups of one included."""
    for index in range(num):
        rng = np.random.default_rng([13, index])
        num_groups, size = int(rng.integers(1, 5)), int(rng.integers(1, 5))
        temperature = (0.04, 0.1, 1.0, 0.01)[index % 4]
        width = int(rng.integers(3, 7))
        centre = np.repeat(rng.normal(size=(num_groups, width)), size, axis=0)
        rows = centre + (0.05, 0.3, 3.0)[index % 3] * rng.normal(size=centre.shape)
        weights = ref.adasp_weights(unit(rows), size, temperature)
        yield Case(
            f"adasp[{index}] {num_groups}x{size} temperature {temperature}",
            {"embedding": rows},
            lambda a, s=size, t=temperature, w=weights: ref.adasp(unit(a["embedding"]), s, t, w),
            lambda f, t, s=size, temperature=temperature: f(unit_t(t["embedding"]), s, temperature),
        )


def group_cases(per_cell: int = 5) -> Iterator[Case]:
    """KEEP's group loss: every variant x aggregate x compat x exclusion (none, symmetric, one-sided, all)."""
    cells = product(ref.VARIANTS, ("mean", "sum"), (None, "keep"), ("none", "symmetric", "one-sided", "all"))
    for number, (variant, aggregate, compat, exclusion) in enumerate(cells):
        for repeat in range(per_cell if exclusion != "all" else 1):
            rng = np.random.default_rng([14, number, repeat])
            g, m = int(rng.integers(1, 5)), int(rng.integers(1, 5))
            scale = (1.0, 14.3, 25.0, 100.0, 60.0)[(number + repeat) % 5]
            exclude = {"none": None, "all": np.ones((g, g), dtype=bool)}.get(exclusion, rng.random((g, g)) < 0.4)
            if exclusion == "symmetric":
                # As a closure gives it: related in both directions, every group related to itself.
                exclude = exclude | exclude.T | np.eye(g, dtype=bool)
            mask = None if exclude is None else torch.tensor(exclude)
            yield Case(
                f"group {variant} {aggregate} {compat} exclude {exclusion} {g}x{m} scale {scale}",
                {"similarity": rng.uniform(-1, 1, size=(g * m, g * m)), "scale": np.array(scale)},
                lambda a, m=m, e=exclude, v=variant, r=aggregate, c=compat: ref.group_metric(
                    a["similarity"].tolist(), m, float(a["scale"]), None if e is None else e.tolist(), v, r, c
                ),
                lambda f, t, m=m, e=mask, v=variant, r=aggregate, c=compat: f(
                    t["similarity"], m, t["scale"], exclude=e, variant=v, aggregate=r, compat=c
                ),
            )
