"""Vectors by case: what a run gives, who is left out, what survival models read, and mistakes."""

import json

import numpy as np
import pytest
import torch
from mstar_cases import mstar_config, table_rows, write_all, write_table

import medvlp
from medvlp.cli import run as medvlp_cli
from medvlp.data.genes import read_gene_table
from medvlp.errors import CheckpointError, DataError
from medvlp.finetune.survival_config import Vectors
from medvlp.finetune.survival_features import read_block
from medvlp.fusion.bag import TileBag
from medvlp.io import verify_manifest
from medvlp.training.case_vectors import embed_cases
from medvlp.training.slide import train
from medvlp.training.slide_data import Tiles, read_cases

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("h5py")
    return write_all(tmp_path_factory.mktemp("vectors") / "data")


@pytest.fixture(scope="module")
def trained(folder, place, tmp_path_factory):
    out = tmp_path_factory.mktemp("vectors-run") / "run"
    train(mstar_config(folder, place / "bert", steps=2), out)
    return out


def test_vectors_are_what_the_model_says(trained, folder, tmp_path):
    model = medvlp.load(trained)
    genes = read_gene_table(folder / "genes.csv")
    done, ledger = embed_cases(trained, tmp_path / "genes", "genes")
    block = read_block(Vectors(folder=str(done)), [], 0)
    assert block.cases == [key for key in genes.cases if key != "c02"]
    expected_CD = model.encode_genes(genes.take(block.cases)).numpy()
    assert block.values_ND == pytest.approx(expected_CD, abs=1e-6)
    assert (ledger.kept, dict(ledger.dropped)) == (15, {"case without genes": 1})
    manifest = verify_manifest(done)
    assert manifest["cases"]["examples"] == {"case without genes": ["c02"]}


def test_all_tiles_of_all_slides_of_a_case_are_used(trained, tmp_path):
    done, ledger = embed_cases(trained, tmp_path / "slide", "slide", ["data.max_tiles=1"])
    model = medvlp.load(trained)
    data = mstar_data(trained)
    (case,) = [case for case in read_cases(data).items if len(case.slides) == 2]
    features_NI, centres_NX = Tiles(data, coordinates=True).case(case)
    bag = TileBag.pack([features_NI], [centres_NX])
    with torch.no_grad():
        expected_1D = model.slides(bag)[0]
    assert np.load(done / f"{case.key}.npy") == pytest.approx(expected_1D[0].numpy(), abs=1e-6)
    assert dict(ledger.dropped) == {"case without slides": 1}
    assert not (done / "c03.npy").exists()


def mstar_data(trained):
    from medvlp.config import load

    return load(trained / "config.yaml", kind="mstar").data


def test_the_verb_embeds_reports_of_another_table_and_writes_none_of_them(trained, folder, tmp_path, capsys):
    rows = [{**row, "split": "test"} for row in table_rows(6) if row["case"] != "c04"]
    table = write_table(tmp_path / "new.csv", rows)
    out = tmp_path / "report"
    order = ["embed-cases", str(trained), "--what", "report", "--cases", str(table), "--out", str(out)]
    assert medvlp_cli(order) == 0
    assert "kept 4, dropped 1 case without a report" in capsys.readouterr().out
    assert sorted(file.stem for file in out.glob("*.npy")) == ["c00", "c02", "c03", "c05"]
    assert "carcinoma" not in json.dumps(verify_manifest(out))
    assert medvlp_cli(order) == 2
    assert "already exists" in capsys.readouterr().err


def test_genes_of_a_table_without_training_cases(trained, tmp_path):
    table = write_table(tmp_path / "new.csv", [{**row, "split": "test"} for row in table_rows(2)])
    _, ledger = embed_cases(trained, tmp_path / "genes", "genes", [f"data.table={table}"])
    assert ledger.kept == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**table_rows(1)[0], "case": "a/b"}], "a/b: is no name for a file"),
        ([{**table_rows(1)[0], "slide": ""}], "no case has slide"),
        ([{**table_rows(1)[0], "slide": "gone.h5"}], "no case has slide"),
    ],
)
def test_tables_that_cannot_be_embedded_leave_nothing(trained, tmp_path, rows, message):
    table = write_table(tmp_path / "new.csv", rows)
    with pytest.raises(DataError, match=message):
        embed_cases(trained, tmp_path / "out", "slide", [f"data.table={table}"])
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(CheckpointError):
        embed_cases(tmp_path, tmp_path / "out", "slide")
