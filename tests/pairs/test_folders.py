"""Nested folders and text files: what each level means, what is left out, and what a stranger gets wrong."""

import json

import numpy as np
import pytest
from pairs_helpers import picture, write_table
from PIL import Image
from pydantic import ValidationError

from data_prep.pairs.config import PairsConfig
from data_prep.pairs.layout import detect_layout
from data_prep.pairs.prepare import prepare
from data_prep.pairs.sources import list_items
from medvlp.data.pairs import SPLITS, PairsStore
from medvlp.errors import ConfigError, DataError


def fill(root, names):
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(root / name)


def source(**values):
    return PairsConfig.model_validate({"source": values})


def detected(folder, **options):
    said = []
    return detect_layout(folder, say=said.append, **options), "\n".join(said)


def test_split_folders_above_class_folders(tmp_path):
    names = [f"{split}/{label}/{i}.png" for split in ("train", "val", "test") for label in "ab" for i in range(3)]
    fill(tmp_path, names)
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "train" / "a" / "._0.png").write_bytes(b"resource fork")
    config, said = detected(tmp_path)
    assert said == "layout: one folder per class below one folder per split: a, b"
    assert config.source.levels == ["split", "class"]
    store = PairsStore.load(prepare(config, tmp_path / "out"))
    assert store.manifest["num_rows_per_split"] == {"train": 6, "dev": 6, "test": 6}
    assert store.classes == ["a", "b"]


def test_case_folders(tmp_path):
    fill(tmp_path / "in", [f"{label}/p{label}{p}/{i}.png" for label in "ab" for p in range(4) for i in range(2)])
    fill(tmp_path / "in", ["loose.png", "a/loose.png"])
    for seed, path in enumerate(sorted((tmp_path / "in").rglob("*.png"))):
        picture(seed).save(path)
    config = source(name="class_folders", images=str(tmp_path / "in"), levels=["class", "case"])
    store = PairsStore.load(prepare(config, tmp_path / "out"))
    assert (len(store), store.manifest["num_cases"]) == (16, 8)
    assert store.manifest["notes"]["images above the class folders, left out"] == 2
    with pytest.raises(DataError, match=r"in folders within folders \(a/pa0\): it is not clear .* \[class, case\] or"):
        detected(make(tmp_path / "unclear", ["a/pa0/1.png", "b/pb0/1.png"]))
    with pytest.raises(DataError, match=r"levels: \[split, class, case\] or \[split, case, class\]"):
        detected(make(tmp_path / "deep", ["train/a/p/1.png", "test/a/p/1.png"]))
    with pytest.raises(ValidationError, match="levels needs class once"):
        source(name="class_folders", images="x", levels=["case"])
    with pytest.raises(DataError, match="no image as deep as <split>/<class>/"):
        list_items(source(name="class_folders", images=str(tmp_path / "deep"), levels=["split", "class"]))


def make(root, names):
    fill(root, names)
    return root


def test_one_patient_in_two_split_folders(tmp_path):
    fill(tmp_path, ["train/p1/a/1.png", "test/p1/a/2.png"])
    config = source(name="class_folders", images=str(tmp_path), levels=["split", "case", "class"])
    with pytest.raises(DataError, match="p1: the case is in both test and train; keep all its images in one split"):
        prepare(config, tmp_path / "out")
    config = source(name="class_folders", images=str(tmp_path), levels=["class", "split", "any"])
    with pytest.raises(DataError, match="p1: unknown split 'p1'; use train, dev or test"):
        list_items(config)


def text_set(root, num=8):
    fill(root, [f"{'train' if i < 5 else 'test'}/{i}.png" for i in range(num)])
    for path in root.rglob("*.png"):
        path.with_suffix(".txt").write_text(f"a note about {path.stem}\n", encoding="utf-8")
    return root


def test_text_files(tmp_path):
    root = text_set(tmp_path / "in")
    (root / "train" / "1.txt").unlink()
    (root / "train" / "2.txt").write_text(" \n")
    (root / "train" / "orphan.txt").write_text("x")
    config, said = detected(root)
    assert said == "layout: 7 of 8 images have a text file of the same name, splits by folder"
    (root / "test" / "5.txt").write_text("a note about 5, seen by Dr. Okafor on 3/12/2019")
    store = PairsStore.load(prepare(config, tmp_path / "out"))
    assert [texts[0].text for texts in store.split("test").column("texts")] == [
        "a note about 5, seen by Dr. [NAME] on [DATE]", "a note about 6", "a note about 7",
    ]  # fmt: skip
    assert store.manifest["deidentification"]["removed"] == {"date": 1, "name": 1}
    ledger = json.loads((store.folder / "ledger.json").read_text())
    assert ledger["dropped"] == {"empty caption": 2}  # missing and empty texts
    assert store.manifest["notes"]["text files without an image"] == 1
    with pytest.raises(DataError, match="no table, and not one sub-folder per class"):
        detected(make(tmp_path / "flat", ["1.png"]))


def test_text_file_mistakes(tmp_path):
    root = text_set(tmp_path / "in")
    config = detected(root)[0]
    (root / "test" / "6.txt").write_bytes("Röntgen".encode("latin-1"))
    with pytest.raises(DataError, match=r"test/6\.txt: is not utf-8-sig; set source\.encoding, for example latin-1"):
        prepare(config, tmp_path / "out", already_deidentified=True)
    store = detect_layout(root, say=len, overrides=["source.encoding=latin-1"])
    assert len(PairsStore.load(prepare(store, tmp_path / "out", already_deidentified=True))) == 8
    picture(1).save(root / "test" / "6.jpg")
    with pytest.raises(DataError, match=r"test/6\.png: has the same name as test/6\.jpg; rename one"):
        list_items(store)
    for path in root.rglob("*.txt"):
        path.unlink()
    (root / "test" / "6.jpg").unlink()
    with pytest.raises(DataError, match=r"no image with a \.txt file beside it"):
        list_items(config)


