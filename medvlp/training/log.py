"""The record of a run: ``log.jsonl`` always, TensorBoard where installed, a progress bar on terminals."""

from __future__ import annotations

import importlib.util
import json
import math
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from medvlp.io import write_text

FILE = "log.jsonl"


class RunLog:
    """Writes what happened at each logged step, once per step even over restarts.

    Args:
        run: The run folder.
        name: What the progress bar calls the run.
        start: Steps already done; later lines of an interrupted run are dropped.
        total: Steps of the whole run.
        tensorboard: Write TensorBoard files if it is installed.
        quiet: Show nothing; files are still written.
    """

    def __init__(
        self, run: Path, name: str, start: int, total: int, *, tensorboard: bool = True, quiet: bool = False
    ) -> None:
        self.path, self.total, self.name = run / FILE, total, name
        write_text(self.path, "".join(lines_until(self.path, start)))
        self._stream = self.path.open("a", encoding="utf-8")
        self._console = Console(stderr=True, quiet=quiet)
        self._writer: Any = None
        if tensorboard and importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task(name, total=total, completed=start, note="")
        self._clock = self._start_time = time.perf_counter()
        self._samples, self._start = 0, start

    def __enter__(self) -> RunLog:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._stream.close()
        if self._writer is not None:
            self._writer.close()

    def advance(self, num_samples: int) -> None:
        """Count one step of so many samples over all ranks."""
        self._samples += num_samples
        self._progress.advance(self._task)

    def train(self, step: int, values: dict[str, float]) -> None:
        """Log a training line; throughput since the last one is added.

        Args:
            step: Steps done.
            values: Scalars, ``loss`` among them.
        """
        now = time.perf_counter()
        speed = self._samples / max(now - self._clock, 1e-9)
        self._clock, self._samples = now, 0
        seconds = now - self._start_time
        record = {**values, "samples_per_second": round(speed, 2), "seconds": round(seconds, 2)}
        self._write(step, "train", record)
        note = f"loss {values['loss']:.4f}, {speed:.1f} samples/s"
        self._progress.update(self._task, note=note)
        if not self._console.is_terminal:
            left = seconds / max(step - self._start, 1) * (self.total - step)
            self._console.print(f"{self.name} {step}/{self.total}: {note}, {left:.0f} s left", highlight=False)

    def validation(self, step: int, values: dict[str, float]) -> None:
        """Log a validation line; time spent validating does not count as training time."""
        self._write(step, "validation", values)
        shown = ", ".join(f"{key} {value:.4g}" for key, value in values.items())
        self._console.print(f"{self.name} {step}/{self.total}: validation {shown}", highlight=False)

    def restart_clock(self) -> None:
        """Leave out of the throughput what happened since the last line."""
        self._clock, self._samples = time.perf_counter(), 0

    def note(self, text: str) -> None:
        """Show a line of information."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def _write(self, step: int, kind: str, values: dict[str, float]) -> None:
        finite = {key: value if math.isfinite(value) else None for key, value in values.items()}
        self._stream.write(json.dumps({"step": step, "kind": kind, **finite}, allow_nan=False) + "\n")
        self._stream.flush()
        if self._writer is not None:
            for key, value in values.items():
                self._writer.add_scalar(f"{kind}/{key}", value, step)


def lines_until(path: Path, step: int) -> list[str]:
    """Return the whole lines of a log up to a step; what an interrupted run wrote after it is left out."""
    if not path.is_file():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            break  # the last line of a killed process
        if record["step"] <= step:
            kept.append(line + "\n")
    return kept


def read_log(run: Path) -> list[dict[str, Any]]:
    """Return the records of a run: ``step``, ``kind`` (``train`` or ``validation``) and scalars."""
    with (run / FILE).open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]
