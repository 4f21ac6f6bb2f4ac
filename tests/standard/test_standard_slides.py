"""Slide lists in the true layouts of their sets: labels, cases, parts, masks, known bad slides, and what is missing."""

import pytest
from pydantic import TypeAdapter
from standard_helpers import write_many

from data_prep.pairs.standard import ebrains, kaggle_slides
from data_prep.pairs.standard.slide_sets import SlideSource, list_slides
from medvlp.errors import DataError


def listed(name, root=None, **values):
    where = {} if root is None else {"root": str(root)}
    return list_slides(TypeAdapter(SlideSource).validate_python({"name": name, **where, **values}))


def counts(listing, what):
    found = {}
    for row in listing.rows:
        found[getattr(row, what)] = found.get(getattr(row, what), 0) + 1
    return found


# --- CAMELYON16

XML = '<?xml version="1.0"?><ASAP_Annotations><Annotations/></ASAP_Annotations>'


def write_camelyon(root, normal=159, tumor=111, test=129, tumor_tests=49, skip=()):
    """Training slides, test slides 1 to ``test`` but for ``skip``, the table without a header, XML of the tumors."""
    names = [f"training/normal/normal_{i + 1:03d}.tif" for i in range(normal)]
    names += [f"training/tumor/tumor_{i + 1:03d}.tif" for i in range(tumor)]
    numbers = [i for i in range(1, test + len(skip) + 1) if i not in skip]
    names += [f"testing/images/test_{i:03d}.tif" for i in numbers]
    positive = set(numbers[-tumor_tests:])
    write_many(root, names)
    table = "".join(f"test_{i:03d},{'Tumor,IDC,Macro' if i in positive else 'Normal,None,None'}\n" for i in numbers)
    (root / "testing" / "reference.csv").write_text(table, encoding="utf-8")
    for part, keys in (("training", range(1, tumor + 1)), ("testing", positive)):
        folder = root / part / "lesion_annotations"
        folder.mkdir(parents=True)
        for i in keys:
            (folder / f"{'tumor' if part == 'training' else 'test'}_{i:03d}.xml").write_text(XML, encoding="utf-8")


def test_camelyon_has_the_published_counts(tmp_path):
    write_camelyon(tmp_path / "CAMELYON16", skip=(49,))
    listing = listed("camelyon16", tmp_path / "CAMELYON16")
    assert counts(listing, "split") == {"train": 270, "test": 129}
    assert counts(listing, "label") == {
        "lymph node tissue without metastasis": 239,
        "lymph node metastasis of breast cancer": 160,
    }
    assert all(row.case == row.key for row in listing.rows)
    assert sum(row.mask is not None for row in listing.rows) == 159
    (incomplete,) = [row for row in listing.rows if row.key == "test_114"]
    assert (incomplete.label, incomplete.mask) == ("lymph node metastasis of breast cancer", None)
    assert listing.notes == {"slides whose annotation is incomplete: no mask": 1}


def test_camelyon_duplicate_is_left_out(tmp_path):
    write_camelyon(tmp_path / "open", test=130, tumor_tests=49)
    listing = listed("camelyon16", tmp_path / "open")
    assert listing.dropped == [("test_049", "repeats another slide")]
    assert counts(listing, "split")["test"] == 129
    write_camelyon(tmp_path / "challenge", normal=160, tumor=110, test=130)
    listing = listed("camelyon16", tmp_path / "challenge", release="challenge")
    assert listing.dropped == [("test_049", "repeats another slide")]
    with pytest.raises(DataError, match=r"CAMELYON16: class 'normal': 240 slides, expected 239; take out"):
        listed("camelyon16", tmp_path / "challenge")


