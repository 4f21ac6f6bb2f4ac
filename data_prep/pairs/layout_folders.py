"""Layouts without a table: class folders (also below split folders), texts beside images, tar shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from data_prep.pairs.config import PairsConfig
from data_prep.pairs.folders import ClassFolders, Level, TextFiles, image_files, is_image
from data_prep.pairs.shards import WebDataset
from data_prep.pairs.split import SPLIT_NAMES
from medvlp.errors import DataError

_SHARDS = (".tar", ".tar.gz", ".tgz")
_SPREADSHEETS = (".xlsx", ".xls", ".ods")
_HIDDEN = ("__MACOSX",)


def shown_folders(root: Path) -> list[Path]:
    """Folders in a folder, without hidden ones and what a Mac adds to archives, in the order of their names."""
    return sorted(
        path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".") and path.name not in _HIDDEN
    )


def detect_folders(root: Path, say: Callable[[str], None], remedy: str) -> PairsConfig:
    """Recognise a folder without a table.

    Raises:
        DataError: If it fits no layout, or more than one.
    """
    shards = sorted(path for path in root.iterdir() if path.name.lower().endswith(_SHARDS) and path.is_file())
    if shards:
        return _shards(root, shards, say, remedy)
    sheets = sorted(path.name for path in root.iterdir() if path.suffix.lower() in _SPREADSHEETS)
    if sheets:
        raise DataError("spreadsheets are not read", item=root / sheets[0], remedy="save it as CSV beside the images")
    images = [path for path in sorted(root.rglob("*")) if is_image(path)]
    with_text = sum(path.with_suffix(".txt").is_file() for path in images)
    if 2 * with_text > len(images):
        return _text_files(root, len(images), with_text, say)
    return _class_folders(root, say, remedy)


def is_split_level(names: list[str]) -> bool:
    """Whether sibling folders are splits: all their names are those of splits, train and test among them."""
    found = {SPLIT_NAMES.get(name.lower()) for name in names}
    return None not in found and {"train", "test"} <= found


def _class_folders(root: Path, say: Callable[[str], None], remedy: str) -> PairsConfig:
    problem = "no table, and not one sub-folder per class"
    folders = shown_folders(root)
    if image_files(root) or not folders:
        raise DataError(problem, item=root, remedy=remedy)
    levels: list[Level] = ["class"]
    if is_split_level([folder.name for folder in folders]):
        levels = ["split", "class"]
        folders = [child for folder in folders for child in shown_folders(folder)]
    classes = sorted({folder.name for folder in folders if image_files(folder)})
    if nested := _nested(folders):
        above = "split, " if len(levels) > 1 else ""
        raise DataError(
            f"images in folders within folders ({nested}): it is not clear which of them are classes",
            item=root,
            remedy=f"move them up, or write a config with source.levels: [{above}class, case] or [{above}case, class]",
        )
    if len(classes) < 2:
        raise DataError(problem, item=root, remedy=remedy)
    where = "" if levels == ["class"] else " below one folder per split"
    say(f"layout: one folder per class{where}: {', '.join(classes)}")
    return PairsConfig(source=ClassFolders(name="class_folders", images=str(root.resolve()), levels=levels))


def _nested(folders: list[Path]) -> str:
    """The first folder of images within a folder, as text."""
    for folder in folders:
        for child in shown_folders(folder):
            if image_files(child):
                return f"{folder.name}/{child.name}"
    return ""


def _text_files(root: Path, num: int, with_text: int, say: Callable[[str], None]) -> PairsConfig:
    folders = shown_folders(root)
    split = bool(folders) and not image_files(root) and is_split_level([folder.name for folder in folders])
    say(f"layout: {with_text} of {num} images have a text file of the same name{', splits by folder' if split else ''}")
    if folders and not split:
        say("layout: names of folders are not used; for classes write a config of class_folders")
    return PairsConfig(source=TextFiles(name="text_files", images=str(root.resolve()), split_folders=split))


def _shards(root: Path, shards: list[Path], say: Callable[[str], None], remedy: str) -> PairsConfig:
    if any(is_image(path) for path in root.iterdir()):
        raise DataError("holds both tar shards and images", item=root, remedy=remedy)
    words = Counter(path.name.replace("_", "-").replace(".", "-").split("-")[0] for path in shards)
    split = is_split_level(list(words))
    say(f"layout: {len(shards)} tar shards in the webdataset layout{', splits by their names' if split else ''}")
    return PairsConfig(
        source=WebDataset(
            name="webdataset",
            shards=[str(path.resolve()) for path in shards],
            split="shard" if split else None,
        )
    )
