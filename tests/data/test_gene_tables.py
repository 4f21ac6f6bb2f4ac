"""Gene tables come out the same whichever way round the file is; bad cells are named and nothing is lost in silence."""

import gzip
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medvlp.data.genes import read_gene_table
from medvlp.errors import DataError

CASES = ["TCGA-AA-0001", "TCGA-AA-0002", "TCGA-BB-0003"]
GENES = ["TP53", "MYC", "EGFR", "KRAS"]
VALUES = np.array([[1.5, -2.0, 0.25, 3.0], [4.0, 5.5, -6.0, 7.0], [0.0, 0.5, 1.0, -1.5]], dtype=np.float32)


def write(path, rows, columns, values, corner="", part=","):
    lines = [part.join([corner, *columns])]
    lines += [part.join([name, *(str(value) for value in row)]) for name, row in zip(rows, values, strict=True)]
    text = "\n".join(lines) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "csv.gz", "txt.gz"])
@pytest.mark.parametrize("turned", [False, True])
def test_both_ways_round(tmp_path, ending, turned):
    part = "," if "csv" in ending else "\t"
    rows, columns, values = (GENES, CASES, VALUES.T) if turned else (CASES, GENES, VALUES)
    table = read_gene_table(write(tmp_path / f"t.{ending}", rows, columns, values, part=part))
    assert (table.cases, table.genes) == (CASES, GENES)
    assert table.values_CG.dtype == np.float32
    assert np.array_equal(table.values_CG, VALUES)
    assert (table.rows, table.scale) == ("genes" if turned else "cases", "log")
    assert table.ledger.kept == 3
    assert not table.ledger.dropped


def test_parquet_and_header_of_r(tmp_path):
    columns = {"id": GENES, **{case: VALUES[row] for row, case in enumerate(CASES)}}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert np.array_equal(read_gene_table(tmp_path / "t.parquet").values_CG, VALUES)
    path = write(tmp_path / "r.tsv", CASES, GENES, VALUES, part="\t")
    path.write_text(path.read_text()[1:])  # R's write.table leaves the corner out
    assert np.array_equal(read_gene_table(path).values_CG, VALUES)


def test_ensembl_ids_heads_and_the_undecidable(tmp_path):
    ids = [f"ENSG0000000000{n}.1" for n in range(3)]
    turned = read_gene_table(write(tmp_path / "e.csv", ids, ["p1", "p2", "p3", "p4"], VALUES))
    assert (turned.rows, turned.genes) == ("genes", ids)
    named = write(tmp_path / "h.csv", ["p1", "p2", "p3"], GENES, VALUES, corner="patient_id")
    assert read_gene_table(named).rows == "cases"
    plain = write(tmp_path / "p.csv", ["p1", "p2", "p3"], GENES, VALUES)
    with pytest.raises(DataError, match=r"p\.csv: cannot tell whether the rows are cases or genes; say so"):
        read_gene_table(plain)
    assert read_gene_table(plain, rows="genes").genes == ["p1", "p2", "p3"]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", r"1 empty, NaN or infinite values \(first: gene EGFR of case TCGA-AA-0002\)"),
        ("NaN", "first: gene EGFR of case TCGA-AA-0002"),
        ("inf", "first: gene EGFR of case TCGA-AA-0002"),
        ("high", 'column "EGFR" holds something that is no number'),
    ],
)
def test_bad_cells_are_named(tmp_path, cell, message):
    values = VALUES.astype(object)
    values[1, 2] = cell
    path = write(tmp_path / "t.csv", CASES, GENES, values)
    with pytest.raises(DataError, match=message):
        read_gene_table(path)
    if cell != "high":
        table = read_gene_table(path, missing="drop_genes")
        assert table.genes == ["TP53", "MYC", "KRAS"]
        assert table.ledger.to_json()["examples"] == {"gene with missing values": ["EGFR"]}


def test_scale(tmp_path):
    counts = np.array([[0, 5, 120, 7]] * 3)
    path = write(tmp_path / "c.csv", CASES, GENES, counts)
    assert read_gene_table(path).scale == "linear"
    assert read_gene_table(path).to_log().values_CG[0] == pytest.approx(np.log2([1, 6, 121, 8]))
    counts[1, 1] = -3
    path = write(tmp_path / "n.csv", CASES, GENES, counts)
    with pytest.raises(DataError, match=r"counts cannot be negative \(smallest: -3\)"):
        read_gene_table(path)
    assert read_gene_table(path, scale="log").values_CG[1, 1] == -3
    with pytest.raises(DataError, match="counts cannot be negative"):
        read_gene_table(write(tmp_path / "l.csv", CASES, GENES, VALUES), scale="linear")
    tpm = read_gene_table(write(tmp_path / "tpm.csv", CASES, GENES, np.abs(VALUES) * 1000))
    assert tpm.scale == "linear"


