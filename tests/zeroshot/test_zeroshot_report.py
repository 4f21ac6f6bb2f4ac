"""The page: hostile labels stay text, many classes still draw, the verdict follows the interval, configs load."""

import copy

import numpy as np
import pytest
from PIL import Image

from medvlp import config as config_module
from medvlp.zeroshot import plots, report
from medvlp.zeroshot.evaluate import EvaluateConfig, evaluate


@pytest.fixture(scope="module")
def results(make_store, make_encoder, tmp_path_factory):
    import json

    store = make_store(per_class=6)
    config = EvaluateConfig(checkpoint="none", data=str(store.folder), bootstrap_draws=50, num_examples=0)
    out = evaluate(config, tmp_path_factory.mktemp("report") / "eval", model=make_encoder(noise=0.1))
    return json.loads((out / "results.json").read_text())


def test_hostile_strings_are_escaped(results):
    value = copy.deepcopy(results)
    value["title"] = "<script>alert(1)</script>"
    value["classes"][0]["label"] = '"><img src=http://x>'
    example = report.example(Image.new("RGB", (9, 9)), ["<b>"], ["<b>", "ok"], np.array([0.7, 0.3]))
    page = report.render(value, [example])
    assert "<script" not in page
    assert "<img src=http" not in page
    assert "<b>" not in page.split("Examples")[1].split("truth:")[1][:60]
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(("status", "colour"), [("ok", "better"), ("violated", "worse")])
def test_leaks_have_a_place_of_their_own(results, status, colour):
    page = report.render(results, leaks={"status": status, "line": "leaks: <i>two</i> shared"})
    assert f'<div class="verdict {colour}"><b>Leaks</b>leaks: &lt;i&gt;two&lt;/i&gt; shared</div>' in page
    assert "<b>Leaks</b>" not in report.render(results)


def test_mathtext_in_labels_does_not_break_plots():
    curve = [[0.0, 1.0], [0.0, 1.0]]
    assert plots.curve_plot({"a $x_{": curve, "$$": curve}, "roc", {}).startswith("data:image/svg+xml;base64,")
    assert plots.confusion_plot([[1, 0], [0, 1]], ["$\\frac{", "b"]) is not None


def test_many_classes(results):
    names = [f"class {n}" for n in range(60)]
    curve = [[0.0, 0.5, 1.0], [0.0, 0.7, 1.0]]
    assert plots.confusion_plot([[0] * 60] * 60, names) is None
    assert plots.curve_plot(dict.fromkeys(names, curve), "roc", dict.fromkeys(names, 0.5)).startswith("data:")


@pytest.mark.parametrize(
    ("low", "high", "state"),
    [(0.1, 0.3, "better"), (-0.1, 0.3, "unclear"), (-0.3, -0.1, "worse"), (None, None, "unknown")],
)
def test_verdict_follows_the_interval_of_the_best_floor(results, low, high, state):
    value = copy.deepcopy(results)
    for floor in value["floors"]:
        for entry in floor["metrics"]:
            best = floor["name"] == "colour-histogram"
            entry["value"] = 0.6 if best else 0.2
            entry["lead"] = {"value": 0.2, "low": low, "high": high} if best else {"value": 9, "low": 9, "high": 9}
    found = report.verdict(value)
    assert found["state"] == state
    assert "colour histogram" in found["text"]
    assert found["text"] in report.render(value)


def test_verdict_without_floors(results):
    value = copy.deepcopy(results)
    value["floors"] = []
    assert report.verdict(value)["state"] == "unknown"
    assert "nothing to hold this score against" in report.render(value)


@pytest.mark.parametrize("name", ["zero_shot", "pathology", "findings"])
def test_shipped_configs_load(name):
    loaded = config_module.load(f"configs/eval/{name}.yaml", kind="evaluate")
    assert isinstance(loaded, EvaluateConfig)
    assert loaded.fit_split == "dev"
    assert config_module.load(f"configs/eval/{name}.yaml", ["prompts.max_names=3"]).prompts.max_names == 3
