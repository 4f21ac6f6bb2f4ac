"""Tables made from other tables: a small graph from a dict, a part of a graph, a graph with other edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from medvlp.errors import GraphError
from medvlp.knowledge.hierarchy import Rows
from medvlp.knowledge.names import Name, deduplicate
from medvlp.knowledge.store import IS_A, SCHEMAS, Tables, table


def from_dict(concepts: Mapping[str, Mapping[str, Any]], source: str) -> Tables:
    """Build tables as :meth:`medvlp.knowledge.graph.DiseaseGraph.from_dict` describes."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SCHEMAS}
    for concept, entry in concepts.items():
        unknown = set(entry) - {"name", "parents", "synonyms", "definitions", "xrefs"}
        if unknown:
            raise GraphError(f"unknown key {sorted(unknown)[0]!r}", item=concept, remedy="use name, parents, ...")
        name, xrefs = entry.get("name", ""), list(entry.get("xrefs", ()))
        cui = next((x.removeprefix("UMLS:") for x in xrefs if x.startswith("UMLS:")), None)
        rows["concepts"].append(
            {"id": concept, "name": name, "semantic_types": [], "cui": cui, "source": source, "xrefs": xrefs}
        )
        synonyms = (Name(text, "exact", source, "") for text in entry.get("synonyms", ()))
        for n in deduplicate([Name(name, "preferred", source, ""), *synonyms]):
            rows["names"].append({"concept": concept, "text": n.text, "kind": n.kind, "source": source, "licence": ""})
        for text in entry.get("definitions", ()):
            rows["definitions"].append({"concept": concept, "text": text, "source": source, "licence": ""})
        for parent in entry.get("parents", ()):
            if parent not in concepts:
                raise GraphError("parent is not in the graph", item=f"{concept} is_a {parent}", remedy="add the parent")
            rows["edges"].append({"head": concept, "relation": IS_A, "tail": parent, "source": source})
    tables = {name: pa.Table.from_pylist(rows[name], schema=schema) for name, schema in SCHEMAS.items()}
    return Tables(**tables)


def subset(tables: Tables, up: sparse.csr_matrix, closure: sparse.csr_matrix, rows: Rows) -> Tables:
    """Keep the concepts of ``rows``; see :meth:`medvlp.knowledge.graph.DiseaseGraph.subset`."""
    above = closure[rows][:, rows].astype(np.int32)
    above = (above - sparse.identity(len(rows), dtype=np.int32, format="csr")).tocsr()
    above.eliminate_zeros()
    direct = above - above.multiply((above @ above) > 0)
    kept = ((direct + up[rows][:, rows].astype(np.int32)) > 0).tocoo()
    ids = tables.concepts["id"].take(rows)

    def of(data: pa.Table, *columns: str) -> pa.Table:
        for column in columns:
            data = data.filter(pc.is_in(data[column], value_set=ids.combine_chunks()))
        return data

    parts = Tables(
        concepts=of(tables.concepts, "id"),
        names=of(tables.names, "concept"),
        definitions=of(tables.definitions, "concept"),
        edges=of(tables.edges, "head", "tail"),
        aliases=of(tables.aliases, "concept"),
    )
    return replace_hierarchy(parts, ids.to_pylist(), kept.row.astype(np.int64), kept.col.astype(np.int64), "subset")


def replace_hierarchy(tables: Tables, ids: list[str], head_E: Rows, tail_E: Rows, source: str) -> Tables:
    """Exchange the ``is_a`` edges; those that were there before keep their source, new ones get ``source``."""
    old = tables.edges.filter(pc.equal(tables.edges["relation"], IS_A)).to_pylist()
    sources = {(edge["head"], edge["tail"]): edge["source"] for edge in old}
    pairs = [(ids[h], ids[t]) for h, t in zip(head_E.tolist(), tail_E.tolist(), strict=True)]
    is_a = table(
        "edges",
        {
            "head": [head for head, _ in pairs],
            "relation": [IS_A] * len(pairs),
            "tail": [tail for _, tail in pairs],
            "source": [sources.get(pair, source) for pair in pairs],
        },
    )
    others = tables.edges.filter(pc.not_equal(tables.edges["relation"], IS_A))
    edges = pa.concat_tables([is_a, others])
    return Tables(tables.concepts, tables.names, tables.definitions, edges, tables.aliases)
