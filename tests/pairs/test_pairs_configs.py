"""Every packaged pairs configuration is valid, and with the data at hand it prepares what it names."""

import os
from pathlib import Path

import pytest

from data_prep.pairs.config import PairsConfig
from data_prep.pairs.prepare import prepare
from medvlp.config import load
from medvlp.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "pairs").glob("*.yaml"))
CLASSES = {
    "cxr_covid": 14,
    "cyto_wbc": 5,
    "derm_ham10000": 7,
    "dicom": 3,
    "lc25000": 5,
    "medmnist": 0,
    "mednist": 6,
    "nuclei": 3,
    "path_oral_oscc": 2,
    "shards": 0,
}
WITHOUT_DATA = {"medmnist", "shards"}  # their tests make files of these layouts
# sets that users bring: tests/standard makes miniatures of their layouts
STANDARD = {
    path.stem for path in CONFIGS if type(load(str(path)).source).__module__.startswith("data_prep.pairs.standard.")
}
NUM_IMAGES = {"dicom": 3}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_loads(path):
    assert isinstance(load(str(path), kind="pairs"), PairsConfig)


def test_all_are_covered():
    assert sorted(CLASSES) == [path.stem for path in CONFIGS if path.stem not in STANDARD]


@pytest.mark.data
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_dry_run_on_the_real_set(path, tmp_path, capsys):
    if not os.environ.get("MEDVLP_DATA"):
        pytest.skip("MEDVLP_DATA is not set")
    if path.stem in WITHOUT_DATA | STANDARD:
        pytest.skip("no such set at hand")
    config = load(str(path), kind="pairs")
    prepare(config, tmp_path / "out", already_deidentified=path.stem in {"cxr_covid", "dicom"}, dry_run=True)
    said = capsys.readouterr().err
    num = NUM_IMAGES.get(path.stem, 20)
    assert f"dry run on {num} images: kept {num}, dropped" in said
    assert 2 <= said.count("  class ") <= CLASSES[path.stem]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("split.train=0.9", "train \\+ dev \\+ test is"),
        ("captions.templates=[no slot]", "needs exactly one"),
        ("source.crops=64", "crop"),
    ],
)
def test_mistakes_are_named(override, message):
    with pytest.raises(ConfigError, match=message):
        load(str(CONFIGS[0].with_name("nuclei.yaml")), [override], kind="pairs")
