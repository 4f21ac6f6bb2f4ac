"""The command group for published weights: list, inspect, import, and embeddings made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medvlp.cli_groups import OUT, OVERWRITE, SET

LAYOUT = Annotated[
    str,
    typer.Option("--layout", help="keep, open_clip, hf_clip, openai_clip or chexzero; auto tells from the tensors."),
]
weights_app = typer.Typer(
    help="Take in published weights, or embeddings made elsewhere.", no_args_is_help=True, rich_markup_mode=None
)


@weights_app.command("list")
def weights_list() -> None:
    """Print the published models that are known, with layout, licence and what was checked.

    Example: medvlp weights list
    """
    from medvlp.published.known import KNOWN

    for model in KNOWN:
        typer.echo(
            f"{model.name}\n  open with    {model.opened_with}\n  licence      {model.licence} ({model.licence_from})"
        )
        typer.echo(f"  checked      {model.checked}\n  unverified   {model.unverified}")


@weights_app.command("inspect")
def weights_inspect(
    path: Annotated[Path, typer.Argument(help="A weight file, or the folder it lies in.")],
    layout: LAYOUT = "auto",
    names: Annotated[bool, typer.Option("--names", help="List every renamed tensor.")] = False,
) -> None:
    """Account for every tensor: renamed, missing, unexpected. Exit code 1 if they do not fit exactly.

    Example: medvlp weights inspect ~/KEEP --layout keep
    """
    from medvlp.published.opening import inspect_weights

    report = inspect_weights(path, layout)
    typer.echo("\n".join(report.lines(names)))
    if not report.ok:
        raise typer.Exit(1)


@weights_app.command("import")
def weights_import(
    path: Annotated[Path, typer.Argument(help="A weight file, or the folder it lies in.")],
    out: OUT,
    layout: LAYOUT = "auto",
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Keep random values for tensors that are missing.")
    ] = False,
    names: Annotated[bool, typer.Option("--names", help="List every renamed tensor.")] = False,
    overwrite: OVERWRITE = False,
) -> None:
    """Write published weights as a checkpoint, for `evaluate`, `export` and training.

    Example: medvlp weights import ~/KEEP --layout keep --out runs/keep_published
    """
    from medvlp.published.opening import import_weights

    report = import_weights(path, out, layout, allow_partial=allow_partial, overwrite=overwrite)
    typer.echo("\n".join(report.lines(names)))
    typer.echo(f"checkpoint{'' if report.ok else ' (PARTIAL)'}: {out}")


@weights_app.command("request")
def weights_request(
    config: Annotated[str, typer.Argument(help="A configuration of kind `evaluate`: a path or a shipped name.")],
    out: OUT,
    overwrite: OVERWRITE = False,
    overrides: SET = None,
) -> None:
    """Write the images and texts an evaluation needs, and a script that embeds them with any model.

    Example: medvlp weights request my_evaluation.yaml --out request
    """
    from medvlp.config import load
    from medvlp.published.request import write_request

    loaded: Any = load(config, overrides or (), kind="evaluate")
    counts = write_request(loaded, out, overwrite=overwrite)
    typer.echo(
        f"request: {out} ({counts['images']} images, {counts['texts']} texts); next: python {out}/embed.py --help"
    )


@weights_app.command("embed")
def weights_embed(
    request: Annotated[Path, typer.Argument(help="A folder of `medvlp weights request`.")],
    checkpoint: Annotated[str, typer.Option("--with", help="A run, a checkpoint, or anything `medvlp.load` opens.")],
    out: OUT,
    overwrite: OVERWRITE = False,
) -> None:
    """Answer a request with a model of this library, for use as `checkpoint: embeddings:OUT`.

    Example: medvlp weights embed request --with runs/keep --out embeddings
    """
    from medvlp.loading import load
    from medvlp.published.request import answer_request

    typer.echo(f"embeddings: {answer_request(load(checkpoint), request, out, name=checkpoint, overwrite=overwrite)}")
