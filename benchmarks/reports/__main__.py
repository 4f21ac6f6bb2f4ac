"""Command line of the report benchmark.

Example: python -m benchmarks.reports reports_benchmark --out runs/reports
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.common.command import run_command
from benchmarks.common.marks import put_between
from medvlp.io import write_json, write_text


def main() -> int:
    """Run the benchmark, print its table and write ``results.json`` and ``table.md``; return the exit code."""
    kind = "reports_benchmark"
    return run_command("benchmarks.reports", __doc__, kind, kind, "runs/reports", _work, _options)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="also put the table between the page's marks")


def _work(config: Any, arguments: Any) -> str:
    from benchmarks.reports.run import run
    from benchmarks.reports.table import MARK, markdown

    results = run(config)
    write_json(arguments.out / "results.json", results)
    write_text(arguments.out / "table.md", markdown(results))
    if arguments.write_docs is not None:
        put_between(arguments.write_docs, MARK, markdown(results))
    return markdown(results)


if __name__ == "__main__":
    sys.exit(main())
