"""Gene sets (pathways): which genes belong to which set, from the three forms they are published in.

Shape letters: G genes, P gene sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medvlp.data.tables import delimiter, header, read_text_columns
from medvlp.errors import DataError

GeneSets = dict[str, tuple[str, ...]]


def read_gene_sets(path: str | Path) -> GeneSets:
    """Read gene sets by name, genes in the order of the file.

    Args:
        path: A composition matrix (a text column of genes, one column of 0 and 1 per set), a table of signatures
            (one column of gene names per set, padded with blanks), or a ``.gmt`` file of MSigDB.

    Raises:
        DataError: If the file is none of these, a set is empty, or a set or a matrix's gene is there twice.
    """
    path = Path(path)
    if path.suffix == ".gmt":
        sets = _gmt(path)
    elif delimiter(path) is None:
        raise DataError("gene sets are read from text", item=path, remedy="use .csv, .tsv or .gmt")
    else:
        names = header(path)
        columns = [column.to_pylist() for column in read_text_columns(path, {})]
        matrix = len(columns) > 1 and {cell for column in columns[1:] for cell in set(column)} <= {"0", "1"}
        listed = _matrix(path, columns) if matrix else [[cell for cell in column if cell] for column in columns]
        sets = list(zip(names[1:] if matrix else names, listed, strict=True))
    found: GeneSets = {}
    for name, genes in sets:
        if not genes or name in found:
            fault = "is there twice" if name in found else "is empty"
            raise DataError(f'the gene set "{name}" {fault}', item=path, remedy="remove it")
        found[name] = tuple(dict.fromkeys(genes))
    if not found:
        raise DataError("holds no gene sets", item=path, remedy="name another file")
    return found


def membership(sets: Mapping[str, Sequence[str]], genes: Sequence[str]) -> NDArray[np.bool_]:
    """Return which gene belongs to which set, (G, P); genes that ``genes`` lacks are left out of their sets."""
    place = {gene: row for row, gene in enumerate(genes)}
    member_GP = np.zeros((len(genes), len(sets)), dtype=bool)
    for column, members in enumerate(sets.values()):
        member_GP[[place[gene] for gene in members if gene in place], column] = True
    return member_GP


def covered(sets: Mapping[str, Sequence[str]], genes: Sequence[str], share: float = 0.9) -> GeneSets:
    """Return the sets of whose genes at least ``share`` are measured."""
    measured = set(genes)
    return {name: tuple(own) for name, own in sets.items() if len(measured & set(own)) >= share * len(set(own))}


def _matrix(path: Path, columns: list[list[str]]) -> list[list[str]]:
    genes = columns[0]
    if len(set(genes)) != len(genes) or not all(genes):
        raise DataError("a gene is there twice or has no name", item=path, remedy="keep one row per gene")
    return [[gene for gene, cell in zip(genes, column, strict=True) if cell == "1"] for column in columns[1:]]


def _gmt(path: Path) -> list[tuple[str, list[str]]]:
    if not path.is_file():
        raise DataError("no such file", item=path, remedy="check the path")
    sets = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        name, *rest = line.split("\t")
        if line.strip() and not rest:
            raise DataError("is no line of a GMT file", item=f"{path}:{number}", remedy="part the cells by tabs")
        if line.strip():
            sets.append((name, [gene for gene in rest[1:] if gene]))  # the second cell is a description
    return sets
