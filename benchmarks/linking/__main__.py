"""Command line of the linking benchmark.

Example: python -m benchmarks.linking ncbi --out runs/linking
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
    """Run a task, print its table and write it as JSON and Markdown; return the exit code."""
    return run_command("benchmarks.linking", __doc__, "linking", "linking/ncbi", "runs/linking", _work, _options)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="also put the table between the page's marks")


def _work(config: Any, arguments: Any) -> str:
    from benchmarks.linking import ncbi, roco
    from benchmarks.linking.table import markdown

    arguments.out.mkdir(parents=True, exist_ok=True)
    table = (ncbi if config.task == "ncbi" else roco).run(config, arguments.out)
    write_json(arguments.out / f"{config.task}.json", table)
    write_text(arguments.out / f"{config.task}.md", markdown(table))
    if arguments.write_docs is not None:
        put_between(arguments.write_docs, f"linking {config.task}", markdown(table))
    return markdown(table)


if __name__ == "__main__":
    sys.exit(main())
