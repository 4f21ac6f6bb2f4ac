"""Hazard of a few time bins by a small network (Zadeh and Schmid 2020, "Bias in cross-entropy-based training").

With hazards h_b = sigmoid(logit_b), a case lives through bin b with probability S_b = prod_{a <= b} (1 - h_a).
Bins and the epoch to stop at come from the training part alone.

Shape letters: N training cases, K columns, B bins, M cases to score.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from medvlp.data.survival_table import balanced_parts
from medvlp.errors import TrainingError
from medvlp.finetune.survival_config import Hazard

Floats = NDArray[np.float64]


def time_edges(time_N: Floats, event_N: NDArray[np.bool_], bins: int) -> Floats:
    """Return the inner edges of the bins, (B - 1,): quantiles of the event times, equal ones once.

    Raises:
        TrainingError: If there are fewer events than bins, or their times are too much alike.
    """
    if int(event_N.sum()) < bins:
        raise TrainingError(
            f"{int(event_N.sum())} events for {bins} time bins", item="training part", remedy="use fewer bins"
        )
    seen = time_N[event_N]
    edges = np.unique(np.quantile(seen, np.arange(1, bins) / bins))
    edges = edges[edges > seen.min()]
    if len(edges) == 0:
        raise TrainingError(
            "the event times are too much alike for bins", item="training part", remedy="use a finer unit of time"
        )
    return edges


def time_bin(time_N: Floats, edges: Floats) -> NDArray[np.int64]:
    """Return the bin of each time; an edge belongs to the later bin."""
    return np.searchsorted(edges, time_N, side="right")


def hazard_loss(logit_NB: Tensor, bin_N: Tensor, event_N: Tensor) -> Tensor:
    """Mean negative log-likelihood.

    An event in bin b costs ``-log h_b - log S_{b-1}``; a case censored in bin b, taken as having lived through it,
    costs ``-log S_b``. Events and censored cases weigh the same (what some code calls alpha = 0).
    """
    survive_NB = F.logsigmoid(-logit_NB)  # log(1 - h), exact also where h is near 1
    before_NB = torch.arange(logit_NB.shape[1], device=logit_NB.device) < bin_N[:, None]
    log_before_N = (survive_NB * before_NB).sum(1)
    here_N1 = bin_N[:, None]
    log_here_N = torch.where(
        event_N, F.logsigmoid(logit_NB).gather(1, here_N1)[:, 0], survive_NB.gather(1, here_N1)[:, 0]
    )
    return -(log_before_N + log_here_N).mean()


def risk_of(logit_MB: Tensor) -> Tensor:
    """Return ``-sum_b S_b``: minus the expected number of bins lived through."""
    return -F.logsigmoid(-logit_MB).cumsum(1).exp().sum(1)


def fit_hazard(
    config: Hazard, train_NK: Floats, time_N: Floats, event_N: NDArray[np.bool_], seed: int
) -> tuple[Callable[[Floats], Floats], dict[str, Any]]:
    """Fit on scaled features; each member stops at the lowest loss on an inner part of its own.

    Returns:
        A function from scaled features (M, K) to risks (M,), and what was chosen.

    Raises:
        TrainingError: If there are too few events, or the loss is not finite.
    """
    edges = time_edges(time_N, event_N, config.bins)
    parts = max(2, round(1 / config.inner_share))
    bin_N = time_bin(time_N, edges)
    networks, epochs = [], []
    for member in range(config.members):
        inner_N = balanced_parts(event_N, parts, seed + 1000 * member) == 0
        if not event_N[inner_N].any():
            raise TrainingError("the inner part holds no event", item="training part", remedy="raise inner_share")
        network, epoch = _train(config, train_NK, bin_N, event_N, inner_N, len(edges) + 1, seed + member)
        networks.append(network)
        epochs.append(epoch)

    def risk(rows_MK: Floats) -> Floats:
        with torch.no_grad():
            rows = torch.as_tensor(rows_MK, dtype=torch.float32)
            found: Floats = torch.stack([risk_of(network(rows)) for network in networks]).mean(0).double().numpy()
        return found

    return risk, {"edges_months": edges.tolist(), "epochs": epochs}


def _train(
    config: Hazard,
    train_NK: Floats,
    bin_N: NDArray[np.int64],
    event_N: NDArray[np.bool_],
    inner_N: NDArray[np.bool_],
    num_bins: int,
    seed: int,
) -> tuple[nn.Module, int]:
    rows_NK, bins, events = (
        torch.as_tensor(train_NK, dtype=torch.float32),
        torch.as_tensor(bin_N),
        torch.as_tensor(event_N),
    )
    inner, outer = torch.as_tensor(inner_N), torch.as_tensor(~inner_N)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(config, rows_NK.shape[1], num_bins)
        optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        best, best_epoch, kept = float("inf"), 0, network.state_dict()
        for epoch in range(1, config.epochs + 1):
            network.train()
            optimizer.zero_grad()
            hazard_loss(network(rows_NK[outer]), bins[outer], events[outer]).backward()
            optimizer.step()
            network.eval()
            with torch.no_grad():
                loss = float(hazard_loss(network(rows_NK[inner]), bins[inner], events[inner]))
            if not np.isfinite(loss):
                raise TrainingError("the loss is not finite", item=f"epoch {epoch}", remedy="lower learning_rate")
            if loss < best:
                best, best_epoch = loss, epoch
                kept = {name: value.clone() for name, value in network.state_dict().items()}
            if epoch - best_epoch >= config.patience:
                break
    network.load_state_dict(kept)
    return network.eval(), best_epoch


def _network(config: Hazard, width: int, num_bins: int) -> nn.Module:
    if config.hidden == 0:
        return nn.Linear(width, num_bins)
    hidden = nn.Linear(width, config.hidden)
    return nn.Sequential(hidden, nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(config.hidden, num_bins))
