"""The job behind ``medvlp prepare``: list, read, split, group, caption, write; every drop counted."""

from __future__ import annotations

import errno
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from data_prep.pairs.config import PairsConfig
from data_prep.pairs.groups import fingerprint
from data_prep.pairs.items import Item, Listing
from data_prep.pairs.preview import write_preview
from data_prep.pairs.private import Privacy, deidentify_listing, unannounced, user_said_so
from data_prep.pairs.rows import Rows, Spool, warnings
from data_prep.pairs.sources import list_items
from medvlp.config import resolve_path
from medvlp.data.image import encode_image, read_image
from medvlp.data.pairs import PairsStore
from medvlp.errors import DataError
from medvlp.ledger import Ledger

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

Features = Callable[[Image.Image], np.ndarray]
DRY_RUN_IMAGES = 20
_WINDOW = 256
_MAX_TOLD = 12


def prepare(
    config: PairsConfig,
    out: str | Path,
    already_deidentified: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    features: Features = fingerprint,
    preview: Path | None = None,
    show_texts: bool = False,
) -> Path:
    """Build a pairs store.

    Args:
        config: What to read and how to split, name and group it.
        out: Folder of the store.
        already_deidentified: The user's word that free text and DICOM files carry no identifying data, in place of
            de-identification; recorded.
        overwrite: Exchange an existing store.
        dry_run: Read 20 images from all over the source, print what would happen, write nothing.
        features: Embeds one RGB image, by which near-identical images are found; called from several threads.
        preview: HTML page to write about the store (of a dry run: about its 20 images).
        show_texts: Show the texts of the sample images on that page.

    Returns:
        The folder, or where it would have been.

    Raises:
        DataError: On the first problem no ledger can excuse, naming the item and the remedy.
    """
    out = Path(out)
    if out.exists() and not overwrite and not dry_run:
        raise DataError("already exists", item=out, remedy="choose another name, or pass --overwrite")
    try:
        listing = list_items(config, already_deidentified)
        with listing.open:
            _prepare(config, listing, out, already_deidentified, overwrite, dry_run, features, preview, show_texts)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DataError("the disk is full", item=out, remedy="free some space; nothing was kept") from None
    return out


