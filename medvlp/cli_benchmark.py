"""The verbs `medvlp benchmark` and `medvlp report`: score a grid of models and tasks, and show what was scored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medvlp.cli_groups import SET


def benchmark(
    config: Annotated[str, typer.Argument(help="A configuration of kind `benchmark`: a path or a shipped name.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of records, stores and caches; resumes.")],
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="task=T[.P],system=S,seed=N,variant=V",
            help="Score only the cells that fit; any of the four keys; repeatable.",
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Processes; by default as configured.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="List the cells, what is done and an estimate; score nothing.")] = False,
    overrides: SET = None,
) -> None:
    """Score models on tasks beside floors, every cell of a grid once. Exit code 1 if a cell failed.

    Example: medvlp benchmark eval/all_local --out runs/benchmark --jobs 2
    """
    from medvlp.config import import_from_checkout, load

    grid = import_from_checkout("benchmarks.harness.grid")
    cells = import_from_checkout("benchmarks.harness.cells")
    loaded: Any = load(config, overrides or (), kind="benchmark")
    if dry_run:
        typer.echo("\n".join(grid.dry_run(loaded, out, only or ())))
        return
    invocation = cells.Invocation(config, tuple(overrides or ()), str(out))
    found = grid.run(loaded, out, only=only or (), jobs=jobs, invocation=invocation)
    typer.echo(f"scored {found.scored}, found done {found.found}, failed {len(found.failed)}, in {found.seconds:.0f} s")
    for cell, reason in found.failed:
        typer.echo(f"failed: {cell}: {reason}", err=True)
    typer.echo(f"records: {out}")
    if found.failed:
        raise typer.Exit(1)


def report(
    out: Annotated[Path, typer.Argument(help="The folder of a benchmark.")],
    to: Annotated[Path | None, typer.Option("--to", help="Where to write the page; by default in that folder.")] = None,
) -> None:
    """Build the leaderboard of a benchmark: JSON, CSV and one HTML page.

    Example: medvlp report runs/benchmark
    """
    from medvlp.config import import_from_checkout

    typer.echo(f"report: {import_from_checkout('benchmarks.report.build').build(out, to)}")
