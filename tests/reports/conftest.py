"""Small sources of reports, and a stand-in for de-identification that can be seen at work."""

import pytest

from data_prep.reports.config import ReportsConfig

TEXTS = {
    "r1": "FINDINGS: Small left pleural effusion. No pneumothorax.\nIMPRESSION: Possible pneumonia.",
    "r2": "FINDINGS: The lungs are clear. Heart size is normal.",
    "r3": "FINDINGS: Calcified granuloma in the right upper lobe. Mr. Pemberton has a scar.",
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
