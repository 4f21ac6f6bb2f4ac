"""Command line of the knowledge table.

Example: python -m benchmarks.knowledge knowledge_table --out runs/knowledge_table
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
    """Do what is not done yet, print the table, write it as JSON, Markdown and HTML; return the exit code."""
    name = "knowledge_table"
    return run_command("benchmarks.knowledge", __doc__, "knowledge_benchmark", name, f"runs/{name}", _work, _options)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="also put the table between the page's marks")


def _work(config: Any, arguments: Any) -> str:
    from benchmarks.knowledge.page import render
    from benchmarks.knowledge.run import run
    from benchmarks.knowledge.table import MARK, build, markdown

    answers, graph = run(config, arguments.out)
    table = build(config, answers, graph)
    write_json(arguments.out / "table.json", table)
    write_text(arguments.out / "table.md", markdown(table))
    write_text(arguments.out / "table.html", render(table))
    if arguments.write_docs is not None:
        put_between(arguments.write_docs, MARK, markdown(table))
    return markdown(table)


if __name__ == "__main__":
    sys.exit(main())
