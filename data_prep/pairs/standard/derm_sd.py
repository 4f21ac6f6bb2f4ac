"""SD-198: 6,584 clinical images of 198 skin diseases; SD-128: the classes with more than 20 images, 5,619 images.

Sun et al., ECCV 2016, http://cv.nankai.edu.cn/projects/SD-198/ (the counts of both); on request, for research.
Layout: ``images.txt`` ("1 Acne_Vulgaris/xyz.jpg"), ``classes.txt`` ("1 Acne_Vulgaris") and ``images/<class>/``, read
in two public readers, one of which asserts 198 classes and 6,584 images.

Known defects: collected from a public atlas, so patients are unknown and repeated; SD-128 is a rule, not a list of
files: here the 128 classes with most images, whose sum has to be 5,619. No split was found in a source that could be
opened; it is drawn, near-identical images together.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.standard.checks import Expected, differs, require_files, set_root
from data_prep.pairs.standard.tabular import check_set
from medvlp.config import Config
from medvlp.errors import DataError
from medvlp.io import sha256_file

TITLE = "SD-198"
NUM_IMAGES, NUM_CLASSES = {"sd198": 6_584, "sd128": 5_619}, {"sd198": 198, "sd128": 128}


class Sd198(Config):
    """Clinical images of 198 skin diseases, or the 128 frequent ones."""

    name: Literal["sd198"] = Field(description="Kind of source.")
    root: str = Field(description="Folder with images.txt and images/.")
    partial: bool = Field(default=False, description="Go on with part of the images; differences are noted.")
    part: Literal["sd128", "sd198"] = Field(default="sd128", description="The frequent classes, or all.")


def list_sd198(source: Sd198) -> Listing:
    """List the images that ``images.txt`` names.

    Raises:
        DataError: Missing files, a line of another form, an unclear 128th class, or other counts than published.
    """
    root = set_root(source.root, TITLE)
    require_files(root, ["images.txt", "images/"], TITLE)
    listing = Listing([], sources={"images.txt": sha256_file(root / "images.txt")})
    for number, line in enumerate((root / "images.txt").read_text(encoding="utf-8").splitlines(), start=1):
        _, _, name = line.strip().partition(" ")
        folder, _, file = name.strip().partition("/")
        if not file or "/" in file or folder == "..":
            raise DataError(f"line {number} names no image", item=root / "images.txt", remedy="get the file again")
        listing.items.append(Item(name.strip(), root / "images" / folder / file, label=folder))
    counts = Counter(item.label for item in listing.items if item.label is not None)
    if source.part == "sd128":
        chosen = _most_frequent(counts, NUM_CLASSES["sd128"], source.partial)
        listing.items = [item for item in listing.items if item.label in chosen]
    num_classes = len({item.label for item in listing.items})
    if num_classes != NUM_CLASSES[source.part]:
        problem = f"{num_classes} classes, expected {NUM_CLASSES[source.part]}"
        differs(listing, problem, TITLE, "get images.txt again", source.partial)
    listing.label_names = {label: label.replace("_", " ") for label in counts}
    expected = Expected(NUM_IMAGES[source.part], source="project page of SD-198")
    check_set(listing, expected, TITLE, partial=source.partial)
    return listing


def _most_frequent(counts: Counter[str], number: int, partial: bool) -> set[str]:
    ranked = counts.most_common()
    if not partial and len(ranked) > number and ranked[number - 1][1] == ranked[number][1]:
        raise DataError(
            f"classes {number} and {number + 1} by size have {ranked[number][1]} images each",
            item=TITLE,
            remedy="use the published images.txt",
        )
    return {label for label, _ in ranked[:number]}
