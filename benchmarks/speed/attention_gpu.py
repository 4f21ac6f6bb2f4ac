"""The GPU part of the attention benchmark: packed backends against padding and the plain formula."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.attention_ways import cuda_cost, inputs, log_uniform, padded, plain
from medvlp.fusion.attention import ORDER, backends, packed_attention

SLIDES, SMALLEST, LARGEST = 32, 5_000, 60_000
HEADS, HEAD_WIDTH = 8, 64


def gpu_part() -> dict[str, Any]:
    """Measure on the first CUDA device; without one, an empty record."""
    if not torch.cuda.is_available():
        return {}
    lengths = log_uniform(SLIDES, SMALLEST, LARGEST)
    found: dict[str, Any] = {"device": torch.cuda.get_device_name(0), "lengths": lengths, "dtype": "bfloat16"}
    found["why_not"] = {name: reason for name, reason in backends("cuda").items() if reason is not None}
    ways: dict[str, Callable[..., Tensor]] = {
        name: partial(packed_attention, backend=name) for name in ORDER if name not in found["why_not"]
    }
    ways |= {"SDPA, padded": padded, "plain softmax": plain}
    q, k, v, upstream = inputs(lengths, HEADS, HEAD_WIDTH, "cuda", torch.bfloat16)
    with torch.no_grad():
        wanted = packed_attention(q.float(), k.float(), v.float(), torch.tensor(lengths), backend="sdpa")
    found["ways"] = {name: one_way(way, (q, k, v), upstream, lengths, wanted) for name, way in ways.items()}
    return found


def one_way(
    way: Callable[..., Tensor], qkv: tuple[Tensor, ...], upstream: Tensor, lengths: list[int], wanted: Tensor
) -> dict[str, Any]:
    """Measure one way; a failure (out of memory, no kernel) is its result."""
    lengths_S = torch.tensor(lengths)
    torch.cuda.empty_cache()

    def work() -> Tensor:
        for x in qkv:
            x.grad = None
        out = way(*qkv, lengths_S)
        out.backward(upstream)
        return out.detach()

    try:
        cost = cuda_cost(work)
        return {**cost, "largest_difference": float((work().float() - wanted).abs().max())}
    except torch.cuda.OutOfMemoryError:
        return {"failed": "out of memory"}
    except (NotImplementedError, RuntimeError, ValueError) as error:
        return {"failed": (str(error).splitlines() or [type(error).__name__])[0][:200]}


def gpu_table(found: dict[str, Any]) -> str:
    """Return the record as a table, or one line that says there was no device."""
    if not found:
        return "GPU: no CUDA device here; nothing was measured."
    lengths = found["lengths"]
    lines = [
        f"GPU: {found['device']}, {len(lengths)} slides of {min(lengths):,} to {max(lengths):,} tiles, {HEADS} heads of"
        f" width {HEAD_WIDTH}, {found['dtype']}, forward and backward; differences are to float32.",
        "",
        "| way | seconds | memory above inputs (GB) | largest difference |",
        "|---|---:|---:|---:|",
    ]
    for name, one in found["ways"].items():
        if "failed" in one:
            lines.append(f"| {name} | {one['failed']} | | |")
        else:
            difference = f"{one['largest_difference']:.1e}"
            lines.append(f"| {name} | {one['seconds']:.3f} | {one['bytes'] / 1e9:.2f} | {difference} |")
    lines += [f"| {name} | does not run: {reason} | | |" for name, reason in found["why_not"].items()]
    return "\n".join(lines)
