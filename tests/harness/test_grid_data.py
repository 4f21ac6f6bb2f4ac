"""Stores and graphs of a grid: made once, shared, made again when a source changed, never half there."""

import os

import numpy as np
import pytest
from PIL import Image

from benchmarks.harness.data import prepare_graph, prepare_store, read_task, signature
from benchmarks.harness.task import PairsData
from medvlp.data.pairs import PairsStore
from medvlp.errors import ConfigError, DataError
from medvlp.io import write_json

OBO = """format-version: 1.2

[Term]
id: DOID:4
name: disease

[Term]
id: DOID:162
name: cancer
is_a: DOID:4 ! disease
"""


@pytest.fixture
def cells(tmp_path):
    """A folder of images with a table, and its configuration."""
    folder = tmp_path / "cells"
    folder.mkdir()
    lines = ["file,class,case"]
    for number in range(12):
        coarse = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 64)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{'AB'[number % 2]},p{number // 2}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = tmp_path / "cells.yaml"
    config.write_text(
        f"kind: pairs\nsource: {{name: folder_csv, images: {folder}, table: {folder}/labels.csv, "
        "columns: {image: file, label: class, case: case}}\n",
        encoding="utf-8",
    )
    return config


def test_a_store_is_made_once_and_again_when_its_source_changes(cells, tmp_path):
    data, out = PairsData(config=str(cells)), tmp_path / "data"
    first = prepare_store(data, None, out)
    made = (first / "manifest.json").stat().st_mtime_ns
    assert prepare_store(data, None, out) == first
    assert (first / "manifest.json").stat().st_mtime_ns == made
    other = prepare_store(PairsData(config=str(cells), set=["split.seed=1"]), None, out)
    assert other != first
    table = tmp_path / "cells" / "labels.csv"
    table.write_text(table.read_text().replace("11.png,B,p5", "11.png,A,p5"), encoding="utf-8")
    again = prepare_store(data, None, out)
    assert again != first
    assert sum(PairsStore.load(again).manifest["num_rows_per_split"].values()) == 12


def test_an_interrupted_job_is_done_again(cells, tmp_path):
    data, out = PairsData(config=str(cells)), tmp_path / "data"
    store = prepare_store(data, None, out)
    (out / f"{store.name}.json").unlink()  # killed between the store and the note beside it
    (out / ".partial-0123abcd-cells").mkdir()
    assert prepare_store(data, None, out) == store
    assert not list(out.glob(".partial*"))
    write_json(out / f"{store.name}.json", {"made_from": "something else"})
    before = (store / "manifest.json").stat().st_ino
    assert prepare_store(data, None, out) == store
    assert (store / "manifest.json").stat().st_ino != before


def test_a_graph_is_opened_or_built(tmp_path):
    (tmp_path / "small.obo").write_text(OBO, encoding="utf-8")
    config = tmp_path / "small.yaml"
    config.write_text(
        f"kind: graph\nsources: [{{name: obo, id: DOID, path: {tmp_path}/small.obo, licence: CC0-1.0, "
        "prefixes: [DOID], semantic_type: Disease or Syndrome}]\n",
        encoding="utf-8",
    )
    folder = prepare_graph(str(config), tmp_path / "data")
    assert prepare_graph(str(config), tmp_path / "data") == folder
    assert prepare_graph(str(folder), tmp_path / "other") == folder
    os.utime(tmp_path / "small.obo", ns=(1, 1))
    assert prepare_graph(str(config), tmp_path / "data") != folder


def test_signature_follows_paths_alone(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    first = signature({"images": str(tmp_path / "a"), "label": "class", "n": 3, "no": str(tmp_path / "none")})
    assert len(first) == 1
    (tmp_path / "a" / "y").write_text("2")
    assert signature({"images": str(tmp_path / "a")}) != first


def test_tasks_are_found_by_name_and_by_path(tmp_path):
    name, task = read_task("lc25000")
    assert (name, task.kind) == ("lc25000", "task")
    with pytest.raises(ConfigError, match=r"nothing: no such task; write a path, or one of .*lc25000"):
        read_task("nothing")
    (tmp_path / "odd.yaml").write_text("kind: pairs\n")
    with pytest.raises(ConfigError, match="task"):
        read_task(str(tmp_path / "odd.yaml"))


def test_a_mistake_in_the_data_leaves_nothing(cells, tmp_path):
    (tmp_path / "cells" / "3.png").unlink()
    with pytest.raises(DataError, match=r"absent \(3\.png\)"):
        prepare_store(PairsData(config=str(cells)), None, tmp_path / "data")
    assert not [path for path in (tmp_path / "data").iterdir()]
