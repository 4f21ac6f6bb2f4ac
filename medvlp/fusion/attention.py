"""Attention inside each bag of a pack, without padding: one formula, three backends.

Within bag s: softmax(q k' / sqrt(D) + bias) v (Vaswani et al. 2017, eq. 1), and nothing across bags.
Shape letters: S bags, T queries and U keys of all bags together, H heads, D width of a head, n and m queries and keys
of one bag.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from medvlp.errors import ConfigError, DataError, MedvlpError

Backend = Literal["auto", "xformers", "varlen", "sdpa"]
ORDER = ("xformers", "varlen", "sdpa")
MAX_BIASED_TILES = 4096  # a bias of one bag of this size and 8 heads takes 0.5 GB in float32
_HALF = (torch.float16, torch.bfloat16)
_DTYPES = {"xformers": (*_HALF, torch.float32), "varlen": _HALF, "sdpa": (*_HALF, torch.float32, torch.float64)}
_WIDEST_HEAD = 256
_HEAD_STEP = 8

_log = logging.getLogger(__name__)


def packed_attention(
    q_THD: Tensor,
    k_UHD: Tensor,
    v_UHD: Tensor,
    lengths_S: Tensor,
    kv_lengths_S: Tensor | None = None,
    *,
    backend: Backend = "auto",
    bias: Sequence[Tensor] | None = None,
) -> Tensor:
    """Let the queries of each bag attend to the keys of the same bag.

    Args:
        q_THD: Queries, bag after bag.
        k_UHD: Keys, bag after bag, of the same dtype and device.
        v_UHD: Values, shaped like the keys.
        lengths_S: int64 on the host, queries per bag, each at least 1.
        kv_lengths_S: The same for keys; None if bag by bag there are as many keys as queries.
        backend: One of :func:`backends`, or ``auto`` for the first of them that runs for this device and dtype.
        bias: One (H, n, m) tensor per bag, added to the scores; only for bags of up to ``MAX_BIASED_TILES``, and only
            through ``sdpa``: the other kernels would need one matrix over the whole pack.

    Returns:
        (T, H, D) of the dtype of the queries.

    Raises:
        DataError: Shapes, dtypes, devices or lengths do not fit together, or a bag is empty or too large for a bias.
        ConfigError: The backend is unknown or cannot run here; the reason is told.
    """
    lengths = _lengths(lengths_S, len(q_THD), "queries")
    kv_lengths = lengths if kv_lengths_S is None else _lengths(kv_lengths_S, len(k_UHD), "keys")
    _check(q_THD, k_UHD, v_UHD, lengths, kv_lengths)
    biases = None if bias is None else _checked_bias(bias, q_THD, lengths, kv_lengths)
    name = _choose(backend, q_THD.device, q_THD.dtype, q_THD.shape[-1], biased=bias is not None)
    _tell(name, q_THD.device.type)
    if name == "sdpa":
        return _sdpa(q_THD, k_UHD, v_UHD, lengths, kv_lengths, biases)
    return _PACKED[name](q_THD, k_UHD, v_UHD, lengths, kv_lengths)


@lru_cache(maxsize=16)
def _reasons(device: torch.device) -> tuple[tuple[str, str | None], ...]:
    return tuple((name, _why_not(name, device)) for name in ORDER)


def backends(device: torch.device | str) -> dict[str, str | None]:
    """Return for each backend None if it runs on a device, else why it does not.

    On a GPU each is called once, forward and backward, on a tiny pack in half precision: a package that is installed
    may still have no kernel. The answer is kept for the life of the process.
    """
    return dict(_reasons(torch.device(device)))


def backend_in_use(device: torch.device | str, dtype: torch.dtype = torch.float32) -> str:
    """Return the backend that ``auto`` takes on a device for a dtype (heads of a usual width, no bias)."""
    return _choose("auto", torch.device(device), dtype, _HEAD_STEP, biased=False)


def attention_record(device: torch.device | str, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Return what results say about attention: ``{"attention": backend, "gpu": bool}``."""
    return {"attention": backend_in_use(device, dtype), "gpu": torch.device(device).type == "cuda"}


