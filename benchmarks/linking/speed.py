"""One arm's speed and peak memory, measured in a process of its own: ``python -m benchmarks.linking.speed REQUEST``.

The request is a JSON file: ``arm`` (exact, full or scispacy), ``linker`` and ``fitted`` as JSON texts, ``documents``
(texts with their spans), ``rows`` (concepts of the peer's knowledge base), ``peer`` (what it is made with, or null),
``repeats`` and ``answer`` (file to write).
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_prep.text.linking import Fitted, Linker, LinkerConfig
from medvlp.config import resolve_path
from medvlp.errors import DataError
from medvlp.io import read_json, sha256_json, write_json
from medvlp.knowledge.graph import DiseaseGraph

Spanned = tuple[str, list[tuple[int, int]]]


def measure(
    arm: str,
    linker: Linker,
    documents: Sequence[Spanned],
    repeats: int,
    folder: Path,
    peer: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run an arm on documents in a child process.

    Args:
        arm: Its name.
        linker: Its configuration and fit, or for the peer its concepts, go to the child.
        documents: Texts, each with the spans that the peer is given.
        repeats: Timed passes.
        folder: Where request and answer are written.
        peer: For scispaCy, which links the given spans, its ``index_file`` and ``recogniser``; otherwise texts are
            linked with a linker like the one given.

    Returns:
        ``documents_per_second`` of the fastest pass and the same per second of processor time, ``start_seconds``,
        ``peak_mb``, ``links`` (a digest).
    """
    request, answer = folder / f"{arm}-request.json", folder / f"{arm}-speed.json"
    asked = {
        "arm": arm,
        "linker": linker.config.model_dump_json(),
        "fitted": linker.fitted.model_dump_json() if linker.fitted is not None else None,
        "rows": sorted(linker.rows) if peer is not None else [],
        "documents": [[text, spans] for text, spans in documents],
        "repeats": repeats,
        "peer": peer,
        "answer": str(answer),
    }
    write_json(request, asked)
    done = subprocess.run([sys.executable, "-m", "benchmarks.linking.speed", str(request)], check=False)
    if done.returncode != 0:
        raise DataError(f"the measuring process ended with code {done.returncode}", item=arm)
    request.unlink()
    return dict(read_json(answer))


def main() -> int:
    """Answer the request named on the command line."""
    asked = read_json(Path(sys.argv[1]))
    documents = [(text, [(start, end) for start, end in spans]) for text, spans in asked["documents"]]
    start = time.perf_counter()
    run = _arm(asked)
    run("breast cancers", [(0, 14)])  # what is made at the first text belongs to the start
    started = time.perf_counter() - start
    passes, found = [], []
    for _ in range(asked["repeats"]):
        wall, processor = time.perf_counter(), time.process_time()
        found = [run(*document) for document in documents]
        passes.append((time.perf_counter() - wall, time.process_time() - processor))
    wall, processor = min(passes)
    record = {
        "documents_per_second": len(documents) / wall,
        "documents_per_processor_second": len(documents) / processor,
        "start_seconds": started,
        "peak_mb": _peak_mb(),
        "links": sha256_json(found),
        "passes": passes,
    }
    write_json(Path(asked["answer"]), record)
    return 0


def _peak_mb() -> float:
    """Largest resident memory of this process. ``ru_maxrss`` would count that of the process it was started by."""
    status = Path("/proc/self/status")
    if status.is_file() and (peak := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(peak[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _arm(asked: dict[str, Any]) -> Callable[[str, list[tuple[int, int]]], Any]:
    config = LinkerConfig.model_validate_json(asked["linker"])
    graph = DiseaseGraph.load(resolve_path(config.graph))
    if asked["peer"] is not None:
        from benchmarks.linking.peers import SciSpacy

        return SciSpacy(graph, asked["rows"], **asked["peer"]).link
    fitted = Fitted.model_validate_json(asked["fitted"]) if asked["fitted"] is not None else None
    linker = Linker(graph, config, fitted=fitted)
    return lambda text, _: [(link.start, link.end, link.concept, link.score) for link in linker.link(text)]


if __name__ == "__main__":
    sys.exit(main())
