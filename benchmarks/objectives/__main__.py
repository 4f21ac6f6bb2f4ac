"""Command line of the table of objectives: trains what is not trained yet, prints the table.

Example: python -m benchmarks.objectives objective_table --out runs/objective_table --only radiographs
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
    """Do what is not done yet, print the table, write it as JSON and Markdown; return the exit code."""
    name = "objective_table"
    return run_command("benchmarks.objectives", __doc__, name, name, f"runs/{name}", _work, _options)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes, one thread each")
    parser.add_argument(
        "--only", action="append", default=[], metavar="PART", help="only cells with this in SET-METHOD-ARM-seed-N"
    )
    parser.add_argument("--tables-only", action="store_true", help="train nothing: the table of what is done already")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="also put the table between the page's marks")


def _work(config: Any, arguments: Any) -> str:
    from benchmarks.objectives.run import run
    from benchmarks.objectives.table import MARK, build, markdown

    out = arguments.out

    def written(done: Any) -> str:
        table = build(config, done)
        write_json(out / "table.json", table)
        write_text(out / "table.md", markdown(table))
        return markdown(table)

    jobs = 0 if arguments.tables_only else max(1, arguments.jobs)
    text = written(run(config, out, jobs, arguments.only, written))
    if arguments.write_docs is not None:
        put_between(arguments.write_docs, MARK, text)
    return text


if __name__ == "__main__":
    sys.exit(main())
