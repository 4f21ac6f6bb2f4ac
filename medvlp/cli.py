"""The command line: thin verbs over the Python calls, and the one place where an error becomes an exit code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from medvlp.cli_benchmark import benchmark, report
from medvlp.cli_deid import deid
from medvlp.cli_diagnose import diagnose
from medvlp.cli_entities import entities
from medvlp.cli_groups import DEIDENTIFIED, OUT, OVERWRITE, SET, config_app, export_app, graph_app
from medvlp.cli_link import link
from medvlp.cli_pairs import pairs_app
from medvlp.cli_predict import predict
from medvlp.cli_serve import serve
from medvlp.cli_slides import slide_app, slides_settings
from medvlp.cli_survival import embed_cases, survival
from medvlp.cli_weights import weights_app
from medvlp.errors import ConfigError, MedvlpError
from medvlp.memory import keep_freed_memory

USER_ERROR, INTERRUPTED = 2, 130


class _Root(TyperGroup):
    """Turns Ctrl-C into the shell's own exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("error: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="medvlp",
    cls=_Root,
    help="Knowledge-enhanced medical vision-language models: train, evaluate, export.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(graph_app, name="graph")
app.add_typer(export_app, name="export")
app.add_typer(config_app, name="config")
app.add_typer(weights_app, name="weights")
app.command()(predict)
app.command()(diagnose)
app.command()(serve)
app.command()(deid)
app.command()(entities)
app.command()(link)
app.command()(embed_cases)
app.command()(survival)
app.command()(benchmark)
app.command()(report)
app.add_typer(pairs_app, name="pairs")
app.add_typer(slide_app, name="slide")


def _version(show: bool) -> None:
    if show:
        from medvlp import __version__

        typer.echo(__version__)
        raise typer.Exit()


