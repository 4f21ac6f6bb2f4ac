"""Data that is not what a task expects stops the run before anything is scored, with the item named."""

import numpy as np
import pytest
from grid_cases import COLOURS, CONCEPTS, rows, written

from benchmarks.harness.grid import run
from benchmarks.harness.record import RECORDS
from medvlp.cli import run as command
from medvlp.config import load
from medvlp.data.pairs import FORMAT, PairsStore, Row, _write_table
from medvlp.errors import ConfigError, DataError
from medvlp.io import write_json, write_manifest

ONE = "protocols: [{name: zero_shot, prompt_draws: 0}]"


def stop(path, out, overrides=()):
    with pytest.raises((DataError, ConfigError)) as caught:
        run(load(path, ["floors=[prior]", *overrides], kind="benchmark"), out)
    assert not (out / RECORDS).exists(), "nothing may be scored"
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("expect: {num: {test: 25}}", "task squares, split test: expected 25 labelled rows, found 24"),
        ("expect: {num: {train: 1}}", "split train: expected 1 labelled rows, found 18"),
        ("expect: {classes: {skin nevus: 9}}", "class skin nevus: expected 9 rows, found 8"),
        (f"expect: {{sha256: {'a' * 64}}}", "split test: keys, cases and truth have the digest"),
        ("classes: [skin nevus, liver cyst]", "liver cyst: is not a class of the data"),
        ("fit_split: test", "nothing may be fitted on the test split"),
    ],
)
def test_what_is_expected(world, tmp_path, more, said):
    told = stop(written(world, tmp_path, f"{more}\n{ONE}"), tmp_path / "out")
    assert said in told
    assert told.startswith("task squares")


def test_on_the_command_line_it_is_one_line(world, tmp_path, capsys):
    path = written(world, tmp_path, f"expect: {{num: {{test: 25}}}}\n{ONE}")
    assert command(["benchmark", str(path), "--out", str(tmp_path / "out")]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "split test: expected 25 labelled rows, found 24" in line


def damaged(folder, entries):
    """Write a store past the checks that refuse such rows, as a foreign or hand-made one may be."""
    folder.mkdir()
    records = [
        {
            "key": row.key,
            "image": row.image,
            "texts": [{"text": text.text, "aspect": text.aspect} for text in row.texts],
            "concepts": row.concepts,
            "label": row.label,
            "group": row.group,
            "case": row.case,
            "split": row.split,
            "labels": [],
        }
        for row in entries
    ]
    _write_table(folder, records)
    write_json(folder / "ledger.json", {})
    write_manifest(folder, {"format": FORMAT, "classes": CONCEPTS})
    return folder


def encoded(entries):
    from medvlp.data.image import encode_image

    return [Row(**{**vars(row), "image": encode_image(row.image, "png")}) for row in entries]


def test_a_repeated_key_and_a_patient_on_both_sides(world, tmp_path):
    entries = encoded(rows())
    twice = damaged(tmp_path / "twice", [*entries, Row(**{**vars(entries[0]), "split": "test"})])
    both = damaged(
        tmp_path / "both", [*entries[:-1], Row(**{**vars(entries[-1]), "case": entries[0].case, "split": "test"})]
    )
    folder = tmp_path / "grid"
    folder.mkdir()
    path = written(world, folder, ONE)
    task = folder / "squares.yaml"
    for store, said in ((twice, f"{entries[0].key}: the key occurs twice"), (both, "is in both train")):
        task.write_text(task.read_text().replace(task.read_text().split("store: ")[1].split("}")[0], str(store)))
        told = stop(path, folder / "out")
        assert said in told
        assert "task squares" in told
    assert entries[0].case not in told, "a case may be a patient's number"


def test_a_class_without_rows_and_an_empty_split(world, tmp_path):
    left = [row for row in rows() if not (row.split == "test" and row.label == "skin nevus")]
    store = PairsStore.write(tmp_path / "pairs", left, classes=CONCEPTS)
    path = written(world, tmp_path, ONE)
    task = tmp_path / "squares.yaml"
    task.write_text(task.read_text().replace(f"{world}/pairs", str(store.folder)))
    assert "skin nevus: the class has no row" in stop(path, tmp_path / "out")
    two = list(COLOURS)[:2]
    task.write_text(task.read_text() + f"classes: [{', '.join(two)}]\n")
    assert run(load(path, ["floors=[prior]", "models={}"], kind="benchmark"), tmp_path / "out").failed == ()


def test_data_needs_one_source_and_altered_files_are_noticed(world, tmp_path):
    path = written(world, tmp_path, ONE)
    task = tmp_path / "squares.yaml"
    text = task.read_text()
    task.write_text(text.replace("form: pairs, store", "form: pairs, config: lc25000, store"))
    assert "needs exactly one of config, simulation and store" in stop(path, tmp_path / "out")
    store = PairsStore.write(tmp_path / "pairs", rows(), classes=CONCEPTS)
    task.write_text(text.replace(f"{world}/pairs", str(store.folder)))
    (arrow,) = (store.folder / "data").glob("*.arrow")
    data = np.frombuffer(arrow.read_bytes(), np.uint8).copy()
    data[len(data) // 2] ^= 1
    arrow.write_bytes(data.tobytes())
    assert "differs from its sha256" in stop(path, tmp_path / "out")
