"""OpenAI, CheXzero, Hugging Face and open_clip forms of CLIP: equal to the implementations they come from."""

import json

import pytest
import torch
from published_folders import (
    CLIP_TEXT,
    CLIP_VISION,
    openai_model,
    write_biomedclip,
    write_hf_clip,
    write_keep,
    write_openai,
)
from tiny_models import pictures

import medvlp
from medvlp.errors import CheckpointError
from medvlp.export import export
from medvlp.model import save_model
from medvlp.published import open_published

pytestmark = pytest.mark.extras
TEXTS = ["an H&E image of lung carcinoma", "normal liver", "pleural effusion " * 60]
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}


def units(value):
    return torch.nn.functional.normalize(value, dim=-1)


def clip_embeddings(clip, stock, model, images):
    """What the original implementation gives for the same pixels and OpenAI's tokenizer."""
    with torch.no_grad():
        pixels = torch.stack([model.preprocess(image) for image in images])
        return stock.encode_image(pixels, normalize=True), stock.encode_text(clip.tokenize(TEXTS), normalize=True)


@pytest.mark.parametrize("vision", [CLIP_VISION, RESNET], ids=["vit", "resnet"])
@pytest.mark.parametrize("layout", ["openai_clip", "chexzero"])
def test_openai_state_dict(clip, tmp_path, layout, vision):
    stock = openai_model(clip, vision)
    path = write_openai(tmp_path / "best.pt", stock)
    model, report = open_published(layout, path)
    assert report.ok
    images = pictures(3)
    image_BD, text_MD = clip_embeddings(clip, stock, model, images)
    torch.testing.assert_close(model.encode_image(images), image_BD, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.encode_text(TEXTS), text_MD, atol=1e-5, rtol=0)
    assert model.tokenizer.truncated_share == pytest.approx(1 / 3)
    assert model.scale().item() == pytest.approx(stock.logit_scale.exp().item())


def test_half_precision_and_wrapped(clip, tmp_path):
    """As PubMedCLIP's training saves it: under `state_dict`, with `module.` in front, in half precision."""
    stock = openai_model(clip)
    state = {f"module.{name}": value.half() for name, value in stock.state_dict().items()}
    state["module.input_resolution"] = torch.tensor(32)
    torch.save({"state_dict": state}, tmp_path / "best_model.pth")
    model, report = open_published("openai_clip", tmp_path / "best_model.pth")
    assert report.ok
    assert any("half precision" in note for note in report.notes)
    assert report.ignored == {"input_resolution": "a size, which the shapes say too"}
    assert next(model.parameters()).dtype == torch.float32
    stock.load_state_dict({name: value.half().float() for name, value in stock.state_dict().items()})
    image_BD, _ = clip_embeddings(clip, stock, model, pictures(2))
    torch.testing.assert_close(model.encode_image(pictures(2)), image_BD, atol=1e-5, rtol=0)


def test_chexzero_prepares_radiographs_as_its_scripts(clip, tmp_path):
    model, _ = open_published("chexzero", write_openai(tmp_path / "c.pt", openai_model(clip)))
    from PIL import Image

    values = model.preprocess(Image.new("L", (200, 100), 180))
    inside, border = (180 - 101.48761) / 83.43944, (0 - 101.48761) / 83.43944
    assert values.shape == (3, 32, 32)
    assert values[:, 16, 16].tolist() == pytest.approx([inside] * 3, abs=1e-5)
    assert values[:, 0, 0].tolist() == pytest.approx([border] * 3, abs=1e-5)


