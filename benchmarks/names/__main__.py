"""Command line of the held-out-name benchmark.

Example: python -m benchmarks.names names --out runs/names
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from medvlp.config import load
from medvlp.errors import MedvlpError
from medvlp.io import write_json, write_text


def main() -> int:
    """Run the benchmark, print its table and write ``table.json`` and ``table.md``; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.names", description=__doc__)
    parser.add_argument("config", nargs="?", default="names", help="config of kind `names` (path or name)")
    parser.add_argument("--out", type=Path, default=Path("runs/names"), help="folder of all runs; resumes")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override a key of the config")
    arguments = parser.parse_args()
    try:
        from benchmarks.names.config import NamesConfig
        from benchmarks.names.run import run
        from benchmarks.names.table import build, markdown

        config = load(arguments.config, arguments.set, kind="names")
        assert isinstance(config, NamesConfig)
        table = build(config, run(config, arguments.out))
        write_json(arguments.out / "table.json", table)
        write_text(arguments.out / "table.md", markdown(table))
        print(markdown(table))
    except MedvlpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
