"""The seed systems' recipes say paper, loss, and which settings are the paper's own; these load and change a recipe."""

import re
import shlex

import pytest

from medvlp.config import dump, load
from medvlp.config_files import shipped_configs

RECIPES = ("medklip", "kad", "make", "structure_clip", "devide", "local", "arl", "ernie_vil")
LINES = re.compile(r"^# As published: (.*(?:\n#   [a-z_.]+=.*)*)", re.MULTILINE)


def header(name):
    text = shipped_configs()[name].read_text(encoding="utf-8")
    return text[: text.index("\nkind:") + 1]


def as_published(name):
    """The overrides in a recipe's header, without what stands in brackets behind them."""
    (found,) = LINES.findall(header(name))
    said = re.sub(r"\((?:[^()]*)\)", "", found.replace("\n#", " "))
    return shlex.split(said)


@pytest.mark.parametrize("name", RECIPES)
def test_the_header_names_paper_and_loss(name):
    said = header(name)
    assert re.search(r"20\d\d|arXiv \d{4}\.\d{5}", said)
    assert "\n# Loss" in said


@pytest.mark.parametrize("name", RECIPES)
def test_each_setting_of_the_paper_loads_and_changes_the_recipe(name):
    overrides = as_published(name)
    assert overrides
    ours = dump(load(name))
    for override in overrides:
        assert dump(load(name, [override])) != ours, override
    together = load(name, overrides)
    assert load(name, [*overrides, "steps=7"]).model_copy(update={"steps": together.steps}) == together


def test_the_header_is_read_to_its_end():
    assert as_published("kad") == [
        "objective.aspects=[name]",
        "objective.positives=own",
        "objective.unmentioned=absent",
        "image_augment.laterality=ignore",
        "model.decoder.width=768",
    ]