def test_shards_and_spreadsheets(tmp_path):
    for name in ("train-0.tar", "val-0.tar", "test-0.tar.gz"):
        (tmp_path / name).write_bytes(b"")
    config, said = detected(tmp_path)
    assert said == "layout: 3 tar shards in the webdataset layout, splits by their names"
    assert config.source.split == "shard"
    picture(0).save(tmp_path / "1.png")
    with pytest.raises(DataError, match="holds both tar shards and images; write a config"):
        detected(tmp_path)
    (make(tmp_path / "sheet", ["a/1.png", "b/1.png"]) / "labels.xlsx").write_bytes(b"x")
    with pytest.raises(DataError, match=r"labels\.xlsx: spreadsheets are not read; save it as CSV beside the images"):
        detected(tmp_path / "sheet")


def test_overrides_on_a_folder(tmp_path):
    fill(tmp_path, ["a/1.png", "b/1.png"])
    config = detect_layout(tmp_path, say=len, overrides=["format=png", "classes.a.name=adenoma"])
    assert (config.format, config.classes["a"].name) == ("png", "adenoma")
    with pytest.raises(ConfigError, match="formt"):
        detect_layout(tmp_path, say=len, overrides=["formt=png"])


def test_semicolons(tmp_path):
    fill(tmp_path, ["1.png", "2.png"])
    (tmp_path / "t.csv").write_text("file;label\n1.png;a, with a comma\n2.png;b\n")
    config, _ = detected(tmp_path)
    assert [item.label for item in list_items(config).items] == ["a, with a comma", "b"]


def test_several_labels_in_a_column(tmp_path):
    fill(tmp_path, ["1.png", "2.png", "3.png"])
    write_table(tmp_path / "t.csv", [{"f": f"{i}.png", "dx": dx} for i, dx in ((1, "A|B"), (2, "B"), (3, "A | B"))])
    columns = {"image": "f", "label": "dx", "label_separator": "|"}
    config = source(name="folder_csv", images=str(tmp_path), table=str(tmp_path / "t.csv"), columns=columns)
    store = PairsStore.load(prepare(config, tmp_path / "out"))
    labels = [labels for split in SPLITS for labels in store.split(split).column("labels")]
    assert sorted(labels) == [["A", "B"], ["A", "B"], ["B"]]
    assert store.classes == ["A", "B"]
    assert store.manifest["num_groups"] == 2


def test_mixed_sizes_and_modes(tmp_path):
    rng = np.random.default_rng(0)
    root = tmp_path / "in"
    root.mkdir()
    grey = rng.integers(0, 256, (30, 50), dtype=np.uint8)
    made = {
        "grey.png": Image.fromarray(grey),
        "deep.png": Image.fromarray(grey.astype(np.uint16) * 16),
        "alpha.png": Image.fromarray(rng.integers(0, 256, (90, 20, 4), dtype=np.uint8)),
        "palette.gif": picture(1).convert("P"),
        "cmyk.jpg": picture(2).convert("CMYK"),
        "bits.png": Image.fromarray(grey).convert("1"),
        "large.tif": picture(3, 700),
    }
    for name, image in made.items():
        image.save(root / name)
    write_table(root / "t.csv", [{"file": name, "label": "ab"[i % 2]} for i, name in enumerate(made)])
    config, _ = detected(root)
    store = PairsStore.load(prepare(config.model_copy(update={"format": "png"}), tmp_path / "out"))
    images = {pair.key: pair.image for split in SPLITS for pair in store.split(split)}
    assert {image.mode for image in images.values()} == {"RGB"}
    assert {name: images[name].size for name in ("grey.png", "alpha.png", "large.tif")} == {
        "grey.png": (50, 30), "alpha.png": (20, 90), "large.tif": (512, 512),
    }  # fmt: skip
    assert np.array_equal(np.asarray(images["grey.png"])[..., 0], grey)


def test_warnings(tmp_path, capsys):
    from medvlp.knowledge.graph import DiseaseGraph

    DiseaseGraph.from_dict({"X:1": {"name": "adenoma", "parents": []}}).save(tmp_path / "graph", {})
    fill(tmp_path / "in", [*(f"adenoma/{i}.png" for i in range(8)), "gizmo/1.png"])
    for seed, path in enumerate(sorted((tmp_path / "in").rglob("*.png"))):
        picture(seed).save(path)
    config = detect_layout(tmp_path / "in", say=len, overrides=[f"graph={tmp_path / 'graph'}"])
    store = PairsStore.load(prepare(config, tmp_path / "out"))
    assert store.manifest["warnings"] == [
        "class 'gizmo' has one image, so it is in one split only; add images or leave it out",
        "no concept of the graph matches the class 'gizmo'; set classes.gizmo.concepts or aliases",
    ]
    assert capsys.readouterr().err.count("warning: ") == 2
    fill(tmp_path / "few", ["a/1.png", "b/2.png"])
    told = PairsStore.load(prepare(detected(tmp_path / "few")[0], tmp_path / "out2")).manifest["warnings"]
    assert "the split 'dev' is empty; add cases, or change how the split is made" in told
