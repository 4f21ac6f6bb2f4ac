"""Stand-alone, shared by the embed scripts that use torch: pooling, heads, and weights that have to fit.

Shape letters: B images · M texts · L tokens · I tower width · D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import embed_parts
import torch
from safetensors.torch import load_file
from torch import Tensor, nn


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file of the export, or stop."""
    if not path.is_file():
        embed_parts.stop(f"{path.name}: missing; copy the whole folder")
    return load_file(path)


def load(module: nn.Module, state: Mapping[str, Tensor], name: str) -> Any:
    """Load every tensor of a module by name, or stop: weights of another architecture never pass."""
    expected = module.state_dict()
    wrong = sorted(expected.keys() ^ state.keys()) or [
        key for key, tensor in expected.items() if tensor.shape != state[key].shape
    ]
    if wrong:
        refuse_weights(name, wrong)
    module.load_state_dict(dict(state))
    return module.eval()


def refuse_weights(name: str, wrong: Sequence[str]) -> None:
    """Stop if there is any tensor that does not fit."""
    if wrong:
        embed_parts.stop(
            f"{name}: weights of another architecture ({len(wrong)} tensors do not fit, such as {sorted(wrong)[0]}); "
            "export the model again"
        )


def pool(states_MLI: Tensor, mask_ML: Tensor | None, how: str) -> Tensor:
    """Pool token states (M, L, I) to (M, I); padding never takes part."""
    if how == "cls":
        return states_MLI[:, 0]
    if mask_ML is None:
        return states_MLI.mean(1)
    mask_ML1 = mask_ML.unsqueeze(-1)
    if how == "max":
        return states_MLI.masked_fill(mask_ML1 == 0, -torch.inf).amax(1)
    weights_ML1 = mask_ML1.to(states_MLI.dtype)
    return (states_MLI * weights_ML1).sum(1) / weights_ML1.sum(1)


def pooled(out: Any, mask_ML: Tensor | None, how: str) -> Tensor:
    """Return what a Hugging Face model's output says about its input as a whole (M, I)."""
    return out.pooler_output if how == "pooler" else pool(out.last_hidden_state, mask_ML, how)


def project(features_BI: Tensor, heads: Mapping[str, Tensor], side: str) -> Tensor:
    """Apply the projection ``side`` (``image`` or ``text``), if there is one, and return unit vectors (B, D)."""
    for layer in ("first", "second"):
        name = f"{side}_head.{layer}"
        if f"{name}.weight" in heads:
            if layer == "second":
                features_BI = nn.functional.gelu(features_BI)
            features_BI = nn.functional.linear(features_BI, heads[f"{name}.weight"], heads.get(f"{name}.bias"))
    return nn.functional.normalize(features_BI.float(), dim=-1)


def scale(heads: Mapping[str, Tensor]) -> Any:
    """Return the multiplier of cosines (1,), between 1 and 100."""
    return heads["logit_scale"].exp().clamp(1, 100).reshape(1).numpy()


def tokenise(tokenizer: Any, texts: Sequence[str], context_length: int) -> tuple[Tensor, Tensor]:
    """Return ids and mask (M, L) of cleaned texts with a Hugging Face tokenizer."""
    ids_ML = tokenizer(
        [embed_parts.clean(text) for text in texts],
        max_length=context_length,
        padding="longest",
        truncation=True,
        return_tensors="pt",
    )["input_ids"]
    return ids_ML, (ids_ML != tokenizer.pad_token_id).long()


def cat(parts: Mapping[str, list[Tensor]]) -> dict[str, Any]:
    """Join the batches of each side that has any, as arrays."""
    return {side: torch.cat(tensors).numpy() for side, tensors in parts.items() if tensors}
