"""``medvlp predict``: a trained model asked about single images, folders or globs, from the command line."""

from __future__ import annotations

import csv
import glob
import io
import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from medvlp.cli_groups import OVERWRITE
from medvlp.errors import DataError


class Mode(StrEnum):
    """How many classes an image can have."""

    single = "single"
    multi = "multi"


def predict(
    images: Annotated[list[str], typer.Argument(help="Images, folders of images, or globs in quotes.")],
    model: Annotated[str, typer.Option("--model", "-m", help="A run, a checkpoint, or anything `medvlp.load` opens.")],
    classes: Annotated[
        list[str],
        typer.Option(
            "--classes", help="Concept ids and names, separated by commas; or a file, one per line; repeatable."
        ),
    ],
    graph: Annotated[Path | None, typer.Option(help="A graph store: names, definitions and hypernyms.")] = None,
    templates: Annotated[
        str, typer.Option(help="Wordings: general, pathology, radiology, plain, or a file.")
    ] = "general",
    paths: Annotated[int, typer.Option(min=0, help="Hypernym paths per concept.")] = 1,
    definitions: Annotated[int, typer.Option(min=0, help="Definitions per concept.")] = 1,
    mode: Annotated[Mode, typer.Option(help="One class per image, or any number.")] = Mode.single,
    explain: Annotated[bool, typer.Option("--explain", help="Say which prompts carried each score.")] = False,
    top: Annotated[int, typer.Option(min=0, help="Prompts per class that --explain lists.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Also write a table to this file.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 64,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Count images that cannot be read instead of stopping.")
    ] = False,
    maps: Annotated[
        Path | None, typer.Option("--maps", help="Also draw where each class is seen: a folder of PNG files to create.")
    ] = None,
    overwrite: OVERWRITE = False,
) -> None:
    """Say which of some classes images show, and why.

    Example: medvlp predict image.png --model runs/keep --classes "DOID:3459,normal" --graph data/graph --explain
    """
    from medvlp.zeroshot.ask import ZeroShot

    files = find_images(images)
    if maps is not None and maps.exists() and not overwrite:  # told before a model is opened
        raise DataError("already exists", item=maps, remedy="remove it, choose another name, or pass --overwrite")
    ask = ZeroShot(
        model,
        find_classes(classes),
        graph,
        templates=templates,
        num_paths=paths,
        num_definitions=definitions,
        mode=mode.value,
        batch_size=batch_size,
    )
    answer = ask(files, skip_unreadable=skip_unreadable)
    if maps is not None:
        from medvlp.zeroshot.explain import draw_maps

        draw_maps(ask.model, [Path(name) for name in answer.images], answer.names, maps, replace=overwrite)
    if csv_file is not None:
        from medvlp.io import write_text

        write_text(csv_file, to_csv(answer))
    if as_json:
        value: dict[str, Any] = answer.to_json()
        if explain:
            value["explanations"] = answer.explain(top).to_json()
        typer.echo(json.dumps(value, indent=1, ensure_ascii=False))
    else:
        typer.echo(str(answer.explain(top)) if explain else to_lines(answer))
    if maps is not None:
        typer.echo(f"maps: {maps}", err=True)
    if answer.unmatched and graph is not None:
        typer.echo(f"not in the graph, asked for in their own words: {', '.join(answer.unmatched)}", err=True)
    if answer.ledger.dropped:
        typer.echo(f"images: {answer.ledger}", err=True)


def find_images(places: Sequence[str]) -> list[Path]:
    """Return the image files of paths, folders (searched to the bottom, hidden files left out) and globs, each once.

    Raises:
        DataError: If a place does not exist, or a folder or glob holds no image.
    """
    from medvlp.data.image import SUFFIXES

    found: dict[Path, None] = {}
    for place in places:
        path = Path(place).expanduser()
        if path.is_file():
            inside = [path]
        elif path.is_dir():
            inside = [file for file in sorted(path.rglob("*")) if _is_image(file, path, SUFFIXES)]
        elif glob.has_magic(place):
            matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
            inside = [file for file in matches if _is_image(file, file.parent, SUFFIXES)]
        else:
            raise DataError("no such image or folder", item=place, remedy="check the path")
        if not inside:
            raise DataError("holds no image", item=place, remedy=f"known endings: {', '.join(sorted(SUFFIXES))}")
        found.update(dict.fromkeys(inside))
    return list(found)


def _is_image(file: Path, root: Path, suffixes: frozenset[str]) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
    return not hidden and file.is_file() and file.suffix.lower() in suffixes


def find_classes(values: Sequence[str]) -> list[str]:
    """Return the classes of ``--classes``: parts between commas, or the lines of a file; empty ones go."""
    found: list[str] = []
    for value in values:
        path = Path(value).expanduser()
        if path.suffix and path.is_file():
            try:
                parts = path.read_text(encoding="utf-8").splitlines()
            except UnicodeDecodeError:
                raise DataError("not UTF-8 text", item=path, remedy="write one class per line") from None
        else:
            parts = value.split(",")
        found += [part.strip() for part in parts if part.strip()]
    return found


def to_lines(answer: Any) -> str:
    """One line per image of an answer: its name, then every class with its probability, the most probable first."""
    lines = []
    for image, row_K in zip(answer.images, answer.probabilities, strict=True):
        order = sorted(range(len(row_K)), key=lambda column: -row_K[column])
        shown = [f"{answer.names[column]} {row_K[column]:.3f}" for column in order]
        lines.append(f"{image}: {', '.join(shown)}")
    return "\n".join(lines)


def to_csv(answer: Any) -> str:
    """The table of a :class:`medvlp.zeroshot.Answer`: a row per image with its answer and each class's probability."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["image", "answer", *(f"p({label})" for label in answer.classes)])
    for image, label, row_K in zip(answer.images, answer.labels, answer.probabilities, strict=True):
        shown = label if isinstance(label, str) else "; ".join(label)
        writer.writerow([image, shown, *(f"{value:.6f}" for value in row_K)])
    return stream.getvalue()
