"""``medvlp diagnose``: which of some classes a whole slide shows, from the command line."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from medvlp.cli_groups import OVERWRITE
from medvlp.cli_predict import find_classes


class Method(StrEnum):
    """How the tiles of a slide are pooled."""

    tumour_ratio = "tumour_ratio"
    ratio_with_normal = "ratio_with_normal"
    top_k = "top_k"
    mean = "mean"
    lse = "lse"


class Smoothing(StrEnum):
    """How neighbouring tiles are averaged first."""

    none = "none"
    centred = "centred"
    keep = "keep"


class Screening(StrEnum):
    """How prompts are chosen without labels."""

    none = "none"
    margin = "margin"
    keep = "keep"


def diagnose(
    slide: Annotated[Path, typer.Argument(help="The slide: a file, or the folder of a DICOM series.")],
    model: Annotated[str, typer.Option("--model", "-m", help="A run, a checkpoint, or anything `medvlp.load` opens.")],
    classes: Annotated[
        list[str],
        typer.Option("--classes", help="Concept ids and names, separated by commas; or a file; repeatable."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.")],
    graph: Annotated[Path | None, typer.Option(help="A graph store: names of the classes.")] = None,
    normal: Annotated[
        str | None, typer.Option(help="The class that means no disease; by default the one called normal.")
    ] = None,
    method: Annotated[Method | None, typer.Option(help="How tiles are pooled; by default the rule's.")] = None,
    smoothing: Annotated[Smoothing | None, typer.Option(help="Average neighbouring tiles first.")] = None,
    rule: Annotated[Path | None, typer.Option(help="A YAML file with a rule, for example a fitted one.")] = None,
    screening: Annotated[
        Screening, typer.Option(help="Choose prompts without labels: by margin, or as KEEP published it.")
    ] = Screening.none,
    templates: Annotated[str, typer.Option(help="Wordings: pathology, general, plain, or a file.")] = "pathology",
    mpp: Annotated[
        float | None, typer.Option(help="Micrometres per level-0 pixel, where the slide does not say.")
    ] = None,
    tile_size: Annotated[int, typer.Option(help="Side of a tile as the model sees it, pixels.")] = 256,
    target_mpp: Annotated[float, typer.Option(help="Micrometres per pixel of a tile.")] = 0.5,
    overlap: Annotated[int, typer.Option(help="Pixels that neighbouring tiles share.")] = 0,
    min_tissue: Annotated[float, typer.Option(help="Least share of a tile that is tissue.")] = 0.25,
    features: Annotated[
        Path | None, typer.Option(help="Features of this slide's tiles, instead of embedding them.")
    ] = None,
    producer: Annotated[str | None, typer.Option(help="With --features: who wrote the file.")] = None,
    patch_size: Annotated[int | None, typer.Option(help="With --features: side of a tile, level-0 pixels.")] = None,
    projected: Annotated[
        bool | None, typer.Option("--projected/--not-projected", help="With --features: are they in the texts' space?")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Tiles per forward pass.")] = 64,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read tiles ahead.")] = 0,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    overwrite: OVERWRITE = False,
) -> None:
    """Say which of some classes a whole slide shows, where, and why.

    Example: medvlp diagnose slide.svs --model runs/keep --classes "DOID:3459,normal" --graph data/graph --out answer
    """
    from medvlp.config import load_as
    from medvlp.io import read_json
    from medvlp.zeroshot.diagnose import diagnose as run
    from medvlp.zeroshot.slide import SlideRule

    chosen = SlideRule() if rule is None else load_as(SlideRule, rule)
    asked = {"method": method and method.value, "smoothing": smoothing and smoothing.value}
    changes: dict[str, Any] = {
        key: value for key, value in asked.items() if value is not None and value != getattr(chosen, key)
    }
    if changes:  # what was fitted for other scores means nothing for these
        changes |= {"slide_threshold": None, "source": "fixed", "split": None, "num_slides": None}
    done = run(
        slide,
        model,
        find_classes(classes),
        out=out,
        graph=graph,
        normal=normal,
        rule=chosen.with_changes(**changes),
        screening=screening.value,
        templates=templates,
        mpp=mpp,
        tile_size=tile_size,
        target_mpp=target_mpp,
        overlap=overlap,
        min_tissue=min_tissue,
        features=features,
        producer=producer,
        patch_size_level0=patch_size,
        projected=projected,
        batch_size=batch_size,
        workers=workers,
        device=device,
        overwrite=overwrite,
    )
    answer = read_json(done / "results.json")["answer"]
    typer.echo(f"answer: {answer['name']}. {answer['statement']}")
    typer.echo(f"report: {done / 'report.html'}")
