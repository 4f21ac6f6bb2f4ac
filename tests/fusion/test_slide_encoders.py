"""Slide encoders: one vector per slide, whatever the order of its tiles and whichever slides it is packed with."""

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from medvlp.errors import ConfigError, DataError
from medvlp.fusion.bag import TileBag
from medvlp.fusion.parts import segment_softmax
from medvlp.fusion.slide import (
    GatedAbmil,
    LatentQuery,
    MeanPool,
    SlideEncoderConfig,
    SlideOutput,
    TileTransformer,
    build_slide_encoder,
)

LENGTHS = (5, 1, 12, 5)
WIDTH_IN = 12
small = {"width": 16, "heads": 2}
CONFIGS = {
    "mean": MeanPool.Config(),
    "mean learned": MeanPool.Config(width=16),
    "abmil": GatedAbmil.Config(width=16, gate=8),
    "abmil heads": GatedAbmil.Config(width=16, gate=8, heads=4),
    "transformer": TileTransformer.Config(**small),
    "transformer mean alibi": TileTransformer.Config(**small, pool="mean", position="alibi"),
    "transformer none": TileTransformer.Config(**small, position="none", depth=1),
    "perceiver": LatentQuery.Config(**small, latents=3, rounds=2),
    "perceiver rotary": LatentQuery.Config(**small, latents=3, depth=1, position="rotary"),
    "perceiver pieces": LatentQuery.Config(**small, latents=3, depth=0, position="rotary", tiles_at_once=4),
}
PLACED = {"transformer", "transformer mean alibi", "perceiver rotary", "perceiver pieces"}


def slides():
    generator = torch.Generator().manual_seed(2)
    features = [torch.randn(n, WIDTH_IN, generator=generator) for n in LENGTHS]
    return features, [torch.rand(n, 2, generator=generator) * 10_000 for n in LENGTHS]


def build(name, training=False):
    torch.manual_seed(0)
    return build_slide_encoder(CONFIGS[name], WIDTH_IN).train(training)


@pytest.mark.parametrize("name", CONFIGS)
def test_output_has_the_promised_shapes(name):
    encoder, bag = build(name), TileBag.pack(*slides())
    out = encoder(bag)
    assert isinstance(out, SlideOutput)
    assert out.slide_SD.shape == (len(LENGTHS), encoder.width)
    assert out.slide_SD.isfinite().all()
    if out.tile_TD is not None:
        assert out.tile_TD.shape == (sum(LENGTHS), encoder.width)
    assert (out.tile_TD is None) == name.startswith("perceiver")
    assert (out.attention_T is None) == (name.startswith("perceiver") or "alibi" in name)
    if out.attention_T is not None:
        shares = torch.stack([one.sum() for one in out.attention_T.split(LENGTHS)])
        torch.testing.assert_close(shares, torch.ones(len(LENGTHS)))
        assert (out.attention_T >= 0).all()


