"""Both stages of mSTAR on tiny cases: learning, missing modalities, resume, loading, mistakes in the table."""

import numpy as np
import pytest
import torch
from mstar_cases import WIDTH, mstar_config, table_rows, write_all, write_genes, write_slide, write_table
from PIL import Image

import medvlp
from medvlp.case_model import CaseModel
from medvlp.data.genes import read_gene_table
from medvlp.errors import ConfigError, DataError, TrainingError
from medvlp.fusion.slide import LatentQuery
from medvlp.slides.features import read_features
from medvlp.tile_encoder import TileEncoder
from medvlp.training.checkpoint import Checkpoints
from medvlp.training.log import read_log
from medvlp.training.optim import OptimizerConfig
from medvlp.training.slide import MstarRecipe, make_fabric, train
from medvlp.training.slide_data import CaseData, read_cases
from medvlp.training.slide_stage2 import SelfTaughtRecipe

pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("h5py")
    return write_all(tmp_path_factory.mktemp("mstar") / "data")


@pytest.fixture(scope="module")
def run(folder, place, tmp_path_factory):
    out = tmp_path_factory.mktemp("mstar-run") / "run"
    return train(mstar_config(folder, place / "bert", steps=25), out)


def data_of(folder, **changes):
    paths = {"table": "cases.csv", "features": "features", "genes": "genes.csv"}
    return CaseData(**{**{name: str(folder / path) for name, path in paths.items()}, **changes})


def states_equal(one, other):
    first, second = (Checkpoints(path.parent.parent).load(path).tensors for path in (one, other))
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    for key, moments in first["optimizer"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(second["optimizer"]["state"][key][name]))


def test_it_learns_which_belong_together(run):
    lines = read_log(run.parent.parent)
    training = [line for line in lines if line["kind"] == "train"]
    assert training[-1]["contrast"] < 0.7 * training[0]["contrast"]
    assert training[-1]["decoder"] < training[0]["decoder"]
    assert training[0]["slide_report_rows"] <= 6
    (scores,) = [line for line in lines if line["kind"] == "validation"]
    assert scores["slide_genes/median_rank"] < 2.5  # 4 development cases; 2.5 by chance


def test_the_loaded_model_embeds_all_three(run, folder):
    model = medvlp.load(run.parent.parent)
    assert isinstance(model, CaseModel)
    slide = read_features(folder / "features" / "c12.h5")
    one_D = model.encode_slide(slide.features_ND, slide.coords_NX, slide.patch_size_level0, slide.level0_mpp)
    text_MD = model.encode_text(["the lung tissue with carcinoma", "the colon tissue"])
    gene_CD = model.encode_genes(read_gene_table(folder / "genes.csv"))
    assert one_D.shape == (1, 16)
    assert text_MD.shape == (2, 16)
    assert gene_CD.shape == (16, 16)
    for unit in (one_D, text_MD, gene_CD):
        assert unit.norm(dim=-1) == pytest.approx(torch.ones(len(unit)), abs=1e-5)
    assert int((gene_CD @ one_D[0]).argmax()) % 4 == 0
    with pytest.raises(DataError, match="level0_mpp is not known"):
        model.encode_slide(slide.features_ND, slide.coords_NX, 512)
    with pytest.raises(DataError, match="expected features"):
        model.encode_slide(slide.features_ND[:, :3], slide.coords_NX, 512, 0.25)


@pytest.mark.parametrize("freeze", [["text"], []])
def test_resume_is_bit_exact(folder, place, tmp_path, freeze):
    config = mstar_config(folder, place / "bert", freeze=freeze)
    whole = train(config, tmp_path / "whole")
    half = train(config, tmp_path / "cut").parent
    (half / "step-00000004").rename(tmp_path / "gone")
    states_equal(whole, train(config, tmp_path / "cut"))
    with pytest.raises(TrainingError, match=r"batch_size was 6, now 4"):
        train(mstar_config(folder, place / "bert", freeze=freeze, batch_size=4), tmp_path / "cut")


def test_a_dry_run_leaves_nothing(folder, place, tmp_path):
    assert train(mstar_config(folder, place / "bert"), tmp_path / "run", dry_run=True) == tmp_path / "run"
    assert list(tmp_path.iterdir()) == []


