"""Each adapter reads a copy in its set's true layout with the published counts, and tells what another copy lacks."""

import pytest
from standard_helpers import write_image, write_many, write_xlsx

from data_prep.pairs.config import PairsConfig
from data_prep.pairs.prepare import prepare
from data_prep.pairs.sources import list_items
from data_prep.pairs.standard import bach, breakhis, crc_he, pcam, sicapv2, wsss4luad
from medvlp.config import load
from medvlp.data.pairs import PairsStore
from medvlp.errors import ConfigError, DataError


def config(name, root, **values):
    return PairsConfig.model_validate({"source": {"name": name, "root": str(root), **values}})


def listed(name, root, **values):
    return list_items(config(name, root, **values))


def counts(listing, what):
    found = {}
    for item in listing.items:
        value = getattr(item, what)
        found[value] = found.get(value, 0) + 1
    return found


# --- CRC-HE


def letters(number):
    return "".join("ABCDEFGHIJ"[int(digit)] for digit in f"{number:08d}")


def crc_names(archive, per_class):
    middle = "TCGA-" if archive == "CRC-VAL-HE-7K" else ""
    return [
        f"{archive}/{label}/{label}-{middle}{letters(i)}.tif" for label, num in per_class.items() for i in range(num)
    ]


def test_crc_test_part_has_the_published_counts(tmp_path):
    write_many(tmp_path / "crc", crc_names("CRC-VAL-HE-7K", crc_he.TEST_COUNTS))
    listing = listed("crc_he", tmp_path / "crc", parts="test")
    assert counts(listing, "label") == crc_he.TEST_COUNTS
    assert counts(listing, "split") == {"test": 7180}
    assert (sum(crc_he.TRAIN_COUNTS.values()), sum(crc_he.TEST_COUNTS.values())) == (100_000, 7_180)
    assert listing.notes == {}


def test_crc_miniature_becomes_a_store(tmp_path):
    few = {label: 2 for label in crc_he.NAMES}
    names = [*crc_names("NCT-CRC-HE-100K", few), *crc_names("CRC-VAL-HE-7K", few)]
    for seed, name in enumerate(names):
        write_image(tmp_path / "crc" / name, seed)
    store = PairsStore.load(prepare(config("crc_he", tmp_path / "crc", partial=True), tmp_path / "out"))
    assert store.manifest["num_rows_per_split"] == {"train": 18, "dev": 0, "test": 18}
    assert store.classes == sorted(crc_he.NAMES.values())
    assert store.class_concepts["colorectal adenocarcinoma epithelium"] == ["DOID:0050861"]
    assert store.manifest["notes"]["CRC-HE, split train: 18 images, expected 100,000"] == 1


def make_all(archive):
    for label in crc_he.NAMES:
        (archive / label).mkdir(exist_ok=True)
    return archive


def test_crc_copies_that_are_not_whole(tmp_path):
    root = tmp_path / "crc"
    with pytest.raises(DataError, match="folder of CRC-HE not found; set source.root"):
        listed("crc_he", root)
    write_many(root, crc_names("NCT-CRC-HE-100K", {"ADI": 1}))
    with pytest.raises(DataError, match="CRC-HE lacks CRC-VAL-HE-7K/; download and unpack"):
        listed("crc_he", root)
    with pytest.raises(DataError, match=r"lacks BACK/, DEB/, LYM/, MUC/, MUS/ and 3 more"):
        listed("crc_he", root, parts="train")
    with pytest.raises(DataError, match="CRC-HE lacks NCT-CRC-HE-100K-NONORM/"):
        listed("crc_he", root, parts="train", colours="original")
    listing = listed("crc_he", root, parts="train", partial=True)
    assert len(listing.items) == 1
    assert listing.notes["CRC-HE, folders of the set that are absent"] == 8
    assert listing.notes["CRC-HE, total: 1 images, expected 100,000"] == 1
    moved = root / "NCT-CRC-HE-100K" / "ADI" / "TUM-AAAAAAAA.tif"
    moved.touch()
    with pytest.raises(DataError, match=r"TUM-AAAAAAAA.tif: is no file of CRC-HE \(1 such in this folder\)"):
        listed("crc_he", make_all(root / "NCT-CRC-HE-100K").parent, parts="train")
    moved.unlink()
    (root / "NCT-CRC-HE-100K" / "ODD").mkdir()
    with pytest.raises(DataError, match=r"NCT-CRC-HE-100K/ODD: is no folder of CRC-HE \(1 such here\); take it out"):
        listed("crc_he", root, parts="train")


# --- BACH

PREFIXES = {"Benign": "b", "InSitu": "is", "Invasive": "iv", "Normal": "n"}


