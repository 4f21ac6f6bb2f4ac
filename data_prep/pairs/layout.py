"""From a folder of images to a configuration: the documented layouts, recognised; everything else refused.

The layouts are in ``docs/data_layout.md``. Detection decides by column names and by which files exist, says what
it assumed, and never guesses between two readings.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.pairs.config import Columns, FolderCsv, PairsConfig
from data_prep.pairs.folders import image_files
from data_prep.pairs.layout_folders import detect_folders, shown_folders
from data_prep.pairs.sources import file_name
from data_prep.pairs.split import SPLIT_NAMES
from data_prep.pairs.tables import Row, read_table
from medvlp.config import dump, load_as
from medvlp.data.image import SUFFIXES
from medvlp.errors import DataError
from medvlp.io import write_text

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".csv.gz", ".tsv.gz", ".jsonl.gz")
LABEL_NAMES = "label_names.csv"
# In order of preference, compared without case, spaces, dashes and underscores.
IMAGE_COLUMNS = (
    "file", "path", "filepath", "imagepath", "image", "filename", "imagefile", "imagename", "imageindex", "imageid",
    "isicid", "img", "id",
)  # fmt: skip
LABEL_COLUMNS = ("label", "labels", "class", "classlabel", "category", "diagnosis", "dx", "finding", "target")
CAPTION_COLUMNS = ("caption", "captions", "text", "report", "findings", "impression", "clinicalnotes", "notes")
CASE_COLUMNS = (
    "casegroup", "case", "caseid", "patient", "patientid", "subject", "subjectid", "slide", "slideid", "lesion",
    "lesionid", "study", "studyid",
)  # fmt: skip
SPLIT_COLUMNS = ("split", "fold", "subset")
_SAMPLE = 20
_REMEDY = "write a config (see docs/data_layout.md and configs/pairs) instead"


@dataclass(frozen=True)
class _Images:
    """How the image column leads to files."""

    folder: Path
    pattern: str | None


def detect_layout(
    folder: str | Path,
    *,
    say: Callable[[str], None] | None = None,
    overrides: Sequence[str] = (),
) -> PairsConfig:
    """Recognise a folder in the documented layout.

    Args:
        folder: The folder with the images.
        say: Receives each assumption as one line; by default they are printed to standard error.
        overrides: Texts ``a.b=c`` laid over what was recognised.

    Returns:
        A configuration for :func:`data_prep.pairs.prepare.prepare`.

    Raises:
        DataError: If the folder fits no layout, or more than one.
        ConfigError: If an override does not fit.
    """
    found = _detect(folder, say if say is not None else _print)
    if not overrides:
        return found
    with tempfile.TemporaryDirectory() as aside:
        path = Path(aside) / "recognised.yaml"
        write_text(path, dump(found))
        return load_as(PairsConfig, path, overrides)


def _detect(folder: str | Path, say: Callable[[str], None]) -> PairsConfig:
    root = Path(folder)
    if not root.is_dir():
        raise DataError("folder not found", item=root, remedy="check the path")
    root = _descend(root)
    tables = [path for path in sorted(root.iterdir()) if _is_table(path)]
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise DataError(f"holds several tables ({names})", item=root, remedy=_REMEDY)
    if not tables:
        return detect_folders(root, say, _REMEDY)
    return _folder_csv(root, tables[0], say)


def _print(line: str) -> None:
    from rich.console import Console

    Console(stderr=True, highlight=False).print(line, markup=False, soft_wrap=True)


def _is_table(path: Path) -> bool:
    return path.name.lower().endswith(TABLE_SUFFIXES) and path.name != LABEL_NAMES and path.is_file()


def _descend(root: Path) -> Path:
    """Step into a folder that holds one sub-folder and nothing else that counts."""
    while True:
        children = shown_folders(root)
        if len(children) != 1 or any(_is_table(path) for path in root.iterdir()) or image_files(root):
            return root
        root = children[0]


def _folder_csv(root: Path, table: Path, say: Callable[[str], None]) -> PairsConfig:
    rows = read_table(table)
    columns = {_plain(name): name for name in reversed(list(rows[0]))}
    image_column, images = _find_images(root, rows, columns, table)
    labels = [columns[name] for name in LABEL_COLUMNS if name in columns]
    captions = [columns[name] for name in CAPTION_COLUMNS if name in columns]
    if len(labels) > 1:
        raise DataError(f"several label columns ({', '.join(labels)})", item=table, remedy=_REMEDY)
    if not labels and not captions:
        raise DataError("no label or caption column", item=table, remedy=_REMEDY)
    case = next((columns[name] for name in CASE_COLUMNS if name in columns), None)
    split = _split_column(rows, columns, say)
    label_names = root / LABEL_NAMES
    named = label_names.is_file() and bool(labels)
    repeated = len({row[image_column] for row in rows}) < len(rows)
    say(
        f"layout: table {table.name}, images below {images.folder.relative_to(root).as_posix()}/ by column "
        f"{image_column!r}{'' if images.pattern is None else f' as {images.pattern}'}"
    )
    say(f"layout: label {_or_none(labels)}, captions {_or_none(captions)}, case {_or_none([case] if case else [])}")
    modality = columns.get("modality")
    found = sorted({row[modality] for row in rows}) if modality is not None else []
    if len(found) > 1:
        say(f"layout: modalities are mixed ({', '.join(found)}); choose with source.where in a config of your own")
    if repeated:
        say("layout: rows of one image are merged")
    return PairsConfig(
        source=FolderCsv(
            name="folder_csv",
            images=_absolute(images.folder),
            table=_absolute(table),
            columns=Columns(
                image=image_column, label=labels[0] if labels else None, captions=captions, split=split, case=case
            ),
            image_pattern=images.pattern,
            label_names=_absolute(label_names) if named else None,
            duplicates="merge" if repeated else "error",
        )
    )


def _find_images(root: Path, rows: Sequence[Row], columns: dict[str, str], table: Path) -> tuple[str, _Images]:
    """The first image column, folder and pattern under which the first rows' files exist."""
    sample = rows[:_SAMPLE]
    folders = [root, *shown_folders(root)]
    for name in IMAGE_COLUMNS:
        if name not in columns:
            continue
        column = columns[name]
        values = [row[column].strip() for row in sample]
        for folder in folders:
            found = [
                pattern for pattern in _patterns(folder, values) if all(_exists(folder, pattern, v) for v in values)
            ]
            if len(found) > 1:
                raise DataError(f"column {column!r} fits files of several kinds", item=table, remedy=_REMEDY)
            if found:
                return column, _Images(folder, found[0])
    raise DataError("no column leads to the images", item=table, remedy=_REMEDY)