def _prepare(
    config: PairsConfig,
    listing: Listing,
    out: Path,
    already_deidentified: bool,
    overwrite: bool,
    dry_run: bool,
    features: Features,
    preview: Path | None,
    show_texts: bool,
) -> None:
    graph = _load_graph(config)
    ledger = Ledger()
    for key, reason in listing.dropped:
        ledger.drop(key, reason)
    listing.items = _present(listing.items, config, ledger)
    if dry_run:
        listing.items = listing.items[:: max(1, len(listing.items) // DRY_RUN_IMAGES)][:DRY_RUN_IMAGES]
    privacy = user_said_so() if already_deidentified else deidentify_listing(listing)
    parent = out.parent
    if not dry_run:
        parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=None if dry_run else parent) as stream:
        spool = Spool(stream)
        for item, data, embedding in _read_all(listing.items, config, already_deidentified, features, ledger):
            spool.add(item, data, embedding)
        rows = Rows(spool, listing, config, graph, ledger)
        header: dict[str, Any] = {
            "kind": "pairs",
            "config": config.model_dump(mode="json", exclude={"num_workers"}),
            "sources": listing.sources,
            "graph_digest": None if graph is None else graph.digest,
            "already_deidentified": already_deidentified,
            "deidentification": privacy.to_json(),
            "notes": {**listing.notes, **rows.notes},
            "warnings": warnings(rows, sampled=dry_run),
            "class_names": {label: info.name for label, info in rows.classes.items()},
            "unlinked_classes": sorted(info.name for info in rows.classes.values() if not info.concepts),
            "num_groups": rows.num_groups,
        }
        if dry_run:
            _print_dry_run(listing, rows, ledger)
        classes = {info.name: info.concepts for info in rows.classes.values()}
        with tempfile.TemporaryDirectory() as aside:
            target = Path(aside) / out.name if dry_run else out
            if not dry_run or preview is not None:
                store = PairsStore.write(
                    target, rows.stream(), header, classes=classes, ledger=ledger, replace=overwrite and not dry_run
                )
            if preview is not None:
                write_preview(store, preview, show_texts=show_texts, dry_run=dry_run)
        _tell(ledger, privacy, {} if dry_run else header["notes"], header["warnings"])


def _load_graph(config: PairsConfig) -> DiseaseGraph | None:
    if config.graph is None:
        return None
    from medvlp.knowledge.graph import DiseaseGraph

    return DiseaseGraph.load(resolve_path(config.graph))


def _present(items: Sequence[Item], config: PairsConfig, ledger: Ledger) -> list[Item]:
    """Leave out absent images, up to the number the configuration allows."""
    absent = [item for item in items if item.path is not None and not item.path.is_file()]
    if len(absent) > config.max_missing:
        first = ", ".join(item.key for item in absent[:3])
        raise DataError(
            f"{len(absent)} images are absent ({first}{', ...' if len(absent) > 3 else ''})",
            item="source.images",
            remedy="add them or raise max_missing",
        )
    for item in absent:
        ledger.drop(item.key, "missing image")
    gone = {item.key for item in absent}
    return [item for item in items if item.key not in gone]


def _read_all(
    items: Sequence[Item], config: PairsConfig, already_deidentified: bool, features: Features, ledger: Ledger
) -> Iterator[tuple[Item, bytes, np.ndarray]]:
    """Read images in order on several threads; damaged ones are counted up to the number allowed."""
    from rich.console import Console
    from rich.progress import track

    window = None if config.window is None else (config.window[0], config.window[1])

    def read(item: Item) -> tuple[bytes, np.ndarray] | DataError:
        try:
            source: Any = item.load() if item.load is not None else item.path
            if not already_deidentified and (mistake := unannounced(source, item)) is not None:
                return mistake
            image = read_image(
                source,
                max_pixels=config.max_pixels,
                max_side=config.max_side,
                window=window,
                frame=item.frame,
                name=item.key,
            )
        except DataError as error:
            return _Unreadable(error.problem, item=item.key)
        if item.keep_bytes and _is_as_stored(source, image.size):
            return source, features(image)
        return encode_image(image, config.format), features(image)

    num_unreadable = 0
    console = Console(stderr=True)
    shown = track(items, "reading images", console=console, transient=True, disable=not console.is_terminal)
    with ThreadPoolExecutor(config.num_workers) as pool:
        for chunk in _chunks(shown, _WINDOW):
            for item, result in zip(chunk, pool.map(read, chunk), strict=True):
                if isinstance(result, _Unreadable):
                    num_unreadable += 1
                    if num_unreadable > config.max_unreadable:
                        remedy = "repair or remove it, or raise max_unreadable"
                        raise DataError(result.problem, item=item.key, remedy=remedy)
                    ledger.drop(item.key, "unreadable image")
                elif isinstance(result, DataError):
                    raise result
                else:
                    yield item, *result


def _is_as_stored(source: bytes, size: tuple[int, int]) -> bool:
    """Whether encoded bytes are what a store holds: RGB of this very size, so that nothing was lost by keeping them."""
    with Image.open(io.BytesIO(source), formats=["JPEG", "PNG"]) as raw:
        return raw.mode == "RGB" and raw.size == size


class _Unreadable(DataError):
    """A damaged image, which the configuration may allow."""


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _print_dry_run(listing: Listing, rows: Rows, ledger: Ledger) -> None:
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    console.print(f"dry run on {len(listing.items)} images: {ledger}; nothing was written", markup=False)
    for note, count in {**listing.notes, **rows.notes}.items():
        console.print(f"  {count} {note}", markup=False)
    for info in rows.classes.values():
        known = ", ".join(info.concepts) if info.concepts else "no concept"
        console.print(f"  class {info.name}: {known}, {len(info.names)} names", markup=False)


def _tell(ledger: Ledger, privacy: Privacy, notes: dict[str, int], told: Sequence[str]) -> None:
    """Say what was dropped, noticed and is worth a warning; a clean run says one line."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    console.print(f"images: {ledger}", markup=False, soft_wrap=True)
    for line in privacy.lines():
        console.print(line, markup=False, soft_wrap=True)
    for note, count in notes.items():
        console.print(f"  {count} {note}", markup=False, soft_wrap=True)
    for line in told[:_MAX_TOLD]:
        console.print(f"warning: {line}", markup=False, soft_wrap=True)
    if len(told) > _MAX_TOLD:
        console.print(f"warning: and {len(told) - _MAX_TOLD} more, in manifest.json")
