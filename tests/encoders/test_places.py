"""Image features by place: pooled as before, row by row, and each place sees its own part of the image."""

import pytest
import torch

from medvlp.encoders.image import HfImage, TimmImage
from medvlp.errors import ConfigError


def write_vit(folder):
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ViTModel(config, add_pooling_layer=False).save_pretrained(str(folder))
    return folder


def towers(tmp_path):
    yield "cnn", TimmImage(TimmImage.Config(model="test_efficientnet", image_size=128))
    yield "vit", TimmImage(TimmImage.Config(model="test_vit", image_size=64))
    yield "average pooled vit", TimmImage(TimmImage.Config(model="test_vit2", image_size=64))
    vit = write_vit(tmp_path / "vit")
    yield "hf", HfImage(HfImage.Config(model=str(vit)))
    yield "hf mean", HfImage(HfImage.Config(model=str(vit), pooling="mean"))


def check(name, tower):
    tower.eval()
    size = tower.preprocess.size
    image = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pooled_BI, tokens_BNI = tower.with_tokens(image)
        assert torch.allclose(pooled_BI, tower(image), atol=1e-6), name
        side = int(tokens_BNI.shape[1] ** 0.5)
        assert tokens_BNI.shape == (2, side * side, tower.width), name
        assert side >= 2, name
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            half = size // 2
            other = image.clone()
            other[:, :, row * half : (row + 1) * half, column * half : (column + 1) * half] += 3
            change_BN = (tower.with_tokens(other)[1] - tokens_BNI).norm(dim=-1)
            change_BHW = change_BN.unflatten(1, (side, side))
            cut = side // 2
            inside = change_BHW[:, row * cut : (row + 1) * cut, column * cut : (column + 1) * cut].mean()
            mean = change_BHW.mean()
            assert inside > 1.5 * mean, (name, row, column, float(inside), float(mean))


@pytest.mark.extras
def test_pooled_features_are_those_of_forward_and_places_are_row_by_row(tmp_path):
    for name, tower in towers(tmp_path):
        check(name, tower)


@pytest.mark.extras
def test_open_clip_shows_its_places():
    pytest.importorskip("open_clip", reason="needs the extra `clip`")
    from medvlp.encoders.clip_towers import OpenClipImage, _open_clip

    open_clip = _open_clip()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole = open_clip.create_model("ViT-S-32-alt", force_custom_text=True)
    tower = OpenClipImage(OpenClipImage.Config(model="ViT-S-32-alt"), whole=whole)
    before = tower.visual.output_tokens
    check("open_clip", tower)
    assert tower.visual.output_tokens == before


@pytest.mark.extras
def test_a_tower_without_places_says_so():
    tower = TimmImage(TimmImage.Config(model="mobilenetv4_conv_small_035", image_size=64)).eval()
    with pytest.raises(ConfigError, match="its features by place"):
        tower.with_tokens(torch.zeros(1, 3, 64, 64))
