"""Each chest set on a miniature in its true layout: what is listed, what a wrong copy is told, what partial does."""

from pathlib import Path

import pytest
from chest_copies import by_key, listed, touch, write_image, write_table

from data_prep.pairs.config import PairsConfig
from data_prep.pairs.prepare import prepare
from data_prep.pairs.sources import list_items
from data_prep.pairs.standard import chest_expert, chest_nih, chest_pad
from data_prep.pairs.standard.boxes import list_boxes
from data_prep.pairs.standard.checks import Expected
from data_prep.pairs.standard.tabular import NONE, draw_dev
from medvlp.config import load
from medvlp.data.pairs import PairsStore
from medvlp.errors import DataError

NAMES = ("chestxray14", "chexpert", "padchest", "rsna_pneumonia", "siim_pneumothorax", "vindr_cxr", "ms_cxr")


# ChestX-ray14


def nih(root, original=False):
    header = ["Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender"]
    header += ["View Position", "OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]"]
    rows = [
        (f"{patient:08d}_{study:03d}.png", label, study, patient, 50, "M", "PA", 2682, 2749, 0.14, 0.14)
        for patient, study, label in [
            (1, 0, "Cardiomegaly"),
            (1, 1, "Cardiomegaly|Emphysema"),
            (2, 0, "No Finding"),
            (3, 0, "Hernia"),
            (4, 0, "No Finding"),
        ]
    ]
    if original:  # the first release ends each line with a comma
        header, rows = [*header, ""], [(*row, "") for row in rows]
    write_table(root / ("Data_Entry_2017.csv" if original else "Data_Entry_2017_v2020.csv"), header, rows)
    keys = [row[0] for row in rows]
    (root / "train_val_list.txt").write_text("\n".join(keys[:4]) + "\n")
    (root / "test_list.txt").write_text(keys[4])
    for number, key in enumerate(keys):
        write_image(root / f"images_{number % 2 + 1:03d}" / "images" / key, number)
    return {"name": "chestxray14", "root": str(root)}


SMALL_NIH = Expected(5, {"test": 1}, {"No Finding": 2, "Cardiomegaly": 2, "Emphysema": 1, "Hernia": 1}, "the miniature")


@pytest.mark.parametrize("original", [False, True])
def test_chestxray14_becomes_a_store(tmp_path, monkeypatch, original):
    monkeypatch.setattr(chest_nih, "EXPECTED", SMALL_NIH)
    source = nih(tmp_path / "nih", original) | {"dev_share": 0.5}
    store = PairsStore.load(prepare(PairsConfig(source=source), tmp_path / "out"))
    rows = {pair.key: (split, pair.case) for split in ("train", "dev", "test") for pair in store.split(split)}
    assert rows["00000004_000.png"] == ("test", "4")
    assert rows["00000001_000.png"] == rows["00000001_001.png"]
    assert {rows[key][0] for key in rows if key != "00000004_000.png"} == {"train", "dev"}
    labels = dict(zip(store.split("test").keys, store.split("test").column("labels"), strict=True))
    assert labels == {"00000004_000.png": ["no finding"]}
    assert store.manifest["class_names"]["Emphysema"] == "pulmonary emphysema"
    assert store.manifest["notes"] == {}


def test_chestxray14_tells_what_is_wrong(tmp_path, monkeypatch):
    source = nih(tmp_path)
    with pytest.raises(DataError, match="class 'No Finding': 2 images, expected 60,361"):
        listed(source)
    partial = listed(source | {"partial": True})
    assert len(partial.items) == 5
    assert partial.notes["ChestX-ray14, total: 5 images, expected 112,120"] == 1
    monkeypatch.setattr(chest_nih, "EXPECTED", SMALL_NIH)
    (tmp_path / "images_001" / "images" / "00000002_000.png").unlink()
    with pytest.raises(DataError, match=r"1 of 5 images are not there \(00000002_000.png\)"):
        listed(source)
    left = listed(source | {"partial": True})
    assert left.dropped == [("00000002_000.png", "image is not in this copy of the set")]
    write_image(tmp_path / "images_001" / "images" / "00000002_000.png")
    write_image(tmp_path / "images" / "00000002_000.png")
    with pytest.raises(DataError, match="two files have this name"):
        listed(source)
    (tmp_path / "images" / "00000002_000.png").unlink()
    (tmp_path / "test_list.txt").write_text("")
    with pytest.raises(DataError, match=r"00000004_000.png: is in neither train_val_list.txt nor test_list.txt"):
        listed(source)
    (tmp_path / "test_list.txt").unlink()
    with pytest.raises(DataError, match=r"ChestX-ray14 lacks test_list.txt"):
        listed(source)