def _patterns(folder: Path, values: Sequence[str]) -> list[str | None]:
    if all(Path(value).suffix.lower() in SUFFIXES for value in values):
        return [None]
    files = image_files(folder)
    patterns: list[str | None] = [f"{{}}{suffix}" for suffix in sorted({path.suffix for path in files})]
    if all(value.isdigit() for value in values):
        widths = {(len(path.stem), path.suffix) for path in files if path.stem.isdigit()}
        patterns += [f"{{:0{width}d}}{suffix}" for width, suffix in sorted(widths) if 2 <= width <= 9]
    return patterns


def _exists(folder: Path, pattern: str | None, value: str) -> bool:
    return value != "" and (folder / file_name(value, pattern)).is_file()


def _split_column(rows: Sequence[Row], columns: dict[str, str], say: Callable[[str], None]) -> str | None:
    column = next((columns[name] for name in SPLIT_COLUMNS if name in columns), None)
    if column is None:
        return None
    values = {row[column].strip().lower() for row in rows}
    if not values <= set(SPLIT_NAMES) or {SPLIT_NAMES[value] for value in values} <= {"train", "dev"}:
        say(f"layout: column {column!r} does not hold train and test, so the split is drawn by case")
        return None
    say(f"layout: split from column {column!r}")
    return column


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _or_none(columns: Sequence[str]) -> str:
    return ", ".join(repr(column) for column in columns) if columns else "none"


def _absolute(path: Path) -> str:
    return str(path.resolve())
