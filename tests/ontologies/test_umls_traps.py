"""Every trap of the RRF format, each beside what a naive reader makes of it: the two must differ."""

from __future__ import annotations

import csv
import json

import pyarrow.parquet as pq
import pytest
import umls_release as made
from umls_release import concept, cui

pytest.importorskip("polars", reason="needs the extra 'ontologies'")

from data_prep.ontologies.umls.build import build
from data_prep.ontologies.umls.config import UmlsConfig
from medvlp.knowledge.graph import DiseaseGraph

pd = pytest.importorskip("pandas", reason="plays the naive reader")
pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made.write(tmp_path_factory.mktemp("rrf") / "META")


@pytest.fixture(scope="module")
def make(folder, tmp_path_factory):
    """``make(options)`` builds the fixture and returns the graph and its folder."""
    built = {}

    def make(**options):
        key = repr(sorted(options.items()))
        if key not in built:
            out = tmp_path_factory.mktemp("out") / "graph"
            built[key] = (DiseaseGraph.load(build(UmlsConfig(rrf=str(folder), **options), out)), out)
        return built[key]

    return make


@pytest.fixture(scope="module")
def graph(make):
    return make()[0]


def manifest(out):
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


def naive(folder, table, columns=None, **options):
    """A table as the defaults of pandas read it, under the documented columns."""
    names = [*(columns or made.DOCUMENTED[table].split()), "end"]
    return pd.read_csv(folder / f"{table}.RRF", sep="|", header=None, names=names, index_col=False, **options)


# ------------------------------------------------------------------ 3.1 the format


def test_there_are_fifty_concepts(folder):
    rows = made.release()["MRCONSO"]
    assert len({row["CUI"] for row in rows}) == 50


def test_columns_come_from_mrfiles(folder, graph):
    assert graph.tables.concepts.to_pylist()[0]["semantic_types"] == ["Disease or Syndrome"]
    assert set(naive(folder, "MRSTY").CUI) != {cui(n) for n in range(1, 51)}  # the documented layout reads ATUI


def test_every_line_ends_with_a_bar(folder, graph):
    shifted = pd.read_csv(folder / "MRCONSO.RRF", sep="|", header=None, names=made.DOCUMENTED["MRCONSO"].split(),
                          quoting=csv.QUOTE_NONE, dtype=str)  # fmt: skip
    assert "C0000001" not in set(shifted.CUI)  # the first column has become the index
    assert graph.name(concept(1)) == "lung disease"


def test_quotes_are_no_quotes(folder, graph):
    assert graph.name(concept(3)) == '"thorn in foot'
    assert graph.name(concept(4)) == "sodium excess"
    assert graph.name(concept(5)) == '2" nail in foot'
    rows = naive(folder, "MRCONSO", dtype=str, keep_default_na=False)
    assert len(rows) < len(made.release()["MRCONSO"])  # one field from the first quote to the second
    assert "sodium excess" not in set(rows.STR)


def test_words_for_missing_values_are_names(folder, graph):
    assert graph.texts(concept(4)) == ["sodium excess", "NA"]
    assert graph.name(concept(6)) == "None"
    assert graph.name(concept(7)) == "null"
    rows = naive(folder, "MRCONSO", quoting=csv.QUOTE_NONE)
    assert rows.STR.isna().sum() == 3


def test_everything_is_text(folder, graph):
    assert graph.xrefs(concept(7)) == ["NCIT:0007"]
    assert graph.xrefs(concept(31)) == ["NCIT:0031"]
    codes = [row["CODE"] for row in made.release()["MRCONSO"] if row["CODE"].isdigit()]
    assert [str(int(code)) for code in codes] != codes


def test_text_is_utf8(graph):
    assert graph.name(concept(14)) == "µ-Größe – naïve"


def test_blanks_collapse_as_in_every_other_source(graph):
    assert graph.name(concept(13)) == "name with two blanks"


