"""The benchmark tasks of the standard pathology sets name real sources, and expect what their adapters check."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from data_prep.pairs.config import PairsConfig
from data_prep.pairs.standard import bach, crc_he, kaggle_slides, pcam, sicapv2, wsss4luad
from data_prep.pairs.standard.slide_sets import SlideSource
from medvlp.config import load
from medvlp.config_yaml import read_yaml

TASKS = Path(__file__).parents[2] / "benchmarks" / "tasks"
PAIRS = ("bach", "breakhis", "crc_he", "pcam", "sicapv2", "wsss4luad")
SLIDES = ("camelyon16", "cptac_nsclc", "ebrains", "panda", "tcga_nsclc", "tcga_rcc", "ubc_ocean")
KEYS = {
    "kind", "title", "citation", "licence", "homepage", "defects", "data", "expect", "split", "prompts", "protocols"
}  # fmt: skip
NUM = {
    "bach": {"train": 268, "test": 132},
    "crc_he": {
        split: sum(per.values()) for split, per in (("train", crc_he.TRAIN_COUNTS), ("test", crc_he.TEST_COUNTS))
    },
    "pcam": pcam.COUNTS,
    "sicapv2": {"train": sicapv2.FOLD_SIZES[1][0], "dev": sicapv2.FOLD_SIZES[1][1], "test": sicapv2.TEST},
    "wsss4luad": {"test": sum(wsss4luad.ONE_TISSUE.values())},
    "camelyon16": {"train": 270, "test": 129},
    "panda": {"test": kaggle_slides.PANDA_IMAGES},
    "ubc_ocean": {"test": 513},
}
CLASSES = {
    "bach": {bach.NAMES[label]: len(numbers) for label, numbers in bach.TEST_NUMBERS.items()},
    "crc_he": {crc_he.NAMES[label]: num for label, num in crc_he.TEST_COUNTS.items()},
    "ubc_ocean": {
        kaggle_slides.OCEAN_NAMES[label]: num - kaggle_slides.CORES_PER_CLASS
        for label, num in kaggle_slides.OCEAN_COUNTS.items()
    },
    "wsss4luad": {wsss4luad.NAMES[label]: num for label, num in wsss4luad.ONE_TISSUE.items()},
}


@pytest.mark.parametrize("name", [*PAIRS, *SLIDES])
def test_a_task_says_what_its_adapter_checks(name):
    task = read_yaml(TASKS / f"{name}.yaml").plain()
    assert set(task) == KEYS
    assert (task["kind"], task["split"]) == ("task", "test")
    assert task["homepage"].startswith("https://")
    assert task["defects"]
    assert task["expect"]["num"] == NUM.get(name, {})
    assert task["expect"].get("classes", {}) == CLASSES.get(name, {})
    if name in PAIRS:
        assert task["data"] == {"form": "pairs", "config": f"pairs/{name}"}
        assert task["protocols"][0] == {"name": "zero_shot"}
        config = load(task["data"]["config"], kind="pairs")
        assert isinstance(config, PairsConfig)
        assert config.source.name == name
    else:
        assert task["data"]["form"] == "slides"
        source = TypeAdapter(SlideSource).validate_python(task["data"]["source"])
        assert name.startswith(source.name)
        assert task["protocols"] == [{"name": "slide_classification"}]
