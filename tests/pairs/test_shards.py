"""Tar shards: read as webdataset lays them out, refused when damaged or hostile; a store goes out and back whole."""

import gzip
import io
import json
import tarfile

import numpy as np
import pytest
from pairs_helpers import picture

from data_prep.pairs.config import PairsConfig
from data_prep.pairs.export import export_webdataset
from data_prep.pairs.prepare import prepare
from data_prep.pairs.shards import braces
from medvlp.data.image import encode_image
from medvlp.data.pairs import COLUMNS, LABELS, SPLITS, PairsStore, Row, Text
from medvlp.errors import DataError
from medvlp.io import read_json, verify_manifest


def png(seed):
    return encode_image(picture(seed), "png")


def samples(start, count, **texts):
    """Members of ``count`` samples: image, text, class, JSON."""
    out = []
    for i in range(start, start + count):
        out += [
            (f"{i:06d}.png", png(i)),
            (f"{i:06d}.txt", f"finding number {i}".encode()),
            (f"{i:06d}.cls", b"01"[i % 2 : i % 2 + 1]),
            (f"{i:06d}.json", json.dumps({"caption": f"second text {i}", "case": f"p{i // 2}"}).encode()),
        ]
    return out


def write_tar(path, members, kind=None):
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if kind is not None and name == kind[0]:
                member.type, member.linkname, member.size = kind[1], "/etc/passwd", 0
                archive.addfile(member)
            else:
                archive.addfile(member, io.BytesIO(data))
    return path


def config(*shards, **changes):
    source = {"name": "webdataset", "shards": [str(shard) for shard in shards], **changes}
    return PairsConfig.model_validate({"source": source, "format": "png"})


