"""Every attention backend equals loops over the formula in float64, forward and backward; broken ones are noticed."""

import logging

import numpy as np
import pytest
import torch
from references import brute_force_attention as ref
from torch.nn.functional import scaled_dot_product_attention as torch_sdpa

from medvlp.errors import ConfigError, DataError
from medvlp.fusion import attention
from medvlp.fusion.attention import ORDER, attention_record, backend_in_use, backends, packed_attention

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5 if DEVICE == "cpu" else 1e-2, torch.bfloat16: 4e-2}
# (queries per bag, keys per bag): unequal, equal (run as one batch), single tiles, and a few queries per slide
PACKS = [([3, 1, 7], None), ([4, 4, 2, 4], None), ([1], None), ([2, 2, 2], [9, 1, 30]), ([1, 5], [6, 6])]


def tensors(lengths, kv_lengths, dtype=torch.float64, heads=2, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = (sum(lengths), sum(kv_lengths), sum(kv_lengths))
    return [torch.randn(n, heads, width, generator=generator, dtype=torch.float64).to(DEVICE, dtype) for n in rows]


def lengths_of(lengths):
    return torch.tensor(lengths, dtype=torch.int64)


def check(lengths, kv_lengths, dtype, backend="auto"):
    """Raise AssertionError unless outputs and gradients equal the loops."""
    keys = lengths if kv_lengths is None else kv_lengths
    q, k, v = (x.requires_grad_() for x in tensors(lengths, keys, dtype))
    out = packed_attention(
        q, k, v, lengths_of(lengths), None if kv_lengths is None else lengths_of(keys), backend=backend
    )
    assert out.shape == q.shape
    assert out.dtype == dtype
    upstream = tensors(lengths, keys, dtype, seed=1)[0]
    out.backward(upstream)
    arrays = [x.detach().double().cpu().numpy() for x in (q, k, v)]
    expected = [ref.attention(*arrays, lengths, keys)]
    expected += ref.gradients(*arrays, lengths, keys, upstream.double().cpu().numpy())
    for found, wanted in zip((out, q.grad, k.grad, v.grad), expected, strict=True):
        assert np.abs(found.detach().double().cpu().numpy() - wanted).max() < TOLERANCE[dtype]


@pytest.mark.parametrize("backend", ORDER)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_backend_equals_the_loops(backend, dtype):
    reason = backends(DEVICE)[backend]
    if reason is not None:
        pytest.skip(f"{backend} does not run here: {reason}")
    if dtype not in attention._DTYPES[backend]:
        with pytest.raises(ConfigError, match="does not take"):
            check([2], None, dtype, backend)
        return
    check_all(dtype, backend)


def check_all(dtype, backend):
    for lengths, kv_lengths in PACKS:
        check(lengths, kv_lengths, dtype, backend)


def by_loops(q, k, v, lengths, kv_lengths):
    return torch.from_numpy(ref.attention(*(x.numpy() for x in (q, k, v)), lengths, kv_lengths))


@pytest.mark.parametrize("pack", PACKS, ids=str)
def test_varlen_is_called_as_its_documentation_says(pack, monkeypatch):
    """The kernel itself needs a GPU; here loops stand in for it and read the same arguments."""
    lengths, keys = pack[0], pack[1] or pack[0]
    varlen = pytest.importorskip("torch.nn.attention.varlen", reason="this torch has no varlen attention")

    def kernel(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k):
        assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
        ends_q, ends_k = cu_seq_q.tolist(), cu_seq_k.tolist()
        assert ends_q[0] == ends_k[0] == 0
        sizes_q, sizes_k = np.diff(ends_q).tolist(), np.diff(ends_k).tolist()
        assert (max_q, max_k) == (max(sizes_q), max(sizes_k))
        return by_loops(query, key, value, sizes_q, sizes_k)

    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    q, k, v = (x.cpu() for x in tensors(lengths, keys))
    torch.testing.assert_close(attention._varlen(q, k, v, lengths, keys), by_loops(q, k, v, lengths, keys))


@pytest.mark.extras
@pytest.mark.parametrize("pack", PACKS, ids=str)
def test_xformers_is_called_with_a_mask_of_the_bags(pack, monkeypatch):
    """The kernel itself needs a GPU; here the formula stands in for it, under the mask as xformers spells it out."""
    lengths, keys = pack[0], pack[1] or pack[0]
    ops = pytest.importorskip("xformers.ops", reason="needs the extra 'xformers'")

    def kernel(query, key, value, attn_bias):
        assert query.shape[0] == key.shape[0] == value.shape[0] == 1
        mask = attn_bias.materialize((query.shape[1], key.shape[1]), dtype=query.dtype)
        scores = torch.einsum("bnhd,bmhd->bhnm", query, key) / query.shape[-1] ** 0.5 + mask
        return torch.einsum("bhnm,bmhd->bnhd", scores.softmax(-1), value)

    monkeypatch.setattr(ops, "memory_efficient_attention", kernel)
    q, k, v = (x.cpu() for x in tensors(lengths, keys))
    torch.testing.assert_close(attention._xformers(q, k, v, lengths, keys), by_loops(q, k, v, lengths, keys))


def leaking(q, k, v, attn_mask=None):
    """Adds, to each bag of a batch, the values of its neighbour: a mask with a hole."""
    return torch_sdpa(q, torch.cat((k, k.roll(1, 0)), 2), torch.cat((v, v.roll(1, 0)), 2))


BROKEN = {
    "no scale": lambda q, k, v, attn_mask=None: torch_sdpa(q, k, v, scale=1.0),
    "scale of 1/d": lambda q, k, v, attn_mask=None: torch_sdpa(q, k, v, scale=1 / q.shape[-1]),
    "sign": lambda q, k, v, attn_mask=None: torch_sdpa(-q, k, v),
    "causal": lambda q, k, v, attn_mask=None: torch_sdpa(q, k, v, is_causal=True),
    "leak": leaking,
    "keys for values": lambda q, k, v, attn_mask=None: torch_sdpa(q, k, k),
    "heads mixed": lambda q, k, v, attn_mask=None: torch_sdpa(q, k.flip(1), v),
    "no gradient to keys": lambda q, k, v, attn_mask=None: torch_sdpa(q, k.detach() + 0 * k, v),
    "half a gradient": lambda q, k, v, attn_mask=None: torch_sdpa(q, k, (v + v.detach()) / 2),
}


@pytest.mark.parametrize("error", BROKEN)
def test_the_contract_notices(error, monkeypatch):
    monkeypatch.setattr(attention, "scaled_dot_product_attention", BROKEN[error])
    with pytest.raises(AssertionError):
        check_all(torch.float64, "sdpa")


def test_the_contract_notices_bags_cut_in_the_wrong_place(monkeypatch):
    right = attention._sdpa
    monkeypatch.setattr(attention, "_sdpa", lambda q, k, v, n, m, bias: right(q, k, v, n[::-1], m[::-1], bias))
    with pytest.raises(AssertionError):
        check([3, 1, 7], None, torch.float64, "sdpa")


@pytest.mark.parametrize("changed", range(4))
def test_no_bag_sees_another(changed):
    lengths = [4, 4, 2, 4]
    q, k, v = tensors(lengths, lengths)
    before = packed_attention(q, k, v, lengths_of(lengths))
    start = sum(lengths[:changed])
    rows = slice(start, start + lengths[changed])
    for x in (q, k, v):
        x[rows] += 3.0
    after = packed_attention(q, k, v, lengths_of(lengths))
    same = torch.ones(len(q), dtype=torch.bool)
    same[rows] = False
    assert torch.equal(before[same], after[same])
    assert (before[rows] - after[rows]).abs().min() > 1e-3


def test_a_bias_is_added_per_bag_and_carries_gradient():
    lengths, keys = [2, 3, 2], [4, 1, 4]
    q, k, v = tensors(lengths, keys)
    generator = torch.Generator().manual_seed(5)
    bias = [torch.randn(2, n, m, generator=generator, dtype=torch.float64) for n, m in zip(lengths, keys, strict=True)]
    bias[0].requires_grad_()
    out = packed_attention(q, k, v, lengths_of(lengths), lengths_of(keys), bias=bias)
    arrays = [x.cpu().numpy() for x in (q, k, v)]
    expected = ref.attention(*arrays, lengths, keys, [one.detach().numpy() for one in bias])
    assert np.abs(out.detach().cpu().numpy() - expected).max() < 1e-10
    out.square().sum().backward()
    assert bias[0].grad.abs().sum() > 0


def test_a_bias_is_refused_where_it_cannot_be():
    q, k, v = tensors([2], [2])
    with pytest.raises(DataError, match="not one .heads, queries, keys. tensor per bag"):
        packed_attention(q, k, v, lengths_of([2]), bias=[torch.zeros(1, 2, 2)])
    many = attention.MAX_BIASED_TILES + 1
    big = torch.zeros(many, 1, 8)
    with pytest.raises(DataError, match=r"4,097 tiles; .* stops at 4,096; use rotary position"):
        packed_attention(big, big, big, lengths_of([many]), bias=[torch.zeros(1)])
    assert "takes no bias" in attention._unfit("xformers", torch.float32, 8, True)


def problem_cases():
    q, k, v = tensors([2, 3], [2, 3])
    two_three = lengths_of([2, 3])
    return {
        "a bag is empty; leave": (q, k, v, lengths_of([5, 0]), None),
        "a bag is empty": (q, k, v, lengths_of([]), None),
        "lengths sum to 4, there are 5 queries": (q, k, v, lengths_of([2, 2]), None),
        "lengths sum to 5, there are 4 keys; pass kv_lengths_S": (q, k[:4], v[:4], two_three, None),
        "lengths sum to 4, there are 5 keys": (q, k, v, two_three, lengths_of([2, 2])),
        "queries are of 2 bags, keys of 1": (q, k, v, two_three, lengths_of([5])),
        "of shapes .* do not fit; pass": (q, k[:, :1], v[:, :1], two_three, None),
        "of shapes": (q, k, v[:, :, :4], two_three, None),
        "differ in dtype or device": (q, k.float(), v, two_three, None),
        "lengths must be int64 .S,. on the host, got torch.int32": (q, k, v, two_three.int(), None),
        "lengths must be int64 .S,. on the host, got torch.int64 .2, 1.": (q, k, v, two_three[:, None], None),
    }


@pytest.mark.parametrize("message", problem_cases())
def test_what_does_not_fit_is_told(message):
    q, k, v, lengths, kv_lengths = problem_cases()[message]
    with pytest.raises(DataError, match=message):
        packed_attention(q, k, v, lengths, kv_lengths)


def test_backends_say_why_they_do_not_run():
    found = backends("cpu")
    assert list(found) == list(ORDER)
    assert found["sdpa"] is None
    q, k, v = tensors([2], [2], torch.float32)
    for name in ("xformers", "varlen"):
        assert "CUDA only" in found[name]
        if DEVICE == "cpu":
            with pytest.raises(ConfigError, match=f"attention backend {name}: cannot run: "):
                packed_attention(q, k, v, lengths_of([2]), backend=name)
    with pytest.raises(ConfigError, match='unknown attention backend "flash"; use one of auto, xformers'):
        packed_attention(q, k, v, lengths_of([2]), backend="flash")
    assert backend_in_use("cpu") == "sdpa"
    assert attention_record("cpu") == {"attention": "sdpa", "gpu": False}


def test_auto_goes_down_the_list(monkeypatch):
    monkeypatch.setattr(attention, "_reasons", lambda device: tuple((name, None) for name in ORDER))
    half, single, double = torch.float16, torch.float32, torch.float64

    def choose(dtype, width=64, biased=False, backend="auto"):
        return attention._choose(backend, torch.device("cuda"), dtype, width, biased=biased)

    assert choose(half) == choose(single) == "xformers"
    assert choose(half, backend="varlen") == "varlen"
    assert choose(double) == choose(half, biased=True) == choose(half, width=12) == "sdpa"
    with pytest.raises(ConfigError, match="varlen: cannot run: it does not take torch.float32"):
        choose(single, backend="varlen")
    broken = {"xformers": "no kernel", "varlen": None, "sdpa": None}
    monkeypatch.setattr(attention, "_reasons", lambda device: tuple(broken.items()))
    assert choose(half) == "varlen"
    assert choose(single) == "sdpa"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_gpu_is_told():
    assert set(backends("cuda").values()) == {"there is no CUDA device"}
    with pytest.raises(ConfigError, match="there is no CUDA device"):
        backend_in_use("cuda")


def test_the_choice_is_logged_once(caplog):
    attention._tell.cache_clear()
    q, k, v = tensors([2], [2], torch.float32)
    with caplog.at_level(logging.INFO, logger="medvlp.fusion.attention"):
        for _ in range(3):
            packed_attention(q.cpu(), k.cpu(), v.cpu(), lengths_of([2]))
    assert [record.getMessage() for record in caplog.records] == ["packed attention on cpu runs through sdpa"]
