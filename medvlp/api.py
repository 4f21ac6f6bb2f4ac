"""The Python calls that the command line is made of, for use in scripts and notebooks."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medvlp.config import Config, load
from medvlp.errors import ConfigError

_RECIPES = {
    "knowledge": "medvlp.training.knowledge",
    "align": "medvlp.training.align",
    "mstar": "medvlp.training.slide",
}


def train(
    config: Config | str | Path,
    objective: Any = None,
    *,
    out: str | Path | None = None,
    resume: str = "auto",
    dry_run: bool = False,
    overrides: Sequence[str] = (),
) -> Path:
    """Train one stage from a configuration.

    Args:
        config: A ``KnowledgeConfig``, ``AlignConfig`` or ``MstarConfig``, or the path or name of a file of that kind.
        objective: A loss of your own in place of the configured one (stage 2 only): a callable
            ``(outputs, batch, gather) -> Losses`` as described in ``medvlp.objectives.base``.
        out: The run folder; by default ``runs/<name of the file>``.
        resume: ``auto`` goes on from the last complete checkpoint in ``out`` if there is one, ``never`` refuses to
            reuse the folder, and a path names the checkpoint to go on from.
        dry_run: Only one real step, a save, a load and a memory estimate.
        overrides: Texts ``a.b=c`` laid over a file; not allowed with a configuration object.

    Returns:
        The folder of the last checkpoint.

    Raises:
        ConfigError: If the configuration is wrong or of a kind that is not trained.
        TrainingError: If the run cannot start or go on.
    """
    if isinstance(config, Config):
        if overrides:
            raise ConfigError("overrides need a file", remedy="use config.model_copy(update=...) instead")
        name = str(getattr(config, "kind", ""))
    else:
        name = Path(config).stem
        config = load(config, overrides)
    kind = str(getattr(config, "kind", ""))
    if kind not in _RECIPES:
        raise ConfigError(
            f'a configuration of kind "{kind}" is not trained', remedy=f"use kind {' or '.join(_RECIPES)}"
        )
    if objective is not None and kind != "align":
        raise ConfigError("an objective of your own is only for stage 2", remedy="use a configuration of kind align")
    recipe = importlib.import_module(_RECIPES[kind])
    options: dict[str, Any] = {"resume": resume, "dry_run": dry_run}
    if objective is not None:
        options["objective"] = objective
    return recipe.train(config, Path(out) if out is not None else Path("runs") / name, **options)  # type: ignore[no-any-return]
