"""Command line of the held-out-name benchmark.

Example: python -m benchmarks.names names --out runs/names
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.common.command import run_command
from medvlp.io import write_json, write_text


def main() -> int:
    """Run the benchmark, print its table and write ``table.json`` and ``table.md``; return the exit code."""
    return run_command("benchmarks.names", __doc__, "names", "names", "runs/names", _work)


def _work(config: Any, arguments: Any) -> str:
    from benchmarks.names.run import run
    from benchmarks.names.table import build, markdown

    table = build(config, run(config, arguments.out))
    write_json(arguments.out / "table.json", table)
    write_text(arguments.out / "table.md", markdown(table))
    return markdown(table)


if __name__ == "__main__":
    sys.exit(main())
