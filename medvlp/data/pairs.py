"""The pairs store: images with their texts, concepts and groups on disk, random access, split by case.

Shape legend: N rows of a split.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medvlp.data.image import encode_image, read_image
from medvlp.errors import DataError
from medvlp.io import MANIFEST, atomic_folder, read_json, sha256_json, verify_manifest, write_json, write_manifest
from medvlp.ledger import Ledger

if TYPE_CHECKING:
    import datasets
    from PIL import Image

SPLITS = ("train", "dev", "test")
COLUMNS = ("key", "image", "texts", "concepts", "label", "group", "case", "split")
LABELS = "labels"  # added by this version; a store without it has one label per image at most
FORMAT = "medvlp-pairs-1"
_PIXELS_OF_A_STORED_IMAGE = 64_000_000


@dataclass(frozen=True)
class Text:
    """One text of an image; ``aspect`` says what kind (report, caption, class-template, name, ...)."""

    text: str
    aspect: str = "caption"


@dataclass(frozen=True)
class Pair:
    """One decoded row of a pairs store."""

    key: str
    image: Image.Image
    texts: list[Text]
    concepts: list[str]
    label: str | None
    group: int
    case: str


@dataclass
class Row:
    """One row to be written: ``image`` is encoded JPEG or PNG bytes, or a PIL image (stored as PNG).

    ``labels`` is for sets where an image has any number of labels; with one label, ``label`` alone says it.
    """

    key: str
    image: bytes | Image.Image
    texts: Sequence[Text]
    split: str
    case: str
    group: int
    label: str | None = None
    concepts: Sequence[str] = field(default_factory=list)
    labels: Sequence[str] = field(default_factory=list)


class PairsSplit:
    """One split of a store: a sequence of :class:`Pair` whose columns are readable without decoding images."""

    def __init__(self, name: str, table: datasets.Dataset, rows_N: np.ndarray) -> None:
        self.name, self.rows_N, self._table = name, rows_N, table

    def __len__(self) -> int:
        return len(self.rows_N)

    def __getitem__(self, index: int) -> Pair:
        row = self._row(index)
        return Pair(
            key=row["key"],
            image=read_image(row["image"], name=row["key"], max_pixels=_PIXELS_OF_A_STORED_IMAGE),
            texts=[Text(text["text"], text["aspect"]) for text in row["texts"]],
            concepts=list(row["concepts"]),
            label=row["label"],
            group=int(row["group"]),
            case=row["case"],
        )

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))

    def _row(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        row: dict[str, Any] = self._table[int(self.rows_N[index])]
        return row

    def image_bytes(self, index: int) -> bytes:
        """Return the encoded image of one row, as stored."""
        return bytes(self._row(index)["image"])

    def column(self, name: str) -> Any:
        """Return a whole column without touching the images.

        Returns:
            ``group`` as an int64 array (N,); ``texts`` as N lists of :class:`Text`; ``labels`` as N lists, those of
            images with one label included; every other column as a list of N values.

        Raises:
            DataError: If there is no such column, or it is ``image``.
        """
        if name not in (*COLUMNS, LABELS) or name == "image":
            readable = ", ".join(column for column in (*COLUMNS, LABELS) if column != "image")
            raise DataError("no such readable column", item=name, remedy=f"choose one of {readable}")
        if name == LABELS:
            return self._labels()
        values = self._table.data.column(name)
        if name == "group":
            return values.to_numpy()[self.rows_N].astype(np.int64)
        column = values.take(self.rows_N).to_pylist()
        if name == "texts":
            return [[Text(text["text"], text["aspect"]) for text in texts] for texts in column]
        return column

    def _labels(self) -> list[list[str]]:
        one = [[] if label is None else [label] for label in self.column("label")]
        if LABELS not in self._table.column_names:
            return one
        several = self._table.data.column(LABELS).take(self.rows_N).to_pylist()
        return [list(labels) if labels else label for labels, label in zip(several, one, strict=True)]

    @cached_property
    def keys(self) -> list[str]:
        """The unique key of every row."""
        return list(self.column("key"))


class PairsStore:
    """A folder with ``data/`` (Hugging Face ``datasets`` format), ``ledger.json`` and ``manifest.json``."""

    def __init__(self, folder: Path, table: datasets.Dataset, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest, self._table = folder, manifest, table

    @classmethod
    def load(cls, folder: str | Path, verify: bool = True) -> PairsStore:
        """Open a store; images stay on disk (memory-mapped).

        Args:
            folder: The store's folder.
            verify: Check every file against its sha256 first.

        Raises:
            DataError: If the folder is no finished pairs store, or a file differs from the manifest.
        """
        from datasets import load_from_disk

        folder = Path(folder)
        if verify or not (folder / MANIFEST).is_file():
            manifest = verify_manifest(folder)
        else:
            manifest = read_json(folder / MANIFEST)
        if manifest.get("format") != FORMAT:
            raise DataError(
                f"not a pairs store of this version (format {manifest.get('format')!r}, expected {FORMAT!r})",
                item=folder,
                remedy="build it with `medvlp prepare`",
            )
        table = load_from_disk(str(folder / "data"))
        missing = [column for column in COLUMNS if column not in table.column_names]
        if missing:
            raise DataError(f"columns {', '.join(missing)} are missing", item=folder, remedy="prepare it again")
        return cls(folder, table, manifest)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def digest(self) -> str:
        """Sha256 over the store's files and header, for run manifests."""
        return sha256_json(self.manifest)

    @property
    def classes(self) -> list[str]:
        """Sorted label names."""
        return sorted(self.manifest["classes"])

    @property
    def class_concepts(self) -> dict[str, list[str]]:
        """Concept ids of every label; an empty list where none was given or linked."""
        return {label: list(concepts) for label, concepts in sorted(self.manifest["classes"].items())}

    @cached_property
    def _rows_by_split(self) -> dict[str, np.ndarray]:
        split_N = np.asarray(self._table.data.column("split").to_pylist(), dtype=object)
        return {name: np.flatnonzero(split_N == name) for name in SPLITS}

    def split(self, name: str) -> PairsSplit:
        """Return one split (``train``, ``dev`` or ``test``), possibly empty."""
        if name not in SPLITS:
            raise DataError("no such split", item=name, remedy=f"choose one of {', '.join(SPLITS)}")
        return PairsSplit(name, self._table, self._rows_by_split[name])

    @staticmethod
    def write(
        folder: str | Path,
        rows: Iterable[Row],
        header: Mapping[str, Any] | None = None,
        *,
        classes: Mapping[str, Sequence[str]] | None = None,
        ledger: Ledger | None = None,
        replace: bool = False,
        beside: Callable[[Path], None] | None = None,
    ) -> PairsStore:
        """Write a store atomically from a stream of rows and return it opened.

        Args:
            folder: Target; must not exist unless ``replace``.
            rows: Rows in the order to store them; consumed once, never all in memory.
            header: Extra manifest fields (config, source hashes, ...).
            classes: Concept ids of every label; defaults to the labels seen, without concepts.
            ledger: Written to ``ledger.json`` after the last row, so the stream may still count into it.
            replace: Exchange an existing store.
            beside: Called with the unfinished folder after the last row, to write further files under the manifest.

        Raises:
            DataError: On a repeated key, an unknown split, a case in two splits, a row without
                text or an unlisted label, naming the key or case.
        """
        folder = Path(folder)
        checks = _Checks(classes)
        with atomic_folder(folder, replace=replace) as partial:
            _write_table(partial, (checks.record(row) for row in rows))
            if checks.num_rows == 0:
                raise DataError("no row to write", item=folder, remedy="see the reasons the items were dropped for")
            ledger = ledger if ledger is not None else Ledger(kept=checks.num_rows)
            write_json(partial / "ledger.json", ledger.to_json())
            if beside is not None:
                beside(partial)
            write_manifest(partial, {"format": FORMAT, **(header or {}), **checks.summary()})
        return PairsStore.load(folder, verify=False)


