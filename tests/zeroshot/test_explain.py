"""Maps of texts on images: geometry undone to the pixel, attention and cosine, pictures."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medvlp.data.transform import Preprocess
from medvlp.errors import ConfigError, DataError
from medvlp.fusion.query_decoder import QueryDecoder
from medvlp.zeroshot.explain import draw_maps, explain, on_image, overlay, peak, save_overlays, with_legend

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]
SIZES = [(96, 96), (150, 90), (90, 150), (64, 200), (33, 47)]


def marked(size, column, row, side=12):
    """A black image with one white square."""
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[row : row + side, column : column + side] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("size", SIZES)
def test_a_mark_comes_back_where_it_was(mode, size):
    """The preprocessed square itself as map: what is bright in the image is bright in the map."""
    preprocess = Preprocess(64, resize_mode=mode, interpolation="bilinear")
    left, top, right, bottom = preprocess.box(*size)
    for x_share, y_share in ((0.05, 0.05), (0.7, 0.05), (0.05, 0.7), (0.7, 0.7)):
        column = int(max(left, 0) + x_share * (min(right, size[0]) - max(left, 0)))
        row = int(max(top, 0) + y_share * (min(bottom, size[1]) - max(top, 0)))
        image = marked(size, column, row)
        square = torch.from_numpy(np.array(preprocess.resize(image).convert("L"), dtype=np.float32))
        laid = on_image(square.flatten()[None], preprocess, size)[0].numpy()
        assert laid.shape == (size[1], size[0])
        weight = np.nan_to_num(laid)
        truth = np.asarray(image.convert("L"), dtype=np.float64)
        truth[np.isnan(laid)] = 0
        for axis in (0, 1):
            middle = [(w.sum(1 - axis) * np.arange(w.shape[axis])).sum() / w.sum() for w in (weight, truth)]
            assert middle[0] == pytest.approx(middle[1], abs=max(1.0, 0.02 * size[1 - axis]))


@pytest.mark.parametrize("size", SIZES)
def test_what_was_cropped_is_not_seen_and_a_border_hides_nothing(size):
    ones = torch.ones(1, 16)
    for mode in ("squash", "longest"):
        assert not torch.isnan(on_image(ones, Preprocess(64, resize_mode=mode), size)).any()
    unseen = torch.isnan(on_image(ones, Preprocess(64), size)[0])
    seen = int((~unseen).sum())
    short = min(size)
    assert seen == pytest.approx(short * short, rel=0.06)
    assert bool(unseen.any()) == (size[0] != size[1])


def test_interpolation_has_the_middle_of_a_place_where_it_is():
    """A ramp over places is the same ramp over pixels between the middles of the first and last place."""
    ramp = torch.arange(4.0)[None].expand(4, 4).flatten()[None]
    laid = on_image(ramp, Preprocess(64), (64, 64))[0]
    expected = ((torch.arange(64) + 0.5) / 16 - 0.5).clamp(0, 3)
    assert torch.allclose(laid, expected.expand(64, 64), atol=1e-5)


def test_places_must_be_a_square():
    with pytest.raises(DataError, match="12 places are no square"):
        on_image(torch.ones(1, 12), Preprocess(64), (10, 10))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    from tiny_models import tiny_model, write_bert

    from medvlp.encoders.image import TimmImage

    bert = write_bert(tmp_path_factory.mktemp("explain") / "bert")
    image = TimmImage.Config(model="test_vit", image_size=64)
    decoder = QueryDecoder.Config(width=16, layers=1, heads=2)
    return tiny_model(bert, image=image), tiny_model(bert, image=image, decoder=decoder)


@pytest.mark.extras
def test_attention_where_there_is_a_decoder_else_cosine(models):
    plain, asked = models
    images = [marked((80, 60), 5, 5), marked((64, 64), 40, 40)]
    texts = ["a lung", "the colon", "nevus"]
    cosine, attention = explain(plain, images, texts), explain(asked, images, texts, batch_size=1)
    assert (cosine.source, attention.source) == ("cosine", "attention")
    assert [found.shape for found in cosine.maps] == [(3, 60, 80), (3, 64, 64)]
    assert cosine.images == ("image 0", "image 1")
    assert np.nanmax(np.abs(cosine.maps[0])) <= 1
    assert np.nanmean(attention.maps[1]) == pytest.approx(1 / 16, rel=0.05)  # 4 x 4 patches
    assert explain(asked, images, texts, source="cosine").source == "cosine"
    with torch.no_grad():
        tokens_BNI = plain.image_tokens(plain.preprocess(images[1])[None])[1]
        expected_NT = plain.project_image(tokens_BNI)[0] @ plain.encode_text(texts).T
    around = [cosine.maps[1][:, row::16, column::16] for row in (7, 8) for column in (7, 8)]
    expected = expected_NT.T.reshape(3, 4, 4).numpy()
    assert np.allclose(np.mean(around, 0), expected, atol=0.1)
    assert np.corrcoef(np.mean(around, 0).ravel(), expected.ravel())[0, 1] > 0.99
    with pytest.raises(ConfigError, match="has no query decoder"):
        explain(plain, images, texts, source="attention")
    with pytest.raises(DataError, match="expected at least one text"):
        explain(plain, images, [])


@pytest.mark.extras
def test_pictures_are_numbered_whole_or_absent(models, tmp_path):
    images = [marked((80, 60), 5, 5), marked((64, 64), 40, 40)]
    found = explain(models[0], images, ["a lung", "the colon"])
    folder = save_overlays(found, images, tmp_path / "maps")
    names = sorted(path.name for path in folder.glob("*.png"))
    assert names == [f"image-000{image}-text-0{text}.png" for image in (0, 1) for text in (0, 1)]
    with Image.open(folder / names[0]) as picture:
        assert picture.size == (80, 60)
    with pytest.raises(DataError, match="2 maps, but 1 images"):
        save_overlays(found, images[:1], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_unseen_pixels_stay_grey():
    image = Image.new("RGB", (4, 2), (100, 100, 100))
    map_HW = np.array([[np.nan, 0, 1, 1], [np.nan, 0, 1, 1.0]])
    shown = np.asarray(overlay(image, map_HW, (0, 1)))
    assert (shown[:, 0] == 100).all()
    assert not (shown[:, 1] == shown[:, 2]).all()


def test_the_peak_is_the_highest_value_that_was_seen():
    map_HW = np.array([[np.nan, 0.2, 0.1], [0.3, 0.9, 0.9]])
    assert peak(map_HW) == (1, 1)
    with pytest.raises(DataError, match="saw no pixel"):
        peak(np.full((2, 2), np.nan))


@pytest.mark.parametrize(("size", "factor"), [((300, 250), 1), ((40, 30), 8)])
def test_a_legend_keeps_the_image_marks_the_peak_and_shows_the_colours(size, factor):
    image = Image.new("RGB", size, (100, 100, 100))
    map_HW = np.zeros((size[1], size[0]))
    map_HW[12, 20] = 2.0
    plain, shown = np.asarray(overlay(image, map_HW, (0, 2))), np.asarray(with_legend(image, map_HW, (0, 2)))
    assert shown.shape[0] == factor * size[1]
    assert shown.shape[1] > factor * size[0] + 30
    enlarged = plain.repeat(factor, 0).repeat(factor, 1)
    changed = np.argwhere((shown[:, : factor * size[0]] != enlarged).any(2))
    assert changed.mean(0) / factor - 0.5 == pytest.approx((12, 20), abs=1)
    assert 20 < len(changed) < 0.05 * size[0] * size[1] * factor**2
    bar = shown[16 : factor * size[1] - 16, factor * size[0] + 20]
    assert tuple(bar[0]) == (253, 231, 37)  # the ends of viridis
    assert tuple(bar[-1]) == (68, 1, 84)


@pytest.mark.extras
def test_maps_are_drawn_with_an_index_whole_or_absent(models, tmp_path):
    images = [marked((80, 60), 5, 5), marked((64, 64), 40, 40)]
    texts = ["a lung", "the colon"]
    folder = draw_maps(models[1], images, texts, tmp_path / "maps")
    with (folder / "index.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["text"] for row in rows] == texts * 2
    assert {row["source"] for row in rows} == {"attention"}
    assert sorted(path.name for path in folder.glob("*.png")) == [row["picture"] for row in rows]
    found = explain(models[1], images, texts)
    for number, row in enumerate(rows):
        map_HW = found.maps[number // 2][number % 2]
        assert (int(row["peak_x"]), int(row["peak_y"])) == peak(map_HW)
        assert float(row["high"]) == pytest.approx(np.nanmax(found.maps[number // 2]), rel=1e-4)
    with pytest.raises(DataError, match="already exists"):
        draw_maps(models[1], images, texts, tmp_path / "maps")
    draw_maps(models[1], images[:1], texts[:1], tmp_path / "maps", replace=True)
    assert len(list(folder.glob("*.png"))) == 1
    with pytest.raises(DataError):
        draw_maps(models[1], [images[0], tmp_path / "none.png"], texts, tmp_path / "other")
    assert not (tmp_path / "other").exists()
