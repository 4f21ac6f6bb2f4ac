"""`evaluate` end to end on the coloured world: files, numbers, floors, honesty and bad input."""

import json
import re
from functools import partial

import pyarrow.parquet
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from medvlp.errors import DataError, GraphError
from medvlp.io import verify_manifest
from medvlp.zeroshot import results as results_module
from medvlp.zeroshot.evaluate import EvaluateConfig, evaluate


@pytest.fixture(scope="module")
def config(store, graph_folder):
    return EvaluateConfig(
        checkpoint="none", data=str(store.folder), graph=str(graph_folder), bootstrap_draws=200, num_examples=6
    )


@pytest.fixture(scope="module")
def run(config, make_encoder, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluate") / "eval"
    encoder = make_encoder(noise=0.12)
    evaluate(config, out, model=encoder)
    return out, json.loads((out / "results.json").read_text()), encoder


def metric(results, name):
    return next(entry for entry in results["metrics"] if entry["name"] == name)


def test_files_are_whole_and_fit_the_schema(run):
    out, results, _ = run
    verify_manifest(out)
    results_module.validate(results)
    assert sorted(path.name for path in out.iterdir()) == [
        "manifest.json", "predictions.parquet", "report.html", "results.json",
    ]  # fmt: skip


def test_every_sample_exactly_once(run):
    out, results, encoder = run
    table = pyarrow.parquet.read_table(out / "predictions.parquet").to_pydict()
    assert len(table["key"]) == len(set(table["key"])) == 36 == results["task"]["num"]
    assert results["task"]["rows"]["dropped"] == {"no label": 3}
    assert encoder.num_images == 72  # test and dev, each once
    assert all(entry["n"] == 36 and entry["num_cases"] == 6 for entry in results["metrics"])


def test_numbers_equal_scikit_learn_on_the_written_predictions(run):
    out, results, _ = run
    table = pyarrow.parquet.read_table(out / "predictions.parquet").to_pandas()
    assert metric(results, "balanced_accuracy")["value"] == pytest.approx(
        balanced_accuracy_score(table["label"], table["answer"])
    )
    columns = [f"probability: {label}" for label in sorted(set(table["label"]))]
    expected = roc_auc_score(table["label"], table[columns].to_numpy(), multi_class="ovr")
    found = metric(results, "auroc")
    assert found["value"] == pytest.approx(expected)
    assert found["low"] <= found["value"] <= found["high"]


def test_hierarchy_scores_lie_above_accuracy(run):
    _, results, _ = run
    plain, credit = metric(results, "accuracy")["value"], metric(results, "hierarchical_accuracy")["value"]
    assert plain < 1
    assert plain <= credit <= 1
    assert metric(results, "mistake_distance")["value"] >= 2


def test_floors_stand_beside_every_score(run):
    _, results, _ = run
    floors = {floor["name"]: {e["name"]: e for e in floor["metrics"]} for floor in results["floors"]}
    assert set(floors) == {"prior", "colour-histogram", "untrained"}
    for floor in floors.values():
        assert [entry["name"] for entry in results["metrics"]] == list(floor)
    assert floors["prior"]["accuracy"]["value"] == pytest.approx(1 / 3)
    assert floors["prior"]["auroc"]["value"] == 0.5
    assert floors["colour-histogram"]["accuracy"]["value"] == 1  # colour is all there is in this world
    lead = floors["prior"]["balanced_accuracy"]["lead"]
    assert lead["low"] > 0
    assert lead["value"] == pytest.approx(metric(results, "balanced_accuracy")["value"] - 1 / 3)


def test_thresholds_come_from_dev_only(run):
    _, results, _ = run
    assert results["thresholds"]["split"] == "dev"
    assert metric(results, "sensitivity_at_specificity")["value"] is not None


def test_report_asks_nothing_of_the_network_and_shows_no_text(run):
    out, results, _ = run
    page = (out / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    assert page.count("data:image/jpeg") == 6
    assert page.count("data:image/svg+xml") == 4
    assert "secret" not in page + json.dumps(results)
    assert metric(results, "hierarchical_accuracy")["title"] in page


def test_same_seed_same_numbers(run, config, make_encoder, tmp_path):
    _, first, _ = run
    evaluate(config, tmp_path / "again", model=make_encoder(noise=0.12))
    second = json.loads((tmp_path / "again" / "results.json").read_text())
    varying = {"created", "command"}
    assert {k: v for k, v in first.items() if k not in varying} == {k: v for k, v in second.items() if k not in varying}


def test_single_class_split_gives_null_with_reason(make_store, encoder, tmp_path):
    store = make_store(splits=("test",), labels=("adeno", "wart"))
    rows = EvaluateConfig(checkpoint="none", data=str(store.folder), bootstrap_draws=20, split="test")
    evaluate(rows, tmp_path / "a", model=encoder)
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    sensitivity = metric(results, "sensitivity_at_specificity")
    assert sensitivity["value"] is None
    assert "no labelled development split" in sensitivity["reason"]
    assert "no graph" in metric(results, "hierarchical_accuracy")["reason"]
    assert {f["name"]: f["skipped"] for f in results["floors"]}["prior"] == "there is no labelled training split"
    assert results["prompts"]["fallback"] == ["adeno", "wart"]


def test_multi_label_uses_concepts_and_descendants(store, graph_folder, encoder, tmp_path):
    config = EvaluateConfig(
        checkpoint="none", data=str(store.folder), graph=str(graph_folder), mode="multi", bootstrap_draws=50,
        classes=["adeno", "wart"], class_concepts={"adeno": ["T:2"]}, positive=None, num_examples=2,
    )  # fmt: skip
    evaluate(config, tmp_path / "m", model=encoder)
    results = json.loads((tmp_path / "m" / "results.json").read_text())
    assert {row["label"]: row["num"] for row in results["classes"]} == {"adeno": 24, "wart": 12}
    assert results["task"]["num"] == 39  # unlabelled rows are negatives here
    assert results["plots"]["confusion_matrix"] is None
    assert metric(results, "auroc")["value"] > 0.5
    assert metric(results, "f1_macro")["value"] is not None


def test_positive_class_narrows_ranking_scores(store, encoder, tmp_path):
    config = EvaluateConfig(checkpoint="none", data=str(store.folder), positive="wart", bootstrap_draws=0, floors=[])
    evaluate(config, tmp_path / "p", model=encoder)
    results = json.loads((tmp_path / "p" / "results.json").read_text())
    per_class = {row["label"]: row["metrics"] for row in results["classes"]}
    assert metric(results, "auroc")["value"] == per_class["wart"]["auroc"]["value"]
    assert metric(results, "auroc")["low"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fit_split": "test", "split": "dev"}, "nothing may be fitted on the test split; fit on dev or train"),
        ({"classes": ["adeno", "nevus"]}, "nevus: is not a class of the data; its classes are adeno, squamous, wart"),
        ({"classes": ["adeno"]}, "1 distinct classes; a single-label task needs at least two"),
        ({"positive": "nevus"}, "positive: nevus: is not a class; use one of adeno, squamous, wart"),
    ],
)
def test_bad_requests(config, encoder, tmp_path, change, message):
    with pytest.raises(DataError, match=re.escape(message)):
        evaluate(config.model_copy(update=change), tmp_path / "x", model=encoder)
    assert not (tmp_path / "x").exists()


def test_split_without_labels(make_store, encoder, tmp_path):
    store = make_store(splits=("train", "dev"))
    config = EvaluateConfig(checkpoint="none", data=str(store.folder))
    with pytest.raises(DataError, match=r"split test of .*: holds no labelled row; choose another"):
        evaluate(config, tmp_path / "x", model=encoder)


def test_unknown_concept_is_named(config, encoder, tmp_path):
    with pytest.raises(GraphError, match="T:99"):
        evaluate(config.model_copy(update={"class_concepts": {"adeno": ["T:99"]}}), tmp_path / "x", model=encoder)


def test_existing_folder_is_kept(config, encoder, tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(DataError, match="already exists; remove it"):
        evaluate(config, tmp_path / "x", model=encoder)


def test_the_command_replaces_results_only_when_told(config, encoder, tmp_path, monkeypatch, capfd):
    from medvlp import cli
    from medvlp import config as configs
    from medvlp.zeroshot import evaluate as module

    monkeypatch.setattr(module, "evaluate", partial(evaluate, model=encoder))
    (tmp_path / "mine.yaml").write_text(configs.dump(config))
    command = ["evaluate", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "results")]
    assert cli.run(command) == 0
    assert cli.run(command) == 2
    assert "already exists; remove it, choose another name, or pass --overwrite" in capfd.readouterr().err
    assert cli.run([*command, "--overwrite"]) == 0


def test_failure_leaves_nothing_behind(config, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(encoder, "encode_image", lambda images: [[float("nan")] * 3] * len(images))
    with pytest.raises(DataError, match="an embedding is zero or not finite"):
        evaluate(config, tmp_path / "x", model=encoder)
    assert list(tmp_path.iterdir()) == []


def test_schema_names_the_bad_place(run):
    _, results, _ = run
    broken = json.loads(json.dumps(results))
    broken["thresholds"]["split"] = "test"
    with pytest.raises(DataError, match="does not fit the results schema at thresholds"):
        results_module.validate(broken)
    broken = json.loads(json.dumps(results))
    broken["metrics"][0]["value"] = None
    with pytest.raises(DataError, match="metrics/0"):
        results_module.validate(broken)
