"""What must be equal when a run goes on: differences are harmless or refused by name, never ignored."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from medvlp.config import Config
from medvlp.errors import TrainingError

_ADVICE = {
    "kind": "name a checkpoint of the same recipe, or start a new run with another --out",
    "steps": "the schedule depends on it; start a new run whose towers take these weights",
    "data": "the pairs store is another one; start a new run with another --out",
    "graph": "the graph is another one; start a new run with another --out",
    "reports": "the reports are others; start a new run with another --out",
    "entities": "the entities are others; start a new run with another --out",
    "knowledge_encoder": "the frozen encoder is another one; start a new run with another --out",
}
_MAX_SHOWN = 60


def identity(config: Config, harmless: Set[str], facts: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the flat facts a checkpoint stores: every setting that changes what is learned, and content digests.

    Args:
        config: The recipe's configuration.
        harmless: Fields left out, nested ones as dotted keys.
        facts: Digests of the inputs by name; they stand for the paths of the same name.
    """
    left_out = {*harmless, *facts}
    settings = {
        key: value
        for key, value in flatten(config.model_dump(mode="json")).items()
        if not any(key == name or key.startswith(f"{name}.") for name in left_out)
    }
    return {**settings, **{f"{name} (content)": digest for name, digest in facts.items()}}


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one with dotted keys; lists stay values."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    return {
        key: leaf
        for name, inner in value.items()
        for key, leaf in flatten(inner, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def refuse_changes(saved: Mapping[str, Any], current: Mapping[str, Any], checkpoint: object) -> None:
    """Compare two results of :func:`identity`.

    Raises:
        TrainingError: Naming every field that differs, with both values; of another recipe its kind alone.
    """
    changed = [key for key in sorted({*saved, *current}) if saved.get(key) != current.get(key)]
    if not changed:
        return
    if "kind" in changed:  # another recipe altogether: its other settings say nothing
        changed = ["kind"]
    shown = "; ".join(f"{key} was {_short(saved.get(key))}, now {_short(current.get(key))}" for key in changed)
    advice = _ADVICE.get(changed[0].split(" ")[0], "restore it, or start a new run with another --out")
    raise TrainingError(f"cannot go on with other settings: {shown}", item=checkpoint, remedy=advice)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."
