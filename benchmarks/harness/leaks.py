"""What a record says about leaks: what train, dev and test share, and what is known of the model's own training."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.leaks.contamination import contamination, read_table
from benchmarks.leaks.inputs import sides_of_store
from benchmarks.leaks.report import LeakReport, compare
from medvlp.data.pairs import SPLITS, PairsStore
from medvlp.errors import MedvlpError
from medvlp.io import read_json, write_json
from medvlp.loading import has_scheme
from medvlp.zeroshot.evaluate import trained_on

if TYPE_CHECKING:
    from benchmarks.harness.task import TaskConfig

CLEAN, LEAK, UNKNOWN = "clean", "leak", "unknown"
_FORMAT = 1


def of_store(store: PairsStore, split: str, folder: Path) -> dict[str, Any]:
    """Search what the scored split shares with the others; measured once per store and kept in ``folder``.

    Returns:
        ``{"state": "clean" | "leak" | "unknown", "lines": [...]}``; lines hold counts, no keys and no texts.
    """
    file = folder / f"{store.digest[:16]}-{split}.json"
    if file.is_file() and (known := read_json(file)).get("format") == _FORMAT:
        return dict(known["leaks"])
    if sum(len(store.split(name)) > 0 for name in SPLITS) < 2:
        found = {"state": CLEAN, "lines": ["one split only: nothing is learned from these rows"]}
    else:
        checks = [
            check
            for learned, tested in combinations(sides_of_store(store.folder), 2)
            for check in (compare(learned, tested) if tested.name == split else compare(tested, learned))
            if split in (learned.name, tested.name)
        ]
        report = LeakReport(tuple(checks))
        found = {"state": LEAK if report.status == "violated" else CLEAN, "lines": [report.line]}
    write_json(file, {"format": _FORMAT, "leaks": found})
    return found


def of_model(
    found: dict[str, Any] | None, task_name: str, task: TaskConfig, store: PairsStore | None, source: str
) -> dict[str, Any]:
    """Add to a data set's leaks what is known of one model: stated sources of published weights, a run's own data.

    Args:
        found: From :func:`of_store`; None where the data has no store.
        task_name: The data set's name where the task gives none.
        task: The task.
        store: Its pairs store.
        source: What the model was opened from.
    """
    state, lines = (UNKNOWN, []) if found is None else (found["state"], list(found["lines"]))
    try:
        learned_from = trained_on(source)
    except MedvlpError:
        learned_from = None  # a run without a checkpoint fails in its own cell
    if learned_from is not None:
        same = store is not None and learned_from == store.digest
        lines.append(
            "the model was trained on this very store's training part: new cases, not new classes"
            if same
            else "the model was trained on another store; what that shares with this one was not searched"
        )
        state = state if same or state == LEAK else UNKNOWN
        return {"state": state, "lines": lines}
    encoder = _published(source)
    if encoder is None:
        lines.append("what the model learned from is not known: a local file or folder that does not say")
        return {"state": state if state == LEAK else UNKNOWN, "lines": lines}
    known = contamination(encoder, task.dataset or task_name)
    lines.append(f"{known.encoder} and {known.dataset}: {known.answer} ({known.source})")
    if known.answer == "trained on it":
        state = LEAK
    elif known.answer == "unknown" and state != LEAK:
        state = UNKNOWN
    return {"state": state, "lines": lines}


def _published(source: str) -> str | None:
    """The published name in a source: its layout (``keep:PATH``) or the last word of a hub name; None for a path."""
    scheme, _, rest = source.partition(":")
    if scheme in read_table().encoders:
        return scheme
    return rest.rstrip("/").rpartition("/")[2] if has_scheme(source) else None
