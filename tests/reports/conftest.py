"""Small sources of reports, and a stand-in for de-identification that can be seen at work."""

import sys
import types
from collections import Counter
from dataclasses import dataclass

import pytest

from data_prep.reports.config import ReportsConfig

TEXTS = {
    "r1": "FINDINGS: Small left pleural effusion. No pneumothorax.\nIMPRESSION: Possible pneumonia.",
    "r2": "FINDINGS: The lungs are clear. Heart size is normal.",
    "r3": "FINDINGS: Calcified granuloma in the right upper lobe. Mr. SECRETNAME has a scar.",
}


@pytest.fixture
def folder(tmp_path):
    """A folder of three usable reports."""
    place = tmp_path / "texts"
    place.mkdir()
    for key, text in TEXTS.items():
        (place / f"{key}.txt").write_text(text, encoding="utf-8")
    return place


@pytest.fixture
def config(folder):
    """A configuration that reads it."""
    return ReportsConfig.model_validate({"source": {"name": "texts", "folder": str(folder)}})


@dataclass(frozen=True)
class Deidentified:
    """What ``data_prep.deid.deidentify_text`` returns."""

    text: str
    removed: Counter


@pytest.fixture
def removes_names(monkeypatch):
    """Make de-identification a known one: it takes SECRETNAME out."""

    def deidentify_text(text):
        return Deidentified(text.replace("SECRETNAME", "[NAME]"), Counter(name=text.count("SECRETNAME")))

    module = types.ModuleType("data_prep.deid")
    module.deidentify_text = deidentify_text
    monkeypatch.setitem(sys.modules, "data_prep.deid", module)