def test_camelyon_copies_that_are_not_whole(tmp_path):
    root = tmp_path / "c"
    (root / "training" / "normal").mkdir(parents=True)
    with pytest.raises(DataError, match=r"CAMELYON16 lacks training/tumor/, testing/images/, testing/reference.csv"):
        listed("camelyon16", root)
    with pytest.raises(DataError, match="CAMELYON16: no slides found"):
        listed("camelyon16", root, partial=True)
    write_camelyon(tmp_path / "d", normal=2, tumor=2, test=4, tumor_tests=2)
    (tmp_path / "d" / "testing" / "images" / "test_001.tif").unlink()
    with pytest.raises(DataError, match=r"CAMELYON16: 1 slides of reference.csv are absent; download the rest"):
        listed("camelyon16", tmp_path / "d")
    (tmp_path / "d" / "training" / "lesion_annotations" / "tumor_001.xml").unlink()
    listing = listed("camelyon16", tmp_path / "d", partial=True)
    assert counts(listing, "split") == {"train": 4, "test": 3}
    assert listing.notes["tumor slides without an XML file in lesion_annotations: no mask"] == 1
    assert listing.notes["CAMELYON16, total: 7 slides, expected 399"] == 1
    reference = tmp_path / "d" / "testing" / "reference.csv"
    reference.write_text("NAME,LABEL\ntest_002,Tumor\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"test_003: the test slide has no label; use the published reference.csv"):
        listed("camelyon16", tmp_path / "d", partial=True)
    reference.write_text("a,b\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"reference.csv: names no slide as Normal or Tumor"):
        listed("camelyon16", tmp_path / "d", partial=True)


# --- PANDA and UBC-OCEAN


def write_panda(root, num):
    keys = [f"{i:032x}" for i in range(num)]
    write_many(root, [f"train_images/{key}.tiff" for key in keys])
    rows = "".join(f"{key},{('karolinska', 'radboud')[i % 2]},{i % 6},0+0\n" for i, key in enumerate(keys))
    (root / "train.csv").write_text(f"image_id,data_provider,isup_grade,gleason_score\n{rows}", encoding="utf-8")
    return keys


def test_panda_has_the_published_count(tmp_path):
    write_panda(tmp_path / "panda", kaggle_slides.PANDA_IMAGES)
    listing = listed("panda", tmp_path / "panda")
    assert counts(listing, "split") == {"test": 10616}
    assert set(counts(listing, "label")) == set(kaggle_slides.PANDA_NAMES.values())
    assert listing.notes == {"slides without a mask": 10616}


def test_panda_copies_that_are_not_whole(tmp_path):
    keys = write_panda(tmp_path / "p", 12)
    write_many(tmp_path / "masks", [f"{key}_mask.tiff" for key in keys[:4]])
    (tmp_path / "masks").rename(tmp_path / "p" / "train_label_masks")
    with pytest.raises(DataError, match="PANDA: total: 12 slides, expected 10,616"):
        listed("panda", tmp_path / "p")
    shares = {"train": 0.5, "dev": 0.0, "test": 0.5}
    listing = listed("panda", tmp_path / "p", partial=True, provider="radboud", split=shares)
    assert counts(listing, "split") == {"train": 3, "test": 3}
    assert listing.notes["slides of the other provider, left out"] == 6
    assert sum(row.mask is not None for row in listing.rows) == 2
    (tmp_path / "p" / "train_images" / f"{keys[0]}.tiff").unlink()
    with pytest.raises(DataError, match=rf"PANDA: 1 slides of the table are absent; .*{keys[0]}.tiff, or set partial"):
        listed("panda", tmp_path / "p")
    table = tmp_path / "p" / "train.csv"
    text = table.read_text(encoding="utf-8")
    table.write_text(f"{text}{keys[1]},radboud,0,0+0\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"{keys[1]}: is listed twice; use the published table of PANDA"):
        listed("panda", tmp_path / "p", partial=True)
    table.write_text(text.replace("isup_grade", "grade"), encoding="utf-8")
    with pytest.raises(DataError, match="no column 'isup_grade'"):
        listed("panda", tmp_path / "p", partial=True)


def test_ubc_ocean_has_the_published_counts(tmp_path):
    root = tmp_path / "UBC-OCEAN"
    rows = [(label, i < 5) for label, num in kaggle_slides.OCEAN_COUNTS.items() for i in range(num)]
    write_many(root, [f"train_images/{i}.png" for i in range(len(rows))])
    table = "".join(f"{i},{label},9,9,{core}\n" for i, (label, core) in enumerate(rows))
    (root / "train.csv").write_text(f"image_id,label,image_width,image_height,is_tma\n{table}", encoding="utf-8")
    listing = listed("ubc_ocean", root, with_tma=True)
    assert len(listing.rows) == 538
    assert counts(listing, "label")["ovarian clear cell carcinoma"] == 99
    listing = listed("ubc_ocean", root)
    assert (len(listing.rows), len(listing.dropped)) == (513, 25)
    assert counts(listing, "label")["ovarian clear cell carcinoma"] == 94
    assert listing.dropped[0] == ("0", "tissue microarray core")
    (root / "train.csv").write_text("image_id,label,is_tma\n0,Other,False\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"UBC-OCEAN: unknown class 'Other' \(1 slides\)"):
        listed("ubc_ocean", root)


# --- EBRAINS


def test_ebrains_by_diagnosis_and_patient(tmp_path):
    root = tmp_path / "v1.0"
    teratoid = "Atypical teratoid/rhabdoid tumour"
    (rosettes,) = ebrains._RENAMED
    rows = [
        *((f"g{i}", f"p{i // 2}", "Gliosarcoma") for i in range(4)),
        *((f"a{i}", f"q{i}", teratoid) for i in range(3)),
        *((f"r{i}", f"r{i}", rosettes) for i in range(3)),
        ("c0", "c", ""),
        ("s0", "s", "Schwannoma"),
    ]
    folders = {"": "Control", teratoid: teratoid.replace("/", "-"), rosettes: ebrains._RENAMED[rosettes]}
    write_many(root, [f"{folders.get(diagnosis, diagnosis)}/{uuid}.ndpi" for uuid, _, diagnosis in rows])
    table = "".join(f'{uuid},{patient},"{diagnosis}",\n' for uuid, patient, diagnosis in rows)
    (root / "annotation.csv").write_text(f"uuid,pat_id,diagnosis,control\n{table}", encoding="utf-8")
    shares = {"train": 0.5, "dev": 0.0, "test": 0.5}
    listing = listed("ebrains", root, min_slides=3, split=shares)
    assert counts(listing, "label") == {"Gliosarcoma": 4, teratoid: 3, rosettes: 3}
    assert sorted(listing.dropped) == [
        ("c0", "control without a diagnosis"),
        ("s0", "diagnosis with fewer than 3 slides"),
    ]
    parts = {}
    for row in listing.rows:
        assert parts.setdefault(row.case, row.split) == row.split
    assert counts(listed("ebrains", root, min_slides=1, controls=True), "label")[ebrains.CONTROL] == 1
    with pytest.raises(DataError, match="EBRAINS: no diagnosis has enough slides; lower min_slides"):
        listed("ebrains", root)
    (root / "Gliosarcoma" / "g0.ndpi").unlink()
    with pytest.raises(DataError, match=r"EBRAINS: 1 slides of the table are absent; .*Gliosarcoma/g0.ndpi"):
        listed("ebrains", root, min_slides=3)
    listing = listed("ebrains", root, min_slides=3, partial=True)
    assert ("g0", "missing slide") in listing.dropped
    with pytest.raises(DataError, match="EBRAINS lacks annotation.csv"):
        listed("ebrains", root / "Schwannoma")


# --- TCGA

HEADER = "File ID\tFile Name\tData Category\tData Type\tProject ID\tCase ID\tSample ID\tSample Type\n"
PROJECTS = {"TCGA-LUAD": "lung adenocarcinoma", "TCGA-LUSC": "lung squamous cell carcinoma"}


def sheet_row(file_id, name, project, case, kind="Primary Tumor"):
    return f"{file_id}\t{name}\tBiospecimen\tSlide Image\t{project}\t{case}\t{case}-01Z\t{kind}\n"


def test_tcga_from_a_sample_sheet(tmp_path):
    root = tmp_path / "tcga"
    slide = "TCGA-{}-01Z-00-DX1.AAAA-BBBB.svs"
    frozen = "TCGA-05-4244-01A-01-TS1.CCCC.svs"
    rows = [
        sheet_row("id1", slide.format("05-4244"), "TCGA-LUAD, TCGA-LUAD", "TCGA-05-4244, TCGA-05-4244"),
        sheet_row("id2", frozen, "TCGA-LUAD", "TCGA-05-4244"),
        sheet_row("id3", slide.format("18-3406"), "TCGA-LUSC", "TCGA-18-3406"),
        sheet_row("id4", slide.format("18-3407"), "TCGA-LUSC", "TCGA-18-3407", "Solid Tissue Normal"),
        sheet_row("id5", slide.format("A2-A0T2"), "TCGA-BRCA", "TCGA-A2-A0T2"),
    ]
    write_many(root, [f"id1/{slide.format('05-4244')}", f"id2/{frozen}", slide.format("18-3406")])
    sheet = tmp_path / "gdc_sample_sheet.2024-01-01.tsv"
    sheet.write_text(HEADER + "".join(rows), encoding="utf-8")
    options = {"sheet": str(sheet), "projects": PROJECTS}
    listing = listed("tcga", root, **options)
    assert [(row.label, row.case) for row in listing.rows] == [
        ("lung adenocarcinoma", "TCGA-05-4244"),
        ("lung squamous cell carcinoma", "TCGA-18-3406"),
    ]
    assert [reason for _, reason in listing.dropped] == ["no diagnostic slide", "normal tissue"]
    assert listing.notes == {"slides of other projects, left out": 1}
    assert len(listed("tcga", root, slides="all", **options).rows) == 3
    labels = tmp_path / "labels.csv"
    labels.write_text("case,label\nTCGA-05-4244,lepidic\n", encoding="utf-8")
    listing = listed("tcga", root, case_labels=str(labels), **options)
    assert counts(listing, "label") == {"lepidic": 1}
    assert ("TCGA-18-3406-01Z-00-DX1.AAAA-BBBB", "case without a label") in listing.dropped


def test_tcga_downloads_that_are_not_whole(tmp_path):
    root, sheet = tmp_path / "tcga", tmp_path / "sheet.tsv"
    root.mkdir()
    name = "TCGA-05-4244-01Z-00-DX1.AAAA.svs"
    sheet.write_text(HEADER + sheet_row("id1", name, "TCGA-LUAD", "TCGA-05-4244"), encoding="utf-8")
    options = {"sheet": str(sheet), "projects": PROJECTS}
    with pytest.raises(DataError, match=rf"TCGA: 1 slides of the table are absent; .*id1/{name}, or set partial"):
        listed("tcga", root, **options)
    write_many(root, [f"id1/{name}"])
    with pytest.raises(DataError, match="no slide of 'lung squamous cell carcinoma'; check projects"):
        listed("tcga", root, **options)
    sheet.write_text(HEADER + sheet_row("id1", name, "TCGA-LUAD", "TCGA-05-4244, TCGA-05-4245"), encoding="utf-8")
    with pytest.raises(DataError, match=rf"{name}: has several values of Case ID; leave the file out"):
        listed("tcga", root, **options)


# --- CPTAC

LUNG = [
    ("C3L-00001-21", "C3L-00001", "tumor_tissue", "Yes"),
    ("C3L-00001-22", "C3L-00001", "tumor_tissue", "No"),
    ("C3L-00001-26", "C3L-00001", "normal_tissue", ""),
    ("C3N-00167-21", "C3N-00167", "tumor_tissue", "Yes"),
]


def write_cptac(root, name, rows, skip=()):
    write_many(root / name, [f"LUAD/{slide}.svs" for slide, *_ in rows if slide not in skip])
    table = "".join(f"{case},{case}-01,{slide},LUAD,{kind},{good}\n" for slide, case, kind, good in rows)
    header = "Case_ID,Specimen_ID,Slide_ID,Tumor,Specimen_Type,Tumor_Segment_Acceptable\n"
    (root / f"{name}.csv").write_text(header + table, encoding="utf-8")
    return {"slides": str(root / name), "table": str(root / f"{name}.csv"), "label": f"tumor of {name}"}


def test_cptac_subtyping_and_detection(tmp_path):
    other = [(slide.replace("C3", "C4"), case.replace("C3", "C4"), *rest) for slide, case, *rest in LUNG]
    collections = [write_cptac(tmp_path, "luad", LUNG), write_cptac(tmp_path, "lscc", other)]
    listing = listed("cptac", collections=collections)
    assert counts(listing, "label") == {"tumor of luad": 2, "tumor of lscc": 2}
    assert counts(listing, "case") == {"C3L-00001": 1, "C3N-00167": 1, "C4L-00001": 1, "C4N-00167": 1}
    assert sorted({reason for _, reason in listing.dropped}) == ["normal tissue", "segment failed the review"]
    listing = listed("cptac", collections=collections[:1], normal="normal lung tissue")
    assert counts(listing, "label") == {"tumor of luad": 2, "normal lung tissue": 1}


def test_cptac_copies_that_are_not_whole(tmp_path):
    collection = write_cptac(tmp_path, "luad", LUNG, skip=("C3N-00167-21",))
    with pytest.raises(DataError, match=r"CPTAC: 1 slides of the table are absent; .*luad/C3N-00167-21.svs"):
        listed("cptac", collections=[collection])
    assert len(listed("cptac", collections=[collection], partial=True).rows) == 1
    write_cptac(tmp_path, "cm", [("a", "b", "cell line", "")])
    odd = {"slides": str(tmp_path / "cm"), "table": str(tmp_path / "cm.csv"), "label": "melanoma"}
    with pytest.raises(DataError, match="a: unknown Specimen_Type 'cell line'"):
        listed("cptac", collections=[odd])
    write_cptac(tmp_path, "empty", [("a", "b", "normal_tissue", "")])
    none = {"slides": str(tmp_path / "empty"), "table": str(tmp_path / "empty.csv"), "label": "melanoma"}
    with pytest.raises(DataError, match=r"empty.csv: no slide is left; get the collection's own table"):
        listed("cptac", collections=[none])
