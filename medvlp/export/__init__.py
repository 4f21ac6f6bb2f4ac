"""Models for others to use: open_clip, transformers, timm, ONNX and plain safetensors, with a card and a check.

Lives here: writing, re-pointing and verifying exports.
Not here: checkpoints of a run (``medvlp.training.checkpoint``) and reading models (``medvlp.loading``).
"""

from medvlp.export.open_clip import repoint
from medvlp.export.run import export
from medvlp.export.verify import verify

__all__ = ["export", "repoint", "verify"]
