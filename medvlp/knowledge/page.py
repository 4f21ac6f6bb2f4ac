"""A page about one concept for people: what it is called, what it means, where it stands, where that comes from.

One HTML file without scripts or outside requests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from medvlp.errors import GraphError
from medvlp.io import read_json, write_text
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.knowledge.names import normalise
from medvlp.knowledge.store import IS_A

TEMPLATE = Path(__file__).with_name("page.html.j2")
MAX_PATHS = 32
MAX_CHILDREN = 200
_KIND_WORDS = {
    "preferred": "preferred name",
    "exact": "same meaning",
    "xref_merge": "name in a merged source",
    "narrow": "narrower meaning",
    "broad": "broader meaning",
    "related": "related, not the same",
}


@dataclass(frozen=True)
class Neighbour:
    """Another concept as the page shows it."""

    id: str
    name: str
    definition: str
    num_below: int


@dataclass
class Branch:
    """A concept of the hierarchy above, with what hangs below it on a way down to the concept of the page."""

    id: str
    name: str
    below: list[Branch] = field(default_factory=list)


def resolve(graph: DiseaseGraph, words: str) -> str:
    """Return the id that an id, an old id or a name leads to.

    Raises:
        GraphError: Unknown, with the nearest ids or names; or a name of several concepts, with their ids.
    """
    text = words.strip()
    if text in graph:
        return graph.ids[graph.index(text)]
    found = graph.find(text)
    if len(found) > 1:
        preferred = [concept for concept in found if normalise(graph.name(concept)) == normalise(text)]
        found = preferred if len(preferred) == 1 else found
    if len(found) > 1:
        listed = ", ".join(f"{concept} ({graph.name(concept)})" for concept in found[:5])
        raise GraphError(f"the name of {len(found)} concepts", item=text, remedy=f"choose an id: {listed}")
    if found:
        return found[0]
    near = graph.nearest_names(text)
    raise GraphError(
        "no concept has this id or name", item=text, remedy=f"nearest: {near}" if near else "check the spelling"
    )


def write_page(store: str | Path, words: str, page: Path) -> str:
    """Write the page about a concept of a graph store.

    Args:
        store: Folder of the graph.
        words: An id, an old id or a name.
        page: The file to write; replaced if it is there.

    Returns:
        The concept's id.

    Raises:
        GraphError: No such store or concept; see :func:`resolve`.
    """
    graph = DiseaseGraph.load(store)
    concept = resolve(graph, words)
    write_text(page, render(graph, concept, read_json(Path(store) / "manifest.json")))
    return concept


def render(graph: DiseaseGraph, concept: str, manifest: dict[str, Any] | None = None) -> str:
    """Return the page.

    Args:
        graph: The graph.
        concept: An id.
        manifest: Of the graph's store, for names and licences of its sources.
    """
    from jinja2 import Environment, StrictUndefined

    from medvlp.zeroshot.report import style

    manifest = manifest or {}
    row = graph.tables.concepts.slice(graph.index(concept), 1).to_pylist()[0]
    children = sorted(graph.children(concept), key=lambda child: graph.name(child).casefold())
    paths = graph.hypernym_paths(concept, limit=MAX_PATHS + 1)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        style=style(),
        concept=row,
        names=[(name, _KIND_WORDS[name.kind]) for name in graph.names(concept)],
        definitions=_rows(graph.tables.definitions, concept),
        parents=[_neighbour(graph, parent) for parent in graph.parents(concept)],
        children=[_neighbour(graph, child) for child in children[:MAX_CHILDREN]],
        num_children=len(children),
        num_below=len(graph.descendants(concept)),
        num_above=len(graph.ancestors(concept)),
        trees=_trees(graph, paths[:MAX_PATHS]),
        more_paths=len(paths) > MAX_PATHS,
        num_paths=min(len(paths), MAX_PATHS),
        relations=_relations(graph, concept),
        xrefs=_by_prefix(graph.xrefs(concept)),
        old_ids=sorted(alias for alias, owner in graph.aliases().items() if owner == concept),
        sources=[source for source in manifest.get("sources", []) if isinstance(source, dict)],
        digest=graph.digest,
        num_concepts=len(graph),
    )


def _neighbour(graph: DiseaseGraph, concept: str) -> Neighbour:
    definitions = graph.definitions(concept)
    return Neighbour(
        concept, graph.name(concept), definitions[0] if definitions else "", len(graph.descendants(concept))
    )


def _trees(graph: DiseaseGraph, paths: list[list[str]]) -> list[Branch]:
    """Put the paths from the roots together: a stretch that several share is drawn once."""
    roots: list[Branch] = []
    for path in paths:
        level = roots
        for concept in path:
            branch = next((found for found in level if found.id == concept), None)
            if branch is None:
                branch = Branch(concept, graph.name(concept))
                level.append(branch)
            level = branch.below
    return roots


def _relations(graph: DiseaseGraph, concept: str) -> list[dict[str, str]]:
    """Typed edges other than the hierarchy, read from the concept's side."""
    edges = graph.tables.edges
    typed = edges.filter(pc.and_(pc.not_equal(edges["relation"], IS_A), _touches(edges, concept)))
    return [
        {
            "words": edge["relation"].replace("_", " ")
            if edge["head"] == concept
            else f"is {edge['relation'].replace('_', ' ')} of",
            "id": (other := edge["tail"] if edge["head"] == concept else edge["head"]),
            "name": graph.name(other),
            "source": edge["source"],
        }
        for edge in typed.to_pylist()
    ]


def _touches(edges: Any, concept: str) -> Any:
    return pc.or_(pc.equal(edges["head"], concept), pc.equal(edges["tail"], concept))


def _rows(table: Any, concept: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = table.filter(pc.equal(table["concept"], concept)).to_pylist()
    return found


def _by_prefix(xrefs: list[str]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for xref in xrefs:
        prefix, _, code = xref.partition(":")
        found.setdefault(prefix, []).append(code or xref)
    return sorted(found.items())
