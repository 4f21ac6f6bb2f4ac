"""Published models by name: what opens them, under which licence, and how sure this library is of each."""

from __future__ import annotations

from dataclasses import dataclass

_EMBEDDINGS_ONLY = "the format alone, with a stand-in model"


@dataclass(frozen=True)
class Known:
    """One published model.

    Attributes:
        name: What people call it.
        opened_with: What to hand to ``medvlp.load``.
        licence: The licence of the weights or, where only that is stated, of the code.
        licence_from: Where that is stated.
        checked: What the tests check.
        unverified: What they do not.
    """

    name: str
    opened_with: str
    licence: str
    licence_from: str
    checked: str
    unverified: str


KNOWN = (
    Known(
        "KEEP",
        "keep:FOLDER",
        "MIT (code)",
        "LICENSE of MAGIC-AI4Med/KEEP",
        "names and shapes at full size, embeddings at reduced width, both names of LayerScale",
        "the file itself; `text_config` in its config.json",
    ),
    Known(
        "BiomedCLIP",
        "open_clip:FOLDER, or hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        "MIT",
        "model card on the hub",
        "names and shapes at full size, embeddings at reduced width",
        "the file itself; its configuration is read from copies in public code",
    ),
    Known(
        "QuiltNet-B-32, QuiltNet-B-16",
        "open_clip:FOLDER, or hf-hub:wisdomik/QuiltNet-B-32",
        "MIT",
        "README of wisdomikezogwo/quilt1m",
        "names and shapes of ViT-B/32 and ViT-B/16 at full size, embeddings at reduced width",
        "the files themselves; whether their configuration asks for QuickGELU",
    ),
    Known(
        "QuiltNet-B-16-PMB",
        "open_clip:FOLDER, or hf-hub:wisdomik/QuiltNet-B-16-PMB",
        "MIT",
        "README of wisdomikezogwo/quilt1m",
        "as BiomedCLIP, whose architecture it is said to have",
        "the file itself and its configuration",
    ),
    Known(
        "PLIP",
        "hf_clip:FOLDER",
        "MIT (code)",
        "setup.py of PathologyFoundation/plip",
        "names and shapes of ViT-B/32 at full size, features and pixels at reduced width",
        "the folder itself",
    ),
    Known(
        "PubMedCLIP",
        "hf_clip:FOLDER, or openai_clip:FILE as its own training saves it",
        "MIT (code)",
        "LICENSE of sarahESL/PubMedCLIP",
        "as PLIP; ResNet state dicts at reduced width",
        "the files themselves",
    ),
    Known(
        "CheXzero",
        "chexzero:FILE",
        "two LICENSE files in its history: MIT, and Apache 2.0 with Commons Clause",
        "rajpurkarlab/CheXzero, commits be001f9 and 493a491",
        "names and shapes of ViT-B/32 at full size, embeddings at reduced width, mean and deviation",
        "the file itself; its two resizes are one here",
    ),
    Known(
        "CONCH, MUSK and other gated or remote-code models",
        "embeddings:FOLDER",
        "the model's own (CONCH: CC-BY-NC-ND)",
        "README of mahmoodlab/CONCH",
        _EMBEDDINGS_ONLY,
        "any adapter for them",
    ),
)
