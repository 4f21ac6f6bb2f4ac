"""Command line of the survival benchmark.

Example: python -m benchmarks.survival survival_benchmark --out runs/survival
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
    """Run what is missing, write the table after every part, print it at the end; return the exit code."""
    kind = "survival_benchmark"
    return run_command("benchmarks.survival", __doc__, kind, kind, "runs/survival", _work, _options)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="also put the table between the page's marks")


def _work(config: Any, arguments: Any) -> str:
    from benchmarks.survival.run import run
    from benchmarks.survival.table import MARK, build, markdown

    text = ""
    for table in build(config, run(config, arguments.out)):
        text = markdown(config, table)
        write_json(arguments.out / "table.json", table)
        write_text(arguments.out / "table.md", text)
    if arguments.write_docs is not None:
        put_between(arguments.write_docs, MARK, text)
    return text


if __name__ == "__main__":
    sys.exit(main())