def test_repeats_by_rule_and_counted(tmp_path):
    path = write(tmp_path / "t.csv", [CASES[0], CASES[1], CASES[0]], ["TP53", "MYC", "TP53", "KRAS"], VALUES)
    table = read_gene_table(path)
    assert (table.cases, table.genes) == (CASES[:2], ["TP53", "MYC", "KRAS"])
    assert table.values_CG[0, 0] == pytest.approx(VALUES[[0, 2]][:, [0, 2]].mean())
    assert table.ledger.dropped == {"repeated case, joined by the mean": 1, "repeated gene, joined by the mean": 1}
    assert read_gene_table(path, repeats="first").values_CG[0].tolist() == [1.5, -2.0, 3.0]
    with pytest.raises(DataError, match="TCGA-AA-0001: the case occurs 2 times"):
        read_gene_table(path, repeats="refuse")


def test_tcga_ids_keep_tumour_and_normal_apart(tmp_path):
    samples = [f"{CASES[0]}-01A-11R-A1", f"{CASES[0]}-11A-11R-A1", f"{CASES[1]}-01A-11R-A1"]
    path = write(tmp_path / "t.csv", samples, GENES, VALUES)
    assert read_gene_table(path).cases == samples
    table = read_gene_table(path, ids="tcga_case")
    assert table.cases == CASES[:2]
    assert table.values_CG[0].tolist() == VALUES[0].tolist()
    assert table.ledger.dropped == {"sample of normal tissue or a control": 1}
    other = write(tmp_path / "o.csv", ["p1", "p2", "p3"], GENES, VALUES)
    with pytest.raises(DataError, match="p1: is no TCGA barcode"):
        read_gene_table(other, rows="cases", ids="tcga_case")


def test_align_and_take(tmp_path):
    table = read_gene_table(write(tmp_path / "t.csv", CASES, GENES, VALUES))
    assert table.align(["KRAS", "TP53"]).values_CG.tolist() == VALUES[:, [3, 0]].tolist()
    with pytest.raises(DataError, match=r"1 of 2 genes are not in the table \(first: BRCA1\)"):
        table.align(["BRCA1", "TP53"])
    filled = table.align(["BRCA1", "TP53"], fill=-9.0)
    assert filled.values_CG.tolist() == [[-9.0, value] for value in VALUES[:, 0]]
    with pytest.raises(DataError, match="listed twice"):
        table.align(["TP53", "TP53"])
    assert table.take([CASES[2], CASES[0]]).values_CG.tolist() == VALUES[[2, 0]].tolist()
    with pytest.raises(DataError, match="TCGA-ZZ-9999: is not in the gene table"):
        table.take(["TCGA-ZZ-9999"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "holds no rows"),
        ("a.csv", ",A,B\n", "holds no rows"),
        ("a.csv", "case\nx\n", "has one column"),
        ("a.csv", "case,A,B\nx,1,2\ny,1\n", "rows of different lengths"),
        ("a.csv", "case,A,\nx,1,2\n", "a row or column has no name"),
        ("a.xlsx", "x", 'cannot read a table that ends in ".xlsx"'),
        ("a.csv.gz", "not gzip", "cannot be read"),
        ("a.parquet", "not parquet", "is no Parquet file"),
    ],
)
def test_broken_files(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_gene_table(tmp_path / name)
    assert str(caught.value).count("\n") == 0


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_gene_table(tmp_path / "absent.csv")


@pytest.mark.data
@pytest.mark.skipif("MEDVLP_DATA" not in os.environ, reason="MEDVLP_DATA is not set")
def test_the_public_table():
    path = Path(os.environ["MEDVLP_DATA"]) / "survival_tcga/raw_rna_data/xena/stad/rna_clean.csv.gz"
    table = read_gene_table(path)
    assert table.values_CG.shape == (336, 1577)
    assert (table.rows, table.scale, table.ledger.kept) == ("cases", "log", 336)
    assert float(table.align(["FMO2"]).take(["TCGA-IN-7808"]).values_CG[0, 0]) == pytest.approx(0.6239)
