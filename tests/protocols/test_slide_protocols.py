"""Slide protocols on planted mini-slides: the slide benchmark's scores again, floors, cuts from development slides,
paired draws, lists and masks of real slides, and what is refused."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from planted.planted_cases import CELL, make_config, write_sources
from sklearn.metrics import roc_auc_score
from tiny_models import tiny_model, write_bert

from benchmarks.harness.outcome import Skipped
from benchmarks.harness.protocol import Context, draw_seed
from benchmarks.harness.protocols import slide_classification, slide_segmentation
from benchmarks.harness.slides import open_set
from benchmarks.harness.subjects import Subject
from benchmarks.harness.task import SlidesData, TaskConfig
from benchmarks.slides.config import SlidesBenchmarkConfig
from benchmarks.slides.embed import embed_set
from benchmarks.slides.embed import open_set as open_planted_set
from benchmarks.slides.masks import read_mask
from benchmarks.slides.outlines import dice_of
from benchmarks.slides.score import Asked, score_model
from data_prep.planted import simulate as planted
from data_prep.planted.plan import TUMOUR
from data_prep.planted.store import PlantedSlides
from medvlp.errors import ConfigError, DataError
from medvlp.metrics import bootstrap
from medvlp.zeroshot.prompts import Prompt, PromptSet

pytestmark = pytest.mark.extras
pytest.importorskip("openslide", reason="needs the extra slides")
pytest.importorskip("tifffile", reason="needs the extra slides")

PROMPTS = PromptSet(
    ("carcinoma", "mucosa"),
    ((Prompt("an image of carcinoma", "name"),), (Prompt("an image of normal tissue", "name"),)),
)
TISSUE = {"pen": False, "mpp": 2.0, "closing_um": 0.0, "min_area_um2": 0.0, "max_hole_um2": 0.0}
NAMES = {"classification": "slide_classification", "segmentation": "slide_segmentation"}
MODULES = {"classification": slide_classification, "segmentation": slide_segmentation}


class Blue:
    """Sees how much more blue than red an image has; knows that carcinoma is blue."""

    def encode_image(self, images):
        means = np.array([np.asarray(image, dtype=float).mean((0, 1)) for image in images])
        angle = np.clip((means[:, 2] - means[:, 0]) / 60, -1, 1) * np.pi / 4 + np.pi / 4
        return np.stack([np.sin(angle), np.cos(angle)], 1)

    def encode_text(self, texts):
        return np.array([[1.0, 0.0] if "carcinoma" in text else [0.0, 1.0] for text in texts])

    def scale(self):
        return 10.0


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("protocols")
    config = make_config(write_sources(tmp_path_factory.mktemp("tiles")), slides={"dev": 4, "test": 6}, sides=[5],
                         levels=[4, 8])  # fmt: skip
    return PlantedSlides(planted.simulate(config, folder / "planted"))


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "prompts.json"
    PROMPTS.save(path)
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(write_bert(tmp_path_factory.mktemp("bert") / "bert"))


@pytest.fixture
def ask(slides, prompts, cache):
    def opened(protocol, settings=None, context=None, **more):
        plain = {
            "kind": "task", "title": "Mini", "citation": "None", "licence": "CC0",
            "data": {"form": "slides", "planted": str(slides.folder)}, "prompts": {"file": str(prompts)},
            "protocols": [{"name": NAMES[protocol], "tissue": TISSUE, "grid": {"tile_size": CELL}, **(settings or {})}],
            **more,
        }  # fmt: skip
        task = TaskConfig.model_validate(plain)
        return MODULES[protocol].open(task, task.protocols[0], context or Context(cache, None, 200, 0.95))

    return opened


def values(outcome):
    return {metric.name: metric.value for metric in outcome.metrics}


def test_scores_equal_those_of_the_slide_benchmark(ask, slides, model, prompts, tmp_path):
    config = SlidesBenchmarkConfig.model_validate(
        {"sets": {"mini": {"title": "Mini", "slides": str(slides.folder), "prompts": str(prompts)}}, "align": "x",
         "tissue": TISSUE, "grid": {"tile_size": CELL}}
    )  # fmt: skip
    _, digest = open_planted_set(slides.folder)
    tiles = embed_set(config, slides, digest, model, tmp_path / "tiles")
    record = score_model(config, model, tiles, Asked.of(PROMPTS, ["carcinoma"]))
    subject = Subject.of(model)
    target = np.array([slide.tumour is not None for slide in slides.part("test")])
    for pooling in ("tumour_ratio", "top_k", "mean", "lse", "mean_embedding"):
        outcome = ask("classification", {"pooling": pooling}).score(subject, 0)
        found = record["methods"][f"{pooling}|none"]
        np.testing.assert_allclose(outcome.predictions["tumour_score"], found["test"]["score"], atol=1e-5)
        auroc = roc_auc_score(target, outcome.predictions["tumour_score"])
        assert values(outcome)["auroc"] == pytest.approx(auroc)
        assert outcome.details["fitted"]["cut"] == pytest.approx(found["cut"], abs=1e-5)
        assert outcome.details["fitted"]["k"] == (found["k"] if pooling == "top_k" else None)
    segmented = ask("segmentation").score(subject, 0)
    dice_NT = dice_of(record["areas"]["none"]["test"])
    assert values(segmented)["dice_preset"] == pytest.approx(np.nanmean(dice_NT[:, -1]), abs=1e-6)
    assert values(segmented)["dice_oracle"] == pytest.approx(np.nanmean(dice_NT, 0)[:-1].max(), abs=1e-6)


def test_tiles_are_embedded_once_per_model_and_cut(ask, model, tmp_path):
    context = Context(tmp_path, None, 10, 0.95)
    folders = lambda: {path.name for path in (tmp_path / "slides" / "tiles").iterdir()}  # noqa: E731
    ask("classification", context=context).score(Subject.of(model), 0)
    first = folders()
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "slides" / "tiles").rglob("features.npy")}
    ask("segmentation", context=context).score(Subject.of(model), 0)
    assert folders() == first
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    floor = ask("classification", context=context).floor("untrained", Subject.of(model), 3)
    assert len(folders()) == 2
    assert not np.isnan(floor.metrics[0].value)


def test_one_who_sees_the_tumour_and_the_floors(ask):
    subject = Subject.of(Blue())
    detection = ask("classification")
    found = values(detection.score(subject, 0))
    assert found["auroc"] == 1
    assert found["detection_balanced_accuracy"] > 0.8
    floors = {name: values(detection.floor(name, None, 0)) for name in slide_classification.FLOORS}
    assert (floors["prior"]["auroc"], floors["prior"]["sensitivity_at_specificity"]) == (0.5, 0)
    assert floors["colour-histogram"]["auroc"] > 0.9  # the two classes differ in colour
    assert values(detection.floor("mean-pooling", subject, 0))["auroc"] > 0.5
    assert isinstance(detection.floor("untrained", subject, 0), Skipped)
    assert isinstance(ask("classification", {"pooling": "mean_embedding"}).floor("mean-pooling", subject, 0), Skipped)
    outlines = ask("segmentation")
    seen, everything = values(outlines.score(subject, 0)), values(outlines.floor("prior", None, 0))
    assert seen["dice_dev"] > 1.3 * everything["dice_dev"] > 0
    assert seen["tile_auroc"] > 0.95
    assert seen["iou_dev"] < seen["dice_dev"] <= seen["dice_oracle"] + 1e-9
    assert values(outlines.floor("colour-histogram", None, 0))["tile_auroc"] > 0.9


def test_what_is_fitted_never_sees_scored_slides(ask):
    """Scored slides with other values, or another truth, leave every cut as it is."""
    question = ask("classification", {"pooling": "top_k"})
    seen = question.slides.values(Subject.of(Blue()))
    rng = np.random.default_rng(0)
    other = [
        value if row in question.slides.parts["dev"] else rng.uniform(-1, 1, value.shape)
        for row, value in enumerate(seen.by_tile)
    ]
    first = question._outcome(seen, "top_k")
    second = question._outcome(replace(seen, by_tile=other), "top_k")
    assert first.details["fitted"] == second.details["fitted"]
    assert first.predictions["tumour_score"].tolist() != second.predictions["tumour_score"].tolist()
    outlines = ask("segmentation")
    one, two = (outlines._outcome(replace(seen, by_tile=values)) for values in (seen.by_tile, other))
    assert one.details["fitted"]["threshold"] == two.details["fitted"]["threshold"]
    assert ask("classification", {"pooling": "top_k", "k": 3}).score(Subject.of(Blue()), 0).details["fitted"]["k"] == 3
    with pytest.raises(DataError, match="nothing may be fitted on the test split"):
        ask("classification", split="dev", fit_split="test")


def test_draws_are_those_of_the_question_and_pair(ask):
    question = ask("classification")
    outcome, floor = question.score(Subject.of(Blue()), 0), question.floor("colour-histogram", None, 0)
    weights = np.concatenate(list(bootstrap.draw_weights(question.slides.cases, 200, draw_seed(question.digest))))
    for found in (outcome, floor):
        target, score = found.predictions["target"] == 0, found.predictions["tumour_score"]
        for draw, weight in enumerate(weights):
            if len(set(target[weight > 0])) == 2:
                expected = roc_auc_score(target, score, sample_weight=weight)
                assert found.metrics[0].draw_S[draw] == pytest.approx(expected)
            else:
                assert np.isnan(found.metrics[0].draw_S[draw])


def write_list(slides, folder, change=None):
    """A table of the planted slides as if they were anybody's, with masks as PNG."""
    rows = []
    for slide in slides.slides:
        mask = folder / f"{slide.key}.png"
        Image.fromarray(((slide.read_mask() == TUMOUR) * 255).astype(np.uint8)).save(mask)
        label = "mucosa" if slide.tumour is None else slide.tumour
        rows.append({"slide": str(slide.path), "label": label, "case": slide.key, "split": slide.part,
                     "outline": str(mask) if slide.tumour else ""})  # fmt: skip
    if change is not None:
        change(rows)
    with (folder / "slides.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "slides.csv"


def test_a_list_of_slides_has_the_same_truth_and_detection(ask, slides, tmp_path):
    data = {"form": "slides", "table": str(write_list(slides, tmp_path))}
    listed = open_set(SlidesData.model_validate(data), tmp_path, None, ["mucosa"])
    coords = np.array([[0, 0], [CELL, CELL], [40, 52]])
    for ours, planted_slide in zip(listed.slides, slides.slides, strict=True):
        assert ours.tumour_area() == planted_slide.tumour_area()
        np.testing.assert_allclose(ours.truth(coords, CELL)[0], planted_slide.truth(coords, CELL)[0])
    question = ask("classification", {"normal": ["mucosa"]}, data=data)
    own = ask("classification")
    subject = Subject.of(Blue())
    assert values(question.score(subject, 0)) == values(own.score(subject, 0))
    assert question.digest != own.digest
    assert values(question.floor("colour-histogram", None, 0))["auroc"] > 0.5
    outlines = ask("segmentation", {"normal": ["mucosa"]}, data=data)
    assert outlines.num == 3
    assert isinstance(outlines.floor("colour-histogram", None, 0), Skipped)


def test_slides_that_are_all_tumours_are_told_apart(ask, slides, tmp_path):
    """Subtyping without any normal class: no cut, no AUROC, the answer is the larger share of tiles."""
    data = {"form": "slides", "table": str(write_list(slides, tmp_path))}
    question = ask("classification", {"pooling": "mean"}, data=data)
    outcome = question.score(Subject.of(Blue()), 0)
    assert set(values(outcome)) == {"balanced_accuracy", "weighted_f1"}
    assert outcome.details["fitted"]["cut"] is None
    assert outcome.metrics[0].chance == 0.5
    recall = [np.mean(outcome.predictions["answer"][outcome.predictions["target"] == k] == k) for k in (0, 1)]
    assert outcome.metrics[0].value == pytest.approx(np.mean(recall))
    with pytest.raises(ConfigError, match="outlines need a normal class"):
        ask("segmentation", data=data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[0].update(case=rows[-1]["case"]), "the case is in two splits"),
        (lambda rows: rows.append(rows[0]), "two slides have this key"),
        (lambda rows: rows[0].update(slide="gone.tiff"), "gone.tiff: is not there"),
    ],
)
def test_a_bad_list_is_named(slides, tmp_path, change, message):
    table = write_list(slides, tmp_path, change)
    with pytest.raises(DataError, match=message):
        open_set(SlidesData(table=str(table)), tmp_path)


