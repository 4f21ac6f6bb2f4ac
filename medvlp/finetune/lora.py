"""Low-rank additions to a tower through peft, and folding them into its weights afterwards.

Source: Hu et al. 2021 (LoRA): W x + (alpha / r) B A x, B starting at zero.
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from medvlp import torchvision_guard
from medvlp.errors import ConfigError
from medvlp.finetune.config import Lora
from medvlp.io import require


def add_lora(tower: nn.Module, config: Lora) -> list[str]:
    """Put additions into a tower in place, freeze everything else in it, and return the names of the layers.

    Raises:
        ConfigError: If no layer fits, or the expression is not valid.
        MissingExtraError: If peft is not installed.
    """
    names = target_layers(tower, config.targets)
    torchvision_guard.install()
    peft = require("peft", "finetune")
    settings = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=names, bias="none"
    )
    peft.inject_adapter_in_model(settings, tower)
    for name, parameter in tower.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return names


def target_layers(tower: nn.Module, targets: str | None) -> list[str]:
    """Return the names of the layers that get an addition.

    Only layers that compute by their own ``forward`` count: the projections inside torch's ``MultiheadAttention`` are
    read as bare weights, so an addition there would be silently without effect.
    """
    try:
        pattern = re.compile(targets) if targets is not None else None
    except re.error as error:
        raise ConfigError(f"not a regular expression ({error})", item="method.targets") from None
    found = [
        name
        for name, module in tower.named_modules()
        if _fits(module) and (pattern is None or pattern.fullmatch(name) is not None)
    ]
    if not found:
        some = [name for name, module in tower.named_modules() if _fits(module)][:3]
        raise ConfigError(
            "no linear or 1 x 1 convolution layer has such a name",
            item=f"method.targets: {targets}",
            remedy=f"names are like {', '.join(some)}" if some else "use method full",
        )
    return found


def _fits(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return type(module) is nn.Linear


def merge_lora(tower: nn.Module) -> nn.Module:
    """Fold the additions into the weights and take peft's layers out, in place; other towers stay as they are."""
    for name, module in list(tower.named_modules()):
        if hasattr(module, "lora_A") and hasattr(module, "get_base_layer"):
            layer: Any = module
            layer.merge(safe_merge=True)
            parent, _, last = name.rpartition(".")
            setattr(tower.get_submodule(parent), last, layer.get_base_layer())
    return tower


def trained_share(module: nn.Module) -> float:
    """Return the share of parameters that learn."""
    parameters = list(module.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad) / max(1, sum(p.numel() for p in parameters))
