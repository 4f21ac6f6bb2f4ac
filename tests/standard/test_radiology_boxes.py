"""Chest sets with boxes, or with DICOM files, on miniatures in their true layouts."""

import pytest
from chest_copies import by_key, listed, touch, write_image, write_table

from data_prep.pairs.config import PairsConfig
from data_prep.pairs.prepare import prepare
from data_prep.pairs.standard import chest_challenges, chest_ms, chest_vindr
from data_prep.pairs.standard.boxes import list_boxes
from data_prep.pairs.standard.checks import Expected
from data_prep.pairs.standard.tabular import NONE
from medvlp.data.pairs import PairsStore
from medvlp.errors import DataError

# RSNA and SIIM


def rsna(root):
    boxes = [("p-1", "", "", "", "", 0), ("p-2", 264, 152, 213, 379, 1), ("p-2", 562, 152, 256, 453, 1)]
    write_table(root / "stage_2_train_labels.csv", ["patientId", "x", "y", "width", "height", "Target"], boxes)
    classes = [("p-1", "No Lung Opacity / Not Normal"), ("p-2", "Lung Opacity"), ("p-2", "Lung Opacity")]
    write_table(root / "stage_2_detailed_class_info.csv", ["patientId", "class"], classes)
    for name in ("p-1", "p-2"):
        touch(root / "stage_2_train_images" / f"{name}.dcm")
    return {"name": "rsna_pneumonia", "root": str(root)}


def test_rsna_classes_and_boxes(tmp_path):
    source = rsna(tmp_path) | {"partial": True}
    assert {item.key: item.label for item in listed(source).items} == {
        "p-1.dcm": "no pneumonia",
        "p-2.dcm": "pneumonia",
    }
    three = listed(source | {"classes": "three"})
    assert [item.label for item in three.items] == ["No Lung Opacity / Not Normal", "Lung Opacity"]
    boxes = list_boxes(PairsConfig(source=source).source)
    assert [(box.key, box.label, box.x, box.height) for box in boxes] == [
        ("p-2.dcm", "pneumonia", 264.0, 379.0),
        ("p-2.dcm", "pneumonia", 562.0, 453.0),
    ]


def test_rsna_tells_what_is_wrong(tmp_path, monkeypatch):
    source = rsna(tmp_path)
    with pytest.raises(DataError, match="class 'pneumonia': 1 images, expected 6,012"):
        listed(source)
    two = {"two": Expected(2, by_class={"pneumonia": 1, "no pneumonia": 1})}
    monkeypatch.setattr(chest_challenges, "RSNA_EXPECTED", two)
    assert len(listed(source).items) == 2
    with (tmp_path / "stage_2_train_labels.csv").open("a") as stream:
        stream.write("p-1,1,2,3,4,1\n")
    with pytest.raises(DataError, match="p-1: rows disagree on Target"):
        listed(source)
    (tmp_path / "stage_2_train_labels.csv").write_text("patientId,Target\np-1,0\n")
    with pytest.raises(DataError, match="no column 'x'"):
        list_boxes(PairsConfig(source=source).source)


def siim(root):
    rows = [("1.2.3", " -1"), ("1.2.4", " 557374 2 1015 8"), ("1.2.4", " 10 2"), ("1.2.5", "-1")]
    write_table(root / "train-rle.csv", ["ImageId", " EncodedPixels"], rows)
    for name in ("1.2.3", "1.2.4", "1.2.5", "1.2.6"):
        touch(root / "dicom-images-train" / f"{name}.1" / f"{name}.2" / f"{name}.dcm")
    return {"name": "siim_pneumothorax", "root": str(root)}


def test_siim_images_at_any_depth(tmp_path, monkeypatch):
    small = Expected(3, by_class={"pneumothorax": 1, "no pneumothorax": 2})
    monkeypatch.setattr(chest_challenges, "SIIM_EXPECTED", small)
    listing = listed(siim(tmp_path))
    assert {item.key: item.label for item in listing.items} == {
        "1.2.3.dcm": "no pneumothorax",
        "1.2.4.dcm": "pneumothorax",
        "1.2.5.dcm": "no pneumothorax",
    }
    assert listing.notes == {"DICOM files without a row in train-rle.csv": 1}
    (tmp_path / "dicom-images-train" / "1.2.5.1" / "1.2.5.2" / "1.2.5.dcm").unlink()
    with pytest.raises(DataError, match=r"1 of 3 images are not there \(1.2.5.dcm\)"):
        listed({"name": "siim_pneumothorax", "root": str(tmp_path)})


# VinDr-CXR


def vindr(root):
    def row(name, reader, *labels):
        values = [int(label in labels) for label in (*chest_vindr.LOCAL, *chest_vindr.GLOBAL)]
        return [name, *([reader] if reader else []), *values]

    header = [*chest_vindr.LOCAL, *chest_vindr.GLOBAL]
    train = [
        row("a", "R1", "Atelectasis", "Other diseases"),
        row("a", "R2", "Atelectasis"),
        row("a", "R3", "Calcification"),
        row("b", "R1", "No finding"),
        row("b", "R2", "No finding"),
        row("b", "R3", "Calcification"),
        row("c", "R1", "ILD"),
        row("c", "R2", "Calcification"),
        row("c", "R3", "No finding"),
    ]
    write_table(root / "annotations/image_labels_train.csv", ["image_id", "rad_id", *header], train)
    other = [name.replace("Other diseases", "Other disease") for name in header]
    write_table(
        root / "annotations/image_labels_test.csv", ["image_id", *other], [row("t", None, "Other diseases", "COPD")]
    )
    boxes = [("a", "R1", "Atelectasis", 1, 2, 11, 22), ("b", "R2", "No finding", "", "", "", "")]
    corners = ["x_min", "y_min", "x_max", "y_max"]
    write_table(root / "annotations/annotations_train.csv", ["image_id", "rad_id", "class_name", *corners], boxes)
    write_table(
        root / "annotations/annotations_test.csv", ["image_id", "class_name", *corners], [("t", "COPD", 5, 5, 6, 8)]
    )
    for path in ("train/a", "train/b", "train/c", "test/t"):
        touch(root / f"{path}.dicom")
    return {"name": "vindr_cxr", "root": str(root)}


