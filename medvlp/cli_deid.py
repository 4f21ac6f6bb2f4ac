"""The verb that removes identifiers: `medvlp deid`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medvlp.cli_groups import OUT, OVERWRITE


class DateRule(StrEnum):
    """What is done with the dates of DICOM files."""

    remove = "remove"
    shift = "shift"


def deid(
    source: Annotated[Path, typer.Argument(help="A folder of DICOM, text and table files, or one of these.")],
    out: OUT,
    columns: Annotated[str, typer.Option(help="Of tables: columns with free text, by comma.")] = "",
    id_columns: Annotated[str, typer.Option(help="Of tables: columns with record numbers, which get pseudonyms.")] = "",
    keep_columns: Annotated[str, typer.Option(help="Of tables: columns kept as they are; others are left out.")] = "",
    dates: Annotated[
        DateRule, typer.Option(help="Of DICOM files: remove dates, or shift them per patient.")
    ] = DateRule.remove,
    secret: Annotated[
        str | None, typer.Option(metavar="VARIABLE", help="Environment variable with the secret behind pseudonyms.")
    ] = None,
    names: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A spaCy model that finds further names in texts.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Encoding of texts and tables.")] = "utf-8-sig",
    dry_run: Annotated[bool, typer.Option(help="Read and count everything, write nothing.")] = False,
    overwrite: OVERWRITE = False,
) -> None:
    """Write DICOM files, texts and tables without identifiers, under pseudonyms, with counts of what was removed.

    Example: medvlp deid export_of_the_archive --out deidentified --dry-run
    """
    from medvlp.config import import_from_checkout

    job = import_from_checkout("data_prep.deid.job")
    recogniser = (
        import_from_checkout("data_prep.deid.recogniser").spacy_recogniser(names) if names is not None else None
    )
    options = job.Options(
        columns=_listed(columns),
        id_columns=_listed(id_columns),
        keep_columns=_listed(keep_columns),
        dates=dates.value,
        secret_variable=secret,
        encoding=encoding,
    )
    report = job.deidentify_folder(source, out, options, overwrite=overwrite, dry_run=dry_run, recogniser=recogniser)
    for line in report.lines():
        typer.echo(line, err=True)
    typer.echo("dry run: nothing was written" if dry_run else f"de-identified: {out}")


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]
