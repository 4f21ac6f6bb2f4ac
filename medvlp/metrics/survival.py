"""Concordance of a risk with survival times: Harrell's C, and Uno's with weights against censoring.

Of every pair of cases whose order of events is known, a concordance counts those in which the case with the earlier
event has the higher risk; 0.5 is what no knowledge gives. Both functions take optional weights (N,) or (S, N), as
bootstrap draws give them, and return a 0-d array or (S,); NaN where no pair is ordered.

Shape legend: N cases, M cases that censoring is learned from, S sets of weights (bootstrap draws).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp.metrics._weighted import Floats, answer, ratio, weights

_ROWS = 1024  # of the pairs' matrix at a time


def concordance(time_N: ArrayLike, event_N: ArrayLike, risk_N: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """Harrell's C (Harrell et al. 1996, Statistics in Medicine 15).

    A pair is ordered if the earlier time is an event, or if the times are equal and exactly one is an event (who was
    censored then lived longer). Equal risks count half. Two events at one time are not ordered.

    Args:
        time_N: Time to the event or to the end of observation.
        event_N: True where the event was seen.
        risk_N: Any score that is higher where the event is expected earlier; finite.
        weight: Weights of the cases; a pair weighs the product of both.
    """
    return _paired(time_N, event_N, risk_N, np.ones(len(np.asarray(time_N))), weight)


def uno_concordance(
    time_N: ArrayLike,
    event_N: ArrayLike,
    risk_N: ArrayLike,
    train_time_M: ArrayLike,
    train_event_M: ArrayLike,
    tau: float | None = None,
    weight: ArrayLike | None = None,
) -> Floats:
    """Uno's C (Uno et al. 2011, Statistics in Medicine 30): pairs weigh ``1 / G(t)^2``, G the share not yet censored.

    Harrell's C depends on how the cases were censored; this one does not, as long as censoring has nothing to do with
    risk. A pair counts by the earlier event's time t; G is the Kaplan-Meier estimate, over the training cases, just
    before t.

    Args:
        time_N: As in :func:`concordance`.
        event_N: As in :func:`concordance`.
        risk_N: As in :func:`concordance`.
        train_time_M: Times of the training cases.
        train_event_M: Events of the training cases.
        tau: Events at or after this time do not count; None counts all that G can weigh.
        weight: As in :func:`concordance`.
    """
    time_N = np.asarray(time_N, dtype=np.float64)
    free_N = uncensored_share(train_time_M, train_event_M, time_N)
    counts_N = (free_N > 0) if tau is None else (free_N > 0) & (time_N < tau)
    inverse_N = np.zeros(len(time_N))
    inverse_N[counts_N] = free_N[counts_N] ** -2.0
    return _paired(time_N, event_N, risk_N, inverse_N, weight)


def uncensored_share(train_time_M: ArrayLike, train_event_M: ArrayLike, time_N: ArrayLike) -> Floats:
    """Return the Kaplan-Meier share of cases that are not censored just before each time, (N,)."""
    train_time_M = np.asarray(train_time_M, dtype=np.float64)
    event_M = np.asarray(train_event_M, dtype=bool)
    times_U = np.unique(train_time_M[~event_M])
    if len(times_U) == 0:
        return np.ones(len(np.asarray(time_N)))
    # At equal times events come first, so those with an event then are no longer at risk of being censored.
    at_risk_U = np.array([np.sum(train_time_M >= t) - np.sum((train_time_M == t) & event_M) for t in times_U])
    gone_U = np.array([np.sum((train_time_M == t) & ~event_M) for t in times_U])
    share_U = np.cumprod(1 - gone_U / at_risk_U)
    place_N = np.searchsorted(times_U, np.asarray(time_N, dtype=np.float64), side="left")
    return np.concatenate([[1.0], share_U])[place_N]


def _paired(
    time_N: ArrayLike, event_N: ArrayLike, risk_N: ArrayLike, of_first_N: Floats, weight: ArrayLike | None
) -> Floats:
    time_N, risk_N = np.asarray(time_N, dtype=np.float64), np.asarray(risk_N, dtype=np.float64)
    event_N = np.asarray(event_N, dtype=bool)
    assert len(time_N) == len(event_N) == len(risk_N), "one time, event and risk per case"
    assert bool(np.isfinite(time_N).all() and np.isfinite(risk_N).all()), "times and risks have to be finite"
    weight_SN = weights(weight, len(time_N))
    won_S, all_S = np.zeros(len(weight_SN)), np.zeros(len(weight_SN))
    for rows, ordered_RN, won_RN in _blocks(time_N, event_N, risk_N):
        first_SR = weight_SN[:, rows] * of_first_N[rows]
        won_S += ((first_SR @ won_RN) * weight_SN).sum(1)
        all_S += ((first_SR @ ordered_RN) * weight_SN).sum(1)
    return answer(ratio(won_S, all_S), weight)


def _blocks(time_N: Floats, event_N: ArrayLike, risk_N: Floats) -> Iterator[tuple[NDArray[np.int64], Floats, Floats]]:
    """Yield rows with an event, whether each is ordered before each case, and the points it earns there."""
    seen_N = np.asarray(event_N, dtype=bool)
    with_event = np.flatnonzero(seen_N)
    for begin in range(0, len(with_event), _ROWS):
        rows = with_event[begin : begin + _ROWS]
        time_R1, risk_R1 = time_N[rows, None], risk_N[rows, None]
        ordered_RN = (time_R1 < time_N) | ((time_R1 == time_N) & ~seen_N)
        point_RN = (risk_R1 > risk_N) + 0.5 * (risk_R1 == risk_N)
        yield rows, ordered_RN.astype(np.float64), ordered_RN * point_RN
