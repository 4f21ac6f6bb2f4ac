"""How deep each parameter of a tower lies, for learning rates that fall from the head down.

Source: Clark et al. 2020 (ELECTRA), Bao et al. 2022 (BEiT): layer l of L learns at rate * decay ** (L + 1 - l).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from medvlp.errors import ConfigError
from medvlp.finetune.start import timm_trunk

_NUMBERED = re.compile(r"(?:^|\.)(?:layers?|resblocks|blocks|stages)\.?(\d+)\.")


def depths(tower: nn.Module) -> dict[str, int]:
    """Return the depth of every parameter of a tower, 0 for the stem; what follows the last block is as deep as it.

    timm networks say themselves what belongs together; elsewhere numbered blocks are read off the names.

    Raises:
        ConfigError: If nothing tells the layers apart.
    """
    names = [name for name, _ in tower.named_parameters()]
    trunk: Any = timm_trunk(tower)
    if trunk is None or not hasattr(trunk, "group_matcher"):
        return _by_name(names, type(tower).__name__)
    from timm.models import group_parameters

    prefix = next(name for name, module in tower.named_modules() if module is trunk) + "."
    inside = group_parameters(trunk, trunk.group_matcher(coarse=False), reverse=True)
    last = max(inside.values())
    return {name: inside.get(name.removeprefix(prefix), last) if name.startswith(prefix) else last for name in names}


def _by_name(names: list[str], item: str) -> dict[str, int]:
    numbered = {name: int(match[1]) + 1 for name in names if (match := _NUMBERED.search(name)) is not None}
    if not numbered:
        raise ConfigError("has no numbered layers", item=item, remedy="set method.layer_decay to 1")
    first = next(position for position, name in enumerate(names) if name in numbered)
    last = max(numbered.values())
    return {name: numbered.get(name, 0 if position < first else last) for position, name in enumerate(names)}


def part(depth: int) -> str:
    """Return the name of the part of the model that a depth is."""
    return f"tower/{depth:02d}"


def layer_rates(num_layers: int, decay: float, tower_lr: float) -> Mapping[str, float]:
    """Return the peak rate of each depth: ``tower_lr * decay ** (L - depth)``, so that the last layer has one decay."""
    return {part(depth): tower_lr * decay ** (num_layers - depth) for depth in range(num_layers)}
