"""Command line of the controlled world: trains the grid, prints the comparison, draws the curves.

Example: python -m benchmarks.controlled controlled/small --jobs 2 --out runs/controlled_small
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
    """Do what is not done yet, print the tables, write them as JSON and Markdown and the curves as SVG."""
    return run_command(
        "benchmarks.controlled", __doc__, "controlled", "controlled/grid", "runs/controlled", _work, _options
    )


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes, one thread each")
    parser.add_argument(
        "--only", action="append", default=[], metavar="PART", help="only runs with this in LEVEL-METHOD-GRAPH-seed-N"
    )
    parser.add_argument("--tables-only", action="store_true", help="train nothing: the tables of what is done already")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="also put tables and curves into the page")
    parser.add_argument("--mark", default="controlled", help="name of these marks")


def _work(config: Any, arguments: Any) -> str:
    from benchmarks.controlled.grid import done, run
    from benchmarks.controlled.plots import curves, forest
    from benchmarks.controlled.table import build, markdown

    def partial(records: list[dict[str, Any]]) -> str:
        return markdown(build(config, records))

    out = arguments.out
    if arguments.tables_only:
        records = done(config, out, arguments.only)
    else:
        records = run(config, out, max(1, arguments.jobs), arguments.only, partial)
    table = build(config, records)
    write_json(out / "table.json", table)
    write_text(out / "table.md", markdown(table))
    pictures = {"primary": forest(table), **{name: curves(table, name) for name in config.axes}}
    drawn = {name: picture for name, picture in pictures.items() if picture is not None}
    for name, picture in drawn.items():
        write_text(out / f"{name}.svg", picture)
    if arguments.write_docs is not None:
        put_between(arguments.write_docs, arguments.mark, markdown(table))
        for name, picture in drawn.items():
            write_text(arguments.write_docs.parent / "figures" / f"{arguments.mark}_{name}.svg", picture)
    return markdown(table)


if __name__ == "__main__":
    sys.exit(main())