# ------------------------------------------------------------------ 3.2 names, suppression, definitions


def atoms_of(number):
    return [row for row in made.release()["MRCONSO"] if row["CUI"] == cui(number)]


def test_preferred_name_is_neither_first_nor_longest_nor_best_ranked(graph):
    assert graph.name(concept(2)) == "pneumonia"
    rows = atoms_of(2)
    assert rows[0]["STR"] != "pneumonia"
    assert max(rows, key=lambda row: len(row["STR"]))["STR"] != "pneumonia"
    assert graph.texts(concept(2)) == ["pneumonia", "inflammation of the lung tissue, not further specified"]
    assert [n.kind for n in graph.names(concept(2))] == ["preferred", "exact"]


def test_without_the_preferred_atom_the_highest_rank_decides(graph):
    assert graph.name(concept(9)) == "a much longer name by the strongest"
    left = [row for row in atoms_of(9) if row["SUPPRESS"] == "N"]
    ranked = {(sab, tty): int(rank) for rank, sab, tty in made.RANKS}
    lowest = min(left, key=lambda row: ranked[row["SAB"], row["TTY"]])
    assert lowest["STR"] == "z by the weakest"  # rank 1 is not the best rank
    assert graph.texts(concept(9)) == ["a much longer name by the strongest", "short", "z by the weakest"]


def test_concepts_without_an_english_name_are_left_out_and_counted(make):
    graph, out = make()
    assert concept(8) not in graph
    english = {row["CUI"]: row["STR"] for row in made.release()["MRCONSO"] if row["LAT"] == "ENG"}
    with pytest.raises(KeyError):
        english[cui(8)]
    dropped = manifest(out)["dropped"]["MRCONSO"]
    assert dropped["dropped"]["concept without a name in the chosen languages"] == 1
    assert dropped["dropped"]["name that differs from another of the concept by case or spacing only"] == 1
    assert dropped["examples"]["concept without a name in the chosen languages"] == [concept(8)]


def test_or_named_from_another_language(make):
    graph, _ = make(other_languages="name")
    assert graph.name(concept(8)) == "enfermedad sin nombre"
    assert "Lungenentzündung" not in graph.texts(concept(2))  # it has an English name
    several, _ = make(languages=["SPA", "ENG"])
    assert several.name(concept(8)) == "enfermedad sin nombre"
    assert several.name(concept(2)) == "pneumonia"


def test_suppressed_atoms_do_not_name(make):
    graph, out = make()
    assert concept(10) not in graph
    assert "old name" not in graph.texts(concept(9))
    assert manifest(out)["dropped"]["MRCONSO"]["dropped"]["concept with suppressed names only"] == 1
    assert make(suppress=["N", "O", "E", "Y"])[0].name(concept(10)) == "editor's name"


def test_definitions_by_preference_language_and_suppression(make):
    graph, out = make()
    assert graph.definitions(concept(2)) == [
        "A preferred text.",
        "A text of a source without names.",
        "An inflammation.",
        "Another text.",
    ]
    in_file_order = [row["DEF"] for row in made.release()["MRDEF"] if row["CUI"] == cui(2)]
    assert in_file_order[0] == "An inflammation."
    assert "Uma inflamação." in in_file_order  # MRDEF has no language: MRSAB tells it
    assert graph.definitions(concept(3)) == ['"A thorn.']
    dropped = manifest(out)["dropped"]["MRDEF"]["dropped"]
    assert dropped["definition in another language"] == 1
    assert dropped["suppressed definition"] == 1
    assert dropped["definition of a concept outside the graph"] == 1
    assert make(max_definitions=1)[0].definitions(concept(2)) == ["A preferred text."]