@app.callback()
def _options(
    traceback: Annotated[bool, typer.Option("--traceback", help="Show the traceback of a user error too.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if traceback:
        os.environ["MEDVLP_TRACEBACK"] = "1"


@app.command()
def prepare(
    out: OUT,
    config: Annotated[
        str | None,
        typer.Argument(help="A configuration of kind `pairs`, `reports` or `slides`, or a folder of images."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="A MedMNIST set instead, for example pathmnist.")] = None,
    size: Annotated[int, typer.Option(help="With --dataset: side of its images, 28, 64, 128 or 224.")] = 28,
    root: Annotated[str | None, typer.Option(help="With --dataset: the folder of its .npz file.")] = None,
    slides: Annotated[list[str] | None, typer.Option(help="Of kind slides: a file or pattern; repeatable.")] = None,
    model: Annotated[str | None, typer.Option(help="Of kind slides: the model that embeds the tiles.")] = None,
    mpp: Annotated[float | None, typer.Option(help="Of kind slides: um per pixel where a file states none.")] = None,
    already_deidentified: DEIDENTIFIED = False,
    preview: Annotated[Path | None, typer.Option(help="Also write an HTML page about the store.")] = None,
    show_texts: Annotated[bool, typer.Option("--show-texts", help="Show texts of samples on that page.")] = False,
    save_config: Annotated[Path | None, typer.Option(help="Also write the whole configuration, to go on from.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Read and count everything, write nothing.")] = False,
    overwrite: OVERWRITE = False,
    overrides: SET = None,
) -> None:
    """Turn images and texts into a pairs store, reports into triplets, or whole slides into vectors of their tiles.

    A folder in a documented layout is recognised, and what was assumed about it is printed.

    Example: medvlp prepare my_pairs.yaml --out data/pairs --preview pairs.html
    """
    from medvlp.config import dump, import_from_checkout, load

    loaded: Any
    kind = "pairs"
    of_slides = slides_settings(slides, model, mpp)
    config = "slides.yaml" if of_slides and config in (None, "slides") else config
    if (config is None) == (dataset is None):
        raise ConfigError("name one thing to prepare", remedy="a configuration, a folder of images, or --dataset")
    if dataset is not None:
        where = [] if root is None else [f"source.root={root}"]
        chosen = [f"source.dataset={dataset}", f"source.size={size}", *where, *(overrides or ())]
        loaded = load("pairs/medmnist", chosen, kind="pairs")
    elif Path(str(config)).is_dir() and not of_slides:
        loaded = import_from_checkout("data_prep.pairs.layout").detect_layout(config, overrides=overrides or ())
    else:
        kinds = "slides" if of_slides else ("pairs", "reports", "slides")
        loaded = load(str(config), [*of_slides, *(overrides or ())], kind=kinds)
        kind = loaded.kind
    if save_config is not None:
        from medvlp.io import write_text

        write_text(save_config, dump(loaded))
        typer.echo(f"configuration: {save_config}")
    done = import_from_checkout(f"data_prep.{kind}.prepare").prepare(
        loaded,
        out,
        already_deidentified=already_deidentified,
        overwrite=overwrite,
        dry_run=dry_run,
        preview=preview,
        show_texts=show_texts,
    )
    if preview is not None:
        typer.echo(f"page: {preview}")
    typer.echo("dry run: nothing was written" if dry_run else f"{kind} store: {done}")


@app.command()
def simulate(
    config: Annotated[
        str, typer.Argument(help="A configuration of kind `simulation` or `planted_slides`: a path or a shipped name.")
    ],
    out: OUT,
    dry_run: Annotated[bool, typer.Option(help="Draw everything, render a little, write nothing.")] = False,
    overwrite: OVERWRITE = False,
    preview: Annotated[int, typer.Option(min=0, help="Items on the contact sheet preview.png; 0 for none.")] = 0,
    overrides: SET = None,
) -> None:
    """Make images with planted findings of known place: radiographs of a real chest CT, or whole slides.

    Example: medvlp simulate simulation/chest --out data/scenes --preview 12
    """
    from medvlp.config import import_from_checkout, load

    loaded: Any = load(config, overrides or (), kind=("simulation", "planted_slides"))
    if loaded.kind == "simulation":
        run = import_from_checkout("data_prep.simulation.simulate").simulate
        done = run(loaded, out, overwrite=overwrite, dry_run=dry_run, preview_scenes=preview)
    else:
        run = import_from_checkout("data_prep.planted.simulate").simulate
        done = run(loaded, out, overwrite=overwrite, dry_run=dry_run, preview_slides=preview)
    items = "scenes" if loaded.kind == "simulation" else "slides"
    typer.echo("dry run: nothing was written" if dry_run else f"{items}: {done}")


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="A configuration of kind `knowledge`, `align` or `mstar`.")],
    out: Annotated[Path | None, typer.Option(help="The run folder; by default runs/<name of the config>.")] = None,
    resume: Annotated[str, typer.Option(help="auto, never, or the checkpoint folder to go on from.")] = "auto",
    dry_run: Annotated[bool, typer.Option(help="One real step, a save, a load and a memory estimate.")] = False,
    overrides: SET = None,
) -> None:
    """Train the knowledge encoder (stage 1), the alignment (stage 2), or slides with reports and genes (mstar).

    Example: medvlp train keep --out runs/keep --set steps=200
    """
    from medvlp.api import train as run

    checkpoint = run(config, out=out, resume=resume, dry_run=dry_run, overrides=overrides or ())
    if os.environ.get("RANK", "0") == "0":
        typer.echo("dry run: passed" if dry_run else f"checkpoint: {checkpoint}")


@app.command()
def finetune(
    config: Annotated[str, typer.Argument(help="A configuration of kind `finetune`: a path or a name.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The run folder.")],
    resume: Annotated[str, typer.Option(help="auto or never.")] = "auto",
    dry_run: Annotated[bool, typer.Option(help="Check everything, do one real step, write nothing.")] = False,
    overrides: SET = None,
) -> None:
    """Fine-tune an image tower (probe, few-shot, LoRA, whole) on classes or pixels, and score it on test.

    Example: medvlp finetune finetune/probe --out runs/probe --set start.model=runs/keep
    """
    from medvlp.config import load

    loaded: Any = load(config, overrides or (), kind="finetune")
    from medvlp.finetune.run import run as fine_tune

    done = fine_tune(loaded, out, resume=resume, dry_run=dry_run)
    if os.environ.get("RANK", "0") == "0":
        typer.echo("dry run: passed" if dry_run else f"fine-tuned: {done}")


