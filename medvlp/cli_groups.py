"""The command groups with several verbs of their own: graph, export, config."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

OUT = Annotated[Path, typer.Option("--out", "-o", help="The folder to create.")]
OVERWRITE = Annotated[bool, typer.Option("--overwrite", help="Replace the folder if it exists.")]
SET = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key, as in a.b=3; repeatable.")
]

DEIDENTIFIED = Annotated[
    bool,
    typer.Option("--already-deidentified", help="Skip de-identification: free text and DICOM carry no identifiers."),
]


EMA = Annotated[bool, typer.Option("--ema", help="The averaged weights, where the checkpoint keeps them.")]


def slides_settings(slides: list[str] | None, model: str | None, mpp: float | None) -> list[str]:
    """Return the options of `medvlp prepare` for slides as overrides of their configuration."""
    import json

    settings: list[tuple[str, Any]] = []
    if slides:
        settings += [("slides", slides), ("table", None)]
    if model is not None:
        settings.append(("encoder", {"name": "model", "model": model}))
    if mpp is not None:
        settings.append(("mpp", mpp))
    return [f"{key}={json.dumps(value)}" for key, value in settings]


class ExportFormat(StrEnum):
    """The formats `medvlp export --to` writes."""

    open_clip = "open_clip"
    hf = "hf"
    timm = "timm"
    onnx = "onnx"
    safetensors = "safetensors"


class Beside(StrEnum):
    """The papers whose counts `medvlp graph stats --beside` knows."""

    keep = "keep"


class _DefaultGroup(TyperGroup):
    """A group whose first command runs when the first word is not a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help", "-h"}:
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)


graph_app = typer.Typer(help="Build and inspect disease graphs.", no_args_is_help=True, rich_markup_mode=None)
export_app = typer.Typer(
    cls=_DefaultGroup,
    help="Write a trained model for other software: medvlp export runs/keep --to open_clip --out keep_clip",
    no_args_is_help=True,
    rich_markup_mode=None,
)
config_app = typer.Typer(help="List, show and explain configurations.", no_args_is_help=True, rich_markup_mode=None)


@graph_app.command("build")
def graph_build(
    config: Annotated[str, typer.Argument(help="A configuration of kind `graph` or `umls`: a path or a shipped name.")],
    out: OUT,
    redistributable: Annotated[
        bool, typer.Option("--redistributable", help="Of UMLS, keep strings of restriction level 0 only.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Read, check and count everything, write nothing.")] = False,
    overwrite: OVERWRITE = False,
    overrides: SET = None,
) -> None:
    """Build a graph store from ontology files, or from a licensed UMLS release.

    Example: medvlp graph build doid --out data/graph
    """
    from medvlp.config import import_from_checkout, load

    chosen = [*(overrides or ()), *(["redistributable=true"] if redistributable else [])]
    loaded: Any = load(config, chosen, kind="umls" if redistributable else ("graph", "umls"))
    room = "data_prep.ontologies.umls.build" if loaded.kind == "umls" else "data_prep.ontologies.build"
    job = import_from_checkout(room)
    if dry_run:
        for line in _outline(job.survey(loaded)):
            typer.echo(line)
        typer.echo("dry run: nothing was written")
    else:
        typer.echo(f"graph store: {job.build(loaded, out, overwrite=overwrite)}")


@graph_app.command("stats")
def graph_stats(
    folders: Annotated[list[Path], typer.Argument(help="A graph store; several with --beside.")],
    beside: Annotated[Beside | None, typer.Option(help="Print a table of counts beside those of a paper.")] = None,
) -> None:
    """Check a graph store against its manifest and print what it holds.

    Example: medvlp graph stats data/graph
    """
    if beside is not None:
        from medvlp.knowledge.beside import table

        typer.echo(table(folders))
        return
    from medvlp.errors import GraphError
    from medvlp.io import verify_manifest

    for folder in folders:
        manifest = verify_manifest(folder, GraphError)
        manifest.pop("files")
        for line in _outline(manifest):
            typer.echo(line)


@graph_app.command("show")
def graph_show(
    concept: Annotated[str, typer.Argument(help="An id, an old id or a name.")],
    graph: Annotated[Path, typer.Option("--graph", help="A graph store.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")],
) -> None:
    """Write a page about one concept: names, definitions, what is broader and narrower, other vocabularies, sources.

    Example: medvlp graph show "lung adenocarcinoma" --graph data/graph --out concept.html
    """
    from medvlp.knowledge.page import write_page

    typer.echo(f"page of {write_page(graph, concept, out)}: {out}")