def error_of(settings, tmp_path):
    with pytest.raises(DataError) as caught:
        prepare(settings, tmp_path / "out", already_deidentified=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    return str(caught.value)


def test_samples_become_rows(tmp_path):
    write_tar(tmp_path / "train-000.tar", samples(0, 6))
    write_tar(tmp_path / "test-000.tar", samples(6, 4))
    packed = tmp_path / "val-000.tar.gz"
    packed.write_bytes(gzip.compress(write_tar(tmp_path / "x.tar", samples(10, 2)).read_bytes()))
    shards = [tmp_path / "{train,test}-{000..000}.tar", packed]
    store = PairsStore.load(prepare(config(*shards, split="shard"), tmp_path / "out", already_deidentified=True))
    assert store.manifest["num_rows_per_split"] == {"train": 6, "dev": 2, "test": 4}
    pair = store.split("test")[1]
    assert (pair.key, pair.label, pair.case) == ("000007", "1", "p3")
    assert [text.text for text in pair.texts] == ["finding number 7", "second text 7"]
    assert np.array_equal(np.asarray(pair.image), np.asarray(picture(7)))
    dev = store.split("dev")[1]  # from the compressed shard
    assert np.array_equal(np.asarray(dev.image), np.asarray(picture(11)))
    assert set(store.manifest["sources"]) == {"train-000.tar", "test-000.tar", "val-000.tar.gz"}


def test_members_of_a_sample_need_not_be_neighbours(tmp_path):
    members = sorted(samples(0, 6), key=lambda member: member[0][-3:])
    shard = write_tar(tmp_path / "a.tar", [*members, ("000003.pyd", b"no"), ("__meta__/x.json", b"{")])
    listed = prepare(config(shard), tmp_path / "out", already_deidentified=True)
    store = PairsStore.load(listed)
    assert len(store) == 6
    assert store.manifest["notes"]["members of shards that are not used"] == 1


def test_texts_are_deidentified(tmp_path):
    members = [*samples(0, 4), ("note.txt", b"Seen by Dr. Okafor"), ("note.jpg", png(9)), ("note.cls", b"1")]
    store = PairsStore.load(prepare(config(write_tar(tmp_path / "a.tar", members)), tmp_path / "out"))
    texts = [text.text for name in SPLITS for row in store.split(name).column("texts") for text in row]
    assert "Seen by Dr. [NAME]" in texts
    assert not any("Okafor" in text for text in texts)


def test_dicom_members_under_another_name_are_refused(tmp_path):
    dicom = b"\0" * 128 + b"DICM" + b"\0" * 9
    shard = write_tar(tmp_path / "a.tar", [("1.jpg", dicom), ("1.cls", b"a")])
    with pytest.raises(DataError, match="1: a DICOM file under another name may identify patients; give it the ending"):
        prepare(config(shard), tmp_path / "out")
    shard = write_tar(tmp_path / "b.tar", [("1.dcm", dicom), ("1.cls", b"a")])
    with pytest.raises(DataError, match="1: DICOM file without pixels"):
        prepare(config(shard), tmp_path / "out")


CUTS = {
    "inside a member": (lambda data, starts: data[: starts[8] + 700], "8 members (2 samples"),
    "between members, where tarfile is silent": (lambda data, starts: data[: starts[8]], "8 members (2 samples"),
    "overwritten header": (
        lambda data, starts: data[: starts[8]] + b"\xff" * 512 + data[starts[8] + 512 :],
        "8 members",
    ),
    "stump": (lambda data, starts: data[:100], "0 members (0 samples"),
    "something else": (lambda data, starts: b"no tar at all" * 100, "0 members (0 samples"),
}


@pytest.mark.parametrize("what", CUTS)
@pytest.mark.parametrize("packed", [False, True])
def test_a_cut_tar_is_named_with_what_was_read(tmp_path, what, packed):
    whole = write_tar(tmp_path / "whole.tar", samples(0, 6))
    with tarfile.open(whole) as archive:
        starts = [member.offset for member in archive]
    cut, found = CUTS[what]
    data = cut(whole.read_bytes(), starts)
    shard = tmp_path / ("cut.tar.gz" if packed else "cut.tar")
    shard.write_bytes(gzip.compress(data) if packed else data)
    message = error_of(config(shard), tmp_path)
    assert message.startswith(f"{shard.name}: the archive is cut or damaged after {found}")
    assert message.endswith("the last may be part); write the shard again from its source")


def test_a_cut_gzip(tmp_path):
    whole = gzip.compress(write_tar(tmp_path / "whole.tar", samples(0, 6)).read_bytes())
    shard = tmp_path / "cut.tar.gz"
    shard.write_bytes(whole[: len(whole) // 2])
    assert "the archive is cut or damaged after" in error_of(config(shard), tmp_path)
    shard.write_bytes(whole[:30] + b"\xff" * 200 + whole[230:])
    assert "cut.tar.gz: cannot be unpacked" in error_of(config(shard), tmp_path)
    shard.write_bytes(gzip.compress(bytes(50_000_000)))
    assert "grows more than 200-fold when unpacked" in error_of(config(shard), tmp_path)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("../000000.png", None, "a member's name leaves the archive"),
        ("/etc/000000.png", None, "a member's name leaves the archive"),
        ("000000.png", tarfile.SYMTYPE, "a member is a link, a device or sparse"),
        ("000000.png", tarfile.LNKTYPE, "a member is a link, a device or sparse"),
        ("000000.png", tarfile.FIFOTYPE, "a member is a link, a device or sparse"),
    ],
)
def test_hostile_members_are_refused(tmp_path, name, kind, said):
    members = [(name, png(0)), *samples(1, 3)]
    shard = write_tar(tmp_path / "bad.tar", members, None if kind is None else (name, kind))
    message = error_of(config(shard), tmp_path)
    assert said in message
    assert repr(name) in message


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("1.png", b"x"), ("1.png", b"x")], "a.tar: '1.png': the member occurs twice; write the shard again"),
        ([("1.png", b"x"), ("1.txt", "é".encode("latin-1"))], "a.tar: '1.txt': is not utf-8; set source.encoding"),
        ([("1.png", b"x"), ("1.json", b"[1]")], "a.tar: '1.json': is not a JSON object; write one object"),
        ([("1.png", b"x"), ("1.json", b"{")], "a.tar: '1.json': is not JSON"),
        ([("1.txt", b"x")], "a.tar: no sample with an image; check source.image"),
        ([("1.png", b"x"), ("1.txt", b"x" * 2_000_000)], "2,000,000 bytes, more than 1,048,576"),
        ([("1.png", b"x"), ("1.json", b'{"split": "holdout"}')], "1: unknown split 'holdout'"),
        ([("1.png", png(0)), ("1.txt", b" ")], "no image is left; kept 0, dropped 1 empty caption"),
    ],
)
def test_bad_samples(tmp_path, members, said):
    assert said in error_of(config(write_tar(tmp_path / "a.tar", members)), tmp_path)


def test_keys_across_shards(tmp_path):
    first = write_tar(tmp_path / "a.tar", samples(0, 3))
    second = write_tar(tmp_path / "b.tar", samples(2, 3))
    message = error_of(config(first, second), tmp_path)
    assert message.startswith("000002: the key occurs twice (in a.tar and b.tar); set source.shard_in_key: true")
    # one patient in two splits
    assert "p1: the case is in both train and test" in error_of_two_splits(tmp_path)
    assert "no such shard" in error_of(config(tmp_path / "c-*.tar"), tmp_path)
    done = prepare(config(first, second, shard_in_key=True), tmp_path / "out", already_deidentified=True)
    assert "b/000002" in {key for split in SPLITS for key in PairsStore.load(done).split(split).keys}


def error_of_two_splits(tmp_path):
    first = write_tar(tmp_path / "train-0.tar", samples(0, 3))
    second = write_tar(tmp_path / "test-0.tar", samples(3, 3))
    return error_of(config(first, second, split="shard"), tmp_path)


def test_braces():
    assert braces("a-{08..10}.{tar,tgz}") == [f"a-{n}.{e}" for n in ("08", "09", "10") for e in ("tar", "tgz")]
    assert braces("plain.tar") == ["plain.tar"]


