"""A small graph with the traps of linking, and texts annotated with its concepts."""

from __future__ import annotations

from data_prep.text.linking.fit import Document, Mention
from medvlp.knowledge import store
from medvlp.knowledge.graph import DiseaseGraph

DISEASE, ANATOMY = "Disease or Syndrome", "Anatomy"

TERMS = {
    "X:1": ("disease", DISEASE, [], [], []),
    "X:2": ("breast cancer", DISEASE, ["X:1"], ["carcinoma of the breast", "mammary tumour"], ["MESH:D1"]),
    "X:3": ("ovarian cancer", DISEASE, ["X:1"], ["Carcinoma, Ovarian"], ["MESH:D2"]),
    "X:4": ("type 1 diabetes mellitus", DISEASE, ["X:1"], ["diabetes mellitus type I"], ["MESH:D3"]),
    "X:5": ("type 2 diabetes mellitus", DISEASE, ["X:1"], ["diabetes mellitus type II"], ["MESH:D4"]),
    "X:6": ("von Hippel-Lindau disease", DISEASE, ["X:1"], ["VHL"], ["MESH:D5"]),
    "X:7": ("acute lymphoblastic leukaemia", DISEASE, ["X:1"], ["ALL"], ["MESH:D6"]),
    "X:8": ("gastric antral vascular ectasia", DISEASE, ["X:1"], ["gave"], ["MESH:D7"]),
    "X:9": ("skin", ANATOMY, [], [], []),
    "X:10": ("skin neoplasm", DISEASE, ["X:1"], ["skin"], ["MESH:D8"]),
    "X:11": ("beta-thalassaemia", DISEASE, ["X:1"], [], ["OMIM:1"]),
    "X:12": ("metastasis", DISEASE, ["X:1"], [], []),
    "X:13": ("cervical metastasis", DISEASE, ["X:12"], [], []),
    "Y:1": ("fever", DISEASE, ["X:1"], [], []),
    "Z:1": ("fever", DISEASE, ["X:1"], [], ["MESH:D9"]),
    "X:14": ("lung", ANATOMY, [], [], []),
    "X:15": ("pleural effusion", DISEASE, ["X:1"], [], ["MESH:D10"]),
    "X:16": ("non-small cell lung carcinoma", DISEASE, ["X:1"], [], []),
    "X:17": ("adenomatous polyposis coli", DISEASE, ["X:1"], [], ["MESH:D11"]),
}


def example_graph() -> DiseaseGraph:
    """Return the graph of :data:`TERMS`: name, semantic type, parents, synonyms, cross-references."""
    concepts, names, edges = [], [], []
    for concept, (name, kind, parents, synonyms, xrefs) in TERMS.items():
        concepts.append((concept, name, [kind], None, "made", xrefs))
        names.append((concept, name, "preferred", "made", "CC0-1.0"))
        names += [(concept, text, "exact", "made", "CC0-1.0") for text in synonyms]
        edges += [(concept, "is_a", parent, "made") for parent in parents]
    tables = {"concepts": concepts, "names": names, "definitions": [], "edges": edges}
    columns = {
        name: dict(zip(store.SCHEMAS[name].names, map(list, zip(*rows, strict=True)), strict=True)) if rows else {}
        for name, rows in tables.items()
    }
    return DiseaseGraph.from_tables(
        *(store.table(name, columns[name]) if columns[name] else store.SCHEMAS[name].empty_table() for name in tables)
    )


def document(key: str, text: str, *mentions: tuple[str, str]) -> Document:
    """Annotate the first occurrences of words with ids parted by ``|``."""
    spans = [(text.index(words), text.index(words) + len(words), frozenset(ids.split("|"))) for words, ids in mentions]
    return Document(key, text, tuple(Mention(*span) for span in spans))
