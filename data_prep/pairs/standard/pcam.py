"""PatchCamelyon (PCam): 327,680 patches of lymph nodes, with or without metastasis, 96 x 96 pixels at 10x.

Citation: Veeling et al., "Rotation equivariant CNNs for digital pathology", MICCAI 2018, arXiv:1806.03962; slides of
CAMELYON16. Homepage: https://github.com/basveeling/pcam. Licence: CC0.

Layout, counts by split and the licence were read in the homepage's README.md; the MD5 sums of the unpacked files, which
the README gives only for the packed ones, in kaiko-ai/eva (classification/patch_camelyon.py); the columns of the meta
tables (coord_y, coord_x, tumor_patch, center_tumor_patch, wsi) in public loaders. The README promises about half
of each class per split, without exact numbers.

Known defects: only the central 32 x 32 pixels decide the label; patches were drawn with hard-negative mining; files of
before August 2019 differ from today's (the sums tell). The parts share no slide.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import Expected, check_listing, check_sums, require_files, set_root
from data_prep.pairs.tables import read_table, require_columns
from medvlp.config import Config
from medvlp.errors import DataError
from medvlp.io import require

COUNTS = {"train": 262144, "dev": 32768, "test": 32768}
NAMES = {"0": "lymph node tissue without metastasis", "1": "lymph node metastasis of breast cancer"}
SUMS = {
    "camelyonpatch_level_2_split_train_x.h5": "01844da899645b4d6f84946d417ba453",
    "camelyonpatch_level_2_split_train_y.h5": "0781386bf6c2fb62d58ff18891466aca",
    "camelyonpatch_level_2_split_valid_x.h5": "81cf9680f1724c40673f10dc88e909b1",
    "camelyonpatch_level_2_split_valid_y.h5": "94d8aacc249253159ce2a2e78a86e658",
    "camelyonpatch_level_2_split_test_x.h5": "2614b2e6717d6356be141d9d6dbfcb7e",
    "camelyonpatch_level_2_split_test_y.h5": "11ed647efe9fe457a4eb45df1dba19ba",
}
SIDE = 96
_PARTS = {"train": "train", "dev": "valid", "test": "test"}
_TITLE = "PCam"


class Pcam(Config):
    """PCam's unpacked HDF5 files; with the meta tables, the slide is the case."""

    name: Literal["pcam"] = Field(description="Kind of source.")
    root: str = Field(description="Folder of camelyonpatch_level_2_split_*_x.h5, *_y.h5 and *_meta.csv.")
    splits: list[Literal["train", "dev", "test"]] = Field(
        default=["train", "dev", "test"], min_length=1, description="Which parts to list."
    )
    verify: bool = Field(
        default=True, description="Compare the files' MD5 sums with the published ones (8 GB to read)."
    )
    partial: bool = Field(default=False, description="Go on with files of another size, and note what differs.")


def list_pcam(source: Pcam) -> Listing:
    """List every patch of the chosen parts; the files stay open until the listing is closed.

    Raises:
        MissingExtraError: If h5py is not installed.
        DataError: Missing or damaged files, arrays of another shape, counts that are not the published ones.
    """
    root = set_root(source.root, _TITLE)
    splits = [split for split in COUNTS if split in source.splits]
    stems = {split: f"camelyonpatch_level_2_split_{_PARTS[split]}" for split in splits}
    files = [f"{stem}_{array}.h5" for stem in stems.values() for array in "xy"]
    require_files(root, files, _TITLE)
    if source.verify:
        check_sums(root, {file: SUMS[file] for file in files})
    listing = Listing([], label_names=dict(NAMES))
    listing.sources = {file: SUMS[file] for file in files} if source.verify else {}
    for split, stem in stems.items():
        images = _array(listing, root / f"{stem}_x.h5", "x", (SIDE, SIDE, 3))
        labels_N = _array(listing, root / f"{stem}_y.h5", "y", (1, 1, 1))[:].reshape(-1)
        slides = _slides(listing, root / f"{stem}_meta.csv", len(labels_N))
        if len(images) != len(labels_N):
            raise DataError(
                f"{len(images):,} images, {len(labels_N):,} labels", item=stem, remedy="get the files again"
            )
        for row, label in enumerate(labels_N):
            item = Item(f"{split}/{row:06d}", load=_image(images, row), label=str(int(label)), split=split)
            item.case = None if slides is None else slides[row]
            listing.items.append(item)
    by_split: dict[str, int] = {split: COUNTS[split] for split in splits}
    expected = Expected(sum(by_split.values()), by_split, source="https://github.com/basveeling/pcam")
    check_listing(listing, expected, _TITLE, partial=source.partial)
    return listing


def _array(listing: Listing, path: Path, name: str, shape: tuple[int, ...]) -> Any:
    """The data set of an HDF5 file, still on disk."""
    h5py = require("h5py", "slides")
    try:
        array = listing.open.enter_context(h5py.File(path, "r"))[name]
    except (OSError, KeyError):
        raise DataError(f"is no HDF5 file with {name!r}", item=path, remedy="unpack or download it again") from None
    if array.shape[1:] != shape or array.dtype != np.uint8:
        raise DataError(f"holds {array.dtype} {array.shape}", item=path, remedy=f"it should hold uint8 (N, {shape})")
    return array


def _slides(listing: Listing, path: Path, count: int) -> list[str] | None:
    if not path.is_file():
        listing.note("parts without their meta table: slides are unknown")
        return None
    rows = read_table(path)
    require_columns(path, rows, ["wsi"])
    if len(rows) != count:
        raise DataError(f"{len(rows):,} rows for {count:,} images", item=path, remedy="download it again")
    return [row["wsi"] for row in rows]


def _image(images: Any, row: int) -> Callable[[], Image.Image]:
    def load() -> Image.Image:
        return Image.fromarray(np.asarray(images[row]))

    return load
