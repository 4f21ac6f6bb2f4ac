"""Position, pooling and the join of pieces equal loops over their formulas; a flipped operator in any is noticed."""

from collections.abc import Callable

import brute_force_attention as ref
import brute_force_mutants as mutation
import numpy as np
import pytest
import torch
from torch import Tensor

from medvlp.fusion import parts, position
from medvlp.fusion.bag import TileBag
from medvlp.fusion.latent import LatentQuery
from medvlp.fusion.pooling import GatedAbmil

PACKAGE = "medvlp.fusion"
LENGTHS = [3, 1, 6]
TILES = sum(LENGTHS)
SPANS = [slice(0, 3), slice(3, 4), slice(4, 10)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def places() -> Tensor:
    return torch.rand(TILES, 2, generator=torch.Generator().manual_seed(3)) * 3000


def agree(found: Tensor, wanted: np.ndarray, tolerance: float) -> None:
    assert np.abs(found.detach().double().numpy() - wanted).max() < tolerance


def check_rotary(rotary: Callable) -> None:
    for width, shortest, longest in ((4, 250.0, 250.0), (16, 100.0, 100_000.0), (8, 300.0, 900.0)):
        x, centres = random(TILES, 2, width), places()
        found = position.rotate(x, rotary(centres, width, shortest, longest))
        wanted = [
            [ref.turned(head, tuple(place), shortest, longest) for head in tile]
            for tile, place in zip(x.numpy(), centres.double().numpy(), strict=True)
        ]
        agree(found, np.array(wanted), 1e-4)


def check_rotate(rotate: Callable) -> None:
    x, centres = random(TILES, 3, 12), places()
    found = rotate(x, position.rotary(centres, 12, 200.0, 2000.0))
    wanted = [
        [ref.turned(head, tuple(place), 200.0, 2000.0) for head in tile]
        for tile, place in zip(x.numpy(), centres.double().numpy(), strict=True)
    ]
    agree(found, np.array(wanted), 1e-4)


def check_alibi(alibi_bias: Callable) -> None:
    found = alibi_bias(places(), torch.tensor(LENGTHS), 4, 112.0)
    for one, span in zip(found, SPANS, strict=True):
        agree(one, ref.distance_bias(places().double().numpy()[span], 4, 112.0), 1e-4)


def check_softmax(segment_softmax: Callable) -> None:
    owner = torch.arange(3).repeat_interleave(torch.tensor(LENGTHS))
    for size in (1, 1000):  # 1000 overflows unless the largest score is taken off
        scores = size * random(TILES, 2)
        found = segment_softmax(scores, owner, 3)
        wanted = np.concatenate([np.array([ref.softmax(c) for c in scores.numpy()[span].T]).T for span in SPANS])
        agree(found, wanted, 1e-12)


def check_weighted_sum(weighted_sum: Callable) -> None:
    values, weights = random(TILES, 6), random(TILES, 2, seed=1)
    owner = torch.arange(3).repeat_interleave(torch.tensor(LENGTHS))
    found = weighted_sum(values, weights, owner, 3)
    wanted = np.zeros((3, 6))
    for tile in range(TILES):
        for channel in range(6):
            wanted[owner[tile], channel] += float(values[tile, channel] * weights[tile, channel // 3])
    agree(found, wanted, 1e-12)


CHECKS = {
    position.rotary: check_rotary,
    position.rotate: check_rotate,
    position.alibi_bias: check_alibi,
    parts.segment_softmax: check_softmax,
    parts.weighted_sum: check_weighted_sum,
}


@pytest.mark.parametrize("function", CHECKS, ids=lambda function: function.__name__)
def test_equals_the_loops_and_every_flipped_operator_is_noticed(function: Callable, tmp_path) -> None:
    check = CHECKS[function]
    check(function)
    found = mutation.mutants(function, PACKAGE)
    assert found
    survivors = []
    for mutant in found:
        with mutation.swapped_in(mutant, function, PACKAGE, tmp_path) as broken:
            if not fails(check, broken):
                survivors.append(mutant.text)
    assert not survivors


def fails(check: Callable, function: Callable) -> bool:
    """Whether a mutant gives another answer, or none: an exception is as loud as a wrong number."""
    try:
        check(function)
    except Exception:
        return True
    return False


@pytest.mark.parametrize("heads", [1, 2])
def test_gated_pooling_is_equation_9(heads: int) -> None:
    torch.manual_seed(0)
    encoder = GatedAbmil(GatedAbmil.Config(width=8, gate=5, heads=heads), 6).double().eval()
    out = encoder(TileBag(random(TILES, 6), torch.tensor(LENGTHS)))
    projection = encoder.project[0]
    tiles = random(TILES, 6).numpy() @ projection.weight.detach().numpy().T + projection.bias.detach().numpy()
    tiles = np.maximum(tiles, 0)
    layers = [
        (layer.weight.detach().numpy(), layer.bias.detach().numpy())
        for layer in (encoder.tanh, encoder.sigmoid, encoder.score)
    ]
    pooled, shares = np.zeros((3, 8)), []
    for slide, span in enumerate(SPANS):
        weights = ref.gated_weights(tiles[span], *layers)
        shares.append(weights.mean(1))
        for channel in range(8):
            pooled[slide, channel] = weights[:, channel * heads // 8] @ tiles[span, channel]
    agree(out.attention_T, np.concatenate(shares), 1e-12)
    centred = pooled - pooled.mean(1, keepdims=True)
    agree(out.slide_SD, centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5), 1e-10)


def test_latents_read_tiles_as_the_formula_says_in_one_piece_or_many() -> None:
    torch.manual_seed(0)
    encoder = LatentQuery(LatentQuery.Config(width=8, heads=2, latents=3), 6).double().eval()
    cross = encoder.cross[0]
    latents, tiles = random(3, 3, 8), random(TILES, 6)
    query = cross.query(cross.norm_latents(latents)).detach().numpy()
    key, value = (x.detach().numpy() for x in cross.key_value(cross.norm_tiles(cross.project(tiles))).chunk(2, 1))
    packed = (query.reshape(9, 2, 4), key.reshape(TILES, 2, 4), value.reshape(TILES, 2, 4))
    read = ref.attention(*packed, [3, 3, 3], LENGTHS).reshape(3, 3, 8)
    wanted = read @ cross.out.weight.detach().numpy().T + cross.out.bias.detach().numpy()
    for tiles_at_once in (1, 2, 4, 5, 100):
        cross.tiles_at_once = tiles_at_once
        found = cross(latents, TileBag(tiles, torch.tensor(LENGTHS)), None, (100.0, 1000.0))
        agree(found, wanted, 1e-10)
