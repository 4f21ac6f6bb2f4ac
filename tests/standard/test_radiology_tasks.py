"""Tasks of the chest and skin sets name real sources, score classes these know, and expect published counts."""

from pathlib import Path

import pytest

from data_prep.pairs.items import Listing
from data_prep.pairs.standard import chest_challenges, chest_expert, chest_nih, chest_vindr, derm_fitzpatrick
from data_prep.pairs.standard.boxes import BoxedSource
from data_prep.pairs.standard.chest_names import CONCEPTS, describe
from medvlp.config import load
from medvlp.config_yaml import read_yaml

TASKS = Path(__file__).parents[2] / "benchmarks" / "tasks"
SUBGROUP_KEYS = {"table", "key", "columns"}
SCORED = {
    "chestxray14": chest_nih.EXPECTED.by_class,
    "chexpert": chest_expert.OBSERVATIONS,
    "vindr_cxr": (*chest_vindr.LOCAL, *chest_vindr.GLOBAL),
}
SETS = (
    "chestxray14", "chexpert", "padchest", "rsna_pneumonia", "siim_pneumothorax", "vindr_cxr", "ms_cxr", "pad_ufes_20",
    "ham10000", "fitzpatrick17k", "skincon", "sd128", "derm7pt",
)  # fmt: skip


def task_of(name):
    return read_yaml(TASKS / f"{name}.yaml").plain()


@pytest.mark.parametrize("name", SETS)
def test_a_task_is_complete(name):
    task = task_of(name)
    assert (task["kind"], task["split"], task["data"]["form"]) == ("task", "test", "pairs")
    assert task["homepage"].startswith("http")
    assert task["citation"]
    assert task["licence"]
    assert task["defects"]
    assert task["data"]["config"] == f"pairs/{name}"
    config = load(task["data"]["config"], task["data"].get("set", []), kind="pairs")
    if "subgroups" in task:
        assert set(task["subgroups"]) == SUBGROUP_KEYS
        assert task["subgroups"]["table"].startswith(config.source.root + "/")
    if any(name == "linear_probe" for name in [entry["name"] for entry in task["protocols"]]):
        assert config.split.train > 0


@pytest.mark.parametrize("name", ["rsna_pneumonia", "ms_cxr"])
def test_grounding_is_asked_of_sets_with_boxes(name):
    task = task_of(f"{name}_grounding")
    assert isinstance(load(task["data"]["config"], kind="pairs").source, BoxedSource)
    assert task["data"]["config"] == f"pairs/{name}"
    assert task["data"]["already_deidentified"]  # keys have to be those of the masks
    (protocol,) = task["protocols"]
    assert protocol["name"] == "grounding"
    assert protocol["masks"].startswith("${")


@pytest.mark.parametrize("name", SCORED)
def test_scored_classes_are_display_names(name):
    listing = Listing([])
    describe(listing, SCORED[name])
    classes = task_of(name)["classes"]
    assert set(classes) <= set(listing.label_names.values())
    assert len(classes) == len(set(classes))
    assert "no finding" not in classes


def test_skincon_scores_the_22_frequent_concepts():
    classes = task_of("skincon")["classes"]
    assert len(classes) == 22
    assert set(classes) <= {derm_fitzpatrick.display_name(concept) for concept in derm_fitzpatrick.CONCEPTS}


def test_expected_counts_are_those_that_the_adapters_check():
    assert task_of("chestxray14")["expect"]["num"] == dict(chest_nih.EXPECTED.by_split)
    assert task_of("chexpert")["expect"]["num"] == {part: chest_expert.COUNTS[part] for part in ("dev", "test")}
    assert task_of("vindr_cxr")["expect"]["num"] == {"test": chest_vindr.COUNTS["test"]}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rsna_pneumonia", chest_challenges.RSNA_EXPECTED["two"]),
        ("siim_pneumothorax", chest_challenges.SIIM_EXPECTED),
    ],
)
def test_drawn_parts_have_the_counts_of_the_task(name, expected):
    from data_prep.pairs.split import draw_splits

    task = task_of(name)
    labels = [label for label, count in expected.by_class.items() for _ in range(count)]
    config = load(task["data"]["config"], kind="pairs")
    splits = draw_splits([str(k) for k in range(len(labels))], labels, config.split.fractions, config.split.seed)
    scored = [label for label, split in zip(labels, splits, strict=True) if split == "test"]
    assert task["expect"]["num"] == {"test": len(scored)}
    assert task["expect"]["classes"] == {label: scored.count(label) for label in expected.by_class}


@pytest.mark.data
def test_diseases_are_in_the_ontology(doid_names):
    wrong = {name: concept for name, concept in CONCEPTS.items() if doid_names.get(concept) != name}
    assert wrong == {}


@pytest.fixture(scope="module")
def doid_names():
    import gzip
    import os

    if not os.environ.get("MEDVLP_DATA"):
        pytest.skip("MEDVLP_DATA is not set")
    path = Path(os.environ["MEDVLP_DATA"]) / "ontology_doid" / "doid-2024-01-31.obo.gz"
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        lines = stream.read().splitlines()
    ids = [line.removeprefix("id: ") for line in lines if line.startswith("id: DOID:")]
    names = [lines[at + 1].removeprefix("name: ") for at, line in enumerate(lines) if line.startswith("id: DOID:")]
    return dict(zip(ids, names, strict=True))
