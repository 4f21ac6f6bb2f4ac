"""Every published layout at full size: names and shapes written out here, compared without memory for the weights."""

import json
import shutil

import pytest
import torch
from published_folders import TOKENIZER

from medvlp.published.hf_clip import HfClip
from medvlp.published.keep import Keep
from medvlp.published.open_clip import KNOWN_TEXT_TOWERS, OpenClip
from medvlp.published.openai_clip import CheXzero, OpenAiClip
from medvlp.published.opening import inspect_source
from medvlp.published.source import Source

pytestmark = pytest.mark.extras
BERT_NAME = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"


def pair(name, out, *more):
    return {f"{name}.weight": (out, *more), f"{name}.bias": (out,)}


def timm_vit(prefix, width, depth, patch=16, side=14, layer_scale=None):
    """timm's vision transformer, tensor by tensor."""
    names = {
        f"{prefix}cls_token": (1, 1, width),
        f"{prefix}pos_embed": (1, side * side + 1, width),
        **pair(f"{prefix}patch_embed.proj", width, 3, patch, patch),
        **pair(f"{prefix}norm", width),
    }
    for number in range(depth):
        block = f"{prefix}blocks.{number}"
        names |= pair(f"{block}.norm1", width) | pair(f"{block}.norm2", width)
        names |= pair(f"{block}.attn.qkv", 3 * width, width) | pair(f"{block}.attn.proj", width, width)
        names |= pair(f"{block}.mlp.fc1", 4 * width, width) | pair(f"{block}.mlp.fc2", width, 4 * width)
        if layer_scale is not None:
            names |= {f"{block}.ls1.{layer_scale}": (width,), f"{block}.ls2.{layer_scale}": (width,)}
    return names


def bert_base(prefix, pooler):
    """BERT-base, 30,522 tokens."""
    names = {
        f"{prefix}embeddings.word_embeddings.weight": (30522, 768),
        f"{prefix}embeddings.position_embeddings.weight": (512, 768),
        f"{prefix}embeddings.token_type_embeddings.weight": (2, 768),
        f"{prefix}embeddings.position_ids": (1, 512),
        **pair(f"{prefix}embeddings.LayerNorm", 768),
    }
    for number in range(12):
        layer = f"{prefix}encoder.layer.{number}"
        for part in ("query", "key", "value"):
            names |= pair(f"{layer}.attention.self.{part}", 768, 768)
        names |= pair(f"{layer}.attention.output.dense", 768, 768) | pair(f"{layer}.attention.output.LayerNorm", 768)
        names |= pair(f"{layer}.intermediate.dense", 3072, 768) | pair(f"{layer}.output.dense", 768, 3072)
        names |= pair(f"{layer}.output.LayerNorm", 768)
    return names | (pair(f"{prefix}pooler.dense", 768, 768) if pooler else {})


def clip_blocks(prefix, width, depth=12):
    names = {}
    for number in range(depth):
        block = f"{prefix}transformer.resblocks.{number}"
        names |= pair(f"{block}.ln_1", width) | pair(f"{block}.ln_2", width)
        names |= {f"{block}.attn.in_proj_weight": (3 * width, width), f"{block}.attn.in_proj_bias": (3 * width,)}
        names |= pair(f"{block}.attn.out_proj", width, width)
        names |= pair(f"{block}.mlp.c_fc", 4 * width, width) | pair(f"{block}.mlp.c_proj", width, 4 * width)
    return names


def openai_clip(patch=32, side=7, dim=512):
    """ViT-B as the cited model file has it; with patch 16, side 20 and 768 values it is CheXzero's own from scratch."""
    return {
        "visual.class_embedding": (768,),
        "visual.positional_embedding": (side * side + 1, 768),
        "visual.proj": (768, dim),
        "visual.conv1.weight": (768, 3, patch, patch),
        **pair("visual.ln_pre", 768),
        **pair("visual.ln_post", 768),
        **clip_blocks("visual.", 768),
        "positional_embedding": (77, 512),
        "text_projection": (512, dim),
        "token_embedding.weight": (49408, 512),
        **pair("ln_final", 512),
        **clip_blocks("", 512),
    }


def hf_clip():
    """ViT-B/32 as `CLIPModel` names it, with the buffers old versions saved."""
    names = {
        "text_model.embeddings.position_ids": (1, 77),
        "text_model.embeddings.token_embedding.weight": (49408, 512),
        "text_model.embeddings.position_embedding.weight": (77, 512),
        **pair("text_model.final_layer_norm", 512),
        "text_projection.weight": (512, 512),
        "vision_model.embeddings.position_ids": (1, 50),
        "vision_model.embeddings.class_embedding": (768,),
        "vision_model.embeddings.patch_embedding.weight": (768, 3, 32, 32),
        "vision_model.embeddings.position_embedding.weight": (50, 768),
        **pair("vision_model.pre_layrnorm", 768),
        **pair("vision_model.post_layernorm", 768),
        "visual_projection.weight": (512, 768),
    }
    for side, width in (("text_model", 512), ("vision_model", 768)):
        for number in range(12):
            layer = f"{side}.encoder.layers.{number}"
            for part in "qkv":
                names |= pair(f"{layer}.self_attn.{part}_proj", width, width)
            names |= pair(f"{layer}.self_attn.out_proj", width, width)
            names |= pair(f"{layer}.layer_norm1", width) | pair(f"{layer}.layer_norm2", width)
            names |= pair(f"{layer}.mlp.fc1", 4 * width, width) | pair(f"{layer}.mlp.fc2", width, 4 * width)
    return names