def test_vindr_agreement_of_readers(tmp_path, monkeypatch):
    monkeypatch.setattr(chest_vindr, "COUNTS", {"train": 3, "test": 1})
    items = by_key(listed(vindr(tmp_path)))
    assert {key: item.labels for key, item in items.items()} == {
        "train/a.dicom": ["Atelectasis"],
        "train/b.dicom": ["No finding"],
        "train/c.dicom": [NONE],
        "test/t.dicom": ["COPD", "Other diseases"],
    }
    assert items["test/t.dicom"].split == "test"
    one = by_key(listed(vindr(tmp_path) | {"readers": 1}))
    assert one["train/a.dicom"].labels == ["Atelectasis", "Calcification", "Other diseases"]
    assert [item.key for item in listed(vindr(tmp_path) | {"parts": ["test"]}).items] == ["test/t.dicom"]


def test_vindr_boxes(tmp_path):
    boxes = list_boxes(PairsConfig(source=vindr(tmp_path)).source)
    assert [(box.key, box.label, box.width, box.height, box.reader) for box in boxes] == [
        ("train/a.dicom", "Atelectasis", 10.0, 20.0, "R1"),
        ("test/t.dicom", "COPD", 1.0, 3.0, None),
    ]


def test_vindr_tells_what_is_wrong(tmp_path, monkeypatch):
    source = vindr(tmp_path)
    with pytest.raises(DataError, match="split train: 3 images, expected 15,000"):
        listed(source)
    monkeypatch.setattr(chest_vindr, "COUNTS", {"train": 3, "test": 1})
    table = tmp_path / "annotations/image_labels_train.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match=r"c: 2 rows in annotations/image_labels_train.csv, not 3"):
        listed(source)
    table.write_text("\n".join([*lines[:-1], lines[-1][:-1] + "7"]) + "\n")
    with pytest.raises(DataError, match="No finding is '7', not 0 or 1"):
        listed(source)
    (tmp_path / "test" / "t.dicom").unlink()
    (tmp_path / "test").rmdir()
    with pytest.raises(DataError, match="VinDr-CXR lacks test/"):
        listed(source)


# MS-CXR


def ms_cxr(root, images, split="test"):
    header = ["dicom_id", "category_name", "label_text", "path", "x", "y", "w", "h", "image_width", "image_height"]
    path = "files/p10/p10000032/s50414267/{}.jpg"
    rows = [
        ("d1", "Pneumonia", "opacity at the  left base", path.format("d1"), 10, 20, 30, 40, 100, 200, split),
        ("d1", "Pneumonia", "opacity at the left base", path.format("d1"), 50, 20, 30, 40, 100, 200, split),
        ("d1", "Pleural Effusion", "small effusion", path.format("d1"), 1, 2, 3, 4, 100, 200, split),
        ("d2", "Edema", "mild edema", path.replace("p10000032", "p10000764").format("d2"), 1, 2, 3, 4, 9, 9, "train"),
    ]
    write_table(root / chest_ms.TABLES[0], [*header, "split"], rows)
    for number, row in enumerate(rows):
        write_image(images / row[3], number)
    return {"name": "ms_cxr", "root": str(root), "images": str(images)}


def test_ms_cxr_phrases_are_texts_and_patients_are_hidden(tmp_path):
    config = PairsConfig(source=ms_cxr(tmp_path / "ms", tmp_path / "mimic"))
    store = PairsStore.load(prepare(config, tmp_path / "out", already_deidentified=True))
    (pair,) = store.split("test")
    assert pair.key == "d1.jpg"
    assert [text.text for text in pair.texts] == ["opacity at the left base", "small effusion"]
    assert store.split("test").column("labels") == [["pneumonia", "pleural effusion"]]
    assert store.manifest["notes"] == {"pairs of image and phrase, the publication counts 1,162": 3}
    cases = {case for split in ("train", "test") for case in store.split(split).column("case")}
    assert len(cases) == 2
    assert not any("p1000" in case for case in cases)


def test_ms_cxr_boxes_and_mistakes(tmp_path):
    source = ms_cxr(tmp_path / "ms", tmp_path / "mimic")
    boxes = list_boxes(PairsConfig(source=source).source)
    assert [(box.x, box.phrase, box.image_size) for box in boxes[:2]] == [
        (10.0, "opacity at the left base", (100, 200)),
        (50.0, "opacity at the left base", (100, 200)),
    ]
    inside = listed(source | {"images": str(tmp_path / "mimic" / "files")})
    assert all(item.path.is_file() for item in inside.items)
    table = tmp_path / "ms" / chest_ms.TABLES[0]
    text = table.read_text()
    table.write_text(text.replace("small effusion,files/", "small effusion,../files/"))
    with pytest.raises(DataError, match="d1: lies outside the image folder"):
        listed(source)
    table.write_text(text.replace("1,2,3,4,100,200,test", "1,2,3,4,100,200,train"))
    with pytest.raises(DataError, match="rows give it two splits"):
        listed(source)
    assert {item.split for item in listed(source | {"use_split": False}).items} == {None}
