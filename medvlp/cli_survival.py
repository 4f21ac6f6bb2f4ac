"""The verb `medvlp survival`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from medvlp.cli_groups import OUT, OVERWRITE, SET


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
