"""Command line of the knowledge table.

Example: python -m benchmarks.knowledge knowledge_table --out runs/knowledge_table
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from medvlp.config import load
from medvlp.errors import MedvlpError
from medvlp.io import write_json, write_text


def main() -> int:
    """Do what is not done yet, print the table, write it as JSON, Markdown and HTML; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.knowledge", description=__doc__)
    parser.add_argument("config", nargs="?", default="knowledge_table", help="config of kind `knowledge_benchmark`")
    parser.add_argument("--out", type=Path, default=Path("runs/knowledge_table"), help="folder of everything; resumes")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override a key of the config")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="also put the table between the page's marks")
    arguments = parser.parse_args()
    try:
        from benchmarks.knowledge.config import KnowledgeTableConfig
        from benchmarks.knowledge.page import render
        from benchmarks.knowledge.run import run
        from benchmarks.knowledge.table import build, markdown, write_docs

        config = load(arguments.config, arguments.set, kind="knowledge_benchmark")
        assert isinstance(config, KnowledgeTableConfig)
        answers, graph = run(config, arguments.out)
        table = build(config, answers, graph)
        write_json(arguments.out / "table.json", table)
        write_text(arguments.out / "table.md", markdown(table))
        write_text(arguments.out / "table.html", render(table))
        if arguments.write_docs is not None:
            write_docs(arguments.write_docs, markdown(table))
        print(markdown(table))
    except MedvlpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
