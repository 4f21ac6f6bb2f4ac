"""Every source yields its reports in a fixed order, and names what is wrong with a file or a report."""

import io
import json
import tarfile

import pyarrow as pa
import pytest
from pyarrow import parquet

from data_prep.reports.config import ReportsConfig
from data_prep.reports.sources import decode, open_source
from medvlp.errors import DataError


def listing(**source):
    return open_source(ReportsConfig.model_validate({"source": source}))


def read(**source):
    return [(report.key, report.text, report.problem) for report in listing(**source).read()]


TEXTS = {"findings": "FINDINGS", "impression": ""}


def test_a_table(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('id,findings,impression\na,"Clear,\nreally.",Normal.\nb,,\n,Mass.,\n', encoding="utf-8")
    opened = listing(name="table", file=str(path), key="id", texts=TEXTS)
    assert opened.total == 3
    assert read(name="table", file=str(path), key="id", texts=TEXTS) == [
        ("a", "FINDINGS: Clear,\nreally.\nNormal.", None),
        ("b", "", None),
        ("row 3", "FINDINGS: Mass.", None),
    ]
    path.with_suffix(".tsv").write_text("findings\timpression\nx\ty\n", encoding="utf-8")
    assert read(name="table", file=str(path.with_suffix(".tsv")), texts=TEXTS) == [("row 1", "FINDINGS: x\ny", None)]


def test_a_parquet_table(tmp_path):
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"id": [7, 8], "findings": ["Clear.", None], "other": [1, 2]}), path)
    texts = {"findings": "FINDINGS"}
    assert read(name="table", file=str(path), key="id", texts=texts) == [
        ("7", "FINDINGS: Clear.", None),
        ("8", "", None),
    ]


def test_a_table_with_a_megabyte_and_another_encoding(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"id,findings\na," + b"x" * 1_000_000 + b"\nb,Caf\xe9\nc,Caf\xc3\xa9\n")
    reports = list(listing(name="table", file=str(path), key="id", texts={"findings": ""}).read())
    assert [len(report.text) for report in reports] == [1_000_000, 4, 4]
    assert [report.text for report in reports[1:]] == ["Café", "Café"]
    assert [report.notes for report in reports] == [(), ("decoded as Windows-1252, not UTF-8",), ()]


def test_mistakes_in_tables_are_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,text\na,b\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"t.csv: has no column findings, impression; its columns are id, text"):
        listing(name="table", file=str(path), texts=TEXTS)
    with pytest.raises(DataError, match="source.file: .*gone.csv: not found"):
        listing(name="table", file=str(tmp_path / "gone.csv"), texts=TEXTS)
    path.write_text("id,text\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no column|holds no report"):
        listing(name="table", file=str(path), texts={"text": ""})
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        listing(name="table", file=str(tmp_path / "t.parquet"), texts=TEXTS)


def test_a_folder(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.TXT").write_text("two", encoding="utf-8")
    (tmp_path / "1.txt").write_text("one", encoding="utf-8")
    (tmp_path / "note.md").write_text("no", encoding="utf-8")
    assert read(name="texts", folder=str(tmp_path)) == [("1.txt", "one", None), ("b/2.TXT", "two", None)]
    with pytest.raises(DataError, match="holds no file that ends in .rtf"):
        listing(name="texts", folder=str(tmp_path), suffixes=[".rtf"])


XML = """<?xml version="1.0" encoding="utf-8"?><eCitation><uId id="CXR1"/><MedlineCitation><Article><Abstract>
<AbstractText Label="FINDINGS">Clear &amp; normal.</AbstractText><AbstractText Label="IMPRESSION">None.</AbstractText>
</Abstract></Article></MedlineCitation></eCitation>"""
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>'


def test_open_i(tmp_path):
    folder = tmp_path / "xml"
    folder.mkdir()
    for name, content in (("1.xml", XML), ("2.xml", "<broken"), ("3.xml", BOMB)):
        (folder / name).write_text(content, encoding="utf-8")
    wanted = [
        ("CXR1", "FINDINGS: Clear & normal.\nIMPRESSION: None.", None),
        ("2", "", "not XML"),
        ("3", "", "XML with a document type"),
    ]
    assert read(name="openi_xml", path=str(folder)) == wanted
    archive = tmp_path / "r.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, f"ecgen-radiology/{path.name}")
        link = tarfile.TarInfo("ecgen-radiology/4.xml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        escape = tarfile.TarInfo("../../5.xml")
        escape.size = len(XML)
        tar.addfile(escape, io.BytesIO(XML.replace("CXR1", "CXR5").encode()))
    found = read(name="openi_xml", path=str(archive))
    assert found[:3] == wanted
    assert [key for key, _, _ in found] == ["CXR1", "2", "3", "CXR5"]  # the link is not followed
    assert not (tmp_path.parent / "5.xml").exists()  # nothing was unpacked
    archive.write_bytes(archive.read_bytes()[:40])
    with pytest.raises(DataError, match="not a readable tar archive"):
        read(name="openi_xml", path=str(archive))


def test_radgraph_annotations(tmp_path):
    from data_prep.reports.prepare import Counts, Reader

    entity = {"tokens": "pneumothorax", "label": "OBS-DA", "start_ix": 1, "end_ix": 1, "relations": []}
    content = {"a": {"text": "No pneumothorax .", "entities": {"1": entity}}, "b": {"text": "x", "entities": {"1": {}}}}
    path = tmp_path / "g.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    config = ReportsConfig.model_validate({"source": {"name": "radgraph", "file": str(path)}})
    counts, reader = Counts(), Reader(config, already_deidentified=False)
    (done,) = [d for report in open_source(config).read() if (d := reader.read(report, counts)) is not None]
    assert [(t.entity, t.position, t.existence.value) for t in done.triplets] == [
        ("pneumothorax", "pleural_unspec", "absent")
    ]
    assert done.text == ""  # nobody said that it is de-identified
    assert counts.ledger.dropped == {"malformed RadGraph record": 1}


@pytest.mark.parametrize(
    ("data", "text", "noted"),
    [
        (b"\xef\xbb\xbfabc", "abc", 0),
        ("ä".encode(), "ä", 0),
        ("ä".encode("cp1252"), "ä", 1),
        ("ä".encode("utf-16"), "ä", 1),
        (b"\x81\x8d", "\ufffd\ufffd", 1),
    ],
)
def test_decoding(data, text, noted):
    found, notes = decode(data)
    assert found.removeprefix("\ufeff") == text
    assert len(notes) == noted


def test_every_digest_changes_with_the_content(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("findings,impression\na,b\n", encoding="utf-8")
    before = listing(name="table", file=str(path), texts=TEXTS).digest
    path.write_text("findings,impression\na,c\n", encoding="utf-8")
    assert listing(name="table", file=str(path), texts=TEXTS).digest != before