def bach_names(num=100):
    return [f"Photos/{label}/{PREFIXES[label]}{i:03d}.tif" for label in PREFIXES for i in range(1, num + 1)]


def test_bach_has_the_published_counts_and_evas_split(tmp_path):
    root = tmp_path / "ICIAR2018_BACH_Challenge"
    write_many(root, bach_names())
    (root / "Photos" / "microscopy_ground_truth.csv").write_text("n001.tif,Normal\n", encoding="utf-8")
    (root / "Photos" / "Benign" / "Thumbs.db").touch()
    listing = listed("bach", root)
    assert counts(listing, "label") == dict.fromkeys(bach.NAMES, 100)
    assert counts(listing, "split") == {"train": 268, "test": 132}
    # eva's held-out part as 0-based places in the list of all 400, sorted by class and name
    ranges = [(41, 59), (60, 90), (139, 169), (240, 258), (260, 273), (345, 368)]
    held_out = {place for first, last in ranges for place in range(first, last)}
    assert {place for place, item in enumerate(listing.items) if item.split == "test"} == held_out
    assert counts(listed("bach", root, split="drawn"), "split") == {None: 400}


def test_bach_copies_that_are_not_whole(tmp_path):
    root = tmp_path / "bach"
    write_many(root, bach_names(60))
    with pytest.raises(DataError, match=r"BACH: class 'Benign': 60 images, expected 100; download and unpack the rest"):
        listed("bach", root)
    write_many(tmp_path / "bach" / "more", ["x.tif"])
    (root / "more" / "x.tif").rename(root / "Photos" / "Normal" / "n1.tif")
    with pytest.raises(DataError, match=r"n1.tif: is no file of BACH \(1 such in this folder\); take it out, or set"):
        listed("bach", root)
    listing = listed("bach", root, partial=True)
    assert len(listing.items) == 240
    assert listing.notes["BACH, foreign files, left out"] == 1
    with pytest.raises(ConfigError, match="split"):
        load("pairs/bach", ["source.split=published"])


# --- BreakHis


def breakhis_names(magnifications=(40, 100, 200, 400), per_type=None):
    """The published totals by magnification, spread over the types; slide 14-13412 is in two of them."""
    names = []
    for magnification in magnifications:
        for side, group, mark in ((0, "benign", "B"), (1, "malignant", "M")):
            kinds = list(breakhis.TYPES[group].items())
            for i in range(breakhis.COUNTS[magnification][side] if per_type is None else 4 * per_type):
                kind, folder = kinds[i % 4]
                slide = "14-13412" if kind in ("DC", "LC") and i < 80 else f"14-{i // 100:04d}AB"
                place = f"histology_slides/breast/{group}/SOB/{folder}/SOB_{mark}_{kind}_{slide}/{magnification}X"
                names.append(f"{place}/SOB_{mark}_{kind}-{slide}-{magnification}-{i % 1000:03d}.png")
    return names


def test_breakhis_has_the_published_counts(tmp_path):
    write_many(tmp_path / "BreaKHis_v1", breakhis_names())
    kept = listed("breakhis", tmp_path / "BreaKHis_v1", labels="malignancy", ambiguous="keep")
    assert counts(kept, "label") == {"benign": 2480, "malignant": 5429}
    listing = listed("breakhis", tmp_path / "BreaKHis_v1")
    assert set(counts(listing, "label")) == {"A", "F", "PT", "TA", "DC", "LC", "MC", "PC"}
    assert len(listing.dropped) == 4 * 40
    assert len(listing.items) + len(listing.dropped) == 7909
    assert {reason for _, reason in listing.dropped} == {"slide published with two labels"}
    assert breakhis.AMBIGUOUS not in {item.case for item in listing.items}
    assert listing.label_concepts["DC"] == ["DOID:3007"]


def test_breakhis_folds_and_wrong_copies(tmp_path):
    root = tmp_path / "BreaKHis_v1"
    names = breakhis_names([40], per_type=3)
    write_many(root, names)
    with pytest.raises(DataError, match=r"BreakHis: class 'benign': 12 images, expected 625; download"):
        listed("breakhis", root, magnifications=[40])
    files = [name.rsplit("/", 1)[1] for name in names]
    lines = [f"{file}|40|1|{'train' if i % 2 else 'test'}" for i, file in enumerate(files)]
    fold = tmp_path / "dsfold1.txt"
    fold.write_text("\n".join(lines), encoding="utf-8")
    options = {"magnifications": [40], "partial": True}
    listing = listed("breakhis", root, fold_file=str(fold), **options)
    assert set(counts(listing, "split")) == {"train", "test"}
    assert listing.sources.keys() == {"dsfold1.txt"}
    fold.write_text("\n".join(lines[1:]), encoding="utf-8")
    with pytest.raises(DataError, match=r"is not in the fold file; use the authors' file"):
        listed("breakhis", root, fold_file=str(fold), **options)
    with pytest.raises(DataError, match="fold file not found"):
        listed("breakhis", root, fold_file=str(tmp_path / "none"), **options)
    stray = root / names[0]
    stray.rename(stray.with_name(stray.name.replace("_A-", "_F-")))
    with pytest.raises(DataError, match="lies in the wrong folder"):
        listed("breakhis", root, **options)


