"""What vectorised losses save: MAKE's loss and MedKLIP's step against the same formulas written row by row.

Both ways run forward and backward on the same numbers in the same run; value and gradients must be equal. Writes
results.json and prints a table; --page puts it between the marks of a page.

Example: python -m benchmarks.speed.objectives --out runs/speed_objectives
Example: python -m benchmarks.speed.objectives --images 16 --repeats 3
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.common.marks import put_between
from benchmarks.speed import objectives_loops as loops
from medvlp.errors import DataError, MedvlpError
from medvlp.io import write_json

USER_ERROR = 2
MARKS = "objective speed"
WANTED = 10.0
TOLERANCE = 1e-3  # of the largest entry, in float32 under a multiplier of 20
SCALE, THRESHOLD, WEIGHTS, TEMPERATURE = 20.0, 0.3, (1.0, 0.7), 0.07
NEAR = 1e-5
ENTITIES, POSITIONS, WIDTH = 75, 51, 256


@dataclass(frozen=True)
class Case:
    """One loss in two ways.

    Attributes:
        name: What it is.
        size: In words.
        leaves: What gradients are taken of.
        ours: The vectorised loss of the leaves.
        literal: The row-by-row loss of the leaves.
    """

    name: str
    size: str
    leaves: list[Tensor]
    ours: Callable[..., Tensor]
    literal: Callable[..., Tensor]


def make_case(images: int, texts: int, places: int, width: int, dtype: torch.dtype = torch.float32) -> Case:
    """MAKE: caption, ontology sentence, concepts and sub-captions of each image, texts in random order."""
    ours = importlib.import_module("medvlp.objectives.make")
    draw = torch.Generator().manual_seed(0)

    def unit(*shape: int, near: Tensor | None = None, noise: float = 1.0) -> Tensor:
        rows = noise * normalize(torch.randn(*shape, width, generator=draw, dtype=dtype), dim=-1)
        return normalize(rows if near is None else rows + near, dim=-1)

    image_BD = unit(images)
    order = torch.randperm(images * texts, generator=draw)
    owner_M = torch.arange(images).repeat_interleave(texts)[order]
    kind_M = torch.arange(texts).repeat(images)[order]
    text_MD = unit(images * texts, near=image_BD[owner_M])
    patch_BND = unit(images, places, near=image_BD[:, None], noise=2.0)
    # A cosine at the threshold would fall on either side by rounding alone: such patches look like their image instead.
    cosine_MN = torch.stack([patch_BND[owner] @ text for owner, text in zip(owner_M.tolist(), text_MD, strict=True)])
    rows_K, places_K = ((cosine_MN - THRESHOLD).abs() < NEAR).nonzero(as_tuple=True)
    patch_BND[owner_M[rows_K], places_K] = image_BD[owner_M[rows_K]]
    ontology_M, sub_M, valid_M = kind_M == 1, kind_M > 2, torch.ones_like(kind_M, dtype=torch.bool)

    def vectorised(image_BD: Tensor, patch_BND: Tensor, text_MD: Tensor) -> Tensor:
        weight_M = ours.guidance_weights(text_MD, owner_M, ontology_M, sub_M, valid_M)
        aspects: Tensor = ours.multi_aspect_loss(image_BD, text_MD, SCALE, owner_M, valid_M, weight_M)
        local: Tensor = ours.local_loss(
            patch_BND, text_MD, SCALE, owner_M, valid_M, sub_M, weight_M, threshold=THRESHOLD
        )
        return WEIGHTS[0] * aspects + WEIGHTS[1] * local

    def literal(image_BD: Tensor, patch_BND: Tensor, text_MD: Tensor) -> Tensor:
        return loops.make_loss(
            image_BD, patch_BND, text_MD, owner_M, ontology_M, sub_M, SCALE, THRESHOLD, WEIGHTS
        )  # fmt: skip

    size = f"{images} x {texts} texts, {places} places, width {width}"
    return Case("MAKE", size, [image_BD, patch_BND, text_MD], vectorised, literal)


def medklip_case(
    images: int, entities: int, positions: int, width: int, dtype: torch.dtype = torch.float32
) -> Case | None:
    """MedKLIP: existence and location; None where the loss is not part of this version."""
    try:
        ours = importlib.import_module("medvlp.objectives.medklip")
    except ModuleNotFoundError as error:
        if error.name != "medvlp.objectives.medklip":
            raise
        return None
    draw = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=dtype)

    states = torch.tensor([0, 1, 2, -100])
    likely = torch.tensor([0.4, 0.2, 0.1, 0.3])
    drawn = torch.multinomial(likely, images * entities * (positions + 1), replacement=True, generator=draw)
    position_BQP = states[drawn].view(images, entities, positions + 1)[..., 1:].contiguous()
    label_BQ = states[drawn].view(images, entities, positions + 1)[..., 0].contiguous()
    position_BQP[label_BQ != 1] = 0  # what is not there is nowhere
    above_PP = torch.zeros(positions, positions, dtype=torch.bool)
    above_PP[1:, 0] = True  # the first position holds all others

    def vectorised(logit_BQ2: Tensor, place_BQD: Tensor, position_PD: Tensor) -> Tensor:
        existence: Tensor = ours.existence_loss(logit_BQ2, label_BQ)
        location: Tensor = ours.location_loss(place_BQD, position_PD, position_BQP, above_PP, temperature=TEMPERATURE)
        return existence + location

    def literal(logit_BQ2: Tensor, place_BQD: Tensor, position_PD: Tensor) -> Tensor:
        return loops.medklip_loss(
            logit_BQ2, place_BQD, position_PD, label_BQ, position_BQP, above_PP, TEMPERATURE
        )  # fmt: skip

    leaves = [
        normal(images, entities, 2),
        normalize(normal(images, entities, width), dim=-1),
        normalize(normal(positions, width), dim=-1),
    ]
    size = f"{images} images, {entities} entities, {positions} positions, width {width}"
    return Case("MedKLIP", size, leaves, vectorised, literal)


def timed(function: Callable[..., Tensor], leaves: list[Tensor], repeats: int) -> tuple[dict[str, float], list[Tensor]]:
    """Return the least seconds of a forward and backward, by the clock and of this process, and value and gradients."""
    seconds, cpu_seconds, found = [], [], list[Tensor]()
    for _ in range(repeats):
        inputs = [leaf.clone().requires_grad_() for leaf in leaves]
        clock, process = time.perf_counter(), time.process_time()
        value = function(*inputs)
        gradients = torch.autograd.grad(value, inputs)
        seconds.append(time.perf_counter() - clock)
        cpu_seconds.append(time.process_time() - process)
        found = [value.detach(), *gradients]
    return {"seconds": min(seconds), "cpu_seconds": min(cpu_seconds)}, found


def compare(case: Case, repeats: int) -> dict[str, Any]:
    """Time both ways.

    Raises:
        DataError: If value or gradients differ by more than the tolerance of their largest entry.
    """
    case.ours(*case.leaves)  # the first call loads the library's code
    ours, vectorised = timed(case.ours, case.leaves, repeats)
    literal, expected = timed(case.literal, case.leaves, 1)
    apart = [
        float((one - other).abs().max() / other.abs().max().clamp(min=1e-30))
        for one, other in zip(vectorised, expected, strict=True)
    ]
    if max(apart) > TOLERANCE:
        raise DataError(f"the two ways differ by {max(apart):.1e} of the largest entry", item=case.name)
    return {
        "name": case.name,
        "size": case.size,
        "vectorised": ours,
        "literal": literal,
        "ratio_of_seconds": literal["seconds"] / ours["seconds"],
        "ratio_of_cpu_seconds": literal["cpu_seconds"] / ours["cpu_seconds"],
        "largest_difference": {"value": apart[0], "gradients": max(apart[1:])},
    }


def markdown(record: dict[str, Any]) -> str:
    """Return the record as a table with a sentence before it."""
    rows = [
        f"| {one['name']} | {one['size']} | {one['literal']['cpu_seconds']:.2f}"
        f" | {one['vectorised']['cpu_seconds']:.3f} | {one['ratio_of_cpu_seconds']:.0f} | {one['ratio_of_seconds']:.0f}"
        f" | {one['largest_difference']['value']:.0e} | {one['largest_difference']['gradients']:.0e} |"
        for one in record["losses"]
    ]
    return "\n".join(
        [
            f"Forward and backward in float32, {record['threads']} thread(s) on {record['cores']} cores"
            f"{' shared with other work' if record['shared'] else ''}, torch {record['torch']}; wanted: a ratio of"
            f" {WANTED:g} at least.",
            "",
            "| loss | size | row by row (processor s) | vectorised (processor s) | ratio | ratio by the clock |"
            " value apart | gradients apart |",
            "|---|---|---:|---:|---:|---:|---:|---:|",
            *rows,
        ]
    )


def main() -> int:
    """Measure as the command line says; return the exit code."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.objectives", description=__doc__, formatter_class=raw
    )
    parser.add_argument("--out", type=Path, default=Path("runs/speed_objectives"), help="folder of the results")
    parser.add_argument("--images", type=int, default=256, help="images per batch of MAKE")
    parser.add_argument("--texts", type=int, default=11, help="texts per image")
    parser.add_argument("--places", type=int, default=196, help="places per image")
    parser.add_argument("--width", type=int, default=512, help="width of embeddings")
    parser.add_argument("--medklip-images", type=int, default=64, help="images per batch of MedKLIP")
    parser.add_argument("--repeats", type=int, default=3, help="runs of the vectorised way, of which the best counts")
    parser.add_argument("--shared", action="store_true", help="say in the result that other work ran beside it")
    parser.add_argument("--page", type=Path, help=f'page whose marks "{MARKS}" take the table')
    arguments = parser.parse_args()
    try:
        cases = [
            make_case(arguments.images, arguments.texts, arguments.places, arguments.width),
            medklip_case(arguments.medklip_images, ENTITIES, POSITIONS, WIDTH),
        ]
        record = {
            "torch": torch.__version__,
            "cores": len(os.sched_getaffinity(0)),
            "threads": torch.get_num_threads(),
            "shared": arguments.shared,
            "losses": [compare(case, arguments.repeats) for case in cases if case is not None],
        }
        write_json(arguments.out / "results.json", record)
        if arguments.page is not None:
            put_between(arguments.page, MARKS, markdown(record))
    except MedvlpError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    print(markdown(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