def test_a_batch_embeds_each_case_as_if_it_were_alone(folder, place):
    config = mstar_config(folder, place / "bert")
    recipe = MstarRecipe(config, make_fabric(config))
    recipe.module.eval()
    items = [recipe.data.item(row) for row in range(len(recipe.data))]

    def embed(rows):
        batch = recipe._collate([items[row] for row in rows], tokens=True)
        with torch.no_grad():
            return recipe.module(*recipe.inputs(batch))[0]

    together = embed(range(len(items)))
    order = list(reversed(range(len(items))))
    assert torch.allclose(embed(order), together[order], atol=1e-5)
    for row in range(6):
        assert torch.allclose(embed([row]), together[[row]], atol=1e-5)
    present = torch.tensor([item.case.present for item in items])
    assert torch.equal(together.abs().sum(-1) > 0, present)
    assert present.sum(0).tolist() == [11, 11, 11]


def test_tiles_are_drawn_anew_each_step_and_the_same_for_the_same_step(folder, place):
    from medvlp.training.draws import Draw

    config = mstar_config(folder, place / "bert", data=data_of(folder, max_tiles=3))
    data = MstarRecipe(config, make_fabric(config)).data
    first, again, later = (data[Draw(step, 0, 0)].tile_N.tolist() for step in (0, 0, 1))
    assert first == again
    assert len(set(first)) == 3
    assert any(data[Draw(step, 0, 0)].tile_N.tolist() != first for step in range(1, 8)), later
    assert data.item(0).tile_N.tolist() == data.item(0).tile_N.tolist()


def test_several_slides_lie_side_by_side(folder, place):
    config = mstar_config(folder, place / "bert")
    recipe = MstarRecipe(config, make_fabric(config))
    item = recipe.data.item(4)
    lengths = [len(read_features(file).features_ND) for file in item.case.slides]
    assert len(lengths) == 2
    first, second = item.centres_NX[: lengths[0]], item.centres_NX[lengths[0] :]
    assert float(second[:, 0].min() - first[:, 0].max()) == pytest.approx(5000)
    assert first[0].tolist() == [64.0, 64.0]  # half of 512 pixels of 0.25 micrometres


def test_reports_given_to_other_cases_are_found_by_chance_only(folder, place, tmp_path):
    """Pairs that say nothing train to nothing: the development rank is no better than that of real pairs."""
    rows = table_rows()
    given = {row["case"]: row["report"] for row in rows}
    keys = list(given)[:12]
    given.update(zip(keys, [given[key] for key in [*keys[3:], *keys[:3]]], strict=True))
    write_table(tmp_path / "cases.csv", [{**row, "report": given[row["case"]]} for row in rows])
    scores = {}
    for name, table in (("own", folder / "cases.csv"), ("other", tmp_path / "cases.csv")):
        config = mstar_config(folder, place / "bert", steps=25, data=data_of(folder, table=str(table)))
        train(config, tmp_path / name)
        (line,) = [line for line in read_log(tmp_path / name) if line["kind"] == "validation"]
        scores[name] = line["slide_report/median_rank"]
    assert scores["own"] < scores["other"]


@pytest.mark.parametrize("columns", [("report", "genes"), ("slide", "genes"), ("slide", "report")])
def test_two_modalities_are_enough(folder, place, tmp_path, columns):
    kept = {"case", "split", "cancer", *columns}
    write_table(tmp_path / "cases.csv", [{name: row[name] for name in row if name in kept} for row in table_rows()])
    config = mstar_config(folder, place / "bert", steps=2, data=data_of(folder, table=str(tmp_path / "cases.csv")))
    train(config, tmp_path / "run")
    line = read_log(tmp_path / "run")[0]
    rows = {name: line[f"{name}_rows"] for name in ("slide_report", "slide_genes", "report_genes")}
    assert sum(count > 0 for count in rows.values()) == 1
    assert np.isfinite(line["loss"])


