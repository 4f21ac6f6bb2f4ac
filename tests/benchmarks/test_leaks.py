"""Planted cases and captions are found and reported, by keys and counts alone; bad input is one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from leak_cases import cropped, texture, write_images

from benchmarks.leaks.__main__ import main
from benchmarks.leaks.contamination import ContaminationTable, contamination, read_table
from benchmarks.leaks.guards import require_rows, require_separate_cases
from benchmarks.leaks.images import take_prints
from benchmarks.leaks.report import CHECKS, LeakReport, Side, compare
from benchmarks.leaks.texts import long_enough, shared_captions
from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.errors import ConfigError, DataError

LONG = "adenocarcinoma of the colon with glands of many sizes and little stroma between them"


def brute_force(tested, learned, least):
    """Every tested key with its largest Jaccard similarity, where it is large enough."""
    found = {}
    for key, text in tested:
        for _, other in learned:
            one, two = set(text.lower().split()), set(other.lower().split())
            similarity = len(one & two) / len(one | two)
            if similarity >= least:
                found[key] = max(found.get(key, 0), similarity)
    return found


@pytest.mark.parametrize("least", [0.5, 0.8, 0.9, 1.0])
def test_caption_search_misses_nothing(least):
    rng = np.random.default_rng(3)
    words = np.array([f"w{n}" for n in range(30)])

    def captions(name, num):
        return [(f"{name}{n}", " ".join(rng.choice(words, rng.integers(5, 12), replace=False))) for n in range(num)]

    learned = captions("l", 80)
    changed = [(f"t{n}", " ".join(text.split()[: -1 - n % 2])) for n, (_, text) in enumerate(learned[:40])]
    tested = [*changed, *captions("u", 60), ("same", learned[5][1])]
    found = {match.key: match.similarity for match in shared_captions(tested, learned, least)}
    assert found == brute_force(tested, learned, least)
    assert found["same"] == 1


def test_captions_are_compared_without_case_and_marks():
    found = shared_captions([("t", LONG.upper() + "!")], [("l", LONG.replace(" with", ", with"))])
    assert [(match.key, match.other, match.similarity) for match in found] == [("t", "l", 1.0)]
    assert shared_captions([("t", LONG)], [("l", "squamous cell carcinoma of the lung in strands")]) == []
    with pytest.raises(DataError, match="min_jaccard"):
        shared_captions([], [], 0)


def test_short_captions_are_left_out():
    assert long_enough([("a", "normal normal chest x ray"), ("b", LONG)]) == [("b", LONG)]


@pytest.mark.parametrize(
    ("encoder", "dataset", "answer"),
    [
        ("MUSK", "TCGA", "trained on it"),
        ("musk", "tcga_brca", "trained on it"),  # a part of TCGA
        ("mSTAR", "gtex", "trained on it"),  # through the encoder it starts from
        ("vinid/plip", "OpenPath", "trained on it"),
        ("MahmoodLab/UNI", "CAMELYON16", "not listed"),
        ("uni", "lc25000", "not listed"),
        ("conch", "TCGA-RCC", "not listed"),
        ("conch", "lc25000", "unknown"),  # gathered from public places
        ("keep", "tcga", "unknown"),
        ("some encoder", "tcga", "unknown"),
        ("uni", "our own slides", "unknown"),
    ],
)
def test_contamination(encoder, dataset, answer):
    found = contamination(encoder, dataset)
    assert found.answer == answer
    assert found.source


def test_every_encoder_cites_its_source_and_none_is_clean():
    table = read_table()
    assert all(entry.source and entry.sources for entry in table.encoders.values())
    answers = {contamination(name, dataset).answer for name in table.encoders for dataset in table.datasets}
    assert answers == {"trained on it", "not listed", "unknown"}


def test_training_on_a_part_counts():
    entry = {"sources": ["small"], "closed": True, "source": "made up"}
    table = ContaminationTable.model_validate({"encoders": {"e": entry}, "datasets": {"small": "big", "big": None}})
    assert contamination("e", "big", table).answer == "trained on it"


@pytest.mark.parametrize(
    "text",
    [
        "encoders: {e: {sources: [a], closed: true, source: x, starts_from: [f]}}\ndatasets: {}",
        "encoders: {e: {sources: [a], closed: true, source: x}}\ndatasets: {a: b}",
        "encoders: {e: {sources: [], closed: true, source: x}}\ndatasets: {}",
        "encoders: {e: {sources: [a], closed: true}}\ndatasets: {}",
    ],
)
def test_a_bad_table_is_refused(tmp_path, text):
    path = tmp_path / "table.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        read_table(path)


def side(name, seeds, cases=None, captions=None):
    return Side(name, take_prints((f"{name}{seed}", texture(seed)) for seed in seeds), cases, captions)


def test_a_clean_pair_is_ok_and_says_what_was_not_checked():
    report = LeakReport(tuple(compare(side("train", range(3)), side("test", range(5, 8)))))
    assert report.status == "ok"
    assert "case test/train not checked (no cases)" in report.line
    assert "2 of 4 checks found nothing" in report.line
    assert 'class="verdict better"' in report.html()
    report.stop()


def test_everything_planted_is_named_by_key_alone():
    learned = side("train", [1, 2, 3], [("train1", "JONES"), ("train2", "SMITH")], [("train1", LONG)])
    tested = side("test", [3, 9], [("test3", "SMITH"), ("test9", "BROWN")], [("test9", LONG + " seen"), ("test3", "x")])
    report = LeakReport(tuple(compare(learned, tested)), {"train": 0, "test": 2}, contamination("musk", "tcga"))
    assert [(check.name, check.status, check.count, check.num) for check in report.checks] == [
        ("same image", "violated", 1, 2),
        ("near duplicate", "ok", 0, 2),
        ("case", "violated", 1, 2),
        ("caption", "violated", 1, 1),
    ]
    assert [check.examples[0].key for check in report.checks if check.examples] == ["test3", "test3", "test9"]
    assert "2 unreadable images in test" in report.line
    assert "encoder musk and tcga: trained on it" in report.line
    told = json.dumps(report.to_json()) + report.html() + report.line
    assert not any(secret in told for secret in ("JONES", "SMITH", "BROWN", "adenocarcinoma", "glands"))
    assert 'class="verdict worse"' in report.html()
    with pytest.raises(DataError, match="^test3: same image in both test and train"):
        report.stop()


def test_accepted_findings_are_stated_and_do_not_stop():
    learned, tested = (Side(name, captions=[(name, LONG)]) for name in ("train", "test"))
    report = LeakReport(tuple(compare(learned, tested, accept=["caption"])))
    assert report.status == "ok"
    assert "caption test/train 1 of 1 (accepted)" in report.line
    with pytest.raises(DataError, match="no such check"):
        compare(learned, tested, accept=["captions"])


def test_an_encoder_trained_on_the_data_set_is_violated():
    report = LeakReport((), contamination=contamination("musk", "tcga"))
    assert report.status == "violated"
    with pytest.raises(DataError, match="^musk: was trained on tcga"):
        report.stop()
    assert LeakReport((), contamination=contamination("keep", "tcga")).status == "ok"


def test_examples_are_bounded_and_escaped():
    images = [(f"<b>{n}", texture(n % 3, 40)) for n in range(30)]
    report = LeakReport(tuple(compare(Side("train", take_prints(images)), Side("test", take_prints(images)))))
    assert report.checks[0].count == 30
    assert len(report.checks[0].examples) == 20
    assert "<b>0" not in report.html()


def test_guards():
    require_rows(["a", "b"], ["x", "y"], num=2, classes=["x", "y"])
    with pytest.raises(DataError, match="n: expected 3 rows, found 2"):
        require_rows(["a", "b"], num=3)
    with pytest.raises(DataError, match="z: the class has no row"):
        require_rows(["a", "b"], ["x", "y"], classes=["x", "z"])
    with pytest.raises(DataError, match="b: the key occurs twice"):
        require_rows(["a", "b", "b"])
    with pytest.raises(DataError, match="1 labels for 2 rows"):
        require_rows(["a", "b"], ["x"])
    keys = {"train": ["a", "b"], "test": ["c"]}
    require_separate_cases({"train": ["p", "p"], "test": ["q"]}, keys)
    with pytest.raises(DataError, match=r"^c: the patient of this row is in both train \(as b\) and test") as caught:
        require_separate_cases({"train": ["p", "QUINN"], "test": ["QUINN"]}, keys)
    assert "QUINN" not in str(caught.value)


def test_command_on_folders(tmp_path, capsys):
    first, second = write_images(tmp_path / "a", range(4)), write_images(tmp_path / "b", range(10, 13))
    assert main([str(first), str(second)]) == 0
    cropped(texture(2, 48)).save(second / "copy.png")
    (second / "broken.png").write_bytes(b"no image")
    out = tmp_path / "out"
    assert main([str(first), str(second), "--out", str(out), "--expect", "tested=4"]) == 1
    said = capsys.readouterr().out
    assert "near duplicate: copy.png = 2.png" in said
    assert "1 unreadable images in tested" in said
    assert json.loads((out / "leaks.json").read_text())["status"] == "violated"
    assert 'class="verdict worse"' in (out / "leaks.html").read_text()
    assert main([str(first), str(second), "--accept", "near duplicate"]) == 0


def test_command_on_a_store(tmp_path, capsys):
    rows = [
        Row(f"r{n}", texture(n % 6, 48), [Text(f"{LONG} {n % 6}"), Text(LONG, "class-template")], split, f"c{n}", n)
        for n, split in enumerate(["train"] * 6 + ["test"] * 2)
    ]
    PairsStore.write(tmp_path / "store", rows)
    assert main(["--pairs", str(tmp_path / "store"), "--accept", "same image"]) == 1
    line = capsys.readouterr().out.splitlines()[0]
    assert "same image test/train 2 of 2 (accepted)" in line
    assert "caption test/train 2 of 2" in line


def test_templates_are_no_captions(tmp_path):
    rows = [
        Row(f"r{n}", texture(n, 48), [Text(LONG, "class-template")], split, f"c{n}", n)
        for n, split in enumerate(["train"] * 3 + ["test"] * 2)
    ]
    PairsStore.write(tmp_path / "store", rows)
    assert main(["--pairs", str(tmp_path / "store")]) == 0


def test_command_on_tables(tmp_path, capsys):
    write_images(tmp_path / "a", range(4))
    (tmp_path / "first.csv").write_text("file,patient,text\n" + "".join(f"a/{n}.png,p{n},{LONG}\n" for n in (0, 1)))
    (tmp_path / "second.csv").write_text("file,patient,text\na/2.png,p1,\na/3.png,,a quite different long caption\n")
    assert main([str(tmp_path / "first.csv"), str(tmp_path / "second.csv")]) == 1
    said = capsys.readouterr().out
    assert "case tested/learned 1 of 1" in said
    assert "p1" not in said


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("patient\np\n", "neither a key nor an image column"),
        ("key,case\nk,p\nk,q\n", "k: the key occurs twice"),
        ("key,case\nk,p\n,q\n", "row 3: has no key"),
        ("file\nmissing.png\n", "no image can be read"),
    ],
)
def test_bad_tables_are_one_line(tmp_path, capsys, table, said):
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text(table)
    assert main([str(tmp_path / "one.csv"), str(tmp_path / "two.csv"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_bad_calls_are_one_line(tmp_path, capsys):
    folder = str(write_images(tmp_path / "a", range(2)))
    (tmp_path / "empty").mkdir()
    for words in (
        [folder],
        [folder, folder, "--pairs", folder],
        [folder, folder, "--encoder", "uni"],
        [folder, folder, "--expect", "tested=9"],
        [folder, folder, "--expect", "other=2"],
        [folder, folder, "--accept", "nothing"],
        [folder, str(tmp_path / "empty")],
        [folder, str(tmp_path / "none.csv")],
        ["--pairs", folder],
    ):
        assert main(words) == 2, words
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_names_of_checks_are_what_the_page_says():
    text = (Path(__file__).parents[2] / "docs" / "leaks.md").read_text(encoding="utf-8")
    assert all(name in text for name in CHECKS)
