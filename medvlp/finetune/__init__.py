"""A trained image tower put to a task: probe, full fine-tuning, LoRA, few-shot; classes or pixels.

Lives here: heads, methods, the recipe on the training engine, scores of a fine-tuned model, and reopening it.
Not here: the engine (``medvlp.training``), floors and metrics (``medvlp.zeroshot``, ``medvlp.metrics``).
"""

from medvlp.finetune.model import load
from medvlp.finetune.run import run

__all__ = ["load", "run"]