@pytest.fixture
def store(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(23):
        split = ("train", "test", "dev")[i % 3]
        several = i % 5 == 0
        aspects = [Text("un rapport é", "report"), Text("an image of a.", "class-template")][: 1 + i % 2]
        image = encode_image(picture(i, 30 + i), "jpeg" if i % 2 else "png")
        label = None if several else "ab"[i % 2]
        concepts = ["T:1"] if i % 2 else ["T:1", "T:2"]
        labels = ["a", "b"] if several else []
        key = f"folder/{i}.scan.png"
        rows.append(
            Row(key, image, aspects, split, f"case {i // 3 * 3 + i % 3}", int(rng.integers(4)), label, concepts, labels)
        )
    header = {"already_deidentified": True}
    return PairsStore.write(tmp_path / "store", rows, header, classes={"a": ["T:1"], "b": []})


def test_a_store_goes_out_and_back_unchanged(store, tmp_path):
    out = export_webdataset(store.folder, tmp_path / "shards", shard_size=3)
    manifest = verify_manifest(out)
    assert sum(manifest["num_rows_per_shard"].values()) == 23
    assert max(manifest["num_rows_per_shard"].values()) == 3
    back = PairsStore.load(prepare(config(out / "*.tar"), tmp_path / "back", already_deidentified=True))
    assert back.class_concepts == store.class_concepts
    for name in SPLITS:
        first, second = store.split(name), back.split(name)
        for column in (*COLUMNS, LABELS):
            if column in ("image", "group"):
                continue
            assert first.column(column) == second.column(column), column
        assert [first.image_bytes(i) for i in range(len(first))] == [second.image_bytes(i) for i in range(len(second))]
        same = [np.equal.outer(split.column("group"), split.column("group")) for split in (first, second)]
        assert np.array_equal(*same)  # numbered anew, with the same members
    again = export_webdataset(back.folder, tmp_path / "again", shard_size=3)
    files = [read_json(folder / "manifest.json")["files"] for folder in (out, again)]
    assert files[0].keys() == files[1].keys()


def test_equal_stores_give_equal_shards(store, tmp_path):
    first, second = (export_webdataset(store.folder, tmp_path / name) for name in "12")
    assert read_json(first / "manifest.json") == read_json(second / "manifest.json")


def test_an_altered_shard_is_refused(store, tmp_path):
    out = export_webdataset(store.folder, tmp_path / "shards")
    shard = out / "dev-000000.tar"
    shard.write_bytes(shard.read_bytes().replace(b"case", b"CASE"))
    message = error_of(config(out / "*.tar"), tmp_path)
    assert message == "dev-000000.tar: differs from the manifest beside it; export or copy it again"


def test_export_refuses(store, tmp_path):
    with pytest.raises(DataError, match="0 samples in a shard"):
        export_webdataset(store.folder, tmp_path / "x", shard_size=0)
    row = Row("k", png(0), [Text("a note", "report")], "train", "c", 0)
    plain = PairsStore.write(tmp_path / "plain", [row])
    export_webdataset(plain.folder, tmp_path / "x", already_deidentified=True)
    with pytest.raises(DataError, match="already exists"):
        export_webdataset(plain.folder, tmp_path / "x", already_deidentified=True)


def test_export_deidentifies_a_store_nobody_spoke_for(tmp_path):
    rows = [Row("k", png(0), [Text("a note by Dr. Okafor", "report"), Text("Dr. Smith x", "name")], "train", "c", 0)]
    plain = PairsStore.write(tmp_path / "plain", rows)
    out = export_webdataset(plain.folder, tmp_path / "x")
    written = (out / "train-000000.tar").read_bytes()
    assert b"Okafor" not in written
    assert b"a note by Dr. [NAME]" in written
    assert b"Dr. Smith x" in written  # a caption made here, from the class's name
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["deidentification"]["removed"] == {"name": 1}
    back = PairsStore.load(prepare(config(out / "*.tar"), tmp_path / "back"))
    assert [text.text for text in back.split("train")[0].texts] == ["a note by Dr. [NAME]", "Dr. Smith x"]
    rows[0].texts = [Text("4471902 3/12/2019", "report")]
    empty = PairsStore.write(tmp_path / "empty", rows)
    with pytest.raises(DataError, match="k: its texts are nothing but identifiers; leave the row out"):
        export_webdataset(empty.folder, tmp_path / "y")
    assert not (tmp_path / "y").exists()


@pytest.mark.extras
def test_the_webdataset_package_reads_an_export(store, tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="the extra shards is not installed")
    out = export_webdataset(store.folder, tmp_path / "shards", shard_size=4)
    urls = sorted(str(path) for path in out.glob("train-*.tar"))
    found = list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil"))
    train = store.split("train")
    assert [sample["json"]["key"] for sample in found] == train.keys
    assert [sample["txt"] for sample in found] == [texts[0].text for texts in train.column("texts")]
    assert [sample.get("cls") for sample in found] == [
        None if label is None else store.classes.index(label) for label in train.column("label")
    ]
    image = found[0].get("png", found[0].get("jpg"))
    assert np.array_equal(np.asarray(image), np.asarray(train[0].image))
