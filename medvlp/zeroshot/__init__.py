"""Zero-shot diagnosis with any dual encoder: prompts, class vectors, scores, floors, results and report.

Lives here: everything from a model and a pairs store to ``results.json`` and ``report.html``.
Not here: metric formulas (``medvlp.metrics``) and comparisons of many models (``benchmarks``).
"""

from medvlp.zeroshot.answer import Answer, Explanation
from medvlp.zeroshot.ask import ZeroShot, zero_shot

__all__ = ["Answer", "Explanation", "ZeroShot", "zero_shot"]
