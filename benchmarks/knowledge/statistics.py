"""What a difference between two arms shows, in words; the numbers are those of ``medvlp.metrics.paired``.

All from the bootstrap by case: a score is the mean over seeds, arms are drawn together, so a difference is paired. The
cases are the only source of chance here; scores by seed stand beside, because three seeds say little about a fourth.
P values are corrected over all printed differences by Holm's step-down rule.
"""

from __future__ import annotations

import numpy as np

from medvlp.metrics.paired import ALPHA, Difference

NONE, UNKNOWN = "no difference detected", "cannot be told"


def verdict(found: Difference, p_holm: float) -> str:
    """Say in words what a difference shows; a null result is told as one, with what the set could have shown."""
    if np.isnan(found.low):
        return f"{UNKNOWN}: fewer than two cases"
    if np.isnan(found.smallest):
        same = "the same on every draw"
        return f"{NONE} ({same})" if found.value == 0 else f"{_direction(found.value)} ({same}, so without an error)"
    if found.low <= 0 <= found.high:
        return f"{NONE} (could have seen ≥ {found.smallest:.3f})"
    if p_holm > ALPHA:
        return f"{_direction(found.value)}, but not after correction"
    return _direction(found.value)


def _direction(value: float) -> str:
    return "higher" if value > 0 else "lower"
