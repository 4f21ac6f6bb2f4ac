"""A model's tokenizer as one ``tokenizer.json``, for programs that have the ``tokenizers`` library but no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medvlp.encoders.tokenizer import HfTokenizer, OpenClipTokenizer, Tokenizer, clean
from medvlp.errors import ExportError

_AS_SAFETENSORS = "export with `--to safetensors`"
_CLEANING = {"_clean_whitespace": "whitespace", "_clean_lower": "lower"}
_SAMPLES = ("invasive ductal carcinoma", "Grade 3; Ki-67 > 20 %; it's ER+/PR+/HER2-", "Sjögren’s", "a b " * 200)


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> dict[str, Any]:
    """Write ``tokenizer.json`` into ``folder`` and return how to use it.

    Returns:
        ``context_length``, ``pad_id``, ``pad_token``, ``fixed_length`` (pad to the context length) and ``clean``.

    Raises:
        ExportError: If the tokenizer has no such form, or would split texts otherwise.
    """
    folder.mkdir()
    fast, pad_id, pad_token, how = _fast(tokenizer)
    settings = {
        "context_length": tokenizer.context_length,
        "pad_id": pad_id,
        "pad_token": pad_token,
        "fixed_length": isinstance(tokenizer, OpenClipTokenizer),
        "clean": how,
    }
    fast.save(str(folder / "tokenizer.json"))
    _compare(tokenizer, fast, settings)
    return settings


def _fast(tokenizer: Tokenizer) -> tuple[Any, int, str, str]:
    """Return the ``tokenizers`` object, the padding id and token, and the name of the cleaning."""
    if isinstance(tokenizer, HfTokenizer):
        hf, how = tokenizer.hf, "whitespace"
    elif isinstance(tokenizer, OpenClipTokenizer) and type(tokenizer.inner).__name__ == "SimpleTokenizer":
        inner = tokenizer.inner
        if inner.clean_fn.__name__ not in _CLEANING or inner.reduction_fn is not None:
            raise ExportError("has no counterpart without open_clip", item="text tokenizer", remedy=_AS_SAFETENSORS)
        return _byte_pairs(inner), 0, "!", _CLEANING[inner.clean_fn.__name__]
    elif isinstance(tokenizer, OpenClipTokenizer) and type(tokenizer.inner).__name__ == "HFTokenizer":
        inner = tokenizer.inner
        if inner.tokenizer_mode or inner.strip_sep_token or inner.clean_fn.__name__ not in _CLEANING:
            raise ExportError("has no counterpart without open_clip", item="text tokenizer", remedy=_AS_SAFETENSORS)
        hf, how = inner.tokenizer, _CLEANING[inner.clean_fn.__name__]
    else:
        kind = type(getattr(tokenizer, "inner", tokenizer)).__name__
        raise ExportError("has no counterpart without open_clip", item=f"text tokenizer {kind}", remedy=_AS_SAFETENSORS)
    if not getattr(hf, "is_fast", False):
        raise ExportError("is not of the `tokenizers` library", item="text tokenizer", remedy=_AS_SAFETENSORS)
    from tokenizers import Tokenizer as Fast

    plain = Fast.from_str(hf.backend_tokenizer.to_str())  # a copy: transformers leaves its last padding in its own
    plain.no_truncation()
    plain.no_padding()
    return plain, int(hf.pad_token_id), str(hf.pad_token), how


def _byte_pairs(inner: Any) -> Any:
    """Return open_clip's own byte-pair encoding (CLIP's, Radford et al. 2021) as a ``tokenizers`` object."""
    from tokenizers import Regex, models, pre_tokenizers, processors
    from tokenizers import Tokenizer as Fast

    merges = sorted(inner.bpe_ranks, key=inner.bpe_ranks.__getitem__)
    fast = Fast(models.BPE(vocab=inner.encoder, merges=merges, end_of_word_suffix="</w>"))
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    fast.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    start, end = inner.sot_token_id, inner.eot_token_id
    names = [(inner.decoder[start], start), (inner.decoder[end], end)]
    fast.post_processor = processors.TemplateProcessing(single=f"{names[0][0]} $A {names[1][0]}", special_tokens=names)
    return fast


def _compare(tokenizer: Tokenizer, fast: Any, settings: dict[str, Any]) -> None:
    """Tokenise a few strings both ways: a difference would be silent, and every embedding wrong."""
    length = settings["context_length"]
    fast.enable_truncation(length)
    fast.enable_padding(
        pad_id=settings["pad_id"], pad_token=settings["pad_token"], length=length if settings["fixed_length"] else None
    )
    lower = settings["clean"] == "lower"
    encoded = fast.encode_batch([clean(text).lower() if lower else clean(text) for text in _SAMPLES])
    if [encoding.ids for encoding in encoded] != tokenizer(list(_SAMPLES))[0].tolist():
        raise ExportError("splits texts otherwise as tokenizer.json", item="text tokenizer", remedy=_AS_SAFETENSORS)
