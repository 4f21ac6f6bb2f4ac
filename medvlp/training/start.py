"""Where the alignment starts: a model built from its configuration, or one that is there already."""

from __future__ import annotations

from medvlp.errors import ConfigError
from medvlp.loading import load
from medvlp.model import DualEncoder


def starting_model(start: str | None, config: DualEncoder.Config) -> DualEncoder:
    """Build the model of ``config``, or open the one that ``start`` names.

    Args:
        start: Anything :func:`medvlp.load` opens with all its weights, published ones too; None builds ``config``.
        config: The model's configuration, which has to be the default where ``start`` is given.

    Raises:
        ConfigError: If both say what to train.
        CheckpointError: If ``start`` cannot be opened.
    """
    if start is None:
        return DualEncoder(config)
    if config != DualEncoder.Config():
        raise ConfigError("`model` and `start` both say what to train", item="start", remedy="leave one of them out")
    return load(start)
