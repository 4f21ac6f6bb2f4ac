"""The command group for pairs stores: export and show."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medvlp.cli_groups import DEIDENTIFIED, OUT, OVERWRITE

pairs_app = typer.Typer(help="Look at pairs stores and hand them on.", no_args_is_help=True, rich_markup_mode=None)


class PairsFormat(StrEnum):
    """The formats `medvlp pairs export --to` writes."""

    webdataset = "webdataset"


@pairs_app.command("export")
def pairs_export(
    store: Annotated[Path, typer.Argument(help="A pairs store.")],
    out: OUT,
    to: Annotated[PairsFormat, typer.Option("--to", help="The format.")] = PairsFormat.webdataset,
    shard_size: Annotated[int, typer.Option(help="Samples in a shard.")] = 1000,
    already_deidentified: DEIDENTIFIED = False,
    overwrite: OVERWRITE = False,
) -> None:
    """Write a pairs store as tar shards; a source of kind `webdataset` reads them back unchanged.

    Example: medvlp pairs export data/pairs --to webdataset --out data/shards --shard-size 500
    """
    from medvlp.config import import_from_checkout

    done = import_from_checkout("data_prep.pairs.export").export_webdataset(
        store, out, shard_size=shard_size, already_deidentified=already_deidentified, overwrite=overwrite
    )
    typer.echo(f"shards: {done}")


@pairs_app.command("show")
def pairs_show(
    store: Annotated[Path, typer.Argument(help="A pairs store.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")],
    show_texts: Annotated[bool, typer.Option("--show-texts", help="Show the texts of the sample images.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Draws the sample images.")] = 0,
) -> None:
    """Write a page about a pairs store: counts, drops, balance, groups, near-duplicates, text lengths, images.

    Example: medvlp pairs show data/pairs --out pairs.html
    """
    from medvlp.config import import_from_checkout
    from medvlp.data.pairs import PairsStore

    page = import_from_checkout("data_prep.pairs.preview").write_preview(
        PairsStore.load(store), out, show_texts=show_texts, seed=seed
    )
    typer.echo(f"page: {page}")
