"""Measures the near-duplicate search on folders of real images: planted copies found, other images flagged.

Example: python -m benchmarks.leaks.measure $MEDVLP_DATA/path_mini/lc25000 --most 200 --write-docs docs/leaks.md

Every second image of a folder is learned from. Copies of these are planted, one way of copying after the other; the
images in between are tested as they are. An image that is flagged there is a false alarm unless the set itself
repeats it: the largest similarities are printed, to be looked at.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from benchmarks.common.marks import put_between
from benchmarks.leaks.images import near_images, take_prints
from medvlp.data.image import SUFFIXES, read_image
from medvlp.errors import DataError, MedvlpError

USER_ERROR = 2
Copy = Callable[[Image.Image, np.random.Generator], Image.Image]


def turned(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """One of the seven other orientations."""
    return image.transpose(list(Image.Transpose)[int(rng.integers(7))])


def re_encoded(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """JPEG at a quality from 30 to 80."""
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=int(rng.integers(30, 81)))
    return Image.open(stream).convert("RGB")


def relit(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Brightness changed by up to a quarter."""
    return ImageEnhance.Brightness(image).enhance(float(rng.uniform(0.75, 1.25)))


def cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A window of 95 % of each side, anywhere."""
    width, height = (round(0.95 * side) for side in image.size)
    left, top = int(rng.integers(image.width - width + 1)), int(rng.integers(image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


COPIES: dict[str, tuple[Copy, ...]] = {
    "turned": (turned,),
    "re-encoded": (re_encoded,),
    "brightness": (relit,),
    "cropped 5 %": (cropped,),
    "all four": (turned, cropped, relit, re_encoded),
}


def measure(folder: Path, most: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Return the cells of one row of the table, and lines about flagged images.

    Raises:
        DataError: If the folder holds fewer than four images.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    files = files[:: max(1, -(-len(files) // most))]
    if len(files) < 4:
        raise DataError("holds fewer than four images", item=folder, remedy="name a folder of images")
    images = {file.relative_to(folder).as_posix(): read_image(file) for file in files}
    keys = list(images)[::2]
    learned = take_prints((key, images[key]) for key in keys)
    tested = take_prints((key, images[key]) for key in list(images)[1::2])
    cells = [folder.name, str(len(learned)), str(len(tested))]
    for steps in COPIES.values():
        rng = np.random.default_rng(seed)
        copies = []
        for key in keys:
            image = images[key]
            for step in steps:
                image = step(image, rng)
            copies.append((key, image))
        found = near_images(take_prints(copies), learned)
        cells.append(f"{sum(match.key == match.other for match in found)} of {len(keys)}")
    flagged = sorted(near_images(tested, learned), key=lambda match: -match.similarity)
    cells.append(f"{len(flagged)} of {len(tested)}")
    return cells, [f"{folder.name}: {match.key} = {match.other} ({match.similarity:.2f})" for match in flagged[:20]]


def main() -> int:
    """Print the table and what was flagged; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.leaks.measure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", type=Path, nargs="+", help="folders of images, searched with their subfolders")
    parser.add_argument("--most", type=int, default=1000, help="images of a folder at most, evenly taken")
    parser.add_argument("--write-docs", type=Path, default=None, metavar="PAGE", help="put the table into a page")
    options = parser.parse_args()
    try:
        rows, told = [], []
        for folder in options.folders:
            cells, flagged = measure(folder, options.most)
            rows.append(cells)
            told += flagged
        head = ["set", "learned", "not learned", *COPIES, "flagged, not planted"]
        lines = [head, ["---"] * len(head), *rows]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        if options.write_docs is not None:
            put_between(options.write_docs, "leaks measured", table)
    except MedvlpError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    print("\n".join([table, *told]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
