"""Searches what two sets share: images (also turned, re-encoded, slightly cropped), cases, captions.

Example: python -m benchmarks.leaks --pairs data/pairs --out runs/leaks
Example: python -m benchmarks.leaks train_images test_images --encoder uni --dataset tcga

A side is a pairs store, a folder of images or a table (.csv, .tsv, .parquet) with columns among key, image (or file),
case (or patient), caption (or text). Exit code 0: nothing found, 1: violated, 2: input that cannot be used.
"""

from __future__ import annotations

import argparse
import sys
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from medvlp.errors import ConfigError, MedvlpError
from medvlp.io import write_json, write_text

if TYPE_CHECKING:
    from benchmarks.leaks.report import LeakReport

VIOLATED, USER_ERROR = 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Print the report line and the first findings; with ``--out`` write JSON and HTML; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.leaks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "sides", type=Path, nargs="*", metavar="SIDE", help="what was learned from, then what is tested"
    )
    parser.add_argument("--pairs", type=Path, default=None, metavar="STORE", help="compare the splits of this store")
    parser.add_argument("--accept", action="append", default=[], metavar="CHECK", help="state findings, do not stop")
    parser.add_argument("--expect", action="append", default=[], metavar="SIDE=N", help="images a side has to have")
    parser.add_argument("--encoder", default=None, help="look the encoder up in the contamination table")
    parser.add_argument("--dataset", default=None, help="data set for --encoder")
    parser.add_argument("--out", type=Path, default=None, help="folder for leaks.json and leaks.html")
    options = parser.parse_args(arguments)
    try:
        report = _report(options)
        if options.out is not None:
            write_json(options.out / "leaks.json", report.to_json())
            write_text(options.out / "leaks.html", _page(report.line, report.html()))
    except MedvlpError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    print(report.line)
    for check in report.checks:
        for match in check.examples:
            print(f"  {check.name}: {match.key} = {match.other} ({match.similarity:.2f})")
    return VIOLATED if report.status == "violated" else 0


def _report(options: argparse.Namespace) -> LeakReport:
    from benchmarks.leaks.contamination import contamination
    from benchmarks.leaks.inputs import read_side, sides_of_store
    from benchmarks.leaks.report import LeakReport, compare

    if (options.pairs is None) == (len(options.sides) != 2) or (options.pairs is not None and options.sides):
        raise ConfigError("needs two sides, or --pairs with one store", remedy="see --help")
    if (options.encoder is None) != (options.dataset is None):
        raise ConfigError("--encoder and --dataset go together", remedy="give both or neither")
    if options.pairs is not None:
        sides = sides_of_store(options.pairs)
    else:
        sides = [read_side(path, name) for path, name in zip(options.sides, ("learned", "tested"), strict=True)]
    by_name = {side.name: side for side in sides}
    for text in options.expect:
        name, _, number = text.partition("=")
        if name not in by_name or not number.isdigit():
            raise ConfigError("is not SIDE=N", item=text, remedy=f"sides here: {', '.join(by_name)}")
        prints = by_name[name].prints
        if prints is not None and len(prints) != int(number):
            raise ConfigError(f"expected {number} images, found {len(prints)}", item=name, remedy="check the input")
    checks = [check for learned, tested in combinations(sides, 2) for check in compare(learned, tested, options.accept)]
    known = None if options.encoder is None else contamination(options.encoder, options.dataset)
    return LeakReport(tuple(checks), {side.name: side.unreadable for side in sides}, known)


def _page(title: str, body: str) -> str:
    from html import escape

    from medvlp.zeroshot.report import style

    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{style()}</style></head>\n<body><main><h1>Leaks</h1>\n{body}</main></body></html>\n"
    )


if __name__ == "__main__":
    sys.exit(main())
