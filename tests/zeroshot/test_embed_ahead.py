"""Images are decoded and resized ahead of the encoder: the same numbers, the same order, the same errors."""

import numpy as np
import pytest
import torch
from PIL import Image

from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.data.transform import Preprocess
from medvlp.errors import DataError
from medvlp.zeroshot.classifier import embed_images


class Net(torch.nn.Module):
    """Embeds what its preprocessing leaves of an image; remembers the sizes it was given."""

    def __init__(self, preprocess):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.line = torch.nn.Linear(3 * preprocess.size**2, 5)
        self.preprocess, self.given = preprocess, []

    @torch.no_grad()
    def encode_image(self, images):
        self.given += [image.size for image in images]
        return self.line(torch.stack([self.preprocess(image) for image in images]).flatten(1))


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    rng = np.random.default_rng(0)
    rows = []
    for i, (width, height) in enumerate(rng.integers(20, 90, (23, 2)).tolist()):
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        rows.append(Row(f"k{i}", image, [Text("t")], "test", f"c{i}", i, "a"))
    return PairsStore.write(tmp_path_factory.mktemp("ahead") / "pairs", rows).split("test")


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_numbers_are_those_of_whole_images(split, mode, interpolation):
    net = Net(Preprocess(32, interpolation=interpolation, resize_mode=mode, fill_color=90))
    rows = [7, 3, 22, 0, 3, 11]
    whole = [net.encode_image([split[row].image for row in part]) for part in (rows[:4], rows[4:])]
    whole_ND = torch.cat(whole).double().numpy()
    net.given.clear()
    found_ND = embed_images(net, split, 4, rows=rows)
    assert np.array_equal(found_ND, whole_ND / np.linalg.norm(whole_ND, axis=1, keepdims=True))
    assert net.given == [(32, 32)] * 6  # they came resized


def test_an_encoder_without_known_preprocessing_gets_whole_images(split):
    inner, sizes = Preprocess(32), []

    class Own:
        def encode_image(self, images):
            sizes.extend(image.size for image in images)
            return torch.stack([inner(image).flatten()[:7] for image in images])

    embed_images(Own(), split, 5)
    assert sizes == [split[row].image.size for row in range(len(split))]


def test_a_broken_image_is_named_and_nothing_hangs(split):
    class Torn:
        name = "test"

        def __len__(self):
            return 40

        def __getitem__(self, row):
            if row == 17:
                raise DataError("truncated image", item="k17")
            return split[row % 23]

    with pytest.raises(DataError, match="k17: truncated image"):
        embed_images(Net(Preprocess(32)), Torn(), 4)


def test_no_rows(split):
    assert embed_images(Net(Preprocess(32)), split, 4, rows=[]).shape == (0, 1)