def _choose(backend: str, device: torch.device, dtype: torch.dtype, width: int, *, biased: bool) -> str:
    if backend not in get_args(Backend):
        raise ConfigError(f'unknown attention backend "{backend}"', remedy=f"use one of {', '.join(get_args(Backend))}")
    available = backends(device)
    for name in ORDER if backend == "auto" else (backend,):
        reason = _unfit(name, dtype, width, biased) or available[name]
        if reason is None:
            return name
    raise ConfigError(f"cannot run: {reason}", item=f"attention backend {backend}", remedy='use "auto"')


def _unfit(name: str, dtype: torch.dtype, width: int, biased: bool) -> str | None:
    """Why a backend cannot take this pack, whatever the device has."""
    if dtype not in _DTYPES[name]:
        return f"it does not take {dtype}"
    if name == "sdpa":
        return None
    if biased:
        return "it takes no bias"
    if width % _HEAD_STEP or width > _WIDEST_HEAD:
        return f"heads are {width} wide, it takes multiples of {_HEAD_STEP} up to {_WIDEST_HEAD}"
    return None


def _why_not(name: str, device: torch.device) -> str | None:
    if device.type == "cuda" and not torch.cuda.is_available():
        return "there is no CUDA device"
    if name == "sdpa":
        return None
    if device.type != "cuda":
        return f"its kernels are for CUDA only, this is {device.type}"
    module = {"xformers": "xformers", "varlen": "torch.nn.attention.varlen"}[name]
    if importlib.util.find_spec(module) is None:
        return f"{module} is not installed"
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    try:
        with torch.enable_grad():
            q = torch.ones(3, 1, 2 * _HEAD_STEP, device=device, dtype=dtype, requires_grad=True)
            _PACKED[name](q, q, q, [1, 2], [1, 2]).sum().backward()
    except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
        return (str(error).splitlines() or [type(error).__name__])[0][:200]
    return None


@lru_cache(maxsize=16)
def _tell(name: str, device: str) -> None:
    _log.info("packed attention on %s runs through %s", device, name)


def _sdpa(
    q_THD: Tensor,
    k_UHD: Tensor,
    v_UHD: Tensor,
    lengths: list[int],
    kv_lengths: list[int],
    biases: Sequence[Tensor] | None,
) -> Tensor:
    """Torch's own attention; bags of equal size run as one batch."""
    q_bags, k_bags, v_bags = q_THD.split(lengths), k_UHD.split(kv_lengths), v_UHD.split(kv_lengths)
    groups: dict[tuple[int, int], list[int]] = {}
    for bag, size in enumerate(zip(lengths, kv_lengths, strict=True)):
        groups.setdefault(size, []).append(bag)
    outputs: list[Tensor] = [q_THD] * len(lengths)
    for bags in groups.values():
        mask = None if biases is None else _together(biases, bags)
        q, k, v = (_together(parts, bags).transpose(1, 2) for parts in (q_bags, k_bags, v_bags))
        out_BHnD = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        for bag, out_nHD in zip(bags, out_BHnD.transpose(1, 2).unbind(0), strict=True):
            outputs[bag] = out_nHD
    return torch.cat(outputs)


def _together(parts: Sequence[Tensor], bags: list[int]) -> Tensor:
    return torch.stack([parts[bag] for bag in bags]) if len(bags) > 1 else parts[bags[0]][None]


def _xformers(q_THD: Tensor, k_UHD: Tensor, v_UHD: Tensor, lengths: list[int], kv_lengths: list[int]) -> Tensor:
    """Memory-efficient attention of xformers under its block-diagonal mask."""
    from medvlp.io import require

    ops, bias = require("xformers.ops", "xformers"), require("xformers.ops.fmha.attn_bias", "xformers")
    mask = bias.BlockDiagonalMask.from_seqlens(lengths, kv_lengths, device=q_THD.device)
    out: Tensor = ops.memory_efficient_attention(q_THD[None], k_UHD[None], v_UHD[None], attn_bias=mask)
    return out[0]


