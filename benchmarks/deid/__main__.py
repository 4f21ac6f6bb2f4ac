"""Scores de-identification on a file of texts with planted identifiers.

Example: python -m benchmarks.deid tests/deid/planted_dev.jsonl --out runs/deid
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from medvlp.errors import MedvlpError
from medvlp.io import write_json, write_text

USER_ERROR = 2


def main() -> int:
    """Print the table and, with ``--out``, write ``deid.json`` and ``deid.md``; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.deid", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", type=Path, help="JSON lines with text, spans and keep")
    parser.add_argument("--out", type=Path, default=None, help="folder for deid.json and deid.md")
    parser.add_argument("--names", default=None, metavar="MODEL", help="a spaCy model that finds further names")
    arguments = parser.parse_args()
    try:
        from benchmarks.deid.score import markdown, results
        from data_prep.deid.recogniser import spacy_recogniser

        found = results(arguments.texts, None if arguments.names is None else spacy_recogniser(arguments.names))
    except MedvlpError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    if arguments.out is not None:
        write_json(arguments.out / "deid.json", found)
        write_text(arguments.out / "deid.md", markdown(found) + "\n")
    print(markdown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
