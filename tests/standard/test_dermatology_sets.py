"""Each skin set on a miniature in its true layout: what is listed, what a wrong copy is told, what partial does."""

import csv

import numpy as np
import pytest
from PIL import Image

from data_prep.pairs.config import PairsConfig
from data_prep.pairs.prepare import prepare
from data_prep.pairs.sources import list_items
from data_prep.pairs.standard import derm_fitzpatrick, derm_ham, derm_pad, derm_sd, derm_seven
from data_prep.pairs.standard.checks import Expected
from data_prep.pairs.standard.tabular import NONE
from medvlp.config import load
from medvlp.data.pairs import PairsStore
from medvlp.errors import DataError

CONFIGS = {
    "pad_ufes_20": "pad_ufes_20",
    "ham10000": "ham10000",
    "fitzpatrick17k": "fitzpatrick17k",
    "skincon": "skincon",
    "sd128": "sd198",
    "derm7pt": "derm7pt",
}


def write_table(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def write_image(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def listed(source):
    return list_items(PairsConfig(source=source))


# PAD-UFES-20


def pad(root):
    header = [
        "patient_id",
        "lesion_id",
        "smoke",
        "age",
        "gender",
        "fitspatrick",
        "region",
        "diagnostic",
        "img_id",
        "biopsed",
    ]
    rows = [
        ("PAT_1", 11, "", 60, "MALE", 2.0, "ARM", "BCC", "PAT_1_11_1.png", True),
        ("PAT_1", 12, "", 60, "MALE", 2.0, "ARM", "NEV", "PAT_1_12_2.png", False),
        ("PAT_2", 13, "", 40, "FEMALE", 1.0, "FACE", "BCC", "PAT_2_13_3.png", True),
    ]
    write_table(root / "metadata.csv", header, rows)
    for number, row in enumerate(rows):
        part = f"imgs_part_{number + 1}"
        write_image(root / "images" / part / part / row[8], number)
    return {"name": "pad_ufes_20", "root": str(root)}


def test_pad_ufes_20_becomes_a_store(tmp_path, monkeypatch):
    monkeypatch.setattr(derm_pad, "EXPECTED", Expected(3, by_class={"BCC": 2, "NEV": 1}))
    config = PairsConfig(source=pad(tmp_path / "pad"), split={"train": 0.5, "dev": 0.0, "test": 0.5})
    store = PairsStore.load(prepare(config, tmp_path / "out"))
    rows = {pair.key: (split, pair.case, pair.label) for split in ("train", "test") for pair in store.split(split)}
    assert {key: row[1:] for key, row in rows.items()} == {
        "PAT_1_11_1.png": ("PAT_1", "basal cell carcinoma"),
        "PAT_1_12_2.png": ("PAT_1", "melanocytic nevus"),
        "PAT_2_13_3.png": ("PAT_2", "basal cell carcinoma"),
    }
    assert rows["PAT_1_11_1.png"][0] == rows["PAT_1_12_2.png"][0] != rows["PAT_2_13_3.png"][0]


def test_pad_ufes_20_tells_what_is_wrong(tmp_path):
    source = pad(tmp_path)
    with pytest.raises(DataError, match="class 'BCC': 2 images, expected 845"):
        listed(source)
    (tmp_path / "images" / "imgs_part_3" / "imgs_part_3" / "PAT_2_13_3.png").unlink()
    with pytest.raises(DataError, match=r"PAD-UFES-20: 1 of 3 images are not there \(PAT_2_13_3.png\)"):
        listed(source)
    part = listed(source | {"partial": True})
    assert len(part.items) == 2
    assert part.notes["PAD-UFES-20, class 'MEL': 0 images, expected 52"] == 1
    write_image(tmp_path / "images" / "PAT_2_13_3.png")
    text = (tmp_path / "metadata.csv").read_text()
    (tmp_path / "metadata.csv").write_text(text.replace("NEV", "???"))
    with pytest.raises(DataError, match="PAD-UFES-20: unknown class"):
        listed(source)
    (tmp_path / "metadata.csv").write_text(text.replace("diagnostic", "diagnosis"))
    with pytest.raises(DataError, match="no column 'diagnostic'"):
        listed(source)


# HAM10000


def test_ham10000_images_of_a_lesion_are_one_case(tmp_path, monkeypatch):
    header = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
    rows = [
        ("HAM_1", "ISIC_0000001", "mel", "histo", 60, "male", "back"),
        ("HAM_1", "ISIC_0000002", "mel", "histo", 60, "male", "back"),
        ("HAM_2", "ISIC_0000003", "akiec", "histo", 60, "male", "back"),
    ]
    write_table(tmp_path / "HAM10000_metadata.csv", header, rows)
    for number, row in enumerate(rows):
        touch(tmp_path / f"HAM10000_images_part_{number % 2 + 1}" / f"{row[1]}.jpg")
    source = {"name": "ham10000", "root": str(tmp_path)}
    with pytest.raises(DataError, match="class 'nv': 0 images, expected 6,705"):
        listed(source)
    monkeypatch.setattr(derm_ham, "EXPECTED", Expected(3, by_class={"mel": 2, "akiec": 1}))
    listing = listed(source)
    assert [(item.key, item.case) for item in listing.items] == [
        ("ISIC_0000001", "HAM_1"),
        ("ISIC_0000002", "HAM_1"),
        ("ISIC_0000003", "HAM_2"),
    ]
    assert listing.label_concepts["mel"] == ["DOID:8923"]
    (tmp_path / "HAM10000_metadata.csv").unlink()
    with pytest.raises(DataError, match=r"HAM10000 lacks HAM10000_metadata.csv or HAM10000_metadata"):
        listed(source)


# Fitzpatrick17k and SkinCon


def fitzpatrick(root):
    header = ["md5hash", "fitzpatrick_scale", "fitzpatrick_centaur", "label", "nine_partition_label"]
    header += ["three_partition_label", "qc", "url", "url_alphanum"]
    rows = [
        ("aa", 3, 3, "psoriasis", "inflammatory", "non-neoplastic", "", "https://x/1.jpg", "x1.jpg"),
        ("bb", -1, 1, "melanoma", "malignant melanoma", "malignant", "1 Diagnostic", "https://x/2.jpg", "x2.jpg"),
    ]
    write_table(root / "fitzpatrick17k.csv", header, rows)
    for row in rows:
        touch(root / "images" / f"{row[0]}.jpg")
    return {"name": "fitzpatrick17k", "root": str(root)}


@pytest.mark.parametrize(
    ("level", "labels"),
    [
        ("condition", ["psoriasis", "melanoma"]),
        ("nine", ["inflammatory", "malignant melanoma"]),
        ("three", ["non-neoplastic", "malignant"]),
    ],
)
def test_fitzpatrick17k_levels(tmp_path, monkeypatch, level, labels):
    monkeypatch.setattr(derm_fitzpatrick, "NUM_IMAGES", 2)
    monkeypatch.setattr(derm_fitzpatrick, "NUM_CONDITIONS", 2)
    listing = listed(fitzpatrick(tmp_path) | {"level": level})
    assert [(item.key, item.label) for item in listing.items] == list(zip(["aa", "bb"], labels, strict=True))


def test_fitzpatrick17k_tells_what_is_wrong(tmp_path, monkeypatch):
    source = fitzpatrick(tmp_path)
    with pytest.raises(DataError, match="Fitzpatrick17k: 2 conditions, expected 114"):
        listed(source)
    notes = listed(source | {"partial": True}).notes
    assert set(notes) == {
        "Fitzpatrick17k, 2 conditions, expected 114",
        "Fitzpatrick17k, total: 2 images, expected 16,577",
    }
    monkeypatch.setattr(derm_fitzpatrick, "NUM_CONDITIONS", 2)
    (tmp_path / "images" / "aa.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 2 images are not there \(aa\)"):
        listed(source)


def skincon(root, part="fitzpatrick17k"):
    name, ending = ("annotations_ddi.csv", "png") if part == "ddi" else ("annotations_fitzpatrick17k.csv", "jpg")
    header = ["", "ImageID", *derm_fitzpatrick.CONCEPTS, derm_fitzpatrick.UNUSABLE]
    shown = [{"Papule", "Erythema"}, {"Papule"}, {"Wheal"}, set(), {"Papule"}]
    rows = [
        (number, f"{number}.{ending}", *(int(name in found) for name in derm_fitzpatrick.CONCEPTS), int(number == 4))
        for number, found in enumerate(shown)
    ]
    write_table(root / name, header, rows)
    for number in range(4):
        touch(root / "anywhere" / f"{number}.{ending}")
    return {"name": "skincon", "root": str(root), "part": part}


@pytest.mark.parametrize("part", ["fitzpatrick17k", "ddi"])
def test_skincon_concepts_that_are_frequent(tmp_path, monkeypatch, part):
    names = {"fitzpatrick17k": ("annotations_fitzpatrick17k.csv", 5), "ddi": ("annotations_ddi.csv", 5)}
    monkeypatch.setattr(derm_fitzpatrick, "ANNOTATIONS", names)
    source = skincon(tmp_path, part)
    labels = [item.labels for item in listed(source | {"min_images": 2}).items]
    assert labels == [["Papule"], ["Papule"], [NONE], [NONE]]
    every = listed(source | {"min_images": 1})
    assert [item.labels for item in every.items] == [["Papule", "Erythema"], ["Papule"], ["Wheal"], [NONE]]
    assert [reason for _, reason in every.dropped] == ["the set's own annotation says not to consider it"]
    assert every.label_names["Brown(Hyperpigmentation)"] == "hyperpigmentation"


def test_skincon_tells_what_is_wrong(tmp_path):
    source = skincon(tmp_path)
    with pytest.raises(DataError, match="annotations_fitzpatrick17k.csv: 5 rows, expected 3,690"):
        listed(source)
    assert len(listed(source | {"partial": True}).items) == 4
    assert len(derm_fitzpatrick.CONCEPTS) == len(set(derm_fitzpatrick.CONCEPTS)) == 48


# SD-198


def sd198(root, counts):
    lines = []
    for label, count in counts.items():
        for number in range(count):
            touch(root / "images" / label / f"{label}_{number}.jpg")
            lines.append(f"{len(lines) + 1} {label}/{label}_{number}.jpg")
    (root / "images.txt").write_text("\n".join(lines) + "\n")
    return {"name": "sd198", "root": str(root)}


def test_sd128_is_the_largest_classes(tmp_path, monkeypatch):
    source = sd198(tmp_path, {"Acne_Vulgaris": 3, "Actinic_solar_Damage(Actinic_Keratosis)": 2, "Callus": 1})
    with pytest.raises(DataError, match="SD-198: 3 classes, expected 128"):
        listed(source)
    monkeypatch.setattr(derm_sd, "NUM_CLASSES", {"sd128": 2, "sd198": 3})
    with pytest.raises(DataError, match="total: 5 images, expected 5,619"):
        listed(source)
    monkeypatch.setattr(derm_sd, "NUM_IMAGES", {"sd128": 5, "sd198": 6})
    listing = listed(source)
    assert {item.label for item in listing.items} == {"Acne_Vulgaris", "Actinic_solar_Damage(Actinic_Keratosis)"}
    assert listing.items[0].key == "Acne_Vulgaris/Acne_Vulgaris_0.jpg"
    assert listing.label_names["Acne_Vulgaris"] == "Acne Vulgaris"
    assert len(listed(source | {"part": "sd198"}).items) == 6


def test_sd198_with_an_unclear_class_or_line(tmp_path, monkeypatch):
    monkeypatch.setattr(derm_sd, "NUM_CLASSES", {"sd128": 2, "sd198": 3})
    source = sd198(tmp_path, {"a": 3, "b": 2, "c": 2})
    with pytest.raises(DataError, match="classes 2 and 3 by size have 2 images each"):
        listed(source)
    (tmp_path / "images.txt").write_text("1 a/a_0.jpg\n2 ../../etc/passwd\n")
    with pytest.raises(DataError, match="line 2 names no image"):
        listed(source)


# Derm7pt


def derm7pt(root):
    header = ["diagnosis", "pigment_network", "sex", "location", "clinic", "derm", "case_id"]
    rows = [
        ("clark nevus", "typical", "female", "back", "NEL/Nel026.jpg", "NEL/NEL025.JPG", ""),
        ("melanoma (in situ)", "atypical", "male", "arm", "FAL/Fal001.jpg", "FAL/FAL002.JPG", ""),
        ("vascular lesion", "absent", "male", "arm", "FAL/Fal003.jpg", "FAL/FAL004.JPG", ""),
    ]
    write_table(root / "meta" / "meta.csv", header, rows)
    for number, name in enumerate(("train_indexes.csv", "valid_indexes.csv", "test_indexes.csv")):
        write_table(root / "meta" / name, ["", "indexes"], [(0, number)])
    for row in rows:
        touch(root / "images" / row[4])
        touch(root / "images" / row[5])
    return {"name": "derm7pt", "root": str(root)}


@pytest.mark.parametrize("image", ["derm", "clinic"])
def test_derm7pt_published_split(tmp_path, monkeypatch, image):
    monkeypatch.setattr(derm_seven, "EXPECTED", Expected(3, by_split={"test": 1}))
    listing = listed(derm7pt(tmp_path) | {"image": image})
    assert [(item.label, item.split, item.case) for item in listing.items] == [
        ("NEV", "train", "case-0000"),
        ("MEL", "dev", "case-0001"),
        ("MISC", "test", "case-0002"),
    ]
    assert listing.items[0].key == ("NEL/NEL025.JPG" if image == "derm" else "NEL/Nel026.jpg")
    every = listed(derm7pt(tmp_path) | {"diagnosis": "all"})
    assert every.items[1].label == "melanoma (in situ)"


def test_derm7pt_tells_what_is_wrong(tmp_path, monkeypatch):
    source = derm7pt(tmp_path)
    with pytest.raises(DataError, match="split test: 1 images, expected 395"):
        listed(source)
    monkeypatch.setattr(derm_seven, "EXPECTED", Expected(3, by_split={"test": 1}))
    write_table(tmp_path / "meta" / "valid_indexes.csv", ["indexes"], [(0,)])
    with pytest.raises(DataError, match="row 0 is in train and dev"):
        listed(source)
    write_table(tmp_path / "meta" / "valid_indexes.csv", ["indexes"], [("x",)])
    with pytest.raises(DataError, match="'x' is no row number"):
        listed(source)
    write_table(tmp_path / "meta" / "valid_indexes.csv", ["indexes"], [(7,)])
    with pytest.raises(DataError, match=r"row 1 of meta.csv is in no part"):
        listed(source)
    (tmp_path / "meta" / "test_indexes.csv").unlink()
    with pytest.raises(DataError, match=r"Derm7pt lacks meta/test_indexes.csv"):
        listed(source)


@pytest.mark.parametrize("config", CONFIGS)
def test_shipped_config_loads_and_asks_for_the_copy(config, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    loaded = load(f"pairs/{config}", kind="pairs")
    assert loaded.source.name == CONFIGS[config]
    with pytest.raises(DataError, match=r"folder of .* not found"):
        list_items(loaded)