def keep(layer_scale):
    return {
        **timm_vit("visual.", 1024, 24, layer_scale=layer_scale),
        **pair("visual_head.0", 768, 1024),
        **pair("visual_head.2", 768, 768),
        **bert_base("text.", pooler=True),
    }


def biomedclip():
    return {
        **timm_vit("visual.trunk.", 768, 12),
        "visual.head.proj.weight": (512, 768),
        **bert_base("text.transformer.", pooler=False),
        "text.proj.0.weight": (640, 768),
        "text.proj.2.weight": (512, 640),
    }


def source(folder, shapes, files):
    """Return a source whose tensors take no memory."""
    found = Source(folder, folder, (), **files)
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    found.__dict__["state"] = {**state, "logit_scale": torch.tensor(4.6)}
    return found


def with_tokenizer(folder, bert):
    folder.mkdir(exist_ok=True)
    for name in TOKENIZER:
        if (bert / name).is_file():
            shutil.copy(bert / name, folder / name)
    return folder


def check(kind, found, ignored=0):
    report = inspect_source(kind, found)
    assert (report.missing, report.unexpected, report.misshapen) == ((), (), ())
    assert report.ok
    assert len(report.renamed) == report.num_tensors - ignored
    assert len(report.ignored) == ignored
    return report


@pytest.mark.parametrize("layer_scale", ["gamma", "weight"])
def test_keep(bert, tmp_path, layer_scale):
    files = {"config": {"model_type": "keep", "text_config": KNOWN_TEXT_TOWERS[BERT_NAME]}}
    report = check(Keep(), source(with_tokenizer(tmp_path, bert), keep(layer_scale), files), ignored=1)
    assert report.num_tensors == 24 * 14 + 6 + 4 + 200 + 1  # blocks, the rest of the ViT, head, BERT, scale


def test_keep_without_layer_scale_is_missing_it(bert, tmp_path):
    files = {"config": {"model_type": "keep"}}
    report = inspect_source(Keep(), source(with_tokenizer(tmp_path, bert), keep(None), files))
    assert len(report.missing) == 48
    assert report.missing[0] == "image.trunk.blocks.0.ls1.gamma"
    assert report.notes == ("config.json has no text_config; BERT-base is assumed, and shapes are checked.",)


def test_biomedclip(bert, tmp_path, clip):
    text_cfg = {"hf_model_name": BERT_NAME, "hf_tokenizer_name": BERT_NAME, "hf_proj_type": "mlp",
                "hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 256}  # fmt: skip
    vision_cfg = {"timm_model_name": "vit_base_patch16_224", "timm_model_pretrained": False, "timm_pool": "",
                  "timm_proj": "linear", "image_size": 224}  # fmt: skip
    config = {"model_cfg": {"embed_dim": 512, "vision_cfg": vision_cfg, "text_cfg": text_cfg}}
    check(OpenClip(), source(with_tokenizer(tmp_path, bert), biomedclip(), {"open_clip": config}), ignored=1)


@pytest.mark.parametrize(("name", "patch", "side"), [("ViT-B-32-quickgelu", 32, 7), ("ViT-B-16", 16, 14)])
def test_quiltnet(tmp_path, clip, name, patch, side):
    config = {"model_cfg": clip.get_model_config(name)}
    check(OpenClip(), source(tmp_path, openai_clip(patch, side), {"open_clip": config}))


@pytest.mark.parametrize("kind", [OpenAiClip(), CheXzero()], ids=lambda kind: kind.name)
@pytest.mark.parametrize(("patch", "side", "dim"), [(32, 7, 512), (16, 20, 768)])
def test_openai_and_chexzero(tmp_path, clip, kind, patch, side, dim):
    check(kind, source(tmp_path, openai_clip(patch, side, dim), {}))


def test_openai_names_are_open_clips_builders(clip):
    """The list above is what open_clip itself builds for an OpenAI state dict."""
    from open_clip.model import CLIP

    config = clip.get_model_config("ViT-B-32-quickgelu")
    with torch.device("meta"):
        built = CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"], quick_gelu=True).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in built.items() if name != "logit_scale"}
    assert shapes == openai_clip()


def test_plip_and_pubmedclip(tmp_path, clip):
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(text_config={"eos_token_id": 2}, vision_config={})
    with torch.device("meta"):
        built = CLIPModel(config).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in built.items() if name != "logit_scale"}
    assert shapes == {name: shape for name, shape in hf_clip().items() if not name.endswith("position_ids")}
    found = source(tmp_path, hf_clip(), {"config": json.loads(config.to_json_string())})
    check(HfClip(), found, ignored=2)
