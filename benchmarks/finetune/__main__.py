"""Command line of the fine-tuning table.

Example: python -m benchmarks.finetune finetune_table --out runs/finetune_table
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
    """Run what is missing, write the table after every cell, print it at the end; return the exit code."""
    name = "finetune_table"
    return run_command("benchmarks.finetune", __doc__, name, name, f"runs/{name}", _work, _options)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="also put the table between the page's marks")


def _work(config: Any, arguments: Any) -> str:
    from benchmarks.finetune.run import run
    from benchmarks.finetune.table import build, markdown

    text = ""
    for table in build(config, run(config, arguments.out), arguments.out):
        text = markdown(config, table)
        write_json(arguments.out / "table.json", table)
        write_text(arguments.out / "table.md", text)
    if arguments.write_docs is not None:
        put_between(arguments.write_docs, "finetune table", text)
    return text


if __name__ == "__main__":
    sys.exit(main())
