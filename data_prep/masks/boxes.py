"""Boxes of a standard set as masks beside its pairs store: the folder that the benchmark's grounding protocol reads.

``masks.csv`` has the columns key, label (display name) and file; each file is a PNG of the size that the store gives
the image, white inside any of the finding's boxes, black elsewhere.

Example: python -m data_prep.masks.boxes pairs/rsna_pneumonia --out data/rsna_masks
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from data_prep.pairs.config import PairsConfig
from data_prep.pairs.items import Item
from data_prep.pairs.sources import list_items
from data_prep.pairs.standard.boxes import Box, BoxedSource, list_boxes
from medvlp.config import load
from medvlp.data.image import is_dicom
from medvlp.errors import DataError, MedvlpError
from medvlp.io import atomic_folder, write_manifest
from medvlp.ledger import Ledger

TABLE = "masks.csv"


def write_masks(config: PairsConfig, out: Path, overwrite: bool = False) -> Ledger:
    """Write one mask per image and finding.

    A box counts where the image has the finding among its labels; the others (of readers who were overruled, of images
    that the source leaves out) are dropped in the ledger that is returned. Keys are those of a store that was prepared
    with ``--already-deidentified``.

    Args:
        config: The configuration that the store is prepared from.
        out: Folder to write.
        overwrite: Replace it.

    Returns:
        What was kept and dropped, by box.

    Raises:
        DataError: A set without boxes, a missing table, an unreadable image, or ``out`` exists.
    """
    source = config.source
    if not isinstance(source, BoxedSource):
        raise DataError("publishes no boxes that are read here", item=source.name, remedy="use a set with boxes")
    if out.exists() and not overwrite:
        raise DataError("already exists", item=out, remedy="choose another name, or pass --overwrite")
    listing = list_items(config, already_deidentified=True)
    items = {item.key: item for item in listing.items}
    ledger, boxes_of = Ledger(), dict[tuple[str, str], list[Box]]()
    for box in list_boxes(source):
        item = items.get(box.key)
        if item is None:
            ledger.drop(box.key, "box of an image that the source leaves out")
        elif box.label not in item.all_labels:
            ledger.drop(box.key, "box of a finding that is no label of its image")
        else:
            ledger.keep()
            boxes_of.setdefault((box.key, box.label), []).append(box)
    if not boxes_of:
        raise DataError(f"no box is left ({ledger})", item=source.name, remedy="check the set's tables")
    with atomic_folder(out, replace=overwrite) as folder:
        rows = [["key", "label", "file"]]
        for number, ((key, label), boxes) in enumerate(boxes_of.items()):
            file = f"{number:06d}.png"
            _draw(boxes[0].image_size or _size(items[key]), boxes, config.max_side).save(folder / file)
            entry = config.classes.get(label)
            name = entry.name if entry is not None else None
            rows.append([key, name or listing.label_names.get(label, label), file])
        with (folder / TABLE).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows(rows)
        header = {"kind": "box_masks", "source": source.model_dump(mode="json"), "sources": listing.sources}
        write_manifest(folder, {**header, "ledger": ledger.to_json()})
    return ledger


def _draw(size: tuple[int, int], boxes: Sequence[Box], max_side: int) -> Image.Image:
    """Paint boxes at the size that :func:`medvlp.data.image.read_image` gives the image."""
    mask = Image.new("L", size)
    mask.thumbnail((max_side, max_side))
    scale = mask.width / size[0], mask.height / size[1]
    pen = ImageDraw.Draw(mask)
    for box in boxes:
        left, upper = math.floor(box.x * scale[0]), math.floor(box.y * scale[1])
        right = math.ceil((box.x + box.width) * scale[0]) - 1
        lower = math.ceil((box.y + box.height) * scale[1]) - 1
        pen.rectangle((left, upper, max(left, right), max(upper, lower)), fill=255)
    return mask


def _size(item: Item) -> tuple[int, int]:
    """Width and height, from the header alone."""
    path = item.path
    if path is None:
        raise DataError("has boxes and no file", item=item.key, remedy="use the published images")
    try:
        if not is_dicom(path):
            with Image.open(path) as image:
                return image.size
        import pydicom

        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
        return int(header.Columns), int(header.Rows)
    except Exception as error:  # pydicom raises many kinds for what is not DICOM
        problem = f"is no readable image ({type(error).__name__})"
        raise DataError(problem, item=item.key, remedy="get it again") from None


def main() -> int:
    """Write the folder; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.masks.boxes", description=__doc__)
    parser.add_argument("config", help="config of kind pairs, a path or a packaged name")
    parser.add_argument("--out", type=Path, required=True, help="folder to create")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C", help="override of the config")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder if it exists")
    arguments = parser.parse_args()
    try:
        config = load(arguments.config, arguments.set, kind="pairs")
        assert isinstance(config, PairsConfig)
        ledger = write_masks(config, arguments.out, overwrite=arguments.overwrite)
    except MedvlpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"boxes: {ledger}; masks: {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