def test_what_is_missing_is_counted(folder, tmp_path):
    rows = table_rows()
    rows[0]["slide"] = "nowhere.h5"
    rows[6]["genes"] = "unknown"
    rows.append({**dict.fromkeys(rows[0], ""), "report": "no case"})
    rows.append({**dict.fromkeys(rows[0], ""), "case": "empty", "split": "train"})
    cases = read_cases(data_of(folder, table=str(write_table(tmp_path / "cases.csv", rows))))
    assert cases.ledger.kept == 16
    assert cases.ledger.dropped == {
        "feature file missing": 1,
        "case without slides": 3,
        "case without a report": 2,
        "case without genes": 2,
        "row missing from the gene table": 1,
        "row without a case": 1,
        "case without any modality": 1,
    }
    assert cases.ledger.examples["feature file missing"] == ["nowhere.h5"]
    assert "no case" not in str(cases.ledger.to_json())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"split": "dev"}, "case c04: its rows name 2 of split .train, dev."),
        ({"report": "a secret"}, "case c04: its rows name 2 of report; keep one"),
        ({"split": "held-out"}, "case c04: its rows name 2 of split"),
    ],
)
def test_rows_that_contradict_each_other_are_refused(folder, tmp_path, change, said):
    rows = table_rows()
    rows[5].update(change)
    with pytest.raises(DataError, match=said) as caught:
        read_cases(data_of(folder, table=str(write_table(tmp_path / "cases.csv", rows))))
    assert "secret" not in str(caught.value)


def test_mistakes_of_the_table_are_named(folder, place, tmp_path):
    rows = table_rows()
    rows[0]["split"] = ""
    with pytest.raises(DataError, match="case c00: split is None; use train, dev, test"):
        read_cases(data_of(folder, table=str(write_table(tmp_path / "cases.csv", rows))))
    alone = [{**row, "report": "", "genes": ""} for row in table_rows()]
    lonely = mstar_config(
        folder, place / "bert", data=data_of(folder, table=str(write_table(tmp_path / "cases.csv", alone)))
    )
    with pytest.raises(DataError, match="no two of the 11 training cases have two modalities in common .11 with slide"):
        train(lonely, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match='has no column "split"'):
        read_cases(data_of(folder, table=str(folder / "genes.csv")))
    text = (folder / "genes.csv").read_text(encoding="utf-8").splitlines()
    text[3] = ",".join(["nan" if place == 2 else cell for place, cell in enumerate(text[3].split(","))])
    (tmp_path / "genes.csv").write_text("\n".join(text), encoding="utf-8")
    with pytest.raises(DataError, match="gene G1 of case c02"):
        read_cases(data_of(folder, genes=str(tmp_path / "genes.csv")))


def test_slides_of_another_encoder_are_refused_by_name(folder, place, tmp_path):
    import shutil

    shutil.copytree(folder / "features", tmp_path / "features")
    torch.save({"features": torch.randn(4, WIDTH + 1)}, tmp_path / "features" / "other.pt")
    rows = table_rows()
    rows[7]["slide"] = "other.pt"
    table = write_table(tmp_path / "cases.csv", rows)
    config = mstar_config(
        folder, place / "bert", data=data_of(tmp_path, table=str(table), genes=str(folder / "genes.csv"))
    )
    with pytest.raises(DataError, match=r"other\.pt: vectors of 7 numbers, expected 6"):
        train(config, tmp_path / "run")


def stage2(folder, run, place, source, **changes):
    from medvlp.encoders.image import TimmImage
    from medvlp.training.slide_stage2 import SelfTaught
    from medvlp.training.tile_images import TileTable, WholeSlides

    tiles = TileTable(table=str(folder / "tiles.csv"), images=str(folder / "images"))
    if source == "slides":
        tiles = WholeSlides(folder=str(folder / "slides"), tile_size=32)
    settings = {"similarity": changes.pop("similarity", 0.6), "decay": 0.9, "tiles_per_case": 2}
    encoder = TimmImage.Config(model="test_efficientnet", image_size=32)
    taught = SelfTaught(stage1=str(run), tiles=tiles, encoder=encoder, **settings)
    return mstar_config(folder, place / "bert", stage=2, self_taught=taught, batch_size=3, **changes)


