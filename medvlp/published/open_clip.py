"""open_clip folders as the hub has them: BiomedCLIP, QuiltNet and their kin.

Their ``open_clip_config.json`` names a text tower by a hub name. Here its configuration comes from the folder, from the
facts below, or from the local cache, so that the folder alone is enough; the weights file holds the whole text tower.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar

from medvlp.data.transform import Preprocess
from medvlp.encoders import hf
from medvlp.errors import CheckpointError, MedvlpError
from medvlp.io import read_json
from medvlp.published.clip_model import clip_plan
from medvlp.published.layout import CLIP_MEAN, CLIP_STD, POSITIONS, Layout, Plan, checked_hf_config, copy_tokenizer
from medvlp.published.openai_clip import TEXT_AT_TOP
from medvlp.published.rules import Rule
from medvlp.published.source import OPEN_CLIP_CONFIG, Source

_BERT_BASE: dict[str, Any] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 30522,
}
KNOWN_TEXT_TOWERS = {
    f"microsoft/BiomedNLP-{name}-base-uncased-abstract{rest}": _BERT_BASE
    for name in ("BiomedBERT", "PubMedBERT")
    for rest in ("", "-fulltext")
}
_RULES = (
    Rule(r"text\.transformer\.embeddings\.position_ids", None, reason=POSITIONS),
    Rule(r"(?:text\.)?attn_mask", None, reason="the causal mask, which the model makes itself"),
    Rule(r"visual\.(.+)", r"image.visual.\1"),
    Rule(r"text\.(.+)", r"text.text.\1"),
    Rule(TEXT_AT_TOP, r"text.text.\1"),
    Rule(r"(logit_scale|logit_bias)", r"\1"),
)
_NO_POOLER = Rule(r"text\.transformer\.pooler\..+", None, reason="BERT's pooler, which this pooling does not use")


class OpenClip(Layout):
    """A folder with ``open_clip_config.json``."""

    name: ClassVar[str] = "open_clip"
    title: ClassVar[str] = "open_clip folder or hub name (BiomedCLIP, QuiltNet)"
    verified: ClassVar[str] = (
        "names and shapes of BiomedCLIP's and QuiltNet's architectures at full size, against open_clip 3.3 itself; "
        "embeddings equal to open_clip's at reduced width and random weights, without the hub"
    )
    unverified: ClassVar[str] = (
        "no published folder was at hand; QuiltNet-B-16-PMB's configuration is taken to be BiomedCLIP's"
    )
    cites: ClassVar[tuple[str, ...]] = (
        "open_clip 3.3 (model.py, hf_model.py, timm_model.py, model_configs/)",
        "github.com/HealthX-Lab/MedCLIP-SAMv2 saliency_maps/model/config.json (commit 331ac3e3), BiomedCLIP's sizes",
        "github.com/wisdomikezogwo/quilt1m README.md (commit 1a646dc1), QuiltNet's three models",
        "github.com/mlfoundations/open_clip pull request 595, `position_ids` in old BERT checkpoints",
    )

    def recognises(self, source: Source, names: Collection[str]) -> bool:
        """See :meth:`Layout.recognises`."""
        return bool(source.open_clip)

    def plan(self, source: Source) -> Plan:
        """See :meth:`Layout.plan`."""
        folder = source.folder
        architecture = source.open_clip.get("model_cfg")
        if folder is None or not isinstance(architecture, dict):
            raise CheckpointError(
                f"needs {OPEN_CLIP_CONFIG} with `model_cfg` beside it", item=source.path, remedy="name the whole folder"
            )
        for key in ("embed_dim", "vision_cfg", "text_cfg"):
            if key not in architecture:
                raise CheckpointError(f"model_cfg has no {key}", item=folder / OPEN_CLIP_CONFIG)
        if ":" in str(architecture["vision_cfg"].get("timm_model_name", "")):
            raise CheckpointError("names an image tower outside timm", item=folder / OPEN_CLIP_CONFIG)
        if "multimodal_cfg" in architecture:
            raise CheckpointError("is a CoCa model", item=folder, remedy="use open_clip:NAME, or make embeddings")
        text_cfg = architecture["text_cfg"]
        preprocess = _preprocess(source.open_clip.get("preprocess_cfg", {}), architecture)
        rules: tuple[Rule, ...] = _RULES
        options: dict[str, Any] = {}
        if "hf_model_name" in text_cfg:
            text_config = _text_config(folder, str(text_cfg["hf_model_name"]))
            place = folder

            def tokenizer(target: Path) -> None:
                copy_tokenizer(place, target, text_config)

            options = {"text_config": text_config, "tokenizer": tokenizer}
            if text_cfg.get("hf_pooler_type") != "cls_pooler":
                rules = (_NO_POOLER, *_RULES)
        elif "hf_tokenizer_name" in text_cfg:
            options = {"tokenizer": lambda target: copy_tokenizer(folder, target, {"model_type": "clip_text_model"})}
        return clip_plan(f"open_clip:{folder.name}", architecture, preprocess, rules, source.state, **options)


def _text_config(folder: Path, name: str) -> dict[str, Any]:
    """Find the text tower's configuration: in the folder, among the known ones, or where the name points."""
    for path in (folder / "text_config" / "config.json", folder / "config.json"):
        if path.is_file():
            values = read_json(path)
            if isinstance(values, dict) and "hidden_size" in values:
                return checked_hf_config(values, path)
    if name in KNOWN_TEXT_TOWERS:
        return checked_hf_config(KNOWN_TEXT_TOWERS[name], name)
    try:
        return checked_hf_config(hf.read_config(hf.find_folder(name)).to_dict(), name)
    except MedvlpError:
        raise CheckpointError(
            f"its text tower {name} is not known here and not in the local cache",
            item=folder,
            remedy=f"put that model's config.json into {folder / 'text_config'}",
        ) from None


def _preprocess(values: Any, architecture: dict[str, Any]) -> Preprocess:
    """Fill in what open_clip itself takes where the file is silent."""
    known = {key: value for key, value in dict(values).items() if key != "mode"}
    size = architecture["vision_cfg"].get("image_size", 224)
    return Preprocess.from_json({"size": size, "mean": CLIP_MEAN, "std": CLIP_STD, **known})
