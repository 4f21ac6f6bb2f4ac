"""Two parts open_clip has no name for, written as parts it has, with the same function.

LayerScale multiplies a linear layer's output, so it goes into that layer's weight and bias. The head of KEP (Linear,
GELU, Linear with biases) is open_clip's ``mlp`` with a final bias and zeros for the hidden units it has more: GELU(0)
is 0, so they add nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.encoders.heads import Head
from medvlp.encoders.image import TimmImage
from medvlp.errors import ExportError

_SCALED = {"ls1": "attn.proj", "ls2": "mlp.fc2"}
_GAMMA = ".gamma"


def trunk_state(tower: TimmImage) -> dict[str, Tensor]:
    """Return a timm network's weights as the network has them that timm builds from the name alone.

    Raises:
        ExportError: If LayerScale stands where it cannot be multiplied into a layer.
    """
    import timm

    state = {name: tensor.detach() for name, tensor in tower.trunk.state_dict().items()}
    if tower.config.layer_scale is None:
        return state
    with torch.device("meta"):
        plain = timm.create_model(tower.config.model).state_dict()
    for name in [name for name in state if name.endswith(_GAMMA) and name not in plain]:
        block, _, scale = name.removesuffix(_GAMMA).rpartition(".")
        layer = f"{block}.{_SCALED.get(scale)}"
        if f"{layer}.weight" not in state or f"{layer}.bias" not in state:
            raise ExportError(
                "this network's LayerScale cannot be written without it",
                item=tower.config.model,
                remedy="export with `--to safetensors`, which holds any model",
            )
        gamma_I = state.pop(name)
        state[f"{layer}.weight"] = state[f"{layer}.weight"] * gamma_I[:, None]
        state[f"{layer}.bias"] = state[f"{layer}.bias"] * gamma_I
    return state


def padded_head(head: Head) -> dict[str, Tensor]:
    """Return a ``kep_mlp`` image head (I, D) as open_clip's ``mlp`` (I, 2 D, D) with a final bias."""
    assert head.first is not None
    assert head.second is not None
    hidden = head.first.out_features
    zeros = torch.zeros(hidden)
    return {
        "visual.head.mlp.fc1.weight": torch.cat([head.first.weight, torch.zeros_like(head.first.weight)]).detach(),
        "visual.head.mlp.fc1.bias": torch.cat([head.first.bias.detach(), zeros.to(head.first.bias)]),
        "visual.head.mlp.fc2.weight": torch.cat([head.second.weight, torch.zeros_like(head.second.weight)], 1).detach(),
        "visual.head.mlp.fc2.bias": head.second.bias.detach(),
    }
