"""Command line of the slide benchmark.

Example: python -m benchmarks.slides slides/benchmark --out runs/slides
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
    """Do what is not done yet, print the tables, write them as JSON and Markdown; return the exit code."""
    name = "slides/benchmark"
    return run_command("benchmarks.slides", __doc__, "slides_benchmark", name, "runs/slides", _work, _options)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="also put the tables between the page's marks")


def _work(config: Any, arguments: Any) -> str:
    from benchmarks.slides.run import describe, run
    from benchmarks.slides.table import MARK, build, markdown

    table = build(config, describe(config), run(config, arguments.out))
    write_json(arguments.out / "table.json", table)
    write_text(arguments.out / "table.md", markdown(table))
    if arguments.write_docs is not None:
        put_between(arguments.write_docs, MARK, markdown(table))
    return markdown(table)


if __name__ == "__main__":
    sys.exit(main())
