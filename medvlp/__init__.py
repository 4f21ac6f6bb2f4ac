"""Knowledge-enhanced medical vision-language models: train, evaluate, export.

Lives here: what works on one item or one batch in memory. Not here: jobs over raw sources
(``data_prep``) and comparisons of models (``benchmarks``), which import this package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medvlp.api import train
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.loading import load
    from medvlp.zeroshot.ask import zero_shot
    from medvlp.zeroshot.diagnose import diagnose

__version__ = "0.1.0"
__all__ = ["DiseaseGraph", "__version__", "diagnose", "load", "train", "zero_shot"]

_LAZY = {
    "DiseaseGraph": "medvlp.knowledge.graph",
    "diagnose": "medvlp.zeroshot.diagnose",
    "load": "medvlp.loading",
    "train": "medvlp.api",
    "zero_shot": "medvlp.zeroshot.ask",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that ``import medvlp`` itself loads no torch."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
