"""The verb `entities`: what is present where in each image of a set."""

from __future__ import annotations

from typing import Annotated

import typer

from medvlp.cli_groups import OUT, OVERWRITE, SET


def entities(
    config: Annotated[str, typer.Argument(help="A configuration of kind `entities`: a path or a shipped name.")],
    out: OUT,
    dry_run: Annotated[bool, typer.Option(help="Read and count everything, write nothing.")] = False,
    overwrite: OVERWRITE = False,
    overrides: SET = None,
) -> None:
    """Say what is present where in each image: from planted findings, report texts, or class labels.

    Example: medvlp entities entities/simulation --out data/scene_entities
    """
    from medvlp.config import import_from_checkout, load

    loaded = load(config, overrides or (), kind="entities")
    done = import_from_checkout("data_prep.entities.build").build(loaded, out, overwrite=overwrite, dry_run=dry_run)
    typer.echo("dry run: nothing was written" if dry_run else f"entities: {done}")
