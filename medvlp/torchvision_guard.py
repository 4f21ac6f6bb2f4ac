"""Lets a torchvision built for CUDA be imported beside a CPU build of torch, without touching a working one.

The registry carries one torchvision per torch release, and its compiled part needs ``libtorch_cuda``. Beside a
CPU torch that part does not load, and ``import torchvision`` (hence timm, open_clip and parts of transformers)
dies with ``operator torchvision::nms does not exist``. Declaring the schemas of the two operators that torchvision
registers fake kernels for is enough: models and transforms then work, ``torchvision.ops.nms`` and
``torchvision.io`` decoding do not, and this project uses neither.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from pathlib import Path
from typing import Any, Literal

State = Literal["absent", "native", "guarded", "broken", "off"]

_SWITCH = "MEDVLP_TORCHVISION_GUARD"
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library: Any = None  # torch.library.Library: the declared operators vanish when it is collected
_state: State | None = None


def install() -> State:
    """Declare torchvision's operators if, and only if, its compiled part cannot load beside a CPU torch.

    Call it just before the project's own import of timm, open_clip, transformers models or Lightning Fabric.
    Idempotent and cheap after the first call; warns once when it acts. ``MEDVLP_TORCHVISION_GUARD=0`` turns it off.

    Returns:
        ``absent`` (torchvision is not installed), ``native`` (it works by itself), ``guarded`` (this function
        acted, or an equal guard was there before), ``broken`` (the compiled part does not load beside a GPU build
        of torch: a mismatch to repair, not to hide) or ``off`` (switched off where it would have acted).
    """
    global _state
    if _state is None or _state == "off":
        _state = _install()
    return _state


def _install() -> State:
    global _library
    if "torchvision" in sys.modules:
        return "native"
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return "absent"
    import torch

    if hasattr(torch.ops.torchvision, "nms"):
        return "guarded"
    if _native_loads(Path(spec.submodule_search_locations[0])):
        return "native"
    if torch.version.cuda is not None or torch.version.hip is not None:
        return "broken"
    if os.environ.get(_SWITCH, "1") == "0":
        return "off"
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(operator + _SCHEMA)
    _library = library
    warnings.warn(
        "torchvision's compiled part does not load beside this CPU build of torch; medvlp declared its operators so "
        f"that it can be imported (torchvision.ops.nms and torchvision.io stay unusable; {_SWITCH}=0 turns this off)",
        RuntimeWarning,
        stacklevel=3,
    )
    return "guarded"


def _native_loads(folder: Path) -> bool:
    """Try to load the compiled part as torchvision itself would; a source-only build has none to load."""
    import torch

    libraries = [path for path in sorted(folder.glob("_C*")) if path.suffix in {".so", ".pyd", ".dylib"}]
    if not libraries:
        return False
    try:
        torch.ops.load_library(str(libraries[0]))
    except (OSError, RuntimeError):
        return False
    return hasattr(torch.ops.torchvision, "nms")
