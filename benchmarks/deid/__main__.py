"""Scores de-identification on files of texts with planted identifiers, one table each.

Example: python -m benchmarks.deid tests/deid/planted_dev.jsonl tests/deid/planted_test.jsonl --out runs/deid
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.common.marks import put_between
from medvlp.errors import MedvlpError
from medvlp.io import write_json, write_text

USER_ERROR = 2


def main() -> int:
    """Print each file's table; with ``--out`` write them, with ``--write-docs`` renew a page; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.deid", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", type=Path, nargs="+", help="JSON lines with text, spans and keep")
    parser.add_argument("--out", type=Path, default=None, help="folder for deid.json and deid.md")
    parser.add_argument("--names", default=None, metavar="MODEL", help="a spaCy model that finds further names")
    parser.add_argument(
        "--write-docs",
        type=Path,
        default=None,
        metavar="PAGE",
        help="also put each table between the marks `deid FILE` of a page",
    )
    arguments = parser.parse_args()
    try:
        from benchmarks.deid.score import markdown, results
        from data_prep.deid.recogniser import spacy_recogniser

        recogniser = None if arguments.names is None else spacy_recogniser(arguments.names)
        found = [results(path, recogniser) for path in arguments.texts]
        if arguments.write_docs is not None:
            for one in found:
                put_between(arguments.write_docs, f"deid {one['texts']}", markdown(one))
    except MedvlpError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    tables = "\n\n".join(markdown(one) for one in found)
    if arguments.out is not None:
        write_json(arguments.out / "deid.json", found)
        write_text(arguments.out / "deid.md", tables + "\n")
    print(tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
