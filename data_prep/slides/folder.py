"""The folder of an embedding job: what lies where, what is finished, and the counts of all of it.

``features/KEY.h5``, ``state/KEY.json``, ``previews/KEY.png``, ``locks/``, ``job.json``, ``ledger.json``, ``summary.md``
and ``timings.jsonl``. All but the last are the same bytes however often the job was killed and whoever did which slide.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data_prep.slides.listing import SlideItem
from data_prep.slides.locks import Locks
from data_prep.slides.plan import DONE, EMPTY, FAILED, identity
from medvlp.errors import DataError
from medvlp.io import read_json, remove_partials, write_json, write_text
from medvlp.ledger import Ledger

_OURS = frozenset({"features", "state", "previews", "locks", "job.json", "ledger.json", "summary.md", "timings.jsonl"})


class JobFolder:
    """One embedding job on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.locks = Locks(path / "locks")

    def begin(self, job: dict[str, Any]) -> None:
        """Create the folder, or check that what it holds is the same job.

        Raises:
            DataError: If it holds something else, or a job with other settings (naming them).
        """
        if self.path.exists() and not self.path.is_dir():
            raise DataError("is a file", item=self.path, remedy="name a folder")
        names = sorted(entry.name for entry in self.path.glob("*") if not entry.name.startswith("."))
        strange = [name for name in names if name not in _OURS]
        if strange and "job.json" not in names:
            raise DataError(f"holds other things ({strange[0]})", item=self.path, remedy="name a new or empty folder")
        with self.locks.guard():
            remove_partials(self.path)
            if (self.path / "job.json").is_file():
                before = read_json(self.path / "job.json")
                other = _differences(before, job)
                if other:
                    raise DataError(
                        f"was begun with other settings ({', '.join(other[:6])})",
                        item=self.path,
                        remedy="go on with those, or name a new folder",
                    )
            else:
                write_json(self.path / "job.json", job)

    def features(self, key: str) -> Path:
        """Where a slide's vectors are."""
        return self.path / "features" / f"{key}.h5"

    def preview(self, key: str) -> Path:
        """Where a slide's picture is."""
        return self.path / "previews" / f"{key}.png"

    def state(self, key: str) -> dict[str, Any] | None:
        """Return what was written about a slide, or None."""
        path = self.path / "state" / f"{key}.json"
        state = read_json(path) if path.is_file() else None
        return state if isinstance(state, dict) else None

    def write_state(self, key: str, state: dict[str, Any]) -> None:
        """Write it: from then on the slide counts as finished."""
        write_json(self.path / "state" / f"{key}.json", state)

    def is_finished(self, item: SlideItem, default_mpp: float | None) -> bool:
        """Say whether nothing is left to do for a slide; failed slides are tried again.

        Args:
            item: The slide.
            default_mpp: Micrometres per pixel of slides that do not state it.

        Raises:
            DataError: If it was finished with another file or another resolution.
        """
        state = self.state(item.key)
        if state is None or state.get("status") not in (DONE, EMPTY):
            return False
        other = [name for name, value in identity(item).items() if state.get(name) != value]
        if state.get("default_mpp") is not None and state["default_mpp"] != default_mpp:
            other.append("mpp")
        if other:
            raise DataError(
                f"was finished with another {' and '.join(other)}",
                item=item.key,
                remedy=f"remove state/{item.key}.json to embed it again, or name a new folder",
            )
        features = self.features(item.key)
        return state["status"] == EMPTY or (
            features.is_file() and features.stat().st_size == state["features"]["bytes"]
        )

    def clear_leftovers(self, key: str) -> None:
        """Remove what a killed writer left of one slide; call it with the slide's lock held."""
        for name in ("features", "state", "previews"):
            for path in (self.path / name).glob(".partial-????????-*"):
                if path.name[len(".partial-????????-") :].rpartition(".")[0] == key:
                    path.unlink()

    def conclude(self, items: Iterable[SlideItem]) -> dict[str, int]:
        """Write ledger and summary from the states of all slides; return how many there are of each status.

        Two writers may both do so; the later one knows all that the earlier one knew.
        """
        with self.locks.guard():
            remove_partials(self.path)
            states = {item.key: self.state(item.key) for item in items}
            ledger, tiles = Ledger(), {"embedded": 0, "unreadable": 0}
            counts = {DONE: 0, EMPTY: 0, FAILED: 0, "open": 0}
            for key, state in states.items():
                counts[state["status"] if state else "open"] += 1
                if state is None:
                    ledger.drop(key, "not finished")
                elif state["status"] == DONE:
                    ledger.keep()
                    tiles["embedded"] += state["features"]["tiles"]
                    tiles["unreadable"] += state["unreadable"]
                else:
                    ledger.drop(key, "no tissue" if state["status"] == EMPTY else state["problem"])
            write_json(self.path / "ledger.json", {"slides": ledger.to_json(), "tiles": tiles})
            write_text(self.path / "summary.md", _summary(read_json(self.path / "job.json"), states, counts, tiles))
        return counts

    def log_time(self, record: dict[str, Any]) -> None:
        """Append a line to ``timings.jsonl``, whole."""
        line = (json.dumps(record) + "\n").encode()
        descriptor = os.open(self.path / "timings.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


def _differences(before: Any, after: Any, name: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(before.keys() | after.keys())
        return [
            found
            for key in keys
            for found in _differences(before.get(key), after.get(key), f"{name}.{key}" if name else str(key))
        ]
    return [] if before == after else [name or "job.json"]


def _summary(
    job: dict[str, Any], states: dict[str, dict[str, Any] | None], counts: dict[str, int], tiles: dict[str, int]
) -> str:
    lines = [
        "# Slides and their tiles",
        "",
        f"Encoder `{job['encoder']['name']}` ({job['encoder']['precision']}, "
        f"{'projected, unit length' if job['encoder']['projected'] else 'not projected'}), tiles of "
        f"{job['settings']['grid']['tile_size']} px at {job['settings']['grid']['mpp']:g} um/px, overlap "
        f"{job['settings']['grid']['overlap']} px.",
        "",
        f"{len(states)} slides: {counts[DONE]} done, {counts[EMPTY]} without tissue, {counts[FAILED]} failed, "
        f"{counts['open']} not finished. {tiles['embedded']} tiles embedded, {tiles['unreadable']} unreadable. "
        "Times are in `timings.jsonl`.",
        "",
        "| slide | status | tiles | tissue | um/px | from | unreadable | remark |",
        "|---|---|---:|---:|---:|---|---:|---|",
    ]
    for key, state in states.items():
        if state is None:
            lines.append(f"| {_cell(key)} | not finished | | | | | | |")
            continue
        mpp = state.get("mpp")
        share = state["tissue"]["share"] if "tissue" in state else None
        remark = f"{state['problem']}; {state['remedy']}" if "problem" in state else ""
        cells = [
            key,
            state["status"],
            state.get("tiles", ""),
            "" if share is None else f"{share:.1%}",
            "" if mpp is None else f"{mpp:.4g}",
            state.get("mpp_source", ""),
            state.get("unreadable", ""),
            remark,
        ]
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
