"""Folders as other projects publish them, small and with random weights, and the models they were saved from."""

import json
import math
import shutil

import torch
from torch import nn
from torch.nn import functional

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")
CLIP_VISION = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
CLIP_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
BERT_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def shaken(module, seed=0):
    """Redraw every weight so that none is at its start value, where mistakes would not show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name != "logit_scale":
                spread = 0.2 if parameter.ndim < 2 else parameter.shape[-1] ** -0.5
                centre = 1.0 if name.endswith(("norm1.weight", "norm2.weight", "gamma")) else 0.0
                parameter.copy_(centre + spread * torch.randn(parameter.shape, generator=generator))
    return module.eval()


class KeepReference(nn.Module):
    """KEEP as its paper and script describe it: a timm ViT with LayerScale, an MLP head, BERT's pooler."""

    def __init__(self, image_model, text_config, dim):
        super().__init__()
        import timm
        from transformers import BertModel

        self.visual = timm.create_model(image_model, init_values=1e-5, num_classes=0, dynamic_img_size=True)
        width = self.visual.num_features
        self.visual_head = nn.Sequential(nn.Linear(width, dim), nn.GELU(), nn.Linear(dim, dim))
        self.text = BertModel(text_config)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.04)))

    def encode_image(self, image_BCHW):
        return functional.normalize(self.visual_head(self.visual(image_BCHW)), dim=-1)

    def encode_text(self, **tokens):
        return functional.normalize(self.text(**tokens).pooler_output, dim=-1)


def write_keep(folder, bert, *, layer_scale_name="gamma", image_model="test_vit", dim=32, positions=64):
    """Write KEEP's folder at reduced width; return the module."""
    from transformers import BertConfig

    sizes = json.loads((bert / "config.json").read_text())
    text_config = BertConfig(**{**BERT_SIZES, "vocab_size": sizes["vocab_size"], "max_position_embeddings": positions})
    model = shaken(KeepReference(image_model, text_config, dim))
    folder.mkdir(parents=True)
    state = {name.replace(".gamma", f".{layer_scale_name}"): value for name, value in model.state_dict().items()}
    state["text.embeddings.position_ids"] = torch.arange(positions)[None]
    torch.save(state, folder / "pytorch_model.bin")
    config = {
        "model_type": "keep",
        "projection_dim": dim,
        "auto_map": {"AutoModel": "modeling_keep.KEEPModel"},
        "text_config": text_config.to_dict(),
    }
    (folder / "config.json").write_text(json.dumps(config))
    copy_tokenizer(bert, folder)
    return model


def copy_tokenizer(source, target):
    for name in TOKENIZER:
        if (source / name).is_file():
            shutil.copy(source / name, target / name)


def openai_model(clip, vision=CLIP_VISION, text=CLIP_TEXT, dim=24):
    """Build OpenAI's architecture with the text tower at the top, by open_clip's own class."""
    from open_clip.model import CLIP

    model = CLIP(dim, vision, text, quick_gelu=True)
    return shaken(model)


def write_openai(path, model, half=False):
    state = {name: value.half() if half and value.is_floating_point() else value
             for name, value in model.state_dict().items()}  # fmt: skip
    torch.save(state, path)
    return path


def write_hf_clip(folder, *, act="quick_gelu", own_vocabulary=False, eos=None, dim=24):
    """Write a CLIPModel folder with its processor and tokenizer; return model and tokenizer."""
    from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    if own_vocabulary:
        letters = list(bytes_to_unicode().values())
        words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
        vocabulary, merges = {word: number for number, word in enumerate(words)}, []
    else:
        simple = SimpleTokenizer()
        words = [*list(simple.encoder)[:-2], "<|startoftext|>", "<|endoftext|>"]
        vocabulary, merges = {word: number for number, word in enumerate(words)}, list(simple.bpe_ranks)
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)
    size = len(vocabulary)
    text = {"vocab_size": size, "hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2,
            "num_attention_heads": 3, "hidden_act": act, "bos_token_id": size - 2,
            "eos_token_id": size - 1 if eos is None else eos}  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 32, "patch_size": 16, "hidden_act": act}  # fmt: skip
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=dim))
    shaken(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return model, tokenizer


def write_biomedclip(folder, bert, clip, vision="test_vit", text_config=True):
    """Write a folder as BiomedCLIP's: a timm tower, a BERT named by its hub name, an MLP behind it."""
    from transformers import AutoConfig

    sizes = AutoConfig.from_pretrained(str(bert))
    text_cfg = {"hf_model_name": str(bert), "hf_tokenizer_name": str(bert), "hf_proj_type": "mlp",
                "hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 16}  # fmt: skip
    vision_cfg = {"timm_model_name": vision, "timm_model_pretrained": False, "timm_pool": "", "timm_proj": "linear",
                  "image_size": 160}  # fmt: skip
    cfg = {"embed_dim": 24, "vision_cfg": vision_cfg, "text_cfg": text_cfg}
    from open_clip.model import CustomTextCLIP

    built = {**cfg, "text_cfg": {**text_cfg, "hf_model_pretrained": False}}
    torch.manual_seed(0)
    from unittest import mock

    with mock.patch("transformers.AutoModel.from_config", side_effect=_from_config):
        model = shaken(CustomTextCLIP(**{**built, "text_cfg": {**built["text_cfg"]}}))
    folder.mkdir(parents=True)
    state = dict(model.state_dict())
    state["text.transformer.embeddings.position_ids"] = torch.arange(sizes.max_position_embeddings)[None]
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    hub = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
    published = {**cfg, "text_cfg": {**text_cfg, "hf_model_name": hub, "hf_tokenizer_name": hub}}
    mean = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": published, "preprocess_cfg": mean}))
    copy_tokenizer(bert, folder)
    if text_config:
        (folder / "text_config").mkdir()
        shutil.copy(bert / "config.json", folder / "text_config" / "config.json")
    return model


def _from_config(name_or_config, **options):
    """open_clip hands the folder's name where transformers wants a configuration."""
    from transformers import AutoConfig, BertModel

    config = AutoConfig.from_pretrained(name_or_config) if isinstance(name_or_config, str) else name_or_config
    return BertModel(config, **options)
