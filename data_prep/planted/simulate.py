"""The job behind ``medvlp simulate`` for slides: plan, compose, write; resumable slide by slide, whole or absent."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from data_prep.planted.compose import bands
from data_prep.planted.config import PARTS, PlantedSlidesConfig
from data_prep.planted.images import TileImage, list_images, read_cell
from data_prep.planted.plan import GLASS, SlidePlan, draw_plan, tumour_regions
from data_prep.planted.preview import contact_sheet
from data_prep.planted.store import CELLS, IMAGES, KIND, SLIDES, mask_png, slides_of, write_table
from data_prep.planted.tiff import write_pyramid
from data_prep.planted.training import write_training
from medvlp import __version__
from medvlp.errors import ConfigError, DataError
from medvlp.io import atomic_folder, full_disk_told, read_json, sha256_file, sha256_json, write_json, write_manifest

WARNING = "composed of small images of other slides: scores say how methods compare here, not how they do on patients"
_HELD_IMAGES = 1024  # decoded images kept in memory, 150 kB each at 224 pixels


def simulate(
    config: PlantedSlidesConfig,
    out: str | Path,
    *,
    overwrite: bool = False,
    dry_run: bool = False,
    preview_slides: int = 0,
) -> Path:
    """Write planted slides with masks, tables of truth, and the training images with a configuration for them.

    An interrupted job goes on from its last finished slide when it is started again with the same configuration; its
    slides wait in a hidden folder beside ``out``.

    Args:
        config: What to compose.
        out: Folder of the set.
        overwrite: Exchange an existing set.
        dry_run: Split the images, draw all slides, compose the first, print counts, sizes and time, write nothing.
        preview_slides: Slides on the contact sheet ``preview.png``; 0 for none.

    Returns:
        The folder, or where it would have been.

    Raises:
        ConfigError: If a dry run is asked for a preview.
        DataError: If ``out`` exists, or as :func:`list_images`.
        MissingExtraError: If tifffile is not installed.
    """
    out, console = Path(out), Console(stderr=True, highlight=False)
    if dry_run and preview_slides:
        raise ConfigError("a dry run writes nothing", item="--preview", remedy="leave --dry-run or --preview out")
    if out.exists() and not overwrite and not dry_run:
        raise DataError("already exists", item=out, remedy="choose another name, or pass --overwrite")
    images = list_images(config)
    wanted = [(part, number) for part in PARTS for number in range(getattr(config.slides, part))]
    if dry_run:
        _tell(config, images, wanted, console)
        return out
    with full_disk_told(out):
        _run(config, images, wanted, out, overwrite, preview_slides, console)
    return out


def _run(
    config: PlantedSlidesConfig,
    images: Sequence[TileImage],
    wanted: Sequence[tuple[str, int]],
    out: Path,
    overwrite: bool,
    preview_slides: int,
    console: Console,
) -> None:
    from rich.progress import track

    hashes = {image.key: sha256_file(image.path) for image in images}
    plain = config.model_dump(mode="json", exclude={"slides"})  # the first slides of more slides are the same slides
    work = out.with_name(f".{out.name}.slides")
    _open_work(work, [__version__, plain, sorted(hashes.items())])
    read = lru_cache(_HELD_IMAGES)(lambda number: read_cell(images[number].path, config.cell))
    shown = track(wanted, "composing", console=console, transient=True, disable=not console.is_terminal)
    rows = []
    for part, number in shown:
        folder = work / f"{part}_{number:04d}"
        if not folder.is_dir():
            with atomic_folder(folder, own=True) as partial:
                _write_slide(config, draw_plan(config, images, part, number), images, read, partial)
        rows.append(read_json(folder / "row.json"))
    with atomic_folder(out, replace=overwrite) as folder:
        for row in rows:
            for name, target in (
                ("slide.tiff", f"slides/{row['slide']}.tiff"),
                ("mask.png", f"masks/{row['slide']}.png"),
                ("cells.parquet", f"{CELLS}/{row['slide']}.parquet"),
            ):
                _link(work / row["slide"] / name, folder / target)
        _write_tables(config, images, rows, hashes, folder)
        write_training(config, images, folder)
        header = {
            "kind": KIND,
            "warning": WARNING,
            "version": __version__,
            "config": config.model_dump(mode="json"),
            "images": {split: dict(counts) for split, counts in _counts(images).items()},
            "slides": {part: _summary([row for row in rows if row["part"] == part]) for part in PARTS},
        }
        if preview_slides:
            slides = slides_of(rows, folder, config.mask_downsample)
            contact_sheet(slides, preview_slides).save(folder / "preview.png")
        write_manifest(folder, header)
    shutil.rmtree(work)


def _open_work(work: Path, identity: Any) -> None:
    """Keep the slides of an interrupted job of the same making; those of another go."""
    digest = {"identity": sha256_json(identity)}
    if (work / "identity.json").is_file() and read_json(work / "identity.json") == digest:
        return
    shutil.rmtree(work, ignore_errors=True)
    write_json(work / "identity.json", digest)


def _write_slide(
    config: PlantedSlidesConfig, plan: SlidePlan, images: Sequence[TileImage], read: Any, folder: Path
) -> None:
    write_pyramid(
        folder / "slide.tiff",
        bands(plan, config, read),
        plan.size,
        config.mpp,
        config.levels,
        config.compression,
        config.quality,
    )
    (folder / "mask.png").write_bytes(mask_png(plan.mask_hw))
    write_table(folder / "cells.parquet", _cell_rows(config, plan, images), _cell_columns())
    write_json(
        folder / "row.json",
        {
            "slide": plan.key,
            "part": plan.part,
            "tumour": plan.tumour,
            "normals": list(plan.normals),
            "wanted": plan.wanted,
            "ratio": plan.ratio,
            "tissue": float((plan.mask_hw > 0).mean()),
            "regions": tumour_regions(plan),
            "width": plan.size[0],
            "height": plan.size[1],
            "origin_x": plan.origin[0],
            "origin_y": plan.origin[1],
            "mpp": config.mpp,
        },
    )


def _cell_rows(config: PlantedSlidesConfig, plan: SlidePlan, images: Sequence[TileImage]) -> Iterator[dict[str, Any]]:
    """One row per image that shows tissue."""
    raster = config.mask_downsample
    step = config.pitch // raster
    for (row, column), number in np.ndenumerate(plan.cell_RC):
        x, y = (origin + place * config.pitch for origin, place in zip(plan.origin, (column, row), strict=True))
        share = float((plan.mask_hw[y // raster :, x // raster :][:step, :step] != GLASS).mean())
        if share > 0:
            yield {
                "x": x,
                "y": y,
                "side": config.pitch,
                "tissue": share,
                "tumour": bool(plan.tumour_RC[row, column]),
                "class": images[int(number)].name,
                "image": images[int(number)].key,
                "turn": int(plan.turn_RC[row, column]),
            }


def _cell_columns() -> dict[str, Any]:
    import pyarrow as pa

    whole, text = pa.int64(), pa.string()
    return {
        "x": whole, "y": whole, "side": whole, "tissue": pa.float64(), "tumour": pa.bool_(), "class": text,
        "image": text, "turn": whole,
    }  # fmt: skip


def _write_tables(
    config: PlantedSlidesConfig,
    images: Sequence[TileImage],
    rows: Sequence[dict[str, Any]],
    hashes: dict[str, str],
    folder: Path,
) -> None:
    import pyarrow as pa

    whole, text, real = pa.int64(), pa.string(), pa.float64()
    columns = {
        "slide": text, "part": text, "tumour": text, "normals": pa.list_(text), "wanted": real, "ratio": real,
        "tissue": real, "regions": whole, "width": whole, "height": whole, "origin_x": whole, "origin_y": whole,
        "mpp": real,
    }  # fmt: skip
    write_table(folder / SLIDES, rows, columns)
    listed = [
        {
            "image": image.key,
            "class": image.name,
            "tumour": bool(config.classes[image.name].beside),
            "magnification": image.magnification,
            "split": image.split,
            "case": image.case,
            "sha256": hashes[image.key],
        }
        for image in images
    ]
    write_table(
        folder / IMAGES,
        listed,
        {"image": text, "class": text, "tumour": pa.bool_(), "magnification": text, "split": text, "case": text,
         "sha256": text},
    )  # fmt: skip


def _link(source: Path, target: Path) -> None:
    """A second name for a finished file, so that an interruption here loses nothing; a copy where links are unknown."""
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _counts(images: Sequence[TileImage]) -> dict[str, Counter[str]]:
    return {
        split: Counter(image.name for image in images if image.split == split) for split in ("train", "dev", "test")
    }


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "slides": len(rows),
        "tumours": dict(Counter(row["tumour"] for row in rows if row["tumour"])),
        "largest": max((row["width"] for row in rows), default=0),
    }


def _tell(
    config: PlantedSlidesConfig, images: Sequence[TileImage], wanted: Sequence[tuple[str, int]], console: Console
) -> None:
    for split, counts in _counts(images).items():
        cases = len({image.case for image in images if image.split == split})
        console.print(f"  {split} images: {dict(counts)} in {cases} cases", markup=False)
    plans = [draw_plan(config, images, part, number) for part, number in wanted]
    for part in PARTS:
        own = [plan for plan in plans if plan.part == part]
        ratios = ", ".join(f"{plan.ratio:.3f}" for plan in own)
        console.print(f"  {part}: {len(own)} slides, tumour shares {ratios or 'none'}", markup=False)
    pixels = sum(plan.size[0] * plan.size[1] for plan in plans)
    start = time.perf_counter()
    first = plans[0]
    for band in bands(first, config, lambda number: read_cell(images[number].path, config.cell)):
        del band
    each = (time.perf_counter() - start) / (first.size[0] * first.size[1])
    largest = max(plan.size[0] for plan in plans)
    console.print(
        f"dry run of {len(plans)} slides up to {largest:,} px a side, {pixels / 1e6:,.0f} megapixels, about "
        f"{pixels * each / 60:.1f} min to compose (encoding comes on top); nothing was written",
        markup=False,
    )