# --- SICAPv2


def write_sicap(root, sizes, label=lambda i: i % 4):
    """Tables of the given sizes; patches of a slide share a table, two slides share a patient."""
    slides, number = {}, 0
    for table, size in sizes.items():
        rows = [["image_name", "NC", "G3", "G4", "G5", "G4C"]]
        for i in range(size):
            slide = f"16B{number // 100:07d}"
            slides[slide] = number // 200
            one_hot = [int(label(i) == k) for k in range(4)]
            rows.append([f"{slide}_Block_Region_0_{i % 10}_{i // 10}_xini_{i}_yini_{i}.jpg", *one_hot, 0])
            number += 1
        number += 200 - number % 200
        write_xlsx(root / table, rows)
        yield from (row[0] for row in rows[1:])
    write_xlsx(root / "wsi_labels.xlsx", [["slide_id", "patient_id"], *([slide, p] for slide, p in slides.items())])


FOLD_1 = {
    "partition/Test/Test.xlsx": 2122,
    "partition/Validation/Val1/Train.xlsx": 7472,
    "partition/Validation/Val1/Test.xlsx": 2487,
}


def test_sicap_has_the_published_parts(tmp_path):
    root = tmp_path / "SICAPv2"
    write_many(root, [f"images/{name}" for name in write_sicap(root, FOLD_1)])
    listing = listed("sicapv2", root)
    assert counts(listing, "split") == {"test": 2122, "train": 7472, "dev": 2487}
    assert set(counts(listing, "label")) == set(sicapv2.NAMES)
    assert len(set(counts(listing, "case"))) < len({item.key.split("_Block_")[0] for item in listing.items})
    assert all(sum(fold) == sicapv2.REST for fold in sicapv2.FOLD_SIZES.values())
    assert listing.notes == {}
    with pytest.raises(DataError, match=r"SICAPv2 lacks partition/Validation/Val2/Train.xlsx, partition/Valid"):
        listed("sicapv2", root, fold=2)


def test_sicap_copies_that_are_not_whole(tmp_path):
    root = tmp_path / "SICAPv2"
    sizes = {"partition/Test/Test.xlsx": 4, "partition/Test/Train.xlsx": 8}
    names = list(write_sicap(root, sizes))
    for seed, name in enumerate(names[1:]):
        write_image(root / "images" / name, seed)
    with pytest.raises(DataError, match=r"SICAPv2: 1 images of the tables are absent; download and unpack the rest"):
        listed("sicapv2", root, fold=None)
    listing = listed("sicapv2", root, fold=None, partial=True)
    assert counts(listing, "split") == {"test": 3, "train": 8}
    assert listing.dropped == [(f"images/{names[0]}", "missing image")]
    store = PairsStore.load(prepare(config("sicapv2", root, fold=None, partial=True), tmp_path / "out"))
    assert len(store) == 11
    assert store.classes == sorted(sicapv2.NAMES.values())
    list(write_sicap(root, sizes, label=lambda _: 9))
    with pytest.raises(DataError, match=r"jpg: 0 labels instead of one"):
        listed("sicapv2", root, fold=None, partial=True)
    write_xlsx(root / "partition/Test/Test.xlsx", [["image", "NC"], ["a.jpg", 1]])
    with pytest.raises(DataError, match=r"Test.xlsx: no column 'image_name'"):
        listed("sicapv2", root, fold=None, partial=True)


# --- PCam


def write_pcam(root, part, num, written=0, shape=(96, 96, 3)):
    h5py = pytest.importorskip("h5py", reason="the extra slides is not installed")
    root.mkdir(parents=True, exist_ok=True)
    stem = root / f"camelyonpatch_level_2_split_{part}"
    with h5py.File(f"{stem}_x.h5", "w") as file:  # images that are not written take no room
        images = file.create_dataset("x", (num, *shape), dtype="uint8", chunks=(1, *shape))
        for row in range(written):
            images[row] = row
    with h5py.File(f"{stem}_y.h5", "w") as file:
        file.create_dataset("y", data=[[[[row % 2]]] for row in range(num)], dtype="uint8")
    rows = "".join(f"{row},0,0,False,False,camelyon16_{part}_{row // 3:03d}\n" for row in range(num))
    (root / f"{stem.name}_meta.csv").write_text(
        f",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi\n{rows}", encoding="utf-8"
    )