def test_level_stands_beside_every_string(graph):
    assert {n.text: (n.source, n.licence) for n in graph.names(concept(11))} == {
        "restricted name": ("UMLS/SNOMEDCT_US", "UMLS SNOMEDCT_US level 9"),
        "free name": ("UMLS/NCI", "UMLS NCI level 0"),
    }
    rows = graph.tables.definitions.to_pylist()
    assert {r["licence"] for r in rows if r["concept"] == concept(11)} == {"UMLS SNOMEDCT_US level 9"}
    assert {r["licence"] for r in rows if r["source"] == "UMLS/GO"} == {"UMLS GO level 3"}  # MRSAB alone tells it
    assert {r["licence"] for r in rows if r["source"] == "UMLS/NCI"} == {"UMLS NCI level 0"}  # not the old version's 3


def test_redistributable_keeps_nothing_but_level_0(make):
    graph, out = make(redistributable=True, relations=["*"])
    licences = {
        row["licence"] for table in ("names", "definitions") for row in getattr(graph.tables, table).to_pylist()
    }
    assert all(licence.endswith(" level 0") for licence in licences)
    assert graph.texts(concept(11)) == ["free name"]
    assert graph.definitions(concept(11)) == []
    assert concept(12) not in graph  # no free name is left
    free = {f"UMLS/{name}" for name, (level, _) in made.SOURCES.items() if level == "0"}
    assert {edge["source"] for edge in graph.tables.edges.to_pylist()} <= free
    assert not any(x.startswith("SNOMEDCT") for row in graph.tables.concepts.to_pylist() for x in row["xrefs"])
    assert concept(22) in graph
    assert graph.parents(concept(22)) == []  # the third edge of the ring is restricted: nothing had to be cut
    for name in ("broken_edges", "edge_sources"):
        for row in pq.read_table(out / f"{name}.parquet").to_pylist():
            assert row["source"] in free, name


def test_retired_identifiers_lead_through_chains(make):
    graph, out = make(semantic_groups=["DISO", "ANAT"])
    assert graph.aliases() == {
        concept(101): concept(2),
        concept(102): concept(2),
        concept(103): concept(2),
        concept(110): concept(4),
    }
    one_step = {row["CUI1"]: row["CUI2"] for row in made.release()["MRCUI"]}
    assert one_step[cui(103)] not in {c.removeprefix("UMLS:") for c in graph.ids}
    assert manifest(out)["dropped"]["MRCUI"]["dropped"] == {
        "identifier deleted": 1,
        "identifier mapped to a related one only": 1,
        "retired identifier that is in use again": 1,
        "retired identifier whose mergers lead to no concept (a ring, or a deleted one)": 3,
        "retired identifier of a concept outside the graph": 1,
    }


def test_paths_run_from_the_root_down(make):
    _, out = make(paths=True)
    rows = pq.read_table(out / "paths.parquet").to_pylist()
    assert [(row["concept"], row["code"], row["path"]) for row in rows] == [
        (concept(1), "", []),
        (concept(2), "J18", [concept(1)]),
        (concept(2), "second", [concept(1), concept(31)]),
    ]
    assert manifest(out)["dropped"]["MRHIER"]["dropped"] == {"context with an atom that MRCONSO lacks": 1}
    parent = {row["CUI"]: row["PTR"].split(".")[0] for row in made.release()["MRHIER"]}
    assert parent[cui(2)] == "A0000001"  # read from the wrong end, the parent would be the root


# ------------------------------------------------------------------ 3.3 relations


def hypernyms(graph):
    return {(e["head"], e["tail"]) for e in graph.tables.edges.to_pylist() if e["relation"] == "is_a"}


def test_pneumonia_stands_under_lung_disease(graph):
    assert graph.parents(concept(2)) == [concept(1)]
    rows = made.release()["MRREL"]
    wrong = {(f"UMLS:{r['CUI2']}", f"UMLS:{r['CUI1']}") for r in rows if r["REL"] == "PAR"}  # REL read the other way
    assert (concept(1), concept(2)) in wrong
    assert (concept(1), concept(2)) not in hypernyms(graph)


