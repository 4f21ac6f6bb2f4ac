"""The job behind ``medvlp prepare`` for slides: each slide once, whoever is killed when, whoever else helps."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from data_prep.slides.config import NOT_IDENTITY, SlidesConfig
from data_prep.slides.embed import Busy, embed_tiles
from data_prep.slides.encoder import TileEncoder, open_encoder
from data_prep.slides.folder import JobFolder
from data_prep.slides.listing import SlideItem, list_slides
from data_prep.slides.plan import DONE, EMPTY, FAILED, Plan, failed, plan
from data_prep.slides.reading import Ahead, orders_of, reader_pool
from medvlp.errors import ConfigError, DataError
from medvlp.io import full_disk_told, is_disk_full, require, sha256_file, sha256_json, write_bytes
from medvlp.slides.features import write_features
from medvlp.slides.types import SlideFeatures, TileGrid

_PLANNED = 2
"""Slides whose tissue is found while another is embedded."""


def prepare(
    config: SlidesConfig,
    out: str | Path,
    already_deidentified: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    preview: Path | None = None,
    show_texts: bool = False,
) -> Path:
    """Embed the tiles of every slide of a list; go on where an earlier run of the same job stopped.

    Every slide is tried whatever happens to others. A slide without tissue is recorded and has no feature file. Slides
    that another living process works on are left to it.

    Args:
        config: Slides, encoder, tissue, grid.
        out: The job folder (:mod:`data_prep.slides.folder`).
        already_deidentified: Of no use here; refused.
        overwrite: Of no use here, a job is resumed; refused.
        dry_run: List slides with resolution and number of tiles; write nothing.
        preview: Of no use here (see ``config.previews``); refused.
        show_texts: Of no use here; refused.

    Returns:
        The folder.

    Raises:
        ConfigError: Arguments of other jobs, or an encoder that cannot run here.
        DataError: A list that cannot be used, a folder of another job, a full disk; and at the very end, when all else
            is done, more than ``max_failed`` failed slides.
    """
    if already_deidentified or overwrite or preview is not None or show_texts:
        raise ConfigError(
            "de-identification, overwriting and pages are not of this job",
            item="slides",
            remedy="leave the options out; a job folder is resumed, remove it to start anew",
        )
    require("h5py", "slides")
    folder, console = JobFolder(Path(out)), Console(stderr=True, highlight=False)
    items = list_slides(config)
    if dry_run:
        _dry_run(items, config, console)
        return folder.path
    encoder = open_encoder(config.encoder, device=config.device, precision=config.precision, seed=config.seed)
    with full_disk_told(folder.path):
        folder.begin(_job(config, encoder))
        for item in items:  # a slide finished from another file stops the job before it starts
            folder.is_finished(item, config.mpp)
        left = _run(config, items, folder, encoder, console)
        counts = folder.conclude(items)
    console.print(f"slides: {counts[DONE]} done, {counts[EMPTY]} without tissue, {counts[FAILED]} failed", markup=False)
    for key in left:
        console.print(f"  {key}: left to {folder.locks.holder(key)}", markup=False, soft_wrap=True)
    if counts[FAILED] > config.max_failed:
        raise DataError(
            f"{counts[FAILED]} of {len(items)} slides failed",
            item=folder.path,
            remedy="see summary.md; repair them and run again, or raise max_failed",
        )
    return folder.path


def _job(config: SlidesConfig, encoder: TileEncoder) -> dict[str, Any]:
    settings = config.model_dump(mode="json", exclude={*NOT_IDENTITY, "encoder", "kind"})
    about = {
        "name": encoder.name,
        "digest": encoder.digest,
        "projected": encoder.projected,
        "precision": encoder.precision,
        "device": encoder.device.type,
    }
    return {"kind": "slides", "settings": settings, "encoder": about}


@dataclass
class _Work:
    """What one slide after the other goes through."""

    config: SlidesConfig
    folder: JobFolder
    encoder: TileEncoder
    busy: Busy
    grid_digest: str

    def one(self, planned: Plan, tiles: Iterator[Any], advance: Callable[[float], None]) -> None:
        """Finish one slide, whose lock is held; ``advance`` is told shares of it that are done."""
        start, busy_before = time.perf_counter(), self.busy.seconds()
        state = self._state(planned, tiles, advance)
        if state["status"] != DONE:
            self.folder.features(planned.item.key).unlink(missing_ok=True)
        if planned.picture is not None:
            write_bytes(self.folder.preview(planned.item.key), planned.picture)
        self.folder.write_state(planned.item.key, state)
        seconds, busy = time.perf_counter() - start, self.busy.seconds() - busy_before
        record = {"slide": planned.item.key, "status": state["status"], "tiles": state.get("tiles", 0)}
        self.folder.log_time({**record, "seconds": round(seconds, 3), "encoder_seconds": round(busy, 3)})

    def _state(self, planned: Plan, tiles: Iterator[Any], advance: Callable[[float], None]) -> dict[str, Any]:
        if planned.grid is None or planned.status == EMPTY:
            advance(1)
            return {"status": planned.status, **planned.facts}
        done, share = 0.0, 1 / len(planned.grid)

        def after_batch(count: int) -> None:
            nonlocal done
            done += count * share
            advance(count * share)

        try:
            with closing(tiles):  # type: ignore[type-var]
                features_ND, readable_N = embed_tiles(tiles, self.busy, self.config.batch_size, after_batch)
            return self._written(planned, planned.grid, features_ND, readable_N)
        except (DataError, OSError) as error:
            if is_disk_full(error):
                raise
            advance(1 - done)
            return {"status": FAILED, **failed(planned, error).facts}

    def _written(self, planned: Plan, grid: TileGrid, features_ND: torch.Tensor, readable_N: Any) -> dict[str, Any]:
        unreadable = int((~readable_N).sum())
        if unreadable > self.config.max_unreadable * len(grid) or unreadable == len(grid):
            raise DataError(
                f"{unreadable} of {len(grid)} tiles cannot be decoded",
                item=planned.item.key,
                remedy="copy it again from its source, or raise max_unreadable",
            )
        if not bool(torch.isfinite(features_ND).all()):
            raise DataError("the encoder gave NaN or infinity", item=planned.item.key, remedy="use precision float32")
        features = SlideFeatures(
            key=planned.item.key,
            features_ND=features_ND,
            coords_NX=torch.from_numpy(grid.coords_NX[readable_N]),
            patch_size_level0=grid.patch_size_level0,
            step_level0=grid.step_level0,
            mpp=grid.mpp,
            level0_mpp=grid.level0_mpp,
            encoder=self.encoder.name,
            projected=self.encoder.projected,
            normalised=True if self.encoder.projected else None,
            slide_size=grid.slide_size,
        )
        path = write_features(
            self.folder.features(planned.item.key),
            features,
            tissue=grid.tissue_N[readable_N],
            tile_size=grid.tile_size,
            encoder_digest=self.encoder.digest,
            grid_digest=self.grid_digest,
        )
        written = {"tiles": len(features), "bytes": path.stat().st_size, "sha256": sha256_file(path)}
        return {"status": DONE, **planned.facts, "unreadable": unreadable, "features": written}


def _run(
    config: SlidesConfig, items: list[SlideItem], folder: JobFolder, encoder: TileEncoder, console: Console
) -> list[str]:
    """Work through the slides; return the keys that other processes hold."""
    digest = sha256_json(config.model_dump(mode="json", include={"tissue", "grid"}))
    work = _Work(config, folder, encoder, Busy(encoder), digest)
    ahead = config.num_workers * 8 + 2 * config.batch_size
    left: list[str] = []
    held: set[str] = set()
    start, tiles = time.perf_counter(), 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ExitStack() as stack:
        stack.callback(_free_all, folder, held)
        pool = stack.enter_context(reader_pool(config.workers, config.num_workers))
        planner = stack.enter_context(ThreadPoolExecutor(1, "planner"))
        progress = stack.enter_context(
            Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
        )
        task = progress.add_task("slides", total=len(items))
        reading = Ahead(pool, ahead)
        todo = _to_do(config, items, folder, held, left, lambda: progress.advance(task, 1))
        planned: deque[Future[Plan]] = deque()
        queued: deque[tuple[Plan, Iterator[Any]]] = deque()
        more = True

        def queue_next(wait: bool) -> None:
            """Let the readers begin with further slides whose tiles are known, so that they never stand still."""
            while planned and (planned[0].done() or (wait and not queued)):
                queued.append(_queue(planned.popleft().result(), encoder, reading))

        def advance(share: float) -> None:
            progress.advance(task, share)
            queue_next(wait=False)

        while more or planned or queued:
            while more and len(planned) + len(queued) <= _PLANNED:
                item = next(todo, None)
                more = item is not None
                if item is not None:
                    planned.append(planner.submit(plan, item, config, picture=config.previews))
            queue_next(wait=not queued)
            if queued:
                current, orders = queued.popleft()
                tiles += 0 if current.grid is None else len(current.grid)
                work.one(current, orders, advance)
                folder.locks.free(current.item.key)
                held.discard(current.item.key)
    seconds, busy = time.perf_counter() - start, work.busy.seconds()
    if tiles:
        share = busy / seconds
        folder.log_time(
            {"job": True, "tiles": tiles, "seconds": round(seconds, 3), "encoder_busy_share": round(share, 4)}
        )
        console.print(f"{tiles} tiles in {seconds:.0f} s; the encoder was busy {share:.0%} of the time", markup=False)
    return left


def _free_all(folder: JobFolder, held: set[str]) -> None:
    for key in sorted(held):
        folder.locks.free(key)


def _queue(planned: Plan, encoder: TileEncoder, reading: Ahead) -> tuple[Plan, Iterator[Any]]:
    """Let the readers begin with a slide."""
    grid = planned.grid
    if grid is None or planned.status is not None:
        return planned, iter(())
    size, side = grid.tile_size, grid.patch_size_level0
    reading.add(orders_of(planned.item.path, planned.mpp, grid.coords_NX, side, size, encoder.preprocess))
    return planned, reading.tiles()


def _to_do(
    config: SlidesConfig, items: list[SlideItem], folder: JobFolder, held: set[str], left: list[str], skip: Any
) -> Iterator[SlideItem]:
    """Yield the slides that are this process's to do, each locked."""
    for item in items:
        if folder.is_finished(item, config.mpp):
            skip()
            continue
        if not folder.locks.take(item.key):
            left.append(item.key)
            skip()
            continue
        held.add(item.key)
        if folder.is_finished(item, config.mpp):  # by another process, since the first look
            folder.locks.free(item.key)
            held.discard(item.key)
            skip()
            continue
        folder.clear_leftovers(item.key)
        yield item


def _dry_run(items: list[SlideItem], config: SlidesConfig, console: Console) -> None:
    tiles = failures = 0
    for item in items:
        planned = plan(item, config, picture=False)
        facts = planned.facts
        if planned.grid is None:
            failures += 1
            console.print(f"  {item.key}: {facts['problem']}; {facts['remedy']}", markup=False, soft_wrap=True)
            continue
        tiles += len(planned.grid)
        console.print(
            f"  {item.key}: {facts['mpp']:.4g} um/px ({facts['mpp_source']}), tissue "
            f"{facts['tissue']['share']:.1%}, {len(planned.grid)} tiles",
            markup=False,
            soft_wrap=True,
        )
    console.print(f"dry run: {len(items)} slides, {tiles} tiles, {failures} would fail", markup=False)