class _Checks:
    """Validates rows on their way to disk and counts them for the manifest."""

    def __init__(self, classes: Mapping[str, Sequence[str]] | None) -> None:
        self.given = classes
        self.keys: set[str] = set()
        self.split_of_case: dict[str, str] = {}
        self.counts: dict[str, dict[str, int]] = {name: {} for name in SPLITS}
        self.rows_per_split = dict.fromkeys(SPLITS, 0)

    @property
    def num_rows(self) -> int:
        return len(self.keys)

    def record(self, row: Row) -> dict[str, Any]:
        if row.key in self.keys:
            raise DataError("the key occurs twice", item=row.key, remedy="give every image its own key")
        if row.split not in SPLITS:
            raise DataError(f"unknown split {row.split!r}", item=row.key, remedy=f"use one of {', '.join(SPLITS)}")
        if self.split_of_case.setdefault(row.case, row.split) != row.split:
            raise DataError(
                f"the case is in both {self.split_of_case[row.case]} and {row.split}",
                item=row.case,
                remedy="keep all images of a case in one split",
            )
        if not row.texts or any(not text.text.strip() for text in row.texts):
            raise DataError("empty caption", item=row.key, remedy="give it a text or drop the row")
        for label in row.labels or ([] if row.label is None else [row.label]):
            if self.given is not None and label not in self.given:
                raise DataError(f"label {label!r} is not among the classes", item=row.key)
            self.counts[row.split][label] = self.counts[row.split].get(label, 0) + 1
        self.keys.add(row.key)
        self.rows_per_split[row.split] += 1
        return {
            "key": row.key,
            "image": row.image if isinstance(row.image, bytes) else encode_image(row.image, "png"),
            "texts": [{"text": text.text, "aspect": text.aspect} for text in row.texts],
            "concepts": list(row.concepts),
            "label": row.label,
            "group": int(row.group),
            "case": row.case,
            "split": row.split,
            LABELS: list(row.labels),
        }

    def summary(self) -> dict[str, Any]:
        seen = {label for counts in self.counts.values() for label in counts}
        classes = {label: list(concepts) for label, concepts in (self.given or dict.fromkeys(sorted(seen), ())).items()}
        return {
            "num_rows": self.num_rows,
            "num_cases": len(self.split_of_case),
            "num_rows_per_split": self.rows_per_split,
            "num_rows_per_split_and_class": {name: dict(sorted(c.items())) for name, c in self.counts.items()},
            "classes": classes,
        }


