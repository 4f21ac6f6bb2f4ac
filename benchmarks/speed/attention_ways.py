"""The ways of attending within each slide of a pack that are measured, and the measuring of one of them.

Shape letters: S slides, T tiles of all slides together, H heads, D width of a head, N tiles of the largest slide.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence

from medvlp.fusion.attention import packed_attention

_PAGE = 4096


def packed(q_THD: Tensor, k_THD: Tensor, v_THD: Tensor, lengths_S: Tensor) -> Tensor:
    """Without padding, through the backend that this machine has."""
    return packed_attention(q_THD, k_THD, v_THD, lengths_S)


def padded(q_THD: Tensor, k_THD: Tensor, v_THD: Tensor, lengths_S: Tensor) -> Tensor:
    """All slides filled up to the largest, and a mask that hides the filling."""
    lengths = lengths_S.tolist()
    q, k, v = (pad_sequence(x.split(lengths), batch_first=True).transpose(1, 2) for x in (q_THD, k_THD, v_THD))
    real_SN = torch.arange(max(lengths))[None] < lengths_S[:, None]
    out_SHND = scaled_dot_product_attention(q, k, v, attn_mask=real_SN[:, None, None].to(q.device))
    return out_SHND.transpose(1, 2)[real_SN.to(q.device)]


def plain(q_THD: Tensor, k_THD: Tensor, v_THD: Tensor, lengths_S: Tensor) -> Tensor:
    """Slide by slide as the formula says, with all scores of a slide in memory."""
    lengths = lengths_S.tolist()
    out = []
    for q, k, v in zip(*(x.split(lengths) for x in (q_THD, k_THD, v_THD)), strict=True):
        weights_HNN = ((q.transpose(0, 1) @ k.permute(1, 2, 0)) / q.shape[-1] ** 0.5).softmax(-1)
        out.append((weights_HNN @ v.transpose(0, 1)).transpose(0, 1))
    return torch.cat(out)


WAYS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "packed": packed,
    "padded": padded,
    "plain": plain,
}


def log_uniform(slides: int, smallest: int, largest: int, seed: int = 0) -> list[int]:
    """Return tiles per slide, drawn log-uniformly; the two limits are always among them."""
    drawn = np.exp(np.random.default_rng(seed).uniform(np.log(smallest), np.log(largest), slides))
    lengths = [round(float(one)) for one in drawn]
    lengths[0], lengths[-1] = smallest, largest
    return lengths


def inputs(lengths: list[int], heads: int, width: int, device: str, dtype: torch.dtype) -> list[Tensor]:
    """Return queries, keys, values and what flows back to the output, each (T, H, D); equal in every process."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(sum(lengths), heads, width, generator=generator) for _ in range(4)]
    return [x.to(device, dtype).requires_grad_(number < 3) for number, x in enumerate(drawn)]


def _status(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024


def cpu_cost(work: Callable[[], Any]) -> dict[str, float]:
    """Do a thing once; return seconds, seconds of processor, and the bytes held at the peak above those held before."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts again from what is held now
    before = _status("VmRSS")
    start, busy = time.perf_counter(), time.process_time()
    work()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - busy
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "bytes": max(_status("VmHWM") - before, _PAGE)}


def cuda_cost(work: Callable[[], Any], repeats: int = 3) -> dict[str, float]:
    """Do a thing once to warm up and then some times; return the median seconds and the peak bytes on the GPU."""
    work()
    seconds = []
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return {"seconds": float(np.median(seconds)), "bytes": torch.cuda.max_memory_allocated() - before}
