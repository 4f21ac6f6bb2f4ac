"""Cox proportional hazards with a ridge penalty that is chosen inside the training part; the fit is lifelines'.

Shape letters: N training cases, K columns, M cases to score.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp.data.survival_table import balanced_parts
from medvlp.errors import TrainingError
from medvlp.finetune.survival_config import Cox
from medvlp.io import require

Floats = NDArray[np.float64]
Risk = Callable[[Floats], Floats]
_SMALLEST = 1e-9


def fit_cox(
    config: Cox, train_NK: Floats, time_N: Floats, event_N: NDArray[np.bool_], seed: int
) -> tuple[Risk, dict[str, Any]]:
    """Fit on scaled features; the penalty has the best log partial likelihood over the inner folds.

    Args:
        config: Penalties and inner folds.
        train_NK: Scaled features; constant columns are left out.
        time_N: Times.
        event_N: Events.
        seed: Seed of the inner folds, which are balanced in events.

    Returns:
        A function from scaled features (M, K) to log hazard ratios (M,), and what was chosen.

    Raises:
        TrainingError: If there are too few events for the inner folds, or no penalty gives a fit.
    """
    alive_K = train_NK.std(0) > _SMALLEST
    if int(event_N.sum()) < 2 * config.inner_folds or not alive_K.any():
        raise TrainingError(
            f"{int(event_N.sum())} events and {int(alive_K.sum())} columns that vary are too few",
            item="training part",
            remedy="use larger folds, or fewer inner folds",
        )
    chosen, tried = config.penalties[0], {}
    if len(config.penalties) > 1:
        fold_N = balanced_parts(event_N, config.inner_folds, seed)
        for penalty in config.penalties:
            scores = []
            for part in range(config.inner_folds):
                inner = fold_N != part
                model = _fit(penalty, train_NK[inner][:, alive_K], time_N[inner], event_N[inner])
                held = _frame(train_NK[~inner][:, alive_K], time_N[~inner], event_N[~inner])
                scores.append(-np.inf if model is None else float(model.score(held, scoring_method="log_likelihood")))
            tried[penalty] = float(np.mean(scores))
        chosen = max(tried, key=lambda penalty: (tried[penalty], penalty))  # of equals the stronger penalty
    model = _fit(chosen, train_NK[:, alive_K], time_N, event_N)
    if model is None:
        raise TrainingError("no fit converges", item="cox", remedy="add larger penalties, or keep fewer components")
    weight_K = np.zeros(len(alive_K))
    weight_K[alive_K] = model.params_.to_numpy()
    failed = sorted(penalty for penalty, score in tried.items() if not np.isfinite(score))
    facts = {"penalty": chosen, "penalties_without_fit": failed, "log_hazard_ratio_K": weight_K.tolist()}
    return lambda rows_MK: rows_MK @ weight_K, facts


def _frame(rows_NK: Floats, time_N: Floats, event_N: NDArray[np.bool_]) -> Any:
    pandas = require("pandas", "survival")
    frame = pandas.DataFrame(rows_NK, columns=[f"x{place}" for place in range(rows_NK.shape[1])])
    return frame.assign(time=time_N, event=event_N.astype(int))


def _fit(penalty: float, rows_NK: Floats, time_N: Floats, event_N: NDArray[np.bool_]) -> Any:
    """Return lifelines' fitted model, or None where it does not converge."""
    lifelines = require("lifelines", "survival")
    exceptions = require("lifelines.exceptions", "survival")
    model = lifelines.CoxPHFitter(penalizer=penalty, l1_ratio=0.0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", exceptions.ConvergenceWarning)
            return model.fit(_frame(rows_NK, time_N, event_N), duration_col="time", event_col="event")
    except (exceptions.ConvergenceError, exceptions.ConvergenceWarning):
        return None
