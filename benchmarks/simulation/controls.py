"""The two controls as pairs stores: images of organ masks alone, and texts given to other scenes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medvlp.data.pairs import SPLITS, PairsStore, Row
from medvlp.io import MANIFEST, read_json

if TYPE_CHECKING:
    from medvlp.data.pairs import PairsSplit

ARMS = {
    "real": "radiographs with their own texts",
    "organs": "organ masks only",
    "shuffled": "shuffled texts",
}
CONTROLS = ("organs", "shuffled")


def write_control(store: PairsStore, arm: str, folder: Path, seed: int) -> Path:
    """Write the store a control trains on, unless it stands already.

    Args:
        store: The simulated scenes.
        arm: ``organs``: each image is drawn from organ masks in the same pose, texts unchanged. ``shuffled``: images
            unchanged, each scene of train and dev gets the texts, concepts, label and group of another one.
        folder: Where to write.
        seed: Decides who gets whose texts.
    """
    made_from = {"arm": arm, "scenes": store.digest, "seed": seed}
    if (folder / MANIFEST).is_file() and read_json(folder / MANIFEST).get("control") == made_from:
        return folder
    rows = _organs(store) if arm == "organs" else _shuffled(store, seed)
    PairsStore.write(
        folder, rows, {"kind": "control", "control": made_from}, classes=store.class_concepts, replace=folder.exists()
    )
    return folder


def _organs(store: PairsStore) -> Iterator[Row]:
    from data_prep.simulation.side_files import read_organs

    images = read_organs(store.folder)
    for name in SPLITS:
        split = store.split(name)
        yield from _rows(split, np.arange(len(split)), [images[key] for key in split.keys])


def _shuffled(store: PairsStore, seed: int) -> Iterator[Row]:
    for name in SPLITS:
        split = store.split(name)
        donors = derangement(len(split), seed) if name != "test" else np.arange(len(split))
        yield from _rows(split, donors, (split.image_bytes(row) for row in range(len(split))))


def derangement(count: int, seed: int) -> Any:
    """A permutation (count,) that leaves nothing in its place (but a single item)."""
    order = np.random.default_rng([seed, count]).permutation(count)
    out = np.empty(count, dtype=np.int64)
    out[order] = np.roll(order, 1)
    return out


def _rows(split: PairsSplit, donor_N: Any, images: Iterable[bytes]) -> Iterator[Row]:
    """The split's own keys with the given images; everything that texts say comes from the donor."""
    texts, labels, concepts, groups = (split.column(name) for name in ("texts", "label", "concepts", "group"))
    for key, donor, image in zip(split.keys, donor_N.tolist(), images, strict=True):
        yield Row(
            key=key,
            image=image,
            texts=texts[donor],
            split=split.name,
            case=key,
            group=int(groups[donor]),
            label=labels[donor],
            concepts=concepts[donor],
        )
