"""Sources whose layout says it all: nested class folders, and images beside text files of the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.split import given_split
from medvlp.config import Config, resolve_path
from medvlp.data.image import SUFFIXES
from medvlp.data.pairs import Text
from medvlp.errors import DataError

MAX_TEXT_BYTES = 1 << 20
Level = Literal["split", "class", "case", "any"]


class ClassFolders(Config):
    """Folders of images; ``levels`` says what the names of nested folders mean: by default, one folder per class."""

    name: Literal["class_folders"] = Field(description="Kind of source.")
    images: str = Field(description="Folder that holds the folders.")
    levels: Annotated[list[Level], Field(min_length=1)] = Field(
        default=["class"], description="Meaning of each level from the top: split, class, case or any."
    )

    @model_validator(mode="after")
    def _once(self) -> ClassFolders:
        named = [level for level in self.levels if level != "any"]
        if "class" not in named or len(set(named)) != len(named):
            raise ValueError("levels needs class once, and split and case at most once")
        return self


class TextFiles(Config):
    """Images with a text file of the same name beside each: scan.png and scan.txt, in any depth of folders."""

    name: Literal["text_files"] = Field(description="Kind of source.")
    images: str = Field(description="Folder with images and texts.")
    suffix: str = Field(default=".txt", description="Ending of the text files.")
    split_folders: bool = Field(
        default=False, description="The top folders are called train, dev and test and give the split."
    )
    case_folders: bool = Field(default=False, description="The folder an image is in is its case.")
    encoding: str = Field(default="utf-8-sig", description="Text encoding of the files.")


def image_files(folder: Path) -> list[Path]:
    """Image files directly in a folder, in the order of their names."""
    return sorted(path for path in folder.iterdir() if is_image(path))


def is_image(path: Path) -> bool:
    """Whether a path is an image file by its suffix; the ``._name`` files that a Mac leaves behind are none."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._") and path.is_file()


def folder_of(value: str) -> Path:
    """Resolve ``source.images`` to a folder that exists.

    Raises:
        DataError: If there is none.
    """
    folder = resolve_path(value)
    if not folder.is_dir():
        raise DataError("folder not found", item=folder, remedy="check source.images")
    return folder


def list_class_folders(source: ClassFolders) -> Listing:
    """List the images exactly as deep as ``levels`` says; images at other depths are counted.

    Raises:
        DataError: No image there, or a split folder with an unknown name.
    """
    root = folder_of(source.images)
    listing = Listing([])
    folders = [root]
    for _ in source.levels:
        listing.note("images above the class folders, left out", sum(len(image_files(folder)) for folder in folders))
        folders = [child for folder in folders for child in sorted(folder.iterdir()) if child.is_dir()]
    for folder in folders:
        names = dict(zip(source.levels, folder.relative_to(root).parts, strict=True))
        split = given_split(names["split"], names["split"]) if "split" in names else None
        for path in image_files(folder):
            key = path.relative_to(root).as_posix()
            listing.items.append(Item(key, path, label=names["class"].strip(), split=split, case=names.get("case")))
        deeper = [path for path in folder.rglob("*") if path.parent != folder and is_image(path)]
        listing.note("images below the class folders, left out", len(deeper))
    if not listing.items:
        said = "/".join(f"<{level}>" for level in source.levels)
        raise DataError(f"no image as deep as {said}/", item=root, remedy="use one sub-folder per class, or set levels")
    return listing


def list_text_files(source: TextFiles) -> Listing:
    """List images with the texts beside them; an image without one is counted when it is dropped.

    Raises:
        DataError: No image with a text, a text in another encoding, two images of one name.
    """
    root = folder_of(source.images)
    listing = Listing([])
    owner: dict[Path, str] = {}
    used: set[Path] = set()
    for path in sorted(root.rglob("*")):
        if not is_image(path):
            continue
        key, beside = path.relative_to(root).as_posix(), path.with_suffix(source.suffix)
        if owner.setdefault(path.with_suffix(""), key) != key:
            raise DataError(f"has the same name as {owner[path.with_suffix('')]}", item=key, remedy="rename one")
        text = _read(beside, source.encoding, root)
        used.add(beside)
        split = None
        if source.split_folders:
            split = given_split(path.relative_to(root).parts[0], key)
        case = path.parent.relative_to(root).as_posix() if source.case_folders and path.parent != root else None
        listing.items.append(Item(key, path, texts=[Text(text)] if text else [], split=split, case=case))
    listing.note("text files without an image", sum(path not in used for path in root.rglob(f"*{source.suffix}")))
    if not any(item.texts for item in listing.items):
        raise DataError(f"no image with a {source.suffix} file beside it", item=root, remedy="check source.suffix")
    return listing


def _read(path: Path, encoding: str, root: Path) -> str:
    if not path.is_file():
        return ""
    name = path.relative_to(root).as_posix()
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise DataError(f"text of more than {MAX_TEXT_BYTES:,} bytes", item=name, remedy="leave it out")
    try:
        return " ".join(path.read_text(encoding=encoding).split())
    except UnicodeDecodeError:
        raise DataError(
            f"is not {encoding}", item=name, remedy="set source.encoding, for example latin-1 or cp1252"
        ) from None
    except LookupError:
        raise DataError(f"unknown encoding {encoding!r}", item="source.encoding", remedy="use utf-8") from None