def test_a_task_that_does_not_fit_its_slides_is_refused(ask, slides, tmp_path):
    with pytest.raises(DataError, match="split test: 6 slides, expected 7"):
        ask("classification", expect={"num": {"test": 7}})
    with pytest.raises(DataError, match="mucosa: 3 test slides, expected 1"):
        ask("classification", expect={"classes": {"mucosa": 1}})
    with pytest.raises(DataError, match="expect.sha256: keys, cases and truth have the digest"):
        ask("classification", expect={"sha256": "0"})
    with pytest.raises(ConfigError, match="needs slides"):
        ask("classification", data={"form": "files"})
    with pytest.raises(ConfigError, match="slides need one source, not 0"):
        ask("classification", data={"form": "slides"})
    data = {"form": "slides", "table": str(write_list(slides, tmp_path))}
    with pytest.raises(ConfigError, match="normal: stroma: is no class"):
        ask("classification", {"normal": ["stroma"]}, data=data)


def test_outlines_in_xml_are_drawn_with_their_holes(tmp_path):
    def ring(group, corners):
        points = "".join(f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in enumerate(corners))
        return f'<Annotation PartOfGroup="{group}"><Coordinates>{points}</Coordinates></Annotation>'

    def square(low, high):
        return [(low, low), (high, low), (high, high), (low, high)]

    path = tmp_path / "slide.xml"
    body = ring("_2", square(400, 600)) + ring("Tumor", square(200, 800))
    path.write_text(f"<ASAP_Annotations><Annotations>{body}</Annotations></ASAP_Annotations>", encoding="utf-8")
    mask, downsample = read_mask(path, (1600, 1000))
    assert (mask.shape, downsample) == ((125, 200), 8)
    assert mask.sum() * downsample**2 == pytest.approx(600**2 - 200**2, rel=0.05)
    assert not mask[63, 63]
    path.write_text("<ASAP_Annotations>", encoding="utf-8")
    with pytest.raises(DataError, match="holds no readable outlines"):
        read_mask(path, (1600, 1000))
    Image.new("L", (10, 40)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match="but the slide is 1600 x 1000 pixels"):
        read_mask(tmp_path / "mask.png", (1600, 1000))
