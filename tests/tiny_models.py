"""Models small enough to build, train and export in a blink, for every test that needs one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

WORDS = """
a an image of the lung colon skin liver carcinoma adenoma nevus normal tissue squamous cell with left right
pleural effusion syndrome s x and & , . ; ' / + - % > 0 1 2 3 ##s ##oma ##al ##ing
b c d e f g h i j k l m n o p q r t
""".split()  # noqa: SIM905


def write_bert(folder: Path, positions: int = 64, model_type: str = "bert") -> Path:
    """Write a 2-layer BERT (random weights, seed 0) and its tokenizer as a Hugging Face folder."""
    import torch
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    from medvlp import torchvision_guard

    torchvision_guard.install()
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = {word: index for index, word in enumerate([*special, *dict.fromkeys(WORDS)])}
    raw = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(str(folder))
    config = AutoConfig.for_model(
        model_type,
        vocab_size=len(vocab),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(str(folder))
    return folder


def tiny_config(bert: Path, **changes):
    """Return the configuration of a dual encoder of about 0.1 million parameters."""
    from medvlp.encoders.image import TimmImage
    from medvlp.encoders.text import TextEncoder
    from medvlp.model import DualEncoder

    settings = {
        "image": TimmImage.Config(model="test_efficientnet", image_size=64),
        "text": TextEncoder.Config(model=str(bert), context_length=16),
        "embed_dim": 32,
        **changes,
    }
    return DualEncoder.Config(**settings)


def tiny_model(bert: Path, seed: int = 0, **changes):
    """Build it with a fixed seed, in eval mode, with batch statistics away from their initial values."""
    import torch

    from medvlp.model import DualEncoder

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = DualEncoder(tiny_config(bert, **changes))
        model.train()
        with torch.no_grad():
            model.image_features(torch.randn(4, 3, model.preprocess.size, model.preprocess.size))
        return model.eval()


def pictures(count: int, seed: int = 0) -> list[Image.Image]:
    """Return RGB images of different sizes."""
    rng = np.random.default_rng(seed)
    sides = rng.integers(40, 120, (count, 2))
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in sides]
