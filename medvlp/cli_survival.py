"""The verbs `medvlp survival` and `medvlp embed-cases`, which makes vectors for it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from medvlp.cli_groups import OUT, OVERWRITE, SET


class Modality(StrEnum):
    """What `medvlp embed-cases --what` reads of a case."""

    slide = "slide"
    report = "report"
    genes = "genes"


def embed_cases(
    run: Annotated[Path, typer.Argument(help="A run of kind `mstar`, stage 1, or one of its checkpoints.")],
    out: OUT,
    what: Annotated[Modality, typer.Option("--what", help="What to embed.")],
    cases: Annotated[
        str | None, typer.Option("--cases", help="A case table, as data.table; by default the run's own.")
    ] = None,
    overwrite: OVERWRITE = False,
    overrides: SET = None,
) -> None:
    """Write one vector per case (.npy) by a model of slides, reports and genes, for the survival source `vectors`.

    Example: medvlp embed-cases runs/mstar --what slide --out vectors/slide --set data.features=data/features
    """
    from medvlp.training.case_vectors import embed_cases as embed

    chosen = [*(overrides or ()), *([] if cases is None else [f"data.table={cases}"])]
    done, ledger = embed(run, out, what.value, chosen, overwrite=overwrite)
    typer.echo(f"cases: {ledger}")
    typer.echo(f"vectors: {done}")


def survival(
    config: Annotated[str, typer.Argument(help="A configuration of kind `survival`: a path or a shipped name.")],
    out: OUT,
    overwrite: OVERWRITE = False,
    overrides: SET = None,
) -> None:
    """Cross-validate a survival model on vectors, genes or clinical columns, beside floors and controls.

    Example: medvlp survival survival --out results/blca --set outcome.endpoint=os
    """
    from medvlp.config import load

    loaded: Any = load(config, overrides or (), kind="survival")
    from medvlp.finetune.survival import run
    from medvlp.io import read_json

    done = run(loaded, out, overwrite=overwrite)
    for system in read_json(done / "results.json")["systems"]:
        found = system["concordance"]
        if found["value"] is None:
            typer.echo(f"{system['title']}: concordance undefined")
            continue
        width = "" if found["low"] is None else f" [{found['low']:.3f}, {found['high']:.3f}]"
        typer.echo(f"{system['title']}: concordance {found['value']:.3f}{width}")
    typer.echo(f"results: {done}")