def test_dev_is_drawn_by_patient_whatever_else_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(chest_nih, "EXPECTED", SMALL_NIH)
    whole = by_key(listed(nih(tmp_path) | {"dev_share": 0.5}))
    (tmp_path / "images_002" / "images" / "00000003_000.png").unlink(missing_ok=True)
    part = by_key(listed(nih(tmp_path) | {"dev_share": 0.5, "partial": True}))
    assert {key: whole[key].split for key in part} == {key: item.split for key, item in part.items()}


def test_share_of_dev_is_that_asked_for():
    from data_prep.pairs.items import Item

    items = [Item(str(number), split="train", case=str(number // 2)) for number in range(8000)]
    draw_dev(items, 0.1)
    share = sum(item.split == "dev" for item in items) / len(items)
    assert 0.08 < share < 0.12
    assert all(items[k].split == items[k + 1].split for k in range(0, 8000, 2))


# CheXpert


def chexpert(root):
    header = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *chest_expert.OBSERVATIONS]

    def row(path, view, **values):
        return [path, "Male", 60, view, "AP", *(values.get(name, "") for name in chest_expert.OBSERVATIONS)]

    top = "CheXpert-v1.0-small"
    paths = [
        f"{top}/train/patient00001/study1/view1_frontal.jpg",
        f"{top}/train/patient00001/study1/view2_lateral.jpg",
        f"{top}/train/patient00002/study1/view1_frontal.jpg",
    ]
    train = [
        row(paths[0], "Frontal", Edema="1.0", Atelectasis="-1.0"),
        row(paths[1], "Lateral", Edema="1.0"),
        row(paths[2], "Frontal", **{"No Finding": "1.0"}),
    ]
    write_table(root / "train.csv", header, train)
    valid = [row(f"{top}/valid/patient64541/study1/view1_frontal.jpg", "Frontal", Cardiomegaly="1.0", Edema="0.0")]
    write_table(root / "valid.csv", header, valid)
    labels = ["0"] * len(chest_expert.OBSERVATIONS)
    write_table(
        root / "test_labels.csv",
        ["Path", *chest_expert.OBSERVATIONS],
        [["test/patient64741/study1/view1_frontal.jpg", *labels]],
    )
    for table in (train, valid):
        for values in table:
            touch(root / values[0].partition("/")[2])
    touch(root / "test/patient64741/study1/view1_frontal.jpg")
    return {"name": "chexpert", "root": str(root)}


@pytest.fixture
def small_chexpert(monkeypatch):
    monkeypatch.setattr(chest_expert, "COUNTS", {"train": 3, "dev": 1, "test": 1})


@pytest.mark.usefixtures("small_chexpert")
def test_chexpert_labels_views_and_cases(tmp_path):
    items = by_key(listed(chexpert(tmp_path)))
    assert [item.split for item in items.values()] == ["train", "train", "dev", "test"]
    first = items["train/patient00001/study1/view1_frontal.jpg"]
    assert (first.labels, first.case) == (["Edema"], "patient00001")
    assert items["test/patient64741/study1/view1_frontal.jpg"].labels == [NONE]
    whole = listed(chexpert(tmp_path) | {"views": "all"})
    assert len(whole.items) == 5


@pytest.mark.usefixtures("small_chexpert")
@pytest.mark.parametrize(
    ("policy", "labels"), [("negative", ["Edema"]), ("positive", ["Edema", "Atelectasis"]), ("drop", None)]
)
def test_chexpert_uncertain_is_what_was_chosen(tmp_path, policy, labels):
    listing = listed(chexpert(tmp_path) | {"uncertain": policy})
    found = by_key(listing).get("train/patient00001/study1/view1_frontal.jpg")
    assert (None if found is None else found.labels) == labels
    reasons = [reason for _, reason in listing.dropped]
    assert reasons.count("an uncertain observation") == (policy == "drop")


@pytest.mark.usefixtures("small_chexpert")
def test_chexpert_competition_findings_and_mistakes(tmp_path):
    source = chexpert(tmp_path) | {"findings": "competition"}
    assert by_key(listed(source))["train/patient00002/study1/view1_frontal.jpg"].labels == [NONE]
    (tmp_path / "valid").rename(tmp_path / "val")  # as in CheXlocalize
    assert len(listed(source).items) == 4
    text = (tmp_path / "train.csv").read_text()
    (tmp_path / "train.csv").write_text(text.replace("-1.0", "yes"))
    with pytest.raises(DataError, match="label 'yes' is none of 1, 0, -1 and blank"):
        listed(source)
    (tmp_path / "test_labels.csv").unlink()
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(DataError, match=r"CheXpert lacks test_labels.csv"):
        listed(source)
    assert len(listed(source | {"parts": ["train"]}).items) == 2


def test_chexpert_counts_are_the_published_ones(tmp_path):
    with pytest.raises(DataError, match="split train: 3 images, expected 223,414"):
        listed(chexpert(tmp_path))


# PadChest


def padchest(root):
    header = ["", "ImageID", "ImageDir", "PatientID", "Projection", "MethodLabel", "Labels", "labelCUIS"]
    rows = [
        (0, "1_a.png", 0, 7, "PA", "Physician", "['normal']", "[]"),
        (1, "2_b.png", 0, 8, "L", "Physician", "['pulmonary fibrosis', ' COPD signs', '']", "['C0034069'\n 'C1']"),
        (2, "3_c.png", 1, 8, "PA", "Physician", "['unchanged']", "[]"),
        (3, "4_d.png", 1, 9, "PA", "Physician", "['exclude', 'nodule']", "[]"),
        (4, "5_e.png", 54, 9, "PA", "RNN_model", "", ""),
        (5, "6_f.png", 54, 9, "PA", "RNN_model", "['nodule']", "[]"),
    ]
    write_table(root / chest_pad.TABLES[0], header, rows)
    for row in rows:
        touch(root / str(row[2]) / row[1])
    return {"name": "padchest", "root": str(root)}


def test_padchest_labels_by_physicians_or_all(tmp_path, monkeypatch):
    monkeypatch.setattr(chest_pad, "COUNTS", {"physician": 4, "automatic": 2, "all": 6})
    listing = listed(padchest(tmp_path))
    items = by_key(listing)
    assert {key: item.labels for key, item in items.items()} == {
        "1_a.png": ["normal"],
        "2_b.png": ["pulmonary fibrosis", "COPD signs"],
    }
    assert items["2_b.png"].case == "8"
    assert items["2_b.png"].split is None
    assert dict(listing.dropped) == {
        "4_d.png": "the set's own label says to exclude it",
        "3_c.png": "no label that is a finding or normal",
    }
    assert listing.label_names["COPD signs"] == "COPD signs"
    assert listing.label_concepts["pulmonary fibrosis"] == ["DOID:3770"]
    everything = listed(padchest(tmp_path) | {"labelled_by": "all", "no_findings": []})
    assert sorted(by_key(everything)) == ["1_a.png", "2_b.png", "3_c.png", "6_f.png"]
    assert [item.key for item in listed(padchest(tmp_path) | {"labelled_by": "automatic"}).items] == ["6_f.png"]


def test_padchest_in_one_folder_and_not_whole(tmp_path):
    source = padchest(tmp_path)
    with pytest.raises(DataError, match="total: 4 images, expected 39,053"):
        listed(source)
    (tmp_path / "0" / "1_a.png").rename(tmp_path / "1_a.png")
    assert by_key(listed(source | {"partial": True}))["1_a.png"].path == tmp_path / "1_a.png"
    (tmp_path / chest_pad.TABLES[0]).unlink()
    with pytest.raises(DataError, match="PadChest lacks PADCHEST_chest"):
        listed(source)


def test_nih_boxes_with_the_published_header(tmp_path):
    source = nih(tmp_path)
    (tmp_path / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000001_000.png,Infiltrate,225.08,547.01,86.77,79.18,,,\n"
    )
    (box,) = list_boxes(PairsConfig(source=source).source)
    assert (box.label, box.x, box.height, box.image_size) == ("Infiltration", 225.08, 79.18, (1024, 1024))
    (tmp_path / "BBox_List_2017.csv").write_text("a,b,c\n00000001_000.png,Mass,1,2,0,4\n")
    with pytest.raises(DataError, match="a box of 0 x 4 pixels"):
        list_boxes(PairsConfig(source=source).source)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_config_loads_and_asks_for_the_copy(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = load(f"pairs/{name}", kind="pairs")
    assert config.source.name == name
    with pytest.raises(DataError, match=r"folder of .* not found"):
        list_items(config)
    assert "${" in config.source.root
    assert Path(config.source.root.partition(":-")[2].rstrip("}")).parts[0] == "data"