def _varlen(q_THD: Tensor, k_UHD: Tensor, v_UHD: Tensor, lengths: list[int], kv_lengths: list[int]) -> Tensor:
    """Torch's own variable-length flash attention."""
    from torch.nn.attention.varlen import varlen_attn

    q_ends, k_ends = (
        torch.tensor([0, *sizes], device=q_THD.device).cumsum(0, dtype=torch.int32) for sizes in (lengths, kv_lengths)
    )
    out: Any = varlen_attn(q_THD, k_UHD, v_UHD, q_ends, k_ends, max(lengths), max(kv_lengths))
    return out


_PACKED: dict[str, Callable[[Tensor, Tensor, Tensor, list[int], list[int]], Tensor]] = {
    "xformers": _xformers,
    "varlen": _varlen,
}


def _lengths(lengths_S: Tensor, total: int, what: str) -> list[int]:
    if lengths_S.device.type != "cpu" or lengths_S.dtype != torch.int64 or lengths_S.ndim != 1:
        found = f"{lengths_S.dtype} {tuple(lengths_S.shape)} on {lengths_S.device.type}"
        raise _problem(f"lengths must be int64 (S,) on the host, got {found}")
    lengths: list[int] = lengths_S.tolist()
    if not lengths or min(lengths) < 1:
        raise _problem("a bag is empty", "leave empty bags out")
    if sum(lengths) != total:
        raise _problem(f"lengths sum to {sum(lengths)}, there are {total} {what}")
    return lengths


def _check(q_THD: Tensor, k_UHD: Tensor, v_UHD: Tensor, lengths: list[int], kv_lengths: list[int]) -> None:
    if q_THD.ndim != 3 or k_UHD.shape != v_UHD.shape or k_UHD.shape[1:] != q_THD.shape[1:]:
        shapes = ", ".join(str(tuple(x.shape)) for x in (q_THD, k_UHD, v_UHD))
        raise _problem(f"queries, keys, values of shapes {shapes} do not fit", "pass (T, H, D), (U, H, D), (U, H, D)")
    if len({(x.dtype, x.device) for x in (q_THD, k_UHD, v_UHD)}) != 1:
        found = ", ".join(f"{x.dtype} on {x.device}" for x in (q_THD, k_UHD, v_UHD))
        raise _problem(f"queries, keys, values differ in dtype or device ({found})")
    if len(lengths) != len(kv_lengths):
        raise _problem(f"queries are of {len(lengths)} bags, keys of {len(kv_lengths)}")
    if sum(kv_lengths) != len(k_UHD):
        raise _problem(f"lengths sum to {sum(kv_lengths)}, there are {len(k_UHD)} keys", "pass kv_lengths_S")


def _checked_bias(bias: Sequence[Tensor], q_THD: Tensor, lengths: list[int], kv_lengths: list[int]) -> list[Tensor]:
    largest = max(*lengths, *kv_lengths)
    if largest > MAX_BIASED_TILES:
        raise too_large_for_bias(largest)
    expected = [(q_THD.shape[1], n, m) for n, m in zip(lengths, kv_lengths, strict=True)]
    if [tuple(one.shape) for one in bias] != expected:
        raise _problem("the bias is not one (heads, queries, keys) tensor per bag")
    return [one.to(q_THD) for one in bias]


def too_large_for_bias(tiles: int) -> MedvlpError:
    """Return the error of a bag that is too large for a bias."""
    problem = f"a bag has {tiles:,} tiles; a bias takes memory with the square of that, so it stops"
    return _problem(f"{problem} at {MAX_BIASED_TILES:,}", "use rotary position")


def _problem(text: str, remedy: str | None = None) -> MedvlpError:
    return DataError(text, item="packed attention", remedy=remedy)
