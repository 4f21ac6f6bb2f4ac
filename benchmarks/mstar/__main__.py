"""Command line of the mSTAR benchmark.

Example: python -m benchmarks.mstar mstar/benchmark --out runs/mstar_benchmark
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.common.command import run_command
from benchmarks.common.marks import put_between


def main() -> int:
    """Run the benchmark, write ``results.json`` and ``table.md``, print the table; return the exit code."""
    return run_command(
        "benchmarks.mstar", __doc__, "mstar_benchmark", "mstar/benchmark", "runs/mstar_benchmark", _work, _options
    )


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="also put the table between the page's marks")


def _work(config: Any, arguments: Any) -> str:
    from benchmarks.mstar.table import judge, markdown

    text = markdown(judge(config, arguments.out))
    if arguments.write_docs is not None:
        put_between(arguments.write_docs, "mstar table", text)
    return text


if __name__ == "__main__":
    sys.exit(main())
