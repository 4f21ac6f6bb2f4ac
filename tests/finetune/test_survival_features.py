"""Features of cases: scaling is fitted on training rows, gaps become their mean, gene sets are averages."""

import numpy as np
import pytest

from medvlp.errors import DataError
from medvlp.finetune.survival_config import Clinical, Genes, Pathways, Vectors
from medvlp.finetune.survival_features import Block, Scaler, common_cases, noise, read_block


def test_scaling_and_gaps():
    train = np.array([[1.0, 5.0, np.nan], [3.0, 5.0, 2.0], [5.0, 5.0, 6.0]])
    scaler = Scaler(Block("b", [], train, ["a", "b", "c"]), train)
    scaled = scaler(train)
    assert scaled[:, 0] == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])
    assert scaled[:, 1].tolist() == [0, 0, 0]
    assert scaled[0, 2] == 0  # a gap is the training mean
    assert scaler(np.array([[3.0, 9.0, np.nan]])).tolist() == [[0, 0, 0]]
    assert scaled.std(0)[[0, 2]] == pytest.approx([1, 1])


def test_components_are_those_of_the_training_rows():
    rng = np.random.default_rng(0)
    train = rng.standard_normal((30, 4)) @ rng.standard_normal((4, 50))  # rank 4, wider than tall
    scaler = Scaler(Block("genes", [], train, [""] * 50, None, 3), train)
    scaled = scaler(train)
    assert scaled.shape == (30, 3)
    assert scaled.T @ scaled / 30 == pytest.approx(np.eye(3), abs=1e-9)
    from sklearn.decomposition import PCA

    oracle = PCA(3, whiten=True).fit_transform((train - train.mean(0)) / train.std(0)) * np.sqrt(30 / 29)
    assert np.abs(scaled) == pytest.approx(np.abs(oracle), abs=1e-6)
    assert scaler.names[0] == "genes, component 1"


def test_pathways_are_mean_standardised_expression(tmp_path):
    (tmp_path / "g.csv").write_text("gene,p1,p2,p3\nA,1.5,2,3\nB,10.5,30,20\nC,0.5,0,0\n")
    (tmp_path / "s.gmt").write_text("ab\tx\tA\tB\nlost\tx\tQ\tR\nc\tx\tC\n")
    source = Pathways(table=str(tmp_path / "g.csv"), sets=str(tmp_path / "s.gmt"), min_genes=2)
    block = read_block(source, [], 0)
    assert block.columns == ["ab"]
    scaled = Scaler(block, block.values_ND)(block.values_ND)[:, 0]
    values = block.values_ND[:, :2]
    mean = ((values - values.mean(0)) / values.std(0)).mean(1)
    assert scaled == pytest.approx(mean / mean.std())
    with pytest.raises(DataError, match="no gene set is left"):
        read_block(source.model_copy(update={"min_genes": 9}), [], 0)


def test_linear_genes_are_taken_as_log(tmp_path):
    (tmp_path / "g.csv").write_text("gene,p1,p2\nA,7,1\nB,0,100\n")
    block = read_block(Genes(table=str(tmp_path / "g.csv")), [], 0)
    assert block.values_ND == pytest.approx(np.log2([[8, 1], [2, 101]]))


def test_clinical(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("case_id,age,stage\na,61,III\na,61,III\nb,,I\nc,40,\n")
    source = Clinical(table=str(path), numbers=["age"], ordered={"stage": ["I", "II", "III"]})
    block = read_block(source, [], 0)
    assert block.cases == ["a", "b", "c"]
    assert np.array_equal(block.values_ND, [[61, 2], [np.nan, 0], [40, np.nan]], equal_nan=True)
    for text, message in (
        ("a,old,I\n", r'c\.csv:2: column "age" holds something'),
        ("a,5,IX\n", r'c\.csv:2: column "stage" holds something'),
        ("a,5,I\na,6,I\n", r"c\.csv:3: rows of one case differ"),
    ):
        path.write_text("case_id,age,stage\n" + text)
        with pytest.raises(DataError, match=message):
            read_block(source, [], 0)


def test_vectors_of_slides(tmp_path):
    np.save(tmp_path / "TCGA-AA-0001-01Z-00-DX1.abc.npy", np.array([1.0, 2.0], dtype=np.float32))
    np.save(tmp_path / "TCGA-AA-0001-01Z-00-DX2.def.npy", np.array([[2.0, 2.0], [4.0, 6.0]], dtype=np.float32))
    np.save(tmp_path / "TCGA-BB-0002-01Z-00-DX1.npy", np.array([9.0, 9.0]))
    block = read_block(Vectors(folder=str(tmp_path), ids="tcga_case"), [], 0)
    assert block.cases == ["TCGA-AA-0001", "TCGA-BB-0002"]
    assert block.values_ND.tolist() == [[2.0, 3.0], [9.0, 9.0]]
    assert common_cases([block, noise(["TCGA-BB-0002"], 2, 0)], ["x", "TCGA-BB-0002"]) == ["TCGA-BB-0002"]
    np.save(tmp_path / "odd.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"vectors of different widths: \[2, 3\]"):
        read_block(Vectors(folder=str(tmp_path)), [], 0)
    with pytest.raises(DataError, match=r"odd\.npy: is no TCGA barcode"):
        read_block(Vectors(folder=str(tmp_path), ids="tcga_case"), [], 0)
    np.save(tmp_path / "odd.npy", np.array([np.nan, 1.0]))
    with pytest.raises(DataError, match=r"odd\.npy: is no vector"):
        read_block(Vectors(folder=str(tmp_path)), [], 0)
    (tmp_path / "odd.npy").write_text("text")
    with pytest.raises(DataError, match=r"odd\.npy: is no array"):
        read_block(Vectors(folder=str(tmp_path)), [], 0)
    with pytest.raises(DataError, match=r"holds no \.npy files"):
        read_block(Vectors(folder=str(tmp_path / "absent")), [], 0)