@pytest.mark.parametrize("name", CONFIGS)
def test_order_of_tiles_and_company_of_slides_do_not_matter(name):
    encoder, (features, centres) = build(name), slides()
    together = encoder(TileBag.pack(features, centres))
    orders = [torch.randperm(n, generator=torch.Generator().manual_seed(n)) for n in LENGTHS]
    shuffled = encoder(
        TileBag.pack(
            [x[order] for x, order in zip(features, orders, strict=True)],
            [x[order] for x, order in zip(centres, orders, strict=True)],
        )
    )
    torch.testing.assert_close(shuffled.slide_SD, together.slide_SD, rtol=1e-4, atol=1e-5)
    if together.tile_TD is not None:
        moved = [x[order] for x, order in zip(together.tile_TD.split(LENGTHS), orders, strict=True)]
        torch.testing.assert_close(shuffled.tile_TD, torch.cat(moved), rtol=1e-4, atol=1e-5)
    alone = torch.cat([encoder(TileBag.pack([x], [c])).slide_SD for x, c in zip(features, centres, strict=True)])
    torch.testing.assert_close(alone, together.slide_SD, rtol=1e-4, atol=1e-5)
    backwards = encoder(TileBag.pack(features[::-1], centres[::-1]))
    torch.testing.assert_close(backwards.slide_SD.flip(0), together.slide_SD, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_changed_slide_changes_its_own_vector_alone(name):
    encoder, (features, centres) = build(name), slides()
    before = encoder(TileBag.pack(features, centres)).slide_SD
    features[2] = features[2] * 2 + 1
    after = encoder(TileBag.pack(features, centres)).slide_SD
    others = torch.tensor([0, 1, 3])
    torch.testing.assert_close(after[others], before[others], rtol=1e-5, atol=1e-6)
    assert (after[2] - before[2]).abs().max() > 1e-3


@pytest.mark.parametrize("name", CONFIGS)
def test_gradient_reaches_every_parameter_and_every_tile(name):
    encoder, (features, centres) = build(name, training=True), slides()
    bag = TileBag.pack(features, centres)
    tiles = bag.features_TD.requires_grad_()
    weights = torch.arange(encoder.width, dtype=torch.float32)
    (encoder(bag).slide_SD * weights).sum().backward()
    assert [name for name, x in encoder.named_parameters() if x.grad is None or not x.grad.isfinite().all()] == []
    if name not in {"abmil", "abmil heads"}:  # dropout and ReLU may close a tile
        assert (tiles.grad.abs().sum(1) > 0).all()
    assert tiles.grad.isfinite().all()


@pytest.mark.parametrize("name", sorted(PLACED))
def test_places_are_needed_and_used(name):
    encoder, (features, centres) = build(name), slides()
    with pytest.raises(DataError, match=r"needs the places of tiles; use features with coordinates, or position: none"):
        encoder(TileBag.pack(features))
    there = encoder(TileBag.pack(features, centres)).slide_SD
    torch.testing.assert_close(
        encoder(TileBag.pack(features, [x + 4000.0 for x in centres])).slide_SD, there, rtol=1e-2, atol=2e-3
    )
    spread = encoder(TileBag.pack(features, [3 * x for x in centres])).slide_SD
    several = torch.tensor([0, 2, 3])
    assert (spread - there)[several].abs().amax(1).min() > 1e-3


@pytest.mark.parametrize("name", sorted(set(CONFIGS) - PLACED))
def test_places_are_not_needed(name):
    encoder, (features, centres) = build(name), slides()
    assert torch.equal(encoder(TileBag.pack(features)).slide_SD, encoder(TileBag.pack(features, centres)).slide_SD)


def test_mean_is_the_mean():
    features, _ = slides()
    out = build("mean")(TileBag.pack(features))
    torch.testing.assert_close(out.slide_SD, torch.stack([x.mean(0) for x in features]))
    assert list(build("mean").parameters()) == []


def test_abmil_survives_scores_that_overflow():
    encoder, (features, _) = build("abmil"), slides()
    encoder.score.weight.data *= 1e6
    out = encoder(TileBag.pack(features))
    assert out.slide_SD.isfinite().all()
    torch.testing.assert_close(torch.stack([x.sum() for x in out.attention_T.split(LENGTHS)]), torch.ones(4))


def test_softmax_over_tiles_has_the_right_gradient():
    scores = torch.randn(7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    owner = torch.tensor([0, 0, 0, 1, 2, 2, 2])
    assert torch.autograd.gradcheck(lambda x: segment_softmax(x, owner, 3), scores)


def test_recomputing_blocks_changes_no_gradient():
    features, centres = slides()
    found = []
    for checkpoint in (False, True):
        torch.manual_seed(0)
        config = TileTransformer.Config(**small, dropout=0.0, checkpoint=checkpoint)
        encoder = build_slide_encoder(config, WIDTH_IN).train()
        encoder(TileBag.pack(features, centres)).slide_SD.square().sum().backward()
        found.append([x.grad for x in encoder.parameters()])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two)


def test_pieces_change_neither_value_nor_gradient():
    features, centres = slides()
    found = []
    for tiles_at_once in (3, 7, 1000):
        torch.manual_seed(0)
        config = LatentQuery.Config(**small, latents=3, position="rotary", dropout=0.0, tiles_at_once=tiles_at_once)
        encoder = build_slide_encoder(config, WIDTH_IN).double().train()
        out = encoder(TileBag.pack([x.double() for x in features], centres)).slide_SD
        (out * torch.arange(16)).sum().backward()
        found.append([out, *(x.grad for x in encoder.parameters())])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", CONFIGS)
def test_half_precision_stays_close(name):
    encoder, bag = build(name), TileBag.pack(*slides())
    wanted = encoder(bag).slide_SD
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encoder(bag).slide_SD
    torch.testing.assert_close(found.float(), wanted, rtol=0.1, atol=0.1)


def test_configuration_is_a_strict_union():
    adapter = TypeAdapter(SlideEncoderConfig)
    assert adapter.validate_python({"name": "abmil", "width": 8}) == GatedAbmil.Config(width=8)
    for name, module in (("mean", MeanPool), ("transformer", TileTransformer), ("perceiver", LatentQuery)):
        assert type(adapter.validate_python({"name": name})) is module.Config
    with pytest.raises(ValidationError, match="Extra inputs"):
        adapter.validate_python({"name": "abmil", "depth": 2})
    for module in (MeanPool, GatedAbmil, TileTransformer, LatentQuery):
        assert all(field.description for field in module.Config.model_fields.values())


def test_what_does_not_fit_is_told():
    with pytest.raises(ConfigError, match="transformer: width 10 is no multiple of 4 heads"):
        build_slide_encoder(TileTransformer.Config(width=10, heads=4), WIDTH_IN)
    with pytest.raises(ConfigError, match="heads are 6 wide, rotary position needs a multiple of 4"):
        build_slide_encoder(TileTransformer.Config(width=12, heads=2), WIDTH_IN)
    with pytest.raises(ConfigError, match="heads are 6 wide"):
        build_slide_encoder(LatentQuery.Config(width=12, heads=2, position="rotary"), WIDTH_IN)
    with pytest.raises(ConfigError, match="abmil: width 16 is no multiple of 3 heads"):
        build_slide_encoder(GatedAbmil.Config(width=16, heads=3), WIDTH_IN)
    with pytest.raises(ConfigError, match="belongs to no slide encoder"):
        build_slide_encoder(object(), WIDTH_IN)
    for name in CONFIGS:
        with pytest.raises(DataError, match=r"takes tiles of width 12, got 7"):
            build(name)(TileBag.pack([torch.zeros(3, 7)], [torch.zeros(3, 2)]))