def test_an_edge_from_both_sides_is_one_edge_with_its_sources(make):
    graph, out = make()
    edges = [(e["head"], e["tail"]) for e in graph.tables.edges.to_pylist()]
    assert len(set(edges)) == len(edges)
    assert sum(r["REL"] in ("PAR", "CHD") for r in made.release()["MRREL"]) > 2 * len(edges)
    votes = pq.read_table(out / "edge_sources.parquet").to_pylist()
    found = {v["source"] for v in votes if (v["head"], v["tail"]) == (concept(2), concept(1))}
    assert found == {"UMLS/NCI", "UMLS/MSH"}


def test_part_of_is_no_hypernym(make):
    graph, out = make(relations=["part_of"])
    assert (concept(15), concept(23)) not in hypernyms(graph)
    by_rel_alone = {(r["CUI1"], r["CUI2"]) for r in made.release()["MRREL"] if r["REL"] == "PAR"}
    assert (cui(15), cui(23)) in by_rel_alone
    # "thorax part_of lung": RELA is said of CUI2; both rows of the fixture say it, once each way
    assert typed(graph) == {(concept(23), "part_of", concept(15))}
    assert manifest(out)["dropped"]["MRREL"]["dropped"]["hierarchical row with another RELA, which is no hypernym"] == 2


def typed(graph):
    return {(e["head"], e["relation"], e["tail"]) for e in graph.tables.edges.to_pylist() if e["relation"] != "is_a"}


def test_rela_is_said_of_the_second_concept_and_stored_once(make):
    graph, _ = make(relations=["has_finding_site"])
    assert typed(graph) == {(concept(2), "has_finding_site", concept(15))}
    turned, _ = make(relations=["finding_site_of"])
    assert typed(turned) == {(concept(15), "finding_site_of", concept(2))}
    rows = [r for r in made.release()["MRREL"] if r["RELA"] in ("has_finding_site", "finding_site_of")]
    assert len(rows) == 2
    assert (rows[0]["CUI1"], rows[0]["CUI2"]) == (
        cui(15),
        cui(2),
    )  # read from left to right: lung has pneumonia as site


def test_all_relations_are_stored_once_under_one_name(make):
    graph, _ = make(relations=["*"])
    assert typed(graph) == {
        (concept(2), "has_finding_site", concept(15)),
        (concept(15), "has_part", concept(23)),
        (concept(2), "may_be_treated_by", concept(19)),
    }


def test_rows_that_are_no_facts_make_no_edge(make):
    graph, _ = make(relations=["due_to"])
    assert typed(graph) == set()  # both rows with due_to have a REL that is no fact
    assert graph.parents(concept(17)) == []


def test_a_suppressed_relation_makes_no_edge(make):
    graph, out = make()
    assert (concept(17), concept(31)) not in hypernyms(graph)
    assert manifest(out)["dropped"]["MRREL"]["dropped"]["suppressed relation"] == 1


def test_broader_rows_only_on_request(make):
    assert make()[0].parents(concept(17)) == []
    assert make(hierarchy={"broader": True})[0].parents(concept(17)) == [concept(1)]


def test_the_edge_with_the_fewest_sources_is_cut(make):
    graph, out = make()
    rows = made.release()["MRREL"]
    said = {(r["CUI1"], r["CUI2"]) for r in rows if r["REL"] == "PAR" and r["RELA"] in ("", "inverse_isa")}
    assert {(cui(20), cui(21)), (cui(21), cui(22)), (cui(22), cui(20))} <= said  # taken as it is, the graph has a cycle
    assert graph.ancestors(concept(20)) == {concept(21), concept(22)}
    cut = pq.read_table(out / "broken_edges.parquet").to_pylist()
    assert {(e["head"], e["tail"], e["votes"], e["source"]) for e in cut} == {
        (concept(22), concept(20), 1, "UMLS/MDR"),
        (concept(26), concept(24), 1, "UMLS/NCI"),
        (concept(27), concept(24), 1, "UMLS/HPO"),
    }
    tangles = {e["head"]: e["cycle"] for e in cut}
    assert tangles[concept(26)] == tangles[concept(27)] != tangles[concept(22)]
    listed = manifest(out)["broken_edges"]
    assert listed["count"] == 3
    assert f"{concept(22)} is_a {concept(20)} (votes 1, UMLS/MDR, tangle {tangles[concept(22)]})" in listed["first"]


