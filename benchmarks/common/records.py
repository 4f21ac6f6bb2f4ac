"""One JSON file per finished piece of work, with a digest of what it was made from, so that a comparison resumes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from medvlp.io import read_json, sha256_json, write_json

Record = dict[str, Any]
console = Console(stderr=True, highlight=False)


def once(file: Path, identity: Any, work: Callable[[], Record], *, say: bool = True) -> Record:
    """Return the record in ``file`` if it was made from the same things, else do the work and write it.

    Args:
        file: The record; its stem is shown when the work starts.
        identity: JSON value of everything the result depends on.
        work: Returns the record's own keys; ``digest`` (of the identity) and ``seconds`` are put in front of them.
        say: Show the stem; off where many small pieces have a progress of their own.
    """
    digest = sha256_json(identity)
    if file.is_file() and (record := read_json(file)).get("digest") == digest:
        return dict(record)
    if say:
        console.print(f"[bold]{file.stem}[/bold]")
    start = time.perf_counter()
    found = work()
    record = {"digest": digest, "seconds": time.perf_counter() - start, **found}
    write_json(file, record)
    return record
