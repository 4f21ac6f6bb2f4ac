"""The verb `link`: concepts of a graph in texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvlp.cli_groups import OVERWRITE, SET


def link(
    source: Annotated[str, typer.Argument(help="A table (.csv, .tsv, .jsonl), a text file, or - for standard input.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write: .jsonl or .parquet.")],
    config: Annotated[str, typer.Option(help="A configuration of kind `linker`: a path or a shipped name.")] = "linker",
    column: Annotated[str | None, typer.Option(help="The table's column that holds the texts.")] = None,
    key: Annotated[str | None, typer.Option(help="The column that names them; by default rows are numbered.")] = None,
    lines: Annotated[bool, typer.Option("--lines", help="Each line of a text file is a text.")] = False,
    encoding: Annotated[str, typer.Option(help="Encoding of the texts.")] = "utf-8",
    show_texts: Annotated[bool, typer.Option("--show-texts", help="Also write the words of each mention.")] = False,
    overwrite: OVERWRITE = False,
    overrides: SET = None,
) -> None:
    """Find the concepts that texts name: offsets, concept, semantic types, score. Texts are never printed.

    Example: medvlp link reports.csv --column findings --out links.parquet --set graph=data/graph
    """
    from medvlp.config import import_from_checkout, load

    job = import_from_checkout("data_prep.text.linking.job")
    loaded = load(config, overrides or (), kind="linker")
    texts = job.Texts(source, column, key, lines, encoding)
    ledger = job.run(loaded, texts, out, show_texts=show_texts, overwrite=overwrite)
    typer.echo(f"texts: {ledger}")
    typer.echo(f"links: {out}")
