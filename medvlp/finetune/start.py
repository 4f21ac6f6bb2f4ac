"""Opening the image tower that fine-tuning starts from.

Shape letters: B images · C channels · H, W pixels · I tower width.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from medvlp.encoders.image import TimmImage
from medvlp.errors import ConfigError
from medvlp.finetune.config import Start

_TIMM = "timm:"


def open_start(start: Start) -> Any:
    """Return an image tower (see docs/architecture.md, "Add an encoder") in eval mode, on the CPU.

    Raises:
        ConfigError: If weights are named for an address that brings its own, or the size does not fit.
        CheckpointError: If nothing is there, it does not fit, or no average is kept.
    """
    if start.model.startswith(_TIMM):
        if start.ema:
            raise ConfigError("timm networks keep no averaged weights", item="start.ema", remedy="set it to false")
        weights = start.weights if start.weights is not None else "none"
        name = start.model.removeprefix(_TIMM)
        return TimmImage(TimmImage.Config(model=name, weights=weights, image_size=start.image_size)).eval()
    if start.weights not in (None, "none"):
        raise ConfigError(
            f"{start.model} brings its own weights", item="start.weights", remedy="set it to null, or use timm:NAME"
        )
    import medvlp

    tower = medvlp.load(start.model, ema=start.ema).image
    return resized(tower, start.image_size).eval()


def resized(tower: Any, size: int | None) -> Any:
    """Set a tower to another input size, where its architecture can take one.

    Raises:
        ConfigError: If it cannot.
    """
    if size is None or size == tower.preprocess.size:
        return tower
    if isinstance(tower, TimmImage):
        if hasattr(tower.trunk, "set_input_size"):
            tower.trunk.set_input_size((size, size))
        tower.config = tower.config.model_copy(update={"image_size": size})
    tower.preprocess = replace(tower.preprocess, size=size)
    try:
        with torch.no_grad():
            tower(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"the tower does not take {size} pixel images ({reason})", item="start.image_size", remedy="leave it out"
        ) from None
    return tower


def timm_trunk(tower: Any) -> Any | None:
    """Return the timm network inside a tower, None if there is none."""
    if isinstance(tower, TimmImage):
        return tower.trunk
    return getattr(getattr(tower, "visual", None), "trunk", None)