@app.command()
def evaluate(
    config: Annotated[
        str, typer.Argument(help="A configuration of kind `evaluate` or `retrieval`: a path or a shipped name.")
    ],
    out: OUT,
    overwrite: OVERWRITE = False,
    overrides: SET = None,
) -> None:
    """Score a model zero-shot (diagnosis, or retrieval of texts and images) and write results.json and report.html.

    Example: medvlp evaluate my_evaluation.yaml --out results/keep --set checkpoint=runs/keep
    """
    from medvlp.config import load

    loaded: Any = load(config, overrides or (), kind=("evaluate", "retrieval"))
    if loaded.kind == "retrieval":
        from medvlp.zeroshot.retrieval import evaluate_retrieval

        done = evaluate_retrieval(loaded, out, overwrite=overwrite)
    else:
        from medvlp.zeroshot.evaluate import evaluate as run

        done = run(loaded, out, overwrite=overwrite)
    typer.echo(f"results: {done}")


@app.command()
def quickstart(
    data: Annotated[Path | None, typer.Option(help="A folder of images in a documented layout.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder for all it makes; by default below runs/.")
    ] = None,
    config: Annotated[str, typer.Option(help="A configuration of kind `quickstart`.")] = "quickstart",
    already_deidentified: DEIDENTIFIED = False,
    overrides: SET = None,
) -> None:
    """Run the whole line on real data: graph, pairs, two training stages, report, export. Minutes on two cores.

    Example: medvlp quickstart --data ~/images --out runs/mine
    """
    from medvlp.config import import_from_checkout, load

    recipe = import_from_checkout("benchmarks.quickstart.run")
    loaded = load(config, overrides or (), kind="quickstart")
    if out is None:
        out = Path("runs/quickstart" if data is None else f"runs/quickstart-{data.resolve().name}")
    report = recipe.run(loaded, out, data=data, already_deidentified=already_deidentified)
    typer.echo(f"report: {report}")


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check this installation part by part: PASS, WARN, FAIL or SKIP, each with its remedy. Exit code 1 on any FAIL.

    Example: medvlp doctor --json > doctor.json
    """
    from medvlp.doctor import render, run_checks, to_json

    checks = run_checks()
    typer.echo(to_json(checks) if as_json else render(checks))
    if any(check.status == "FAIL" for check in checks):
        raise typer.Exit(1)


def run(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 (a check failed), 2 (user error) or 130 (interrupted)."""
    try:
        app(arguments, prog_name="medvlp")
    except SystemExit as error:  # how the parser ends, with or without success
        return error.code if isinstance(error.code, int) else USER_ERROR
    except MedvlpError as error:
        if os.environ.get("MEDVLP_TRACEBACK") == "1":
            raise
        return _fail(_one_line(error))
    except OSError as error:
        if error.strerror is None or os.environ.get("MEDVLP_TRACEBACK") == "1":
            raise
        item = f"{error.filename}: " if error.filename else ""
        return _fail(f"{item}{error.strerror}; check the path, its permissions and the free space")
    return 0


def _one_line(error: MedvlpError) -> str:
    lines = str(error).splitlines()
    if isinstance(error, ConfigError) and len(lines) > 1:
        return "\n  ".join([f"{len(lines)} mistakes in the configuration", *lines])
    return str(error)


def _fail(message: str) -> int:
    typer.echo(f"error: {message}", err=True)
    return USER_ERROR


def main() -> None:
    """Entry point of the ``medvlp`` command."""
    keep_freed_memory()
    code = run()
    distributed = sys.modules.get("torch.distributed")
    if code == 0 and distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()  # left to the interpreter's shutdown, its threads can abort the process
    sys.exit(code)


if __name__ == "__main__":
    main()
