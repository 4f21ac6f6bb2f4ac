"""Gene tables: expression of genes by case, in one form whatever way round the file is.

Shape letters: C cases, G genes, P gene sets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medvlp.data.tables import delimiter, header, read_parquet, read_text_columns
from medvlp.errors import DataError
from medvlp.ledger import Ledger

Rows = Literal["cases", "genes"]
Scale = Literal["log", "linear"]
Repeats = Literal["mean", "first", "refuse"]

_BARCODE = re.compile(r"TCGA-[0-9A-Z]{2}-[0-9A-Z]{4}(-.*)?$")
_ENSEMBL = re.compile(r"ENS[A-Z]*G\d{11}(\.\d+)?$")
_CASE_HEADS = {"case", "case_id", "patient", "patient_id", "barcode", "submitter_id", "bcr_patient_barcode"}
_GENE_HEADS = {"gene", "genes", "gene_id", "gene_name", "gene_symbol", "symbol", "hugo_symbol", "ensembl_id", "geneid"}
_CASE_LENGTH = len("TCGA-AB-1234")
_LARGEST_LOG = 40.0  # log2 of any count or TPM is below it


@dataclass(frozen=True)
class GeneTable:
    """Expression by case and gene.

    Attributes:
        cases: Case keys, unique.
        genes: Gene names, unique.
        values_CG: float32, finite.
        rows: What the rows of the file were.
        scale: ``log`` (values may be negative) or ``linear`` (counts, TPM, FPKM).
        ledger: Cases and genes that were left out or joined, by reason.
    """

    cases: list[str]
    genes: list[str]
    values_CG: NDArray[np.float32]
    rows: Rows = "cases"
    scale: Scale = "log"
    ledger: Ledger = field(default_factory=Ledger)

    def align(self, genes: Sequence[str], *, fill: float | None = None) -> GeneTable:
        """Return the table with exactly these genes, in this order.

        Args:
            genes: Wanted genes, unique.
            fill: Value of genes that the table lacks; None refuses them.

        Raises:
            DataError: If genes are missing and ``fill`` is None, or a wanted gene repeats.
        """
        if len(set(genes)) != len(genes):
            raise DataError("a wanted gene is listed twice", item="genes", remedy="list each gene once")
        place = {gene: column for column, gene in enumerate(self.genes)}
        missing = [gene for gene in genes if gene not in place]
        if missing and fill is None:
            some = ", ".join(missing[:3])
            raise DataError(
                f"{len(missing)} of {len(genes)} genes are not in the table (first: {some})",
                item="genes",
                remedy="give a value for missing genes (fill=), or choose genes that the table holds",
            )
        values_CG = np.full((len(self.cases), len(genes)), 0.0 if fill is None else fill, dtype=np.float32)
        for column, gene in enumerate(genes):
            if gene in place:
                values_CG[:, column] = self.values_CG[:, place[gene]]
        return GeneTable(self.cases, list(genes), values_CG, self.rows, self.scale, self.ledger)

    def take(self, cases: Sequence[str]) -> GeneTable:
        """Return the rows of these cases, in this order.

        Raises:
            DataError: If a case is not in the table.
        """
        place = {case: row for row, case in enumerate(self.cases)}
        for case in cases:
            if case not in place:
                raise DataError("is not in the gene table", item=case, remedy="leave it out or add its genes")
        rows = [place[case] for case in cases]
        return GeneTable(list(cases), self.genes, self.values_CG[rows], self.rows, self.scale, self.ledger)

    def to_log(self, offset: float = 1.0) -> GeneTable:
        """Return ``log2(value + offset)`` of a linear table, and a log table as it is."""
        if self.scale == "log":
            return self
        values_CG = np.log2(self.values_CG + np.float32(offset))
        return GeneTable(self.cases, self.genes, values_CG, self.rows, "log", self.ledger)


def read_gene_table(
    path: str | Path,
    *,
    rows: Rows | None = None,
    scale: Scale | None = None,
    ids: Literal["as_is", "tcga_case"] = "as_is",
    repeats: Repeats = "mean",
    missing: Literal["refuse", "drop_genes"] = "refuse",
) -> GeneTable:
    """Read expression values; the first column (or the one text column of a Parquet file) names the rows.

    Args:
        path: ``.csv``, ``.tsv`` or ``.txt`` (each also ``.gz``), or ``.parquet``.
        rows: What the rows are. None recognises TCGA barcodes, Ensembl ids and the usual names of the first column.
        scale: What the values are. None takes fractions below zero, or fractions of which none is above 40, as
            ``log`` and everything else as ``linear``.
        ids: ``tcga_case`` cuts case keys to TCGA's case (12 characters) and leaves normal tissue and control
            samples out (sample types 10 to 29), so that a case's tumour is not mixed with its normal tissue.
        repeats: A case or gene that occurs several times: ``mean`` of them, the ``first``, or ``refuse``.
        missing: Genes with an empty or NaN cell: ``refuse`` names the first, ``drop_genes`` leaves them out.

    Returns:
        The table; whatever was left out or joined is counted in its ledger.

    Raises:
        DataError: If the file is no such table, a cell is no finite number, values are negative on a linear scale,
            or the rows cannot be told.
    """
    path = Path(path)
    corner, names_R, names_K, values_RK = _read(path)
    kind = rows or _rows(path, corner, names_R, names_K)
    cases, genes = (names_R, names_K) if kind == "cases" else (names_K, names_R)
    values_CG = values_RK if kind == "cases" else np.ascontiguousarray(values_RK.T)
    ledger = Ledger()
    genes, values_CG = _whole_genes(path, cases, genes, values_CG, missing, ledger)
    found = _scale(path, values_CG, scale)
    if ids == "tcga_case":
        keep, cases = _tcga_cases(path, cases, ledger)
        values_CG = values_CG[keep]
    cases, values_CG = _joined(path, cases, values_CG, repeats, "case", ledger)
    genes, columns_GC = _joined(path, genes, values_CG.T, repeats, "gene", ledger)
    ledger.keep(len(cases))
    return GeneTable(cases, genes, np.ascontiguousarray(columns_GC.T), kind, found, ledger)


def _read(path: Path) -> tuple[str, list[str], list[str], NDArray[np.float32]]:
    """Return the name of the row names, the rows, the columns and the values (NaN where empty)."""
    if delimiter(path) is None:
        table = read_parquet(path)
        text = [f.name for f in table.schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
        if len(text) != 1:
            raise DataError(f"has {len(text)} text columns", item=path, remedy="keep one, with the names of the rows")
        corner, names = text[0], table.column(text[0]).to_pylist()
        head = [name for name in table.column_names if name != corner]
        columns = [table.column(name) for name in head]
        for name, column in zip(head, columns, strict=True):
            if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
                raise DataError(f'column "{name}" holds no numbers', item=path, remedy="remove it")
    else:
        corner, *head = header(path)
        if not head:
            raise DataError("has one column", item=path, remedy="use commas in .csv and tabs in .tsv and .txt")
        first, *columns = read_text_columns(path, {place + 1: pa.float32() for place in range(len(head))})
        names = first.to_pylist()
    if not names or None in names or "" in names or "" in head:
        raise DataError("a row or column has no name", item=path, remedy="name every case and gene")
    values_RK = np.empty((len(names), len(head)), dtype=np.float32)
    for place, column in enumerate(columns):
        values_RK[:, place] = column.cast(pa.float32(), safe=False).to_numpy()
    return corner, [str(name).strip() for name in names], [name.strip() for name in head], values_RK


def _rows(path: Path, corner: str, rows: list[str], columns: list[str]) -> Rows:
    name = corner.strip().lower()
    for pattern, of_rows, of_columns in ((_BARCODE, "cases", "genes"), (_ENSEMBL, "genes", "cases")):
        in_rows, in_columns = (sum(pattern.match(x) is not None for x in some) / len(some) for some in (rows, columns))
        if max(in_rows, in_columns) > 0.5 > min(in_rows, in_columns):
            return of_rows if in_rows > in_columns else of_columns  # type: ignore[return-value]
    if name in _CASE_HEADS or name in _GENE_HEADS:
        return "cases" if name in _CASE_HEADS else "genes"
    raise DataError(
        "cannot tell whether the rows are cases or genes", item=path, remedy='say so: rows="cases" or rows="genes"'
    )


def _whole_genes(
    path: Path, cases: list[str], genes: list[str], values_CG: NDArray[np.float32], missing: str, ledger: Ledger
) -> tuple[list[str], NDArray[np.float32]]:
    bad_CG = ~np.isfinite(values_CG)
    if not bad_CG.any():
        return genes, values_CG
    case, gene = (int(place) for place in np.argwhere(bad_CG)[0])
    whole_G = ~bad_CG.any(0)
    if missing == "refuse" or not whole_G.any():
        raise DataError(
            f"{int(bad_CG.sum())} empty, NaN or infinite values (first: gene {genes[gene]} of case {cases[case]})",
            item=path,
            remedy='fill them, or leave such genes out with missing="drop_genes"',
        )
    for name, whole in zip(genes, whole_G, strict=True):
        if not whole:
            ledger.drop(name, "gene with missing values")
    return [name for name, whole in zip(genes, whole_G, strict=True) if whole], values_CG[:, whole_G]


def _scale(path: Path, values_CG: NDArray[np.float32], scale: Scale | None) -> Scale:
    negative = bool((values_CG < 0).any())
    whole = bool((values_CG == np.rint(values_CG)).all())
    if negative and (scale == "linear" or (scale is None and whole)):
        raise DataError(
            f"counts cannot be negative (smallest: {float(values_CG.min()):g})", item=path, remedy='or say scale="log"'
        )
    if scale is not None:
        return scale
    return "log" if negative or (not whole and float(values_CG.max()) <= _LARGEST_LOG) else "linear"


def tcga_case(barcode: str, item: object) -> str:
    """Return the case of a TCGA barcode, its first twelve characters.

    Raises:
        DataError: If it is none.
    """
    if _BARCODE.match(barcode) is None:
        raise DataError("is no TCGA barcode", item=item, remedy='use ids="as_is"')
    return barcode[:_CASE_LENGTH]


def _tcga_cases(path: Path, cases: list[str], ledger: Ledger) -> tuple[list[int], list[str]]:
    keep, short = [], []
    for row, case in enumerate(cases):
        its_case = tcga_case(case, f"{path}: {case}")
        sample = case.split("-")[3][:2] if case.count("-") >= 3 else "01"
        if sample[:1] in {"1", "2"}:
            ledger.drop(case, "sample of normal tissue or a control")
            continue
        keep.append(row)
        short.append(its_case)
    if not keep:
        raise DataError("holds no tumour samples", item=path, remedy='use ids="as_is"')
    return keep, short


def _joined(
    path: Path, names: list[str], values: NDArray[np.float32], repeats: Repeats, what: str, ledger: Ledger
) -> tuple[list[str], NDArray[np.float32]]:
    """Join rows of the same name."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    if len(places) == len(names):
        return names, values
    for name, several in places.items():
        if len(several) > 1 and repeats == "refuse":
            raise DataError(f"the {what} occurs {len(several)} times", item=f"{path}: {name}", remedy="keep one")
        for _ in several[1:]:
            ledger.drop(name, f"repeated {what}, {'joined by the mean' if repeats == 'mean' else 'first kept'}")
    if repeats == "first":
        return list(places), values[[several[0] for several in places.values()]]
    joined = np.stack([values[several].mean(0, dtype=np.float64) for several in places.values()])
    return list(places), joined.astype(np.float32)
