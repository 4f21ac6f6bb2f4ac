"""Rules for text: what goes, what stays, idempotence, hostile input, and the planted texts of the development part."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.deid import __main__ as command
from benchmarks.deid import score
from data_prep.deid.spans import KINDS, Span
from data_prep.deid.text import deidentify_text, find_identifiers

DEVELOPMENT = [Path(__file__).with_name(name) for name in ("planted_dev.jsonl", "planted_test.jsonl")]


def spans(text):
    return {(text[span.start : span.end], span.kind) for span in find_identifiers(text)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Seen on 3/12/2019.", {("3/12/2019", "date")}),
        ("Seen 12.03.2019, 2019-03-12, 20190312 and 12-Mar-2019.", {
            ("12.03.2019", "date"), ("2019-03-12", "date"), ("20190312", "date"), ("12-Mar-2019", "date")}),
        ("On March 12, 2019 at 14:30 and the 3rd of May", {("March 12, 2019 at 14:30", "date"), ("3rd of May",
        "date")}),
        ("2019-11-12T08:30:00Z", {("2019-11-12T08:30:00Z", "date")}),
        ("Compared with 10/2018 and Sept 2017", {("10/2018", "date"), ("Sept 2017", "date")}),
        ("since February; on 3/12; 01/05 cough", {("February", "date"), ("3/12", "date"), ("01/05", "date")}),
        ("MRN: 00123, accession S19-20417, SSN 123-45-6789", {
            ("00123", "id"), ("S19-20417", "id"), ("123-45-6789", "id")}),
        ("NHS No: 943 476 5919. Lab No H/4127/15. uid 1.2.840.113619.2.55.3.604688119", {
            ("943 476 5919", "id"), ("H/4127/15", "id"), ("1.2.840.113619.2.55.3.604688119", "id")}),
        ("Tel (212) 555-7890, 020 7946 0958, +49 30 1234567, pager 4471", {
            ("(212) 555-7890", "phone"), ("020 7946 0958", "phone"), ("+49 30 1234567", "phone"), ("4471", "phone")}),
        ("Mail j.smith@example.org or www.example.org/x?id=3 or 192.168.1.14", {
            ("j.smith@example.org", "email"), ("www.example.org/x?id=3", "url"), ("192.168.1.14", "id")}),
        ("Lives at 14 Elm Street, Apt 3, Dayton, OH 45402", {("14 Elm Street, Apt 3, Dayton, OH 45402", "address")}),
        ("P.O. Box 1190, Kalispell MT 59903", {("P.O. Box 1190, Kalispell MT 59903", "address")}),
        ("A 94-year-old, aged 101, 92 y/o F; ninety-three years old", {
            ("94", "age"), ("101", "age"), ("92", "age"), ("ninety-three", "age")}),
        ("Transferred from Mercy Ridge Hospital to the Cork University Hospital", {
            ("Mercy Ridge Hospital", "institution"), ("Cork University Hospital", "institution")}),
        ("Patient Name: DOE, JANE Q.  DOB 1/2/60", {("DOE, JANE Q.", "name"), ("1/2/60", "date")}),
        ("Dr. Drain placed a drain; Mr Price; Drs. Patel & Shah", {
            ("Drain", "name"), ("Price", "name"), ("Patel", "name"), ("Shah", "name")}),
        ("Electronically signed by Robert J. O'Neill, M.D.", {("Robert J. O'Neill", "name")}),
        ("R. Yamanaka MD. Discussed with Zanele Khumalo.", {("R. Yamanaka", "name"), ("Zanele Khumalo", "name")}),
        ("Her niece Philippa called. Rivera^Ana^^", {("Philippa", "name"), ("Rivera^Ana^^", "name")}),
        ("Dr. Barrett reviewed. Barrett oesophagus. Barrett agrees.", {("Barrett", "name")}),
        ("DOB O4/12/1944; 13 VI 2016; 10 iii 2011; 02.2020; 17/FEB/2012; XRAY KUB 160514; 20120908T141502", {
            ("O4/12/1944", "date"), ("13 VI 2016", "date"), ("10 iii 2011", "date"), ("02.2020", "date"),
            ("17/FEB/2012", "date"), ("160514", "date"), ("20120908T141502", "date")}),
        ("Thurs 18/8/16, wk of 6/14, 19. ágúst 2023, 3/1 138/84", {
            ("Thurs 18/8/16", "date"), ("6/14", "date"), ("19. ágúst 2023", "date"), ("3/1", "date")}),
        ("AGE: 091Y. He'll be 90 in May. A 91yoM; pt 97 wants home; my father (96, a baker); he died at 91.", {
            ("091", "age"), ("90", "age"), ("May", "date"), ("91", "age"), ("97", "age"), ("96", "age")}),
        ("w/ wife Odile. Read by Nakashima. Operator Zawadi. HASSAN, IDRIS seen. proband Iñaki Etxeberria, family", {
            ("Odile", "name"), ("Nakashima", "name"), ("Zawadi", "name"), ("HASSAN, IDRIS", "name"),
            ("Iñaki Etxeberria", "name")}),
        ("ORTHO NOTE. MCGILLICUDDY, 45 Y/O. D/C TO GOLDEN ACRES REHAB.", {
            ("MCGILLICUDDY", "name"), ("GOLDEN ACRES REHAB", "institution")}),
        ("wohnhaft Am Mühlenbach 7, 59494 Soest. H. No. 219, Sector 9-C, Chandigarh 160009", {
            ("Am Mühlenbach 7, 59494 Soest", "address"), ("H. No. 219, Sector 9-C, Chandigarh 160009", "address")}),
        ("pt name marlene osgood dob 7-4-33", {("marlene osgood", "name"), ("7-4-33", "date")}),
    ],
)  # fmt: skip
def test_what_goes(text, expected):
    assert spans(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Hodgkin lymphoma, Barrett oesophagus, Ewing sarcoma, Crohn's disease, Parkinson disease, Wilson disease.",
        "Swan-Ganz catheter, Foley catheter, Jackson-Pratt drain, St. Jude valve, Austin Flint murmur.",
        "Marcus Gunn pupil. Sister Mary Joseph nodule. Ann Arbor stage II. The Brown tumour. Russell-Silver syndrome.",
        "10/12 lymph nodes, 3/14 nodes, grade 2/3, 5/5 strength, BP 120/80, 1/3 of the lung, review in 6/12.",
        "2.3 x 1.1 x 4.5 cm, T2N0M0, pT1c pN0(sn), L4-5, C3/4, T1-weighted, Gleason 3+4=7, SUV 12.4, image 4/12.",
        "C50.911, L01XC03, SNOMED 254837009, DOID:1612, C0006142, MESH:D001943, NCT01234567, rs12345678, 8140/3.",
        "HER2 1+, Ki-67 22 %, PD-L1 TPS 5%, BRAF V600E, c.68_69delAG, HMB-45, S100, CD15+, p16.",
        "platelets 234,000, viral load 1200000 copies/mL, 740 MBq, 0.9 x 10^9/L, titre 1/1920, 120 kV.",
        "An 89-year-old man, 45Y/M, age 52, aged 6 years, 95 % stenosis, 90 mm, 100 mg, 96 hours, HR 102.",
        "Diagnosed in 2009, Banff 2019, at 14:35, 2:15 am, 4 o'clock, day 6, in two weeks.",
        "May represent atelectasis. A march of 10 steps. MR angiography. DR chest. MS plaques. 12 Fr catheter.",
        "The outside hospital, the pain clinic, Breast Clinic, Department of Radiology, the general hospital.",
        "Weber to R. Epworth 11/24, BiPAP 12/5, 1/4 bottles, Bence Jones protein, ninety-five percent, 94 patients.",
        "Levophed 0.05 mcg, Entresto 24/26, Ehlers-Danlos, Durie-Salmon, Osgood-Schlatter, Irish ancestry.",
        "At least 105 female mice and 94 male patients.",
        "XXXX-year-old XXXX with XXXX. Dr. XXXX at XXXX. Seen on ____ by ___.",
        "[**2019-3-12**] [**Known lastname 123**] stay as they are",
        "Mark was made on the skin. Grace under pressure. Will follow. Iris coloboma. Rose bengal stain.",
        "",
        " \n\t ",
    ],
)
def test_what_stays(text):
    assert find_identifiers(text) == []


def test_placeholders_counts_and_offsets():
    text = "Seen by Dr. Smith on 3/12/2019: 10/12 lymph nodes, Hodgkin lymphoma. Dr. Smith."
    done = deidentify_text(text)
    assert done.text == "Seen by Dr. [NAME] on [DATE]: 10/12 lymph nodes, Hodgkin lymphoma. Dr. [NAME]."
    assert done.removed == Counter(name=2, date=1)
    assert [text[span.start : span.end] for span in done.spans] == ["Smith", "3/12/2019", "Smith"]


def test_a_further_recogniser_adds_names_and_cannot_overlap():
    text = "Quorra saw Dr. Smith on 3/12/2019"
    done = deidentify_text(text, recogniser=lambda given: [(0, 6)])
    assert done.text == "[NAME] saw Dr. [NAME] on [DATE]"
    assert done.removed == Counter(name=2, date=1)
    done = deidentify_text("[DATE] Quorra Zyxwv", recogniser=lambda given: [(0, 13), (7, 13), (9, 19)])
    assert done.text == "[DATE] [NAME]"  # a place that holds a placeholder is no name; overlapping ones are one


TEXTS = [json.loads(line)["text"] for path in DEVELOPMENT for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    "text", [*TEXTS, "Dr. Smith\nDr. Smith [NAME] 3/12 [DATE] 4/5/2020-4/6/2020, [X]", "[[NAME]] []NAME]"]
)
def test_twice_changes_nothing(text):
    once = deidentify_text(text)
    twice = deidentify_text(once.text)
    assert twice.text == once.text
    assert not twice.removed


HOSTILE = {
    "one letter": "a", "one capital": "A", "capitals and blanks": "A ", "digits": "1", "digits and dots": "1.",
    "colons": "a:",
    "at signs": "a@", "dots": ".", "slashes": "1/", "dashes": "1-", "brackets": "[", "carets": "a^", "titles": "Dr. ",
    "months": "May ", "labels": "MRN ", "names": "John Smith ", "degrees": "A B, MD ", "hyphens": "A1-",
    "saints": "St ", "commas": "Smith, ", "newlines": "\n", "phones": "(1",
    "initials": "A.", "nested": "A-", "addresses": "1 Elm ", "hospital": "Elm of ", "nul": "\0", "spaces": " ",
    "x": "X",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_take_linear_time(name):
    def seconds(size):
        text = (HOSTILE[name] * size)[:size]
        start = time.process_time()
        find_identifiers(text)
        return time.process_time() - start

    seconds(1000)
    small, large = seconds(2_000), seconds(16_000)
    assert large < 30 * max(small, 0.02)  # eight times the text; a square would be 64 times the time


@pytest.mark.parametrize("unit", ["a", "1", "a1 "])
def test_a_megabyte(unit):
    start = time.process_time()
    find_identifiers((unit * 1_000_000)[:1_000_000])
    assert time.process_time() - start < 60


@pytest.mark.parametrize("path", DEVELOPMENT, ids=lambda path: path.stem)
def test_the_development_texts(path):
    found = score.results(path)["rules"]
    assert found["kinds"]["all"]["covered"]["value"] > 0.95
    assert found["kinds"]["all"]["precision"]["value"] > 0.97
    assert found["keep"]["value"] > 0.98


def test_scores_by_hand(tmp_path, monkeypatch):
    rows = [
        {
            "text": "Dr Smith, 3/4/2020, Hodgkin",
            "spans": [[3, 8, "name"], [10, 18, "date"]],
            "keep": ["Hodgkin", "Smith"],
        },
        {"text": "MRN 123456", "spans": [[0, 10, "id"]], "keep": []},
    ]
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = {rows[0]["text"]: [Span(3, 8, "name"), Span(20, 27, "id")], rows[1]["text"]: [Span(4, 10, "id")]}
    scored = score.score(score.read_planted(path), found.__getitem__)
    kinds = scored["kinds"]
    assert {kind: kinds[kind]["covered"]["value"] for kind in ("name", "date", "id", "all")} == {
        "name": 1.0, "date": 0.0, "id": 0.0, "all": 1 / 3,
    }  # fmt: skip
    assert kinds["id"]["touched"]["value"] == 1.0
    assert kinds["id"]["strict"]["value"] == 0.0
    assert kinds["id"]["precision"]["value"] == 0.5
    assert kinds["url"]["covered"] == {"value": None, "low": None, "high": None, "n": 0}
    assert scored["keep"]["value"] == 0.0  # both were removed
    low, high = kinds["all"]["covered"]["low"], kinds["all"]["covered"]["high"]
    z, share, n = 1.959963984540054, 1 / 3, 3  # Wilson 1927, by hand
    centre, half = share + z * z / (2 * n), z * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    assert (low, high) == pytest.approx(((centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)))
    assert set(kinds) == {*KINDS, "all"}
    assert "| name | 1 | 1.000" in score.markdown(score.results(path))
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- deid t.jsonl: begin -->\nold\n<!-- deid t.jsonl: end -->\nb\n")
    monkeypatch.setattr("sys.argv", ["deid", str(path), "--write-docs", str(page)])
    assert command.main() == 0
    assert page.read_text().startswith("a\n<!-- deid t.jsonl: begin -->\n2 texts of `t.jsonl`")
    assert "old" not in page.read_text()
    path.write_text('{"text": "a", "spans": [[0, 5, "name"]]}')
    with pytest.raises(ValueError, match=r"t\.jsonl: line 1 has a place outside its text"):
        score.read_planted(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"t\.jsonl: line 1 is not a planted text"):
        score.read_planted(path)
