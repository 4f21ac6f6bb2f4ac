"""Command line of the fine-tuning table.

Example: python -m benchmarks.finetune finetune_table --out runs/finetune_table
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from medvlp.config import load
from medvlp.errors import MedvlpError
from medvlp.io import write_json, write_text


def main() -> int:
    """Run what is missing, write the table after every cell, print it at the end; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.finetune", description=__doc__)
    parser.add_argument("config", nargs="?", default="finetune_table", help="config of kind `finetune_table`")
    parser.add_argument("--out", type=Path, default=Path("runs/finetune_table"), help="folder of all runs; resumes")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override a key of the config")
    arguments = parser.parse_args()
    try:
        from benchmarks.finetune.config import FinetuneTableConfig
        from benchmarks.finetune.run import run
        from benchmarks.finetune.table import build, markdown

        config = load(arguments.config, arguments.set, kind="finetune_table")
        assert isinstance(config, FinetuneTableConfig)
        text = ""
        for table in build(config, run(config, arguments.out), arguments.out):
            text = markdown(config, table)
            write_json(arguments.out / "table.json", table)
            write_text(arguments.out / "table.md", text)
        print(text)
    except MedvlpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
