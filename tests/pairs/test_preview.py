"""The page about a store: its numbers are the store's, no text is shown unasked, nothing is asked of the network."""

import re

import numpy as np
import pytest
from pairs_helpers import picture

from data_prep.pairs.preview import write_preview
from medvlp.cli import run
from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.errors import DataError
from medvlp.ledger import Ledger


@pytest.fixture
def store(tmp_path):
    rows = []
    for i in range(30):
        label = None if i % 7 == 0 else ("adenoma", "<b>wart</b>")[i % 2]
        image = picture(99 if i in (3, 8) else i)
        texts = [Text(f"secret note number {i} " + "word " * (i % 4), "report")]
        rows.append(Row(f"{i:02d}.png", image, texts, ("train", "dev", "test")[i % 3], f"c{i}", i % 5, label, []))
    ledger = Ledger(kept=30)
    ledger.drop("lost.png", "unreadable image")
    header = {"notes": {"rows left out by source.where": 7}, "warnings": ["class 'x' has one image"]}
    classes = {"adenoma": ["DOID:657"], "<b>wart</b>": []}
    return PairsStore.write(tmp_path / "my_store", rows, header, classes=classes, ledger=ledger)


def test_numbers_are_those_of_the_store(store, tmp_path):
    page = write_preview(store, tmp_path / "page.html").read_text()
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "30 images of 30 cases, 2 classes, 5 semantic groups" in text
    assert "dropped: unreadable image 1 lost.png" in text
    assert "rows left out by source.where 7" in text
    assert "class &#39;x&#39; has one image" in text
    adenoma = [label for name in ("train", "dev", "test") for label in store.split(name).column("label")].count(
        "adenoma"
    )
    assert re.search(rf"adenoma {adenoma} \d+ \d+ \d+ DOID:657", text)
    assert "30 texts, 30 of them different: 30 report" in text
    assert "Words: 4 at least, 5 in the median, 7 at the 95th percentile, 7 at most" in text
    assert "30 images were compared with each other: 2 have a near-identical one" in text
    assert "40 × 40 (30)" in text


def test_no_text_unasked_and_nothing_from_outside(store, tmp_path):
    page = write_preview(store, tmp_path / "page.html").read_text()
    assert "secret" not in page
    assert "1 text, not shown" in page
    shown = write_preview(store, tmp_path / "page.html", show_texts=True).read_text()
    assert shown.count("secret note number") >= 24
    for html in (page, shown):
        assert not re.findall(r"(?:src|href)=\"(?!data:)", html)
        assert "<script" not in html
        assert "http" not in html.replace("http-equiv", "")
        assert "<b>wart" not in html
        assert "&lt;b&gt;wart" in html
    assert page.count("data:image/svg+xml") == 2
    assert page.count("data:image/jpeg") == 26  # 24 samples and the near-identical two


def test_the_seed_draws(store, tmp_path):
    pages = [write_preview(store, tmp_path / f"{i}.html", seed=seed).read_text() for i, seed in enumerate((0, 0, 1))]
    assert pages[0] == pages[1] != pages[2]


def test_a_store_without_classes_and_of_one_row(tmp_path):
    rows = [Row("a", picture(0), [Text("x")], "train", "a", 0)]
    page = write_preview(PairsStore.write(tmp_path / "one", rows), tmp_path / "page.html").read_text()
    assert "No image has a class." in page
    assert "none is near-identical to another" in page


def test_command_line(store, tmp_path, capfd):
    assert run(["pairs", "show", str(store.folder), "--out", str(tmp_path / "p.html"), "--show-texts"]) == 0
    assert "secret note" in (tmp_path / "p.html").read_text()
    assert run(["pairs", "show", str(tmp_path / "none"), "--out", "p.html"]) == 2
    assert "none: no such folder" in capfd.readouterr().err
    words = ["pairs", "export", str(store.folder), "--out", str(tmp_path / "shards"), "--already-deidentified"]
    assert run([*words, "--shard-size", "4"]) == 0
    assert len(list((tmp_path / "shards").glob("train-*.tar"))) == 3


def test_prepare_with_a_page(tmp_path, capfd):
    for seed in range(12):
        folder = tmp_path / "in" / "ab"[seed % 2]
        folder.mkdir(parents=True, exist_ok=True)
        picture(seed).save(folder / f"{seed}.png")
    page, config = tmp_path / "page.html", tmp_path / "mine.yaml"
    words = ["prepare", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--preview", str(page)]
    assert run([*words, "--dry-run", "--save-config", str(config)]) == 0
    assert "Dry run: these are 12 images" in page.read_text()
    assert not (tmp_path / "out").exists()
    assert run([*words, "--set", "captions.num_texts=1"]) == 0
    assert "12 images of 12 cases, 2 classes" in page.read_text()
    store = PairsStore.load(tmp_path / "out")
    assert {len(texts) for texts in store.split("train").column("texts")} == {1}
    assert run(["prepare", str(config), "--out", str(tmp_path / "again")]) == 0
    again = PairsStore.load(tmp_path / "again")
    assert again.split("test").keys == store.split("test").keys
    assert run([*words[:4], "--preview", str(tmp_path), "--overwrite"]) == 2
    assert "is a folder; name a file" in capfd.readouterr().err


def test_a_damaged_store_is_refused(store):
    path = store.folder / "ledger.json"
    path.write_text(path.read_text().replace("30", "31"))
    with pytest.raises(DataError, match=r"ledger\.json: differs from its sha256"):
        PairsStore.load(store.folder)


def test_older_stores_have_no_column_of_labels(store):
    labels = store.split("train").column("labels")
    older = store._table.remove_columns(["labels"])
    assert PairsStore(store.folder, older, store.manifest).split("train").column("labels") == labels
    assert labels == [[] if label is None else [label] for label in store.split("train").column("label")]
    assert np.array_equal(
        [len(row) for row in labels], [label is not None for label in store.split("train").column("label")]
    )