@pytest.fixture(scope="module")
def wide(folder, place, tmp_path_factory):
    """Features as wide as the tile encoder's, and stage 1 on them."""
    import mstar_cases
    from mstar_cases import write_slide as write

    base = write_all(tmp_path_factory.mktemp("mstar-wide") / "data")
    width = TileEncoder(TileEncoder.Config(image=stage2(base, base, place, "table").self_taught.encoder)).width
    kept, mstar_cases.WIDTH = mstar_cases.WIDTH, width
    try:
        for number, row in enumerate(table_rows()):
            if row["slide"]:
                write(base / "features" / row["slide"], int(row["case"][1:]) % 4, 5 + number % 3, number)
    finally:
        mstar_cases.WIDTH = kept
    return base, train(mstar_config(base, place / "bert", steps=2), base.parent / "stage1")


def test_stage_2_teaches_the_tile_encoder_and_resumes_bit_exactly(wide, place, tmp_path):
    base, stage1 = wide
    config = stage2(base, stage1, place, "table")
    whole = train(config, tmp_path / "whole")
    half = train(config, tmp_path / "cut").parent
    (half / "step-00000004").rename(tmp_path / "gone")
    states_equal(whole, train(config, tmp_path / "cut"))
    assert (whole / "average.safetensors").read_bytes() == (half / "step-00000004" / "average.safetensors").read_bytes()
    lines = [line for line in read_log(tmp_path / "whole") if line["kind"] == "train"]
    assert lines[-1]["taught"] < lines[0]["taught"]
    assert lines[0]["kept"] == pytest.approx(0, abs=1e-6)
    assert lines[-1]["kept"] > 0
    encoder = medvlp.load(tmp_path / "whole")
    assert isinstance(encoder, TileEncoder)
    assert encoder.encode_image([Image.open(base / "images" / "0.png")]).shape == (1, encoder.width)


def test_the_similarity_term_keeps_the_encoder_nearer_to_its_average(wide, place, tmp_path):
    base, stage1 = wide
    pictures = [Image.open(path) for path in sorted((base / "images").iterdir())]
    config = stage2(base, stage1, place, "table")
    start_NI = SelfTaughtRecipe(config, make_fabric(config)).step.student.eval().encode_image(pictures)
    moved = {}
    gentle = OptimizerConfig(lr=1e-3, weight_decay=0.0)
    for weight in (0.0, 20.0):
        config = stage2(base, stage1, place, "table", similarity=weight, steps=10, optimizer=gentle)
        train(config, tmp_path / str(weight))
        final_NI = medvlp.load(tmp_path / str(weight)).encode_image(pictures)
        moved[weight] = float((1 - torch.cosine_similarity(start_NI, final_NI)).mean())
    assert moved[0.0] > 1e-3
    assert moved[20.0] < 0.8 * moved[0.0]


def test_stage_2_refuses_what_cannot_teach(wide, folder, place, run, tmp_path):
    base, stage1 = wide
    with pytest.raises(ConfigError, match="those of stage 1 have 6"):
        train(stage2(folder, run, place, "table"), tmp_path / "a")
    slide = LatentQuery.Config(width=16, latents=2, depth=0, heads=2)
    blind = train(mstar_config(base, place / "bert", steps=1, model={"slide": slide}), tmp_path / "blind")
    with pytest.raises(ConfigError, match=r"its slide encoder .perceiver. keeps no tiles"):
        train(stage2(base, blind, place, "table"), tmp_path / "b")
    (base / "slides").mkdir(exist_ok=True)
    with pytest.raises(DataError, match="no training case has a tile with an image"):
        train(stage2(base, stage1, place, "slides"), tmp_path / "c")
    with pytest.raises(ValueError, match="stage 2 and self_taught come together"):
        mstar_config(folder, place / "bert", stage=2)


def test_genes_by_name_whatever_the_order(run, folder, tmp_path):
    model = medvlp.load(run)
    table = read_gene_table(folder / "genes.csv")
    turned = table.align(list(reversed(table.genes)))
    assert torch.allclose(model.encode_genes(turned), model.encode_genes(table), atol=1e-6)
    write_genes(tmp_path / "other.csv", ["c00", "c01"], seed=3)
    assert model.encode_genes(read_gene_table(tmp_path / "other.csv")).shape == (2, 16)
    write_slide(tmp_path / "x.h5", 0, 3, 0)
    assert len(read_features(tmp_path / "x.h5")) == 3
