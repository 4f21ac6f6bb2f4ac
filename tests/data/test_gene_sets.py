"""Gene sets read alike from a matrix, from columns of names and from GMT; membership follows the genes asked for."""

import pytest

from medvlp.data.gene_sets import covered, membership, read_gene_sets
from medvlp.errors import DataError

EXPECTED = {"cycle": ("TP53", "MYC"), "growth": ("MYC", "EGFR", "KRAS")}


def test_three_forms(tmp_path):
    (tmp_path / "m.csv").write_text("gene,cycle,growth\nTP53,1,0\nMYC,1,1\nEGFR,0,1\nKRAS,0,1\n")
    (tmp_path / "s.csv").write_text("cycle,growth\nTP53,MYC\nMYC,EGFR\n,KRAS\n")
    (tmp_path / "g.gmt").write_text("cycle\thttp://a\tTP53\tMYC\ngrowth\tna\tMYC\tEGFR\tKRAS\n\n")
    for name in ("m.csv", "s.csv", "g.gmt"):
        assert read_gene_sets(tmp_path / name) == EXPECTED


def test_membership_and_cover():
    member = membership(EXPECTED, ["EGFR", "TP53", "MYC"])
    assert member.tolist() == [[False, True], [True, False], [True, True]]
    assert list(covered(EXPECTED, ["EGFR", "TP53", "MYC"])) == ["cycle"]
    assert list(covered(EXPECTED, ["EGFR", "TP53", "MYC"], 0.6)) == ["cycle", "growth"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "gene,a,b\nTP53,1,0\n", 'the gene set "b" is empty'),
        ("m.csv", "gene,a\nTP53,1\nTP53,1\n", "a gene is there twice"),
        ("s.csv", "a,a\nTP53,MYC\n", 'the gene set "a" is there twice'),
        ("g.gmt", "alone\n", r"g\.gmt:1: is no line of a GMT file"),
        ("g.gmt", "", "holds no gene sets"),
    ],
)
def test_broken_files(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_gene_sets(tmp_path / name)