def _write_table(folder: Path, records: Iterable[dict[str, Any]]) -> None:
    """Stream records into ``folder/data``; the fingerprint is fixed so that equal rows give equal bytes."""
    from datasets import Dataset, DatasetInfo, Features, List, Value, disable_progress_bars, enable_progress_bars
    from datasets.arrow_writer import ArrowWriter
    from datasets.table import MemoryMappedTable
    from datasets.utils.logging import is_progress_bar_enabled

    features = Features(
        {
            "key": Value("string"),
            "image": Value("binary"),
            "texts": List({"text": Value("string"), "aspect": Value("string")}),
            "concepts": List(Value("string")),
            "label": Value("string"),
            "group": Value("int64"),
            "case": Value("string"),
            "split": Value("string"),
            LABELS: List(Value("string")),
        }
    )
    stream = folder / "stream"
    stream.mkdir()
    with ArrowWriter(features=features, path=str(stream / "rows.arrow"), writer_batch_size=200) as writer:
        for record in records:
            writer.write(record)
        num_rows, _ = writer.finalize()
    if num_rows > 0:
        table = MemoryMappedTable.from_file(str(stream / "rows.arrow"))
        shown = is_progress_bar_enabled()
        disable_progress_bars()  # the caller shows one bar of its own
        try:
            Dataset(table, info=DatasetInfo(features=features), fingerprint="0" * 16).save_to_disk(str(folder / "data"))
        finally:
            if shown:
                enable_progress_bars()
    shutil.rmtree(stream)
