"""Whether the settings of stage 2 fit a frozen knowledge encoder beside the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvlp.errors import ConfigError

if TYPE_CHECKING:
    from medvlp.training.align import AlignConfig


def check_knowledge_encoder(config: AlignConfig) -> None:
    """The encoder and an objective that reads it come together, and something must be able to learn from it.

    Raises:
        ConfigError: Naming the setting.
    """
    frozen = set(config.freeze.always)
    objectives = config.objective if isinstance(config.objective, list) else [config.objective]
    readers = [objective.name for objective in objectives if objective.needs_knowledge]
    if readers and config.knowledge_encoder is None:
        raise ConfigError(
            f"objective {readers[0]} needs a frozen knowledge encoder",
            item="knowledge_encoder",
            remedy="name a stage-1 run, or set objective.text_knowledge to 0",
        )
    if config.knowledge_encoder is not None and not readers:
        raise ConfigError("no objective reads it", item="knowledge_encoder", remedy="use objective kep, or remove it")
    if readers and "text_tower" in frozen and ("heads" in frozen or config.model.text_head == "none"):
        raise ConfigError(
            "the text side is frozen, so nothing could learn from the knowledge encoder",
            item="freeze.always",
            remedy="train text_tower, or set objective.text_knowledge to 0",
        )