def _outline(value: dict[str, Any], depth: int = 0) -> list[str]:
    """Indent a nested dict for reading; long lists are given by their length."""
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += [f"{'  ' * depth}{key}:", *_outline(item, depth + 1)]
        elif isinstance(item, list):
            lines.append(f"{'  ' * depth}{key}: {len(item)} entries")
        else:
            lines.append(f"{'  ' * depth}{key}: {item:,}" if type(item) is int else f"{'  ' * depth}{key}: {item}")
    return lines


@graph_app.command("export-keep")
def graph_export_keep(
    folder: Annotated[Path, typer.Argument(help="A graph store.")],
    target: Annotated[Path, typer.Argument(help="The JSON file to write.")],
) -> None:
    """Write a graph as the JSON layout of KEEP.

    Example: medvlp graph export-keep data/graph keep.json
    """
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.knowledge.keep_json import write_keep

    write_keep(DiseaseGraph.load(folder), target)
    typer.echo(f"KEEP graph: {target}")


@export_app.command("checkpoint")
def export_checkpoint(
    checkpoint: Annotated[str, typer.Argument(help="A run, a checkpoint, or anything `medvlp.load` opens.")],
    out: OUT,
    to: Annotated[ExportFormat, typer.Option("--to", help="The format.")] = ExportFormat.open_clip,
    verify: Annotated[bool, typer.Option("--verify", help="Reload it in another process and compare.")] = False,
    results: Annotated[
        Path | None, typer.Option(help="A results.json of `medvlp evaluate`, for the model card.")
    ] = None,
    ema: EMA = False,
    overwrite: OVERWRITE = False,
) -> None:
    """Write a model in another format (this verb may be left out: medvlp export runs/keep ...).

    Example: medvlp export runs/keep --to open_clip --out keep_clip --verify
    """
    from medvlp.export.run import export

    done = export(checkpoint, to.value, out, overwrite=overwrite, results=results, ema=ema)
    if verify:
        from medvlp.export.verify import verify as compare

        outcome = compare(done, checkpoint, ema=ema)
        typer.echo(str(outcome))
        if not outcome.ok:
            raise typer.Exit(1)
    typer.echo(f"export{' (verified)' if verify else ''}: {done}")


@export_app.command("verify")
def export_verify(
    folder: Annotated[Path, typer.Argument(help="An exported folder.")],
    against: Annotated[str, typer.Option("--against", help="The checkpoint it was made from.")],
    ema: EMA = False,
) -> None:
    """Compare an export with its checkpoint in a process without this library. Exit code 1 if they differ.

    Example: medvlp export verify keep_clip --against runs/keep
    """
    from medvlp.export.verify import verify

    outcome = verify(folder, against, ema=ema)
    typer.echo(str(outcome))
    if not outcome.ok:
        raise typer.Exit(1)


@export_app.command("repoint")
def export_repoint(folder: Annotated[Path, typer.Argument(help="An open_clip export that was moved.")]) -> None:
    """Write the present place of a moved open_clip export into its configuration.

    Example: medvlp export repoint keep_clip
    """
    from medvlp.export.open_clip import repoint

    typer.echo(f"points to: {repoint(folder)}")


@config_app.command("list")
def config_list() -> None:
    """Print every shipped configuration with the sentence that says what it is for.

    Example: medvlp config list
    """
    from medvlp.config_files import first_comment, shipped_configs

    shipped = shipped_configs()
    width = max((len(name) for name in shipped), default=0)
    for name, path in shipped.items():
        typer.echo(f"{name:{width}}  {first_comment(path)}".rstrip())


@config_app.command("show")
def config_show(
    config: Annotated[str, typer.Argument(help="A path or a shipped name.")], overrides: SET = None
) -> None:
    """Print a configuration with its bases, overrides and every default filled in.

    Example: medvlp config show keep --set steps=200
    """
    from medvlp.config import dump, load

    typer.echo(dump(load(config, overrides or ())).rstrip())


@config_app.command("schema")
def config_schema(kind: Annotated[str, typer.Argument(help="The `kind:` of a configuration.")]) -> None:
    """Print the JSON schema of a kind of configuration: every key, its type, default and meaning.

    Example: medvlp config schema align
    """
    import json

    from medvlp.config import config_class

    typer.echo(json.dumps(config_class(kind).model_json_schema(), indent=1))
