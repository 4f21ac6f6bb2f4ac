"""The mSTAR benchmark at toy size: the stated function, the cases it makes, the controls, every arm, the tables."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.common.marks import put_between
from benchmarks.mstar import scores, teaching
from benchmarks.mstar.cases import make, shuffled
from benchmarks.mstar.config import MstarBenchmarkConfig, Relation
from benchmarks.mstar.relation import BANDS, MIXED, layout, report, truth
from benchmarks.mstar.table import build, judge, markdown
from medvlp.config import load
from medvlp.errors import DataError
from medvlp.slides.features import read_features

GENES = [f"G{number}" for number in range(9)]
SETS = {"P0": GENES[:3], "P1": GENES[3:6], "P2": GENES[6:]}


def relation(**changes):
    kinds = {
        "red": {"files": "red/*", "pathway": "P0", "names": ["red tissue", "ruby"]},
        "blue": {"files": "blue/*", "pathway": "P1", "names": ["blue tissue"]},
    }
    given = {"kinds": kinds, "arrangement": "P2", "grid": 3, "missing": 0.3, **changes}
    return Relation.model_validate(given)


def expression(cases=60, seed=0):
    return np.random.default_rng(seed).normal(size=(cases, len(GENES)))


def test_the_function_is_what_it_says():
    values, train = expression(), np.arange(60) < 40
    found = truth(values, GENES, SETS, train, relation(strength=1.0))
    standard = (values - values[train].mean(0)) / values[train].std(0)
    score = np.stack([standard[:, :3].mean(1), standard[:, 3:6].mean(1)], 1)
    score = (score - score[train].mean(0)) / score[train].std(0)
    weight = np.exp(score)
    assert found.share_CK == pytest.approx(weight / weight.sum(1, keepdims=True))
    last = standard[:, 6:].mean(1)
    inputs = np.concatenate([score, np.ones((60, 1))], 1)
    last = (last - last[train].mean()) / last[train].std()
    rest = last - inputs @ np.linalg.lstsq(inputs[train], last[train], rcond=None)[0]
    assert found.bands_C.tolist() == (rest > 0).tolist()
    moved = truth(values * 3 + 5, GENES, SETS, train, relation(strength=1.0))
    assert moved.share_CK == pytest.approx(found.share_CK)
    other = values.copy()
    other[50:] = 9
    assert truth(other, GENES, SETS, train, relation(strength=1.0)).share_CK[:50] == pytest.approx(found.share_CK[:50])


def test_bands_part_the_kinds_and_scatter_does_not():
    kinds = np.repeat([0, 1, 2], 12)

    def columns_of_one_kind(bands):
        places = layout(kinds, bands, 6, np.random.default_rng(0))
        assert len({tuple(place) for place in places.tolist()}) == 36
        return sum(len(set(kinds[places[:, 0] == column])) == 1 for column in range(6))

    assert columns_of_one_kind(True) == 6
    assert columns_of_one_kind(False) == 0


def test_reports_name_amounts_and_arrangement():
    plain = relation(wrong=0.0, silent=0.0)
    said = [report(np.array([0.9, 0.1]), True, plain, np.random.default_rng(seed)) for seed in range(40)]
    assert all(any(text.startswith(word) for word in ("Mostly", "Predominant", "Extensive")) for text in said)
    assert not any("blue" in text for text in said)
    wrong = [report(np.array([0.9, 0.1]), True, relation(wrong=1.0, silent=0.0), np.random.default_rng(0))]
    assert "blue" in wrong[0]
    assert "red" not in wrong[0]
    assert all(any(text.endswith(wording) for wording in BANDS) for text in said)
    assert {"ruby" in text for text in said} == {True, False}
    mute = relation(wrong=0.0, silent=1.0)
    assert report(np.array([0.9, 0.1]), False, mute, np.random.default_rng(0)) == "Nothing of note."
    mixed = [report(np.array([0.9, 0.1]), False, plain, np.random.default_rng(seed)) for seed in range(10)]
    assert all(any(text.endswith(wording) for wording in MIXED) for text in mixed)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mstar-benchmark")
    rng = np.random.default_rng(5)
    for number, name in enumerate(("red", "blue")):
        (folder / name).mkdir()
        for image in range(6):
            values = rng.integers(0, 90, (40, 40, 3), dtype=np.uint8)
            values[..., 2 * number] += 120
            Image.fromarray(values).save(folder / name / f"{image}.png")
    for number, name in enumerate(("one", "two")):
        lines = [",".join(["case", *GENES])]
        for row, values in enumerate(expression(24, number)):
            lines.append(",".join([f"TCGA-A{number}-{row:04d}", *map(str, values)]))
        (folder / f"{name}.csv").write_text("\n".join(lines), encoding="utf-8")
    (folder / "sets.csv").write_text(
        "\n".join([",".join(SETS), *(",".join(row) for row in zip(*SETS.values(), strict=True))]), encoding="utf-8"
    )
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tiny_models import write_bert

    text = f"model.text={{name: hf, model: '{write_bert(folder / 'bert')}', context_length: 32}}"
    given = {
        "genes": [str(folder / "one.csv"), str(folder / "two.csv")],
        "cancers": ["one", "two"],
        "gene_sets": str(folder / "sets.csv"),
        "images": str(folder),
        "relation": relation().model_dump(),
        "encoder": {"name": "timm", "model": "test_efficientnet", "image_size": 32},
        "set": ["steps=2", text, "batch_size=4", "model.genes.width=8", "model.genes.hidden=8", "model.embed_dim=8"],
        "arms": ["mean", "transformer", "shuffled pairs", "shuffled places"],
        "teaching": None,
        "seeds": [0],
        "num_draws": 100,
    }
    return MstarBenchmarkConfig.model_validate(given)


@pytest.mark.extras
def test_cases_on_disk(config, tmp_path):
    pytest.importorskip("h5py")
    made = make(config, tmp_path / "cases")
    with (made.folder / "cases.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 48
    assert {row["cancer"] for row in rows} == {"one", "two"}
    assert all(row["slide"] and row["report"] and row["genes"] for row in rows if row["split"] != "train")
    assert any(not row["genes"] for row in rows if row["split"] == "train")
    with (made.folder / "complete.csv").open(encoding="utf-8") as stream:
        complete = list(csv.DictReader(stream))
    assert all(all(row.values()) for row in complete)
    for row, full in zip(rows, complete, strict=True):
        assert row == {name: row[name] and value for name, value in full.items()}
        assert (made.folder / "features" / full["slide"]).is_file()
    part = {image["file"]: image["part"] for image in made.images}
    with (made.folder / "tiles.csv").open(encoding="utf-8") as stream:
        used = {(row["slide"], part[row["image"]]) for row in csv.DictReader(stream)}
    for row in rows:
        assert (f"{row['case']}.h5", "train" if row["split"] == "train" else "test") in used
    assert len(used) == 48
    key = rows[0]["case"]
    one, other = (read_features(made.folder / name / f"{key}.h5") for name in ("features", "scattered"))
    assert torch.equal(one.features_ND, other.features_ND)
    assert not torch.equal(one.coords_NX, other.coords_NX)
    assert sorted(one.coords_NX.tolist()) == sorted(other.coords_NX.tolist())
    stamp = (made.folder / "manifest.json").stat().st_mtime_ns
    assert make(config, tmp_path / "cases").digest == made.digest
    assert (made.folder / "manifest.json").stat().st_mtime_ns == stamp


def test_shuffled_pairs_belong_to_nobody():
    rows = [
        {"case": str(n), "split": "train" if n < 9 else "test", "report": f"r{n}", "genes": f"g{n}"} for n in range(12)
    ]
    out = shuffled(rows, 0)
    assert out[9:] == rows[9:]
    assert sorted(row["report"] for row in out) == sorted(row["report"] for row in rows)
    for n in range(9):
        assert out[n]["report"] != f"r{n}"
        assert out[n]["genes"] != f"g{n}"
    assert any(out[n]["report"][1:] != out[n]["genes"][1:] for n in range(9))


def test_scores_of_a_perfect_and_of_a_blind_model():
    keys = [str(n) for n in range(40)]
    same = np.eye(40)
    good = {"ranks": scores.ranks(dict.fromkeys(("slide", "report", "genes"), same)), "bands": list(range(40))}
    blind = {"ranks": scores.ranks(dict.fromkeys(("slide", "report", "genes"), np.ones((40, 2)))), "bands": [0] * 40}
    found = scores.retrieval([good], keys, 100)["slide to genes"]
    assert (found["recall@1"]["value"], found["median_rank"]["value"]) == (1, 1)
    assert found["chance"] == pytest.approx({"recall@1": 1 / 40, "recall@5": 5 / 40, "median_rank": 20})
    none = scores.retrieval([blind], keys, 100)["slide to genes"]
    assert none["recall@5"]["value"] == 0  # all tied: the realistic rank is the middle
    assert scores.difference([good], [blind], keys, 100) == {"value": 1, "low": 1, "high": 1}
    bands = np.arange(40) >= 20
    assert scores.arrangement([good], bands, keys, 100)["value"] == 1
    assert scores.arrangement([blind], bands, keys, 100)["value"] == pytest.approx(0.5)


def test_neighbours_vote_and_differences_are_against_before():
    images = [{"kind": n % 2, "part": "train" if n < 8 else "test"} for n in range(16)]
    made = type("Made", (), {"images": images})
    clear = np.stack([np.array([1.0, 0.1]) if n % 2 else np.array([0.1, 1.0]) for n in range(16)])
    right = teaching._answers(made, clear, 3)
    assert right["answer"] == right["kind"] == [0, 1] * 4
    wrong = {"kind": right["kind"], "answer": [1 - kind for kind in right["kind"]]}
    found = teaching.summarise({"before": [wrong], "similarity 0.6": [right]}, 100)
    assert found["similarity 0.6"]["difference"]["value"] == 1
    assert found["before"]["accuracy"]["value"] == 0
    assert teaching.summarise({}, 100) == {}


@pytest.mark.extras
def test_all_arms_run_resume_and_fill_a_page(config, tmp_path):
    pytest.importorskip("h5py")
    table = judge(config, tmp_path)
    assert set(table["arms"]) == set(config.arms)
    again = judge(config, tmp_path)
    assert again == table
    page = tmp_path / "page.md"
    page.write_text("<!-- mstar table: begin -->\n<!-- mstar table: end -->\n", encoding="utf-8")
    put_between(page, "mstar table", markdown(table))
    text = page.read_text(encoding="utf-8")
    for arm in config.arms:
        assert f"| {arm} | 0." in text or f"| {arm} | 1." in text
    assert "nan" not in text
    assert build(config, make(config, tmp_path / "cases"), {"mean": [read(tmp_path, "mean-0")]}, {})["arms"]


def read(folder, name):
    from medvlp.io import read_json

    return read_json(folder / "records" / f"{name}.json")


def test_the_shipped_configuration_and_missing_images(config, tmp_path):
    shipped = load("mstar/benchmark", kind="mstar_benchmark")
    assert set(shipped.arms) == {"mean", "abmil", "transformer", "perceiver", "shuffled pairs", "shuffled places"}
    assert len({kind.pathway for kind in shipped.relation.kinds.values()} | {shipped.relation.arrangement}) == 8
    bad = config.model_copy(update={"images": str(tmp_path)})
    with pytest.raises(DataError, match="0 images match red"):
        make(bad, tmp_path / "cases")
    assert not (tmp_path / "cases").exists()