def test_without_quickgelu_it_would_be_another_model(clip, tmp_path):
    from open_clip.model import CLIP

    stock = openai_model(clip)
    model, _ = open_published("openai_clip", write_openai(tmp_path / "c.pt", stock))
    plain = CLIP(24, CLIP_VISION, CLIP_TEXT, quick_gelu=False).eval()
    plain.load_state_dict(stock.state_dict())
    image_BD, _ = clip_embeddings(clip, plain, model, pictures(2))
    assert (model.encode_image(pictures(2)) - image_BD).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("act", "own_vocabulary", "eos"),
    [("quick_gelu", False, None), ("gelu", False, 2), ("quick_gelu", True, None), ("quick_gelu", True, 7)],
)
def test_hugging_face_clip(clip, tmp_path, act, own_vocabulary, eos):
    stock, tokenizer = write_hf_clip(tmp_path / "plip", act=act, own_vocabulary=own_vocabulary, eos=eos)
    model, report = open_published("hf_clip", tmp_path / "plip")
    assert report.ok
    assert len(report.renamed) + len(report.ignored) == report.num_tensors
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    images = [image.resize((sides, 64)) for image, sides in zip(pictures(3), (64, 66, 98), strict=True)]
    pixels = CLIPImageProcessorPil.from_pretrained(str(tmp_path / "plip"))(images, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(torch.stack([model.preprocess(image) for image in images]), pixels, atol=1e-5, rtol=0)
    tokens = tokenizer(TEXTS, max_length=77, padding="max_length", truncation=True, return_tensors="pt")
    with torch.no_grad():
        image_BD = stock.get_image_features(pixel_values=pixels).pooler_output
        text_MD = stock.get_text_features(**tokens).pooler_output
        torch.testing.assert_close(model.image(pixels), image_BD, atol=1e-5, rtol=0)
        ids_ML, mask_ML = model.tokenize(TEXTS)
        torch.testing.assert_close(model.text(ids_ML, mask_ML), text_MD, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.encode_image(images), units(image_BD), atol=1e-5, rtol=0)
    torch.testing.assert_close(model.encode_text(TEXTS), units(text_MD), atol=1e-5, rtol=0)
    assert model.scale().item() == pytest.approx(stock.logit_scale.exp().item())
    assert (model.tokenizer.hf is None) != own_vocabulary  # OpenAI's vocabulary comes with open_clip


def test_the_crop_may_lie_one_pixel_beside_hugging_faces(clip):
    """open_clip rounds half a pixel to even, Hugging Face rounds down: they differ where the margin is 3 modulo 4."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    from medvlp.data.transform import Preprocess
    from medvlp.published.layout import CLIP_MEAN, CLIP_STD

    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    ours = Preprocess(32, CLIP_MEAN, CLIP_STD)
    for margin in range(9):
        image = pictures(1, seed=margin)[0].resize((32 + margin, 32))
        theirs = processor([image], return_tensors="pt")["pixel_values"][0]
        mine = ours(image)
        same = torch.allclose(mine, theirs, atol=1e-5)
        assert same == (margin % 4 != 3), margin
        if not same:
            assert torch.allclose(mine[:, :, :-1], theirs[:, :, 1:], atol=1e-5)


def test_query_and_key_exchanged_would_show(clip, tmp_path):
    """The equality has power: stacking in another order gives other embeddings."""
    from safetensors.torch import load_file, save_file

    write_hf_clip(tmp_path / "plip", own_vocabulary=True)
    right, _ = open_published("hf_clip", tmp_path / "plip")
    path = tmp_path / "plip" / "model.safetensors"
    state = load_file(path)
    for name in [name for name in state if ".q_proj." in name]:
        other = name.replace(".q_proj.", ".k_proj.")
        state[name], state[other] = state[other], state[name]
    save_file(state, path)
    wrong, _ = open_published("hf_clip", tmp_path / "plip")
    assert (wrong.encode_image(pictures(2)) - right.encode_image(pictures(2))).abs().max() > 1e-4


def test_biomedclip(bert, clip, tmp_path):
    stock = write_biomedclip(tmp_path / "BiomedCLIP", bert, clip)
    model, report = open_published("open_clip", tmp_path / "BiomedCLIP")
    assert report.ok
    assert list(report.ignored) == ["text.transformer.embeddings.position_ids"]
    from open_clip.tokenizer import HFTokenizer

    images = pictures(3)
    with torch.no_grad():
        pixels = torch.stack([model.preprocess(image) for image in images])
        torch.testing.assert_close(
            model.encode_image(images), stock.encode_image(pixels, normalize=True), atol=1e-6, rtol=0
        )
        ids_ML = HFTokenizer(str(bert), context_length=16)(TEXTS)
        torch.testing.assert_close(
            model.encode_text(TEXTS), stock.encode_text(ids_ML, normalize=True), atol=1e-6, rtol=0
        )
    assert model.preprocess.mean[0] == pytest.approx(0.48145466)
    again = medvlp.load(f"open_clip:{tmp_path / 'BiomedCLIP'}")  # a hub name inside, and no hub: this way too
    assert torch.equal(again.encode_image(images), model.encode_image(images))
    assert torch.equal(medvlp.load(tmp_path / "BiomedCLIP").encode_text(TEXTS), model.encode_text(TEXTS))


def test_biomedclip_with_an_unknown_text_tower(bert, clip, tmp_path):
    write_biomedclip(tmp_path / "B", bert, clip, text_config=False)
    path = tmp_path / "B" / "open_clip_config.json"
    values = json.loads(path.read_text())
    values["model_cfg"]["text_cfg"]["hf_model_name"] = "someone/unknown-bert"
    path.write_text(json.dumps(values))
    with pytest.raises(
        CheckpointError, match=r"someone/unknown-bert is not known here .* put that model's config.json"
    ):
        medvlp.load(f"open_clip:{tmp_path / 'B'}")


def test_quiltnet_as_an_open_clip_folder(clip, tmp_path):
    """QuiltNet-B-32's form: both towers open_clip's own, the text tower at the top, no tokenizer files needed."""
    stock = openai_model(clip)
    config = {"model_cfg": {"embed_dim": 24, "vision_cfg": CLIP_VISION, "text_cfg": CLIP_TEXT, "quick_gelu": True}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    write_openai(tmp_path / "open_clip_pytorch_model.bin", stock)
    model, report = open_published("open_clip", tmp_path)
    assert report.ok
    image_BD, text_MD = clip_embeddings(clip, stock, model, pictures(2))
    torch.testing.assert_close(model.encode_image(pictures(2)), image_BD, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.encode_text(TEXTS), text_MD, atol=1e-5, rtol=0)


def write_any(layout, folder, bert, clip):
    if layout == "hf_clip":
        write_hf_clip(folder)
    elif layout == "hf_clip_own":
        write_hf_clip(folder, own_vocabulary=True)
    elif layout == "open_clip":
        write_biomedclip(folder, bert, clip)
    else:
        folder.mkdir()
        write_openai(folder / "best.pt", openai_model(clip))
        return folder / "best.pt"
    return folder


@pytest.mark.parametrize("layout", ["hf_clip", "hf_clip_own", "open_clip", "chexzero"])
def test_every_clip_layout_exports_to_stock_open_clip(bert, clip, tmp_path, layout):
    path = write_any(layout, tmp_path / "published", bert, clip)
    model = open_published(layout.removesuffix("_own"), path)[0]
    out = export(save_model(model, tmp_path / "own"), "open_clip", tmp_path / "oc")
    stock, _, preprocess = clip.create_model_and_transforms(f"local-dir:{out}")
    tokenizer = clip.get_tokenizer(f"local-dir:{out}")
    stock.eval()
    images = pictures(3)
    with torch.no_grad():
        image_BD = stock.encode_image(torch.stack([preprocess(image) for image in images]), normalize=True)
        torch.testing.assert_close(model.encode_image(images), image_BD, atol=1e-5, rtol=0)
        text_MD = stock.encode_text(tokenizer(TEXTS), normalize=True)
        torch.testing.assert_close(model.encode_text(TEXTS), text_MD, atol=1e-5, rtol=0)
        torch.testing.assert_close(stock.logit_scale.exp(), model.scale())


@pytest.mark.parametrize("layout", ["hf_clip_own", "open_clip"])
def test_no_place_of_this_machine_is_written(bert, clip, tmp_path, layout):
    path = write_any(layout, tmp_path / "published", bert, clip)
    own = save_model(open_published(layout.removesuffix("_own"), path)[0], tmp_path / "own")
    for file in own.rglob("*.json"):
        text = file.read_text(encoding="utf-8")
        assert "medvlp-weights-" not in text, file
        assert str(tmp_path) not in text, file


def test_a_keep_folder_is_not_a_clip_folder(bert, tmp_path):
    write_keep(tmp_path / "KEEP", bert)
    with pytest.raises(CheckpointError, match=r"these are weights of keep, not of hf_clip; use keep:KEEP"):
        medvlp.load(f"hf_clip:{tmp_path / 'KEEP'}")
