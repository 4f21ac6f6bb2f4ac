"""Features of each case from tables and files, and their scaling, which is fitted on a training part alone.

Shape letters: N cases, D columns, K kept columns, P gene sets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medvlp.config import resolve_path
from medvlp.data.gene_sets import covered, membership, read_gene_sets
from medvlp.data.genes import read_gene_table, tcga_case
from medvlp.data.tables import read_table
from medvlp.errors import ConfigError, DataError
from medvlp.finetune.survival_config import Clinical, Genes, Noise, Pathways, Source, Vectors

Floats = NDArray[np.float64]
_SMALLEST = 1e-6


@dataclass(frozen=True)
class Block:
    """One source of features.

    Attributes:
        name: What it is.
        cases: Cases that have it.
        values_ND: float64, a row per case, NaN where a clinical value is missing.
        columns: Names of the columns, or of the gene sets they are averaged into.
        groups_DP: Which columns are averaged into which gene set after standardising; None keeps the columns.
        components: Principal components to keep.
    """

    name: str
    cases: list[str]
    values_ND: Floats
    columns: list[str]
    groups_DP: NDArray[np.bool_] | None = None
    components: int | None = None

    def rows(self, cases: Sequence[str]) -> Floats:
        """Return the rows of these cases."""
        place = {case: row for row, case in enumerate(self.cases)}
        return self.values_ND[[place[case] for case in cases]]


def read_block(source: Source, cases: Sequence[str], seed: int) -> Block:
    """Read one source; ``cases`` and ``seed`` are for random numbers, which depend on nothing else.

    Raises:
        ConfigError: If no column is named.
        DataError: If a table or file cannot be used.
    """
    if isinstance(source, Noise):
        return noise(cases, source.width, seed, source.components)
    if isinstance(source, Clinical):
        found, values_ND = _clinical(source)
        return Block("clinical", found, values_ND, [*source.numbers, *source.ordered], None, source.components)
    if isinstance(source, Vectors):
        found, values_ND = _vectors(source)
        columns = [f"vector {column}" for column in range(values_ND.shape[1])]
        return Block("vectors", found, values_ND, columns, None, source.components)
    return _genes(source)


def noise(cases: Sequence[str], width: int, seed: int, components: int | None = None) -> Block:
    """Return normal random numbers for every case."""
    values_ND = np.random.default_rng([seed, 1]).standard_normal((len(cases), width))
    return Block("noise", list(cases), values_ND, [f"noise {column}" for column in range(width)], None, components)


def _genes(source: Genes) -> Block:
    path = resolve_path(source.table)
    table = read_gene_table(path, rows=source.rows, ids=source.ids).to_log()
    groups_DP, columns = None, table.genes
    if isinstance(source, Pathways):
        sets = covered(read_gene_sets(resolve_path(source.sets)), table.genes, source.share)
        sets = {name: genes for name, genes in sets.items() if len(genes) >= source.min_genes}
        if not sets:
            raise DataError("no gene set is left", item=source.sets, remedy="lower `share` or `min_genes`")
        groups_DP, columns = membership(sets, table.genes), list(sets)
    return Block(source.name, table.cases, table.values_CG.astype(np.float64), columns, groups_DP, source.components)


def _clinical(source: Clinical) -> tuple[list[str], Floats]:
    if not source.numbers and not source.ordered:
        raise ConfigError("names no columns", item="clinical", remedy="fill `numbers` or `ordered`")
    path = resolve_path(source.table)
    table = read_table(path)
    names = [source.case, *source.numbers, *source.ordered]
    for name in names:
        if name not in table.column_names:
            raise DataError(f'has no column "{name}"', item=path, remedy=f"it has: {', '.join(table.column_names)}")
    orders = [None] * len(source.numbers) + list(source.ordered.values())
    found: dict[str, list[float]] = {}
    for number, (case, *cells) in enumerate(zip(*(table.column(name).to_pylist() for name in names), strict=True), 2):
        row = []
        for name, order, cell in zip(names[1:], orders, cells, strict=True):
            text = "" if cell is None else str(cell).strip()
            try:
                row.append(_number(text, order))
            except ValueError:
                raise DataError(
                    f'column "{name}" holds something that is no number or not in its list', item=f"{path}:{number}"
                ) from None
        key = str(case).strip()
        if case is not None and not np.array_equal(found.setdefault(key, row), row, equal_nan=True):
            raise DataError("rows of one case differ", item=f"{path}:{number}", remedy="keep one")
    return list(found), np.array(list(found.values()))


def _number(text: str, order: Sequence[str] | None) -> float:
    if text == "":
        return math.nan
    return float(text) if order is None else float(order.index(text))


def _vectors(source: Vectors) -> tuple[list[str], Floats]:
    folder = resolve_path(source.folder)
    files = sorted(folder.glob("*.npy"))
    if not files:
        raise DataError("holds no .npy files", item=folder, remedy="write one file per case or slide")
    of_case: dict[str, list[Floats]] = {}
    for file in files:
        key = tcga_case(file.stem, file) if source.ids == "tcga_case" else file.stem
        of_case.setdefault(key, []).append(_vector(file))
    widths = {len(vector) for vectors in of_case.values() for vector in vectors}
    if len(widths) > 1:
        raise DataError(
            f"vectors of different widths: {sorted(widths)}", item=folder, remedy="embed all with one model"
        )
    return list(of_case), np.stack([np.mean(vectors, axis=0) for vectors in of_case.values()])


def _vector(file: Path) -> Floats:
    try:
        value = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"is no array ({type(error).__name__})", item=file, remedy="write it with numpy.save") from None
    value = np.asarray(value)
    if value.dtype.kind not in "fiu" or value.ndim not in (1, 2) or value.size == 0 or not np.isfinite(value).all():
        raise DataError("is no vector or stack of vectors of finite numbers", item=file, remedy="embed it again")
    return np.atleast_2d(value).astype(np.float64).mean(0)


def common_cases(blocks: Sequence[Block], cases: Sequence[str]) -> list[str]:
    """Return the cases that every block has, in the order given."""
    known = [set(block.cases) for block in blocks]
    return [case for case in cases if all(case in own for own in known)]


class Scaler:
    """Missing values become the training mean, columns get mean 0 and deviation 1, gene sets are averaged, and
    principal components (again with deviation 1) take the place of columns; all fitted on the training rows.
    """  # noqa: D205

    def __init__(self, block: Block, train_ND: Floats) -> None:
        measured = ~np.isnan(train_ND)
        count_D = np.maximum(measured.sum(0), 1)
        self.mean_D: Floats = np.where(measured, train_ND, 0.0).sum(0) / count_D
        self.deviation_D = np.sqrt((np.where(measured, train_ND - self.mean_D, 0.0) ** 2).sum(0) / count_D)
        self.groups_DK = None
        if block.groups_DP is not None:
            self.groups_DK = block.groups_DP / block.groups_DP.sum(0)
        scaled_NK = self._columns(train_ND)
        self.names = list(block.columns)
        self.axes_KC: Floats | None = None
        if block.components is not None:
            _, _, axes_CK = np.linalg.svd(scaled_NK - scaled_NK.mean(0), full_matrices=False)
            axes_CK = axes_CK[: block.components]
            # The sign of an axis is arbitrary; its largest entry is made positive so that every machine agrees.
            sign_C = np.sign(axes_CK[np.arange(len(axes_CK)), np.abs(axes_CK).argmax(1)])
            self.axes_KC = (axes_CK * sign_C[:, None]).T
            scaled_NK = scaled_NK @ self.axes_KC
            self.names = [f"{block.name}, component {place + 1}" for place in range(scaled_NK.shape[1])]
        self.middle_K, self.spread_K = scaled_NK.mean(0), scaled_NK.std(0)

    def _columns(self, rows_ND: Floats) -> Floats:
        filled_ND = np.where(np.isnan(rows_ND), self.mean_D, rows_ND)
        alive_D = self.deviation_D > _SMALLEST
        scaled_ND = np.where(alive_D, (filled_ND - self.mean_D) / np.where(alive_D, self.deviation_D, 1.0), 0.0)
        return scaled_ND if self.groups_DK is None else scaled_ND @ self.groups_DK

    def __call__(self, rows_ND: Floats) -> Floats:
        """Return scaled rows; a column that was constant in training is 0."""
        scaled_NK = self._columns(rows_ND)
        if self.axes_KC is not None:
            scaled_NK = scaled_NK @ self.axes_KC
        alive_K = self.spread_K > _SMALLEST
        return np.where(alive_K, (scaled_NK - self.middle_K) / np.where(alive_K, self.spread_K, 1.0), 0.0)
