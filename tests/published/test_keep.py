"""KEEP's folder: the embeddings of the module its script describes, under both names of LayerScale's parameter."""

import numpy as np
import pytest
import torch
from PIL import Image
from published_folders import write_keep
from tiny_models import pictures

import medvlp
from medvlp.errors import CheckpointError, ExportError
from medvlp.export import export, verify
from medvlp.model import load_model, save_model
from medvlp.published import open_published
from medvlp.published.keep import Keep

TEXTS = ["an image of lung carcinoma", "normal skin", "squamous cell carcinoma of the left lung " * 5]
SMALL = Keep(image_model="test_vit", context_length=16)


@pytest.fixture(scope="module")
def keep(bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "KEEP"
    return folder, write_keep(folder, bert)


@pytest.fixture(scope="module")
def opened(keep):
    return open_published(SMALL, keep[0])


def reference_texts(bert, texts):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(bert))
    return tokenizer(texts, max_length=16, padding="max_length", truncation=True, return_tensors="pt")


def test_embeddings_are_those_of_the_published_module(keep, opened, bert):
    model, report = opened
    images = pictures(3)
    with torch.no_grad():
        pixels = torch.stack([model.preprocess(image) for image in images])
        torch.testing.assert_close(model.encode_image(images), keep[1].encode_image(pixels), atol=1e-5, rtol=0)
        tokens = reference_texts(bert, TEXTS)
        theirs = keep[1].encode_text(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        torch.testing.assert_close(model.encode_text(TEXTS), theirs, atol=1e-5, rtol=0)
    assert model.scale().item() == pytest.approx(25)
    assert report.ok
    assert (report.missing, report.unexpected, report.misshapen) == ((), (), ())
    assert report.ignored == {"text.embeddings.position_ids": "counts positions; the model counts them itself"}
    assert len(report.renamed) + len(report.ignored) == report.num_tensors


def test_pixels_are_those_of_the_published_script(opened):
    """Resize the shorter side, bicubic, centre crop, ImageNet statistics."""
    model, _ = opened
    size = model.preprocess.size
    mean, std = (np.array(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for image in pictures(4):
        short = min(image.size)
        width, height = (int(size * side / short) for side in image.size)
        resized = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = round((width - size) / 2), round((height - size) / 2)
        pixels = np.asarray(resized.crop((left, top, left + size, top + size))).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(model.preprocess(image).numpy(), (pixels - mean) / std, atol=1e-5)


def test_the_hub_copy_calls_layer_scale_weight(opened, bert, tmp_path):
    write_keep(tmp_path / "hub", bert, layer_scale_name="weight")
    model, report = open_published(SMALL, tmp_path / "hub")
    assert report.ok
    assert report.renamed["visual.blocks.0.ls1.weight"] == "image.trunk.blocks.0.ls1.gamma"
    assert torch.equal(model.encode_image(pictures(2)), opened[0].encode_image(pictures(2)))


def test_layer_scale_left_at_its_start_would_show(keep, opened):
    """The equality above has power: without the published LayerScale the embeddings are others."""
    model, _ = open_published(SMALL, keep[0])
    with torch.no_grad():
        model.image.trunk.blocks[0].ls1.gamma.fill_(1e-5)
    assert (model.encode_image(pictures(2)) - opened[0].encode_image(pictures(2))).abs().max() > 1e-3


def test_saved_and_loaded_again(opened, tmp_path):
    model, _ = opened
    again = load_model(save_model(model, tmp_path / "own"))
    assert torch.equal(again.encode_image(pictures(2)), model.encode_image(pictures(2)))
    assert torch.equal(again.encode_text(TEXTS), model.encode_text(TEXTS))


@pytest.mark.extras
def test_exports_to_open_clip_with_layer_scale_folded_and_the_head_padded(opened, clip, tmp_path):
    out = export(opened[0], "open_clip", tmp_path / "oc")
    result = verify(out, opened[0])
    assert result.ok, str(result)
    from safetensors.torch import load_file

    names = set(load_file(out / "open_clip_model.safetensors"))
    assert "visual.head.mlp.fc2.bias" in names
    assert not any(name.endswith(".gamma") for name in names)


@pytest.mark.extras
def test_the_fold_matters(opened, clip):
    """Weights written without multiplying LayerScale in are another model."""
    from medvlp.export.fold import trunk_state

    model, _ = opened
    folded, plain = trunk_state(model.image), model.image.trunk.state_dict()
    gamma = plain["blocks.0.ls1.gamma"]
    assert torch.equal(folded["blocks.0.attn.proj.weight"], plain["blocks.0.attn.proj.weight"] * gamma[:, None])
    assert torch.equal(folded["blocks.0.mlp.fc2.bias"], plain["blocks.0.mlp.fc2.bias"] * plain["blocks.0.ls2.gamma"])
    assert not torch.equal(folded["blocks.0.attn.proj.weight"], plain["blocks.0.attn.proj.weight"])


def test_the_untrained_floor_of_a_transformer_with_layer_scale_sees_images(opened):
    """LayerScale redrawn as zero would close every block, and all images would look alike."""
    from medvlp.zeroshot.floors import untrained_copy

    image_BD = untrained_copy(opened[0], 0).encode_image(pictures(2))
    assert (image_BD[0] - image_BD[1]).abs().max() > 1e-3


def test_layer_scale_that_cannot_be_folded_is_refused():
    from medvlp.encoders.image import TimmImage
    from medvlp.export.fold import trunk_state

    tower = TimmImage(TimmImage.Config(model="test_vit", layer_scale=0.1))
    del tower.trunk.blocks[0].attn.proj
    with pytest.raises(ExportError, match=r"test_vit: this network's LayerScale cannot be written without it; export"):
        trunk_state(tower)


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        (
            "tokenizer.json",
            r"KEEP: holds no tokenizer \(tokenizer.json or vocab.txt\); put the published one beside it",
        ),
        (
            "pytorch_model.bin",
            r"KEEP: holds no weight file; it should be called model.safetensors or pytorch_model.bin",
        ),
    ],
)
def test_a_folder_with_a_file_missing(bert, tmp_path, remove, message):
    write_keep(tmp_path / "KEEP", bert)
    (tmp_path / "KEEP" / remove).unlink()
    with pytest.raises(CheckpointError, match=message):
        open_published(SMALL, tmp_path / "KEEP")


def test_the_full_size_is_what_the_scheme_opens(bert, tmp_path):
    """`keep:` means ViT-L/16: a smaller network is named with both shapes and the remedy."""
    write_keep(tmp_path / "KEEP", bert, positions=512)
    with pytest.raises(CheckpointError) as caught:
        medvlp.load(f"keep:{tmp_path / 'KEEP'}")
    message = str(caught.value)
    assert "252 tensors missing: image.trunk.blocks.6.norm1.weight" in message  # 18 blocks of 14
    assert "image.trunk.cls_token (1, 1, 64) instead of (1, 1, 1024)" in message
    what = "KEEP: timm ViT-L/16 with LayerScale, MLP head, BERT pooler"
    assert message.endswith(f"use weights of this architecture ({what}), or another --layout")


def test_the_file_without_its_folder(keep):
    with pytest.raises(CheckpointError, match=r"need the config.json and tokenizer beside them; name the folder"):
        medvlp.load(f"keep:{keep[0] / 'pytorch_model.bin'}")