# ------------------------------------------------------------------ 3.4 semantic types, and the other filters


def test_groups_and_types(make):
    graph, _ = make(semantic_groups=["DISO"], exclude_types=["T050"])
    assert concept(16) not in graph  # an experimental model
    assert concept(15) not in graph  # anatomy
    assert concept(28) in graph  # opacity is a finding
    row = graph.tables.concepts.to_pylist()[graph.index(concept(17))]
    assert row["semantic_types"] == ["Disease or Syndrome", "Neoplastic Process"]
    only, _ = make(semantic_types=["Neoplastic Process"])
    assert only.ids == [concept(17)]
    assert make(semantic_types=["T191"])[0].ids == [concept(17)]


def test_sources_and_levels(make):
    graph, _ = make(sources=["SNOMEDCT_US"])
    assert graph.ids == [concept(11), concept(12)]
    assert hypernyms(graph) == {(concept(11), concept(12))}
    without, _ = make(exclude_sources=["SNOMEDCT_US"])
    assert concept(12) not in without
    assert make(levels=[9])[0].ids == [concept(11), concept(12)]
    parents_of_one, _ = make(hierarchy={"sources": ["MSH"]})
    assert hypernyms(parents_of_one) == {
        (concept(c), concept(p)) for c, p in ((2, 1), (20, 21), (24, 25), (25, 26), (25, 27))
    }


def test_cross_references(graph):
    assert graph.xrefs(concept(11)) == ["NCIT:N11", "SNOMEDCT:100"]
    assert graph.xrefs(concept(29)) == ["HP:0000029"]
    assert graph.xrefs(concept(30)) == []
    assert graph.cui(concept(2)) == "C0000002"


def small(tmp_path, relations, **options):
    """The hypernyms of a release of three plain concepts with these rows of MRREL."""
    numbers = (1, 2, 3)
    tables = {
        "MRCONSO": [made.atom(n, f"disease {n}") for n in numbers],
        "MRSTY": [{"CUI": cui(n), "TUI": "T047", "STY": "Disease or Syndrome"} for n in numbers],
        "MRREL": relations,
    }
    folder = made.write(tmp_path / "META", tables)
    return hypernyms(DiseaseGraph.load(build(UmlsConfig(rrf=str(folder), **options), tmp_path / "out", overwrite=True)))


def test_a_broader_row_yields_to_a_hierarchical_one_whatever_its_sources(tmp_path):
    rows = [made.row(1, "PAR", 2), *(made.row(2, "RB", 1, sab=sab) for sab in ("NCI", "MSH", "HPO"))]
    assert small(tmp_path, rows, hierarchy={"broader": True}) == {(concept(1), concept(2))}
    rows = [made.row(1, "CHD", 2, "isa"), made.row(3, "RN", 1)]  # 1 has the child 2; 3 has the narrower 1
    assert small(tmp_path, rows, hierarchy={"broader": True}) == {(concept(2), concept(1)), (concept(1), concept(3))}


def test_of_equal_votes_the_first_source_of_the_configuration_wins(tmp_path):
    rows = [made.row(1, "PAR", 2, sab="NCI"), made.row(2, "PAR", 1, sab="MSH")]
    assert small(tmp_path, rows, hierarchy={"sources": ["MSH", "NCI"]}) == {(concept(2), concept(1))}
    assert small(tmp_path, rows, hierarchy={"sources": ["NCI", "MSH"]}) == {(concept(1), concept(2))}