@pytest.mark.extras
def test_pcam_has_the_published_counts(tmp_path):
    write_pcam(tmp_path / "pcam", "test", pcam.COUNTS["test"], written=3)
    listing = listed("pcam", tmp_path / "pcam", splits=["test"], verify=False)
    with listing.open:
        assert counts(listing, "label") == {"0": 16384, "1": 16384}
        assert listing.items[5].case == "camelyon16_test_001"
        assert listing.items[2].load().getpixel((9, 9)) == (2, 2, 2)
    assert sum(pcam.COUNTS.values()) == 327_680


@pytest.mark.extras
def test_pcam_miniature_becomes_a_store_and_damage_is_told(tmp_path):
    root = tmp_path / "pcam"
    for part, num in (("train", 12), ("valid", 6), ("test", 6)):
        write_pcam(root, part, num, written=num)
    with pytest.raises(DataError, match=r"train_x.h5: MD5 is \w+, the published one 01844da899645b4d6f84946d417ba453"):
        listed("pcam", root)
    with pytest.raises(DataError, match=r"PCam: split train: 12 images, expected 262,144"):
        listed("pcam", root, verify=False)
    settings = config("pcam", root, verify=False, partial=True)
    (root / "camelyonpatch_level_2_split_train_meta.csv").unlink()
    store = PairsStore.load(prepare(settings, tmp_path / "out"))
    assert store.manifest["num_rows_per_split"] == {"train": 12, "dev": 6, "test": 6}
    assert store.manifest["notes"]["parts without their meta table: slides are unknown"] == 1
    write_pcam(root, "test", 4, shape=(64, 64, 3))
    with pytest.raises(DataError, match=r"test_x.h5: holds uint8 \(4, 64, 64, 3\)"):
        listed("pcam", root, splits=["test"], verify=False, partial=True)
    (root / "camelyonpatch_level_2_split_valid_x.h5").write_bytes(b"no hdf5")
    with pytest.raises(DataError, match="valid_x.h5: is no HDF5 file with 'x'"):
        listed("pcam", root, splits=["dev"], verify=False, partial=True)


# --- WSSS4LUAD

ONE_HOT = {"tumor": "[1, 0, 0]", "stroma": "[0, 1, 0]", "normal": "[0, 0, 1]"}


def wsss_names(per_tissue, several):
    names = [f"{1000 + i % 50}-{i}-{i}-{ONE_HOT[tissue]}.png" for tissue, num in per_tissue.items() for i in range(num)]
    return [*names, *(f"{1000 + i % 50}-{i}-{i}-[1, 1, 0].png" for i in range(several))]


def test_wsss4luad_has_the_published_counts(tmp_path):
    several = wsss4luad.IMAGES - sum(wsss4luad.ONE_TISSUE.values())
    names = [f"1.training/{name}" for name in wsss_names(wsss4luad.ONE_TISSUE, several)]
    write_many(tmp_path / "WSSS4LUAD", names)
    listing = listed("wsss4luad", tmp_path / "WSSS4LUAD")
    assert counts(listing, "label") == wsss4luad.ONE_TISSUE
    assert listing.notes == {"patches with several tissues or none, left out": 5398}
    assert listing.items[0].case == "1000"
    every = listed("wsss4luad", tmp_path / "WSSS4LUAD", tissues="any")
    assert len(every.items) == 10091
    assert sum(item.labels == ["tumor", "stroma"] for item in every.items) == several
    (tmp_path / "WSSS4LUAD" / "1.training" / "1000_1_1_[1_0_0].png").touch()
    with pytest.raises(DataError, match=r"\[1_0_0\].png: is no file of WSSS4LUAD"):
        listed("wsss4luad", tmp_path / "WSSS4LUAD")


def test_wsss4luad_copies_that_are_not_whole(tmp_path):
    (tmp_path / "w").mkdir()
    with pytest.raises(DataError, match="WSSS4LUAD lacks 1.training/"):
        listed("wsss4luad", tmp_path / "w")
    write_many(tmp_path / "w", [f"training/{name}" for name in wsss_names({"tumor": 3}, 2)])
    with pytest.raises(DataError, match="WSSS4LUAD: total: 5 images, expected 10,091"):
        listed("wsss4luad", tmp_path / "w")
    listing = listed("wsss4luad", tmp_path / "w", partial=True)
    assert counts(listing, "label") == {"tumor": 3}
    assert counts(listing, "case") == {"1000": 1, "1001": 1, "1002": 1}
