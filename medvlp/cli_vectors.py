"""The verb `vectors`: vectors of a graph's concepts from its triples."""

from __future__ import annotations

from typing import Annotated

import typer

from medvlp.cli_groups import OUT, OVERWRITE, SET


def vectors(
    config: Annotated[str, typer.Argument(help="A configuration of kind `vectors`: a path or a shipped name.")],
    out: OUT,
    python: Annotated[str | None, typer.Option(help="Interpreter of the environment that has PyKEEN.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Read, split and count the triples, train nothing.")] = False,
    overwrite: OVERWRITE = False,
    overrides: SET = None,
) -> None:
    """Learn vectors of a graph's concepts (TransE, DistMult, ComplEx, RotatE) and score them on held-out triples.

    Example: medvlp vectors vectors/transe --out data/vectors
    """
    from medvlp.config import import_from_checkout, load

    chosen = [*([] if python is None else [f"python={python}"]), *(overrides or ())]
    loaded = load(config, chosen, kind="vectors")
    done = import_from_checkout("data_prep.vectors.build").build(loaded, out, overwrite=overwrite, dry_run=dry_run)
    typer.echo("dry run: nothing was written" if dry_run else f"vectors: {done}")
