"""MRREL: the hierarchy with its cycles cut, and typed relations stored once.

A row (CUI1, REL, CUI2, RELA) says "CUI1 has REL CUI2", and RELA is said of CUI2 towards CUI1. So PAR with no RELA or
``inverse_isa`` makes CUI2 a parent of CUI1, CHD with no RELA or ``isa`` makes CUI1 a parent of CUI2; PAR rows with
``part_of`` and the like make no hypernym. Most relations are there twice, once from each side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_prep.ontologies.acyclic import cut_cycles
from data_prep.ontologies.umls.codes import Bools, Keys, Vocabulary, check_known, concept_ids, drop_many
from data_prep.ontologies.umls.config import UmlsConfig
from data_prep.ontologies.umls.reference import Inverses, Reader, wanted_sources
from data_prep.ontologies.umls.rrf import Block
from medvlp.errors import GraphError
from medvlp.io import require
from medvlp.knowledge.hierarchy import Rows
from medvlp.knowledge.store import IS_A
from medvlp.ledger import Ledger

if TYPE_CHECKING:
    import polars as pl

_NEEDED = "CUI1 REL CUI2 RELA SAB SUPPRESS"
_STRONG, _WEAK = ("PAR", "CHD"), ("RB", "RN")
_NO_FACTS = ("DEL", "XR", "SUBX", "AQ", "QB", "")
_TAXONOMIC = ("isa", "inverse_isa")
_CUI_BITS, _LOW_BITS = 24, 15  # a key: head 24, tail 24, then 15 bits of weakness and source, or of relation


@dataclass
class Relations:
    """What MRREL gave, as sorted numbers.

    Attributes:
        edge_E: Distinct (child, parent, weakness, source) keys of the hierarchy, self-loops and others left out.
        fact_F: Distinct (head, tail, relation) keys.
        fact_source_F: The source of each fact, the first by name.
        sources: Source names, sorted; what the numbers above stand for.
        relations: Relation names likewise.
    """

    edge_E: Keys
    fact_F: Keys
    fact_source_F: NDArray[np.int64]
    sources: list[str]
    relations: list[str]


@dataclass
class Hierarchy:
    """The cut hierarchy; all arrays are by rising (child, parent).

    Attributes:
        head_E, tail_E: Child and parent numbers of the kept edges.
        source_E: Numbers of their sources, the first of the configured order (then by name) where there are several.
        votes: Every (head, tail, source) of edges that several sources assert.
        broken: head, tail, votes, source, cycle of the edges left out; edges of one tangle share ``cycle``.
    """

    head_E: Rows
    tail_E: Rows
    source_E: NDArray[np.int64]
    votes: pl.DataFrame
    broken: pl.DataFrame


def read_relations(
    reader: Reader, config: UmlsConfig, kept: Bools, allowed: frozenset[str] | None, inverses: Inverses, ledger: Ledger
) -> Relations:
    """Read MRREL.

    Args:
        reader: Yields its blocks.
        config: What to keep.
        kept: Bool by concept number: it is in the graph.
        allowed: Sources whose restriction level is kept; None for all.
        inverses: Which relations say the same.
        ledger: Counts what is left out.

    Raises:
        GraphError: A relation asked for that neither MRDOC nor any row has, or asked for together with its inverse.
    """
    wanted = None if config.relations == ["*"] else _directions(config.relations, inverses)
    sources, relations = Vocabulary(), Vocabulary()
    edges, facts, fact_sources = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    met: set[str] = set()
    for block in reader("MRREL", _NEEDED):
        if wanted is not None:
            met.update(block.data["RELA"].unique())
        data = _eligible(block.data.with_row_index("row"), config, allowed, ledger)
        taken = _hierarchical(data, config, ledger)
        typed = _typed(data, config, wanted, inverses)
        for part, keys in ((taken, edges), (typed, facts)):
            if part is None or not len(part):
                continue
            head, tail = _numbers(block, part)
            inside = kept[head] & kept[tail] & (head != tail)
            what = "hierarchical row" if part is taken else "typed row"
            drop_many(ledger, f"{what} from a concept to itself", int((head == tail).sum()))
            drop_many(ledger, f"{what} to a concept outside the graph", int(((head != tail) & ~inside).sum()))
            source = sources.encode(part["SAB"])
            if part is taken:
                weak = part["weak"].to_numpy().astype(np.int64)
                keys.append(np.unique(_key(head, tail, weak << (_LOW_BITS - 1) | source)[inside]))
            else:
                keys.append(_key(head, tail, relations.encode(part["RELA"]))[inside])
                fact_sources.append(source[inside])
    if wanted is not None:
        known = met | {inverses.of(relation) or relation for relation in met} | inverses.listed
        check_known(config.relations, known, "relation (RELA)", "relations")
    return _merge(edges, facts, fact_sources, sources, relations)


def _directions(asked: list[str], inverses: Inverses) -> dict[str, tuple[str, bool]]:
    """Return for each RELA to read the name it is stored under and whether head and tail change places."""
    found: dict[str, tuple[str, bool]] = {}
    for relation in asked:
        if relation in found:
            raise GraphError(
                f"is the inverse of {found[relation][0]}, which is asked for too",
                item=f"relations: {relation}",
                remedy="keep one of the two",
            )
        found[relation] = (relation, False)
        if (inverse := inverses.of(relation)) is not None and inverse != relation:
            found[inverse] = (relation, True)
    return found


def _eligible(data: pl.DataFrame, config: UmlsConfig, allowed: frozenset[str] | None, ledger: Ledger) -> pl.DataFrame:
    pl = require("polars", "ontologies")
    num_rows = len(data)
    data = data.filter(pl.col("SUPPRESS").is_in(config.suppress))
    drop_many(ledger, "suppressed relation", num_rows - len(data))
    num_rows = len(data)
    data = data.filter(wanted_sources(config, allowed))
    drop_many(ledger, "relation of another source or level", num_rows - len(data))
    return data


def _hierarchical(data: pl.DataFrame, config: UmlsConfig, ledger: Ledger) -> pl.DataFrame:
    """Return rows that say "CUI1 or CUI2 is a child": columns row, up (CUI1 is the child), weak, SAB and both ids."""
    pl = require("polars", "ontologies")
    rel, rela = pl.col("REL"), pl.col("RELA")
    rows = data.filter(rel.is_in([*_STRONG, *(_WEAK if config.hierarchy.broader else ())]))
    if config.hierarchy.sources:
        rows = rows.filter(pl.col("SAB").is_in(config.hierarchy.sources))
    rows = rows.with_columns(up=rel.is_in(["PAR", "RB"]), weak=rel.is_in(_WEAK))
    up = pl.col("up")
    taxonomic = rows.filter((rela == "") | (up & (rela == "inverse_isa")) | (~up & (rela == "isa")))
    drop_many(ledger, "hierarchical row with another RELA, which is no hypernym", len(rows) - len(taxonomic))
    return taxonomic


def _typed(
    data: pl.DataFrame, config: UmlsConfig, wanted: dict[str, tuple[str, bool]] | None, inverses: Inverses
) -> pl.DataFrame | None:
    """Return typed rows in the direction they are stored: RELA is said of CUI2 unless ``up`` has turned it round."""
    if not config.relations:
        return None
    pl = require("polars", "ontologies")
    rows = data.filter(~pl.col("REL").is_in(_NO_FACTS) & ~pl.col("RELA").is_in(["", *_TAXONOMIC]))
    names = rows["RELA"].unique().sort().to_list()
    if wanted is None:
        stored = {name: (inverses.canonical(name), inverses.canonical(name) != name) for name in names}
    else:
        stored = {name: wanted[name] for name in names if name in wanted}
        rows = rows.filter(pl.col("RELA").is_in(list(stored)))
    if not len(rows):
        return None
    return rows.with_columns(
        RELA=pl.col("RELA").replace_strict({name: target for name, (target, _) in stored.items()}),
        up=pl.col("RELA").replace_strict({name: turned for name, (_, turned) in stored.items()}),
        either=pl.col("RELA").is_in([name for name in names if inverses.of(name) == name]),
    )


def _numbers(block: Block, part: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return head and tail numbers: CUI1 is the head where ``up``, else CUI2; the smaller one if ``either`` will do."""
    one, two = (block.cuis(column, part).astype(np.int64) for column in ("CUI1", "CUI2"))
    up = part["up"].to_numpy()
    head, tail = np.where(up, one, two), np.where(up, two, one)
    if "either" in part.columns:
        turned = part["either"].to_numpy() & (head > tail)
        head, tail = np.where(turned, tail, head), np.where(turned, head, tail)
    return head, tail


def _key(head: NDArray[np.int64], tail: NDArray[np.int64], low: NDArray[np.int64]) -> Keys:
    return head << (_CUI_BITS + _LOW_BITS) | tail << _LOW_BITS | low


def _merge(
    edges: list[Keys],
    facts: list[Keys],
    fact_sources: list[NDArray[np.int64]],
    sources: Vocabulary,
    relations: Vocabulary,
) -> Relations:
    """Join the blocks; numbers of names become those of the sorted names, so that the order of rows tells nothing."""
    pl = require("polars", "ontologies")
    source_names, source_place = sources.in_order()
    relation_names, relation_place = relations.in_order()
    low = (1 << (_LOW_BITS - 1)) - 1
    edge = np.unique(np.concatenate(edges))
    if len(edge):
        edge = np.unique(edge - (edge & low) + source_place[edge & low])
    fact, source = np.concatenate(facts), np.concatenate(fact_sources)
    if len(fact):
        mask = (1 << _LOW_BITS) - 1
        fact = fact - (fact & mask) + relation_place[fact & mask]
        rows = pl.DataFrame({"fact": fact, "source": source_place[source]})
        rows = rows.group_by("fact").agg(pl.col("source").min()).sort("fact")
        fact, source = rows["fact"].to_numpy(), rows["source"].to_numpy()
    return Relations(edge, fact, source, source_names, relation_names)


def cut(relations: Relations, config: UmlsConfig) -> Hierarchy:
    """Count the sources of every edge and cut the cycles, the edge with the fewest sources first.

    Edges are taken in by falling trust: hierarchical rows before broader ones, then more sources, then the order of
    ``hierarchy.sources``, then ids. One that would close a cycle is left out, so it is the weakest of that cycle.
    """
    pl = require("polars", "ontologies")
    low = (1 << (_LOW_BITS - 1)) - 1
    edge_E = relations.edge_E
    preference = {name: place for place, name in enumerate(config.hierarchy.sources)}
    order = np.array([preference.get(name, len(preference)) for name in relations.sources] or [0], dtype=np.int64)
    rows = pl.DataFrame(
        {
            "pair": edge_E >> _LOW_BITS,
            "weak": (edge_E >> (_LOW_BITS - 1)) & 1,
            "source": edge_E & low,
            "place": order[edge_E & low],
        }
    ).sort("pair", "weak", "place", "source")
    pairs = rows.group_by("pair", maintain_order=True).agg(
        pl.col("weak").first(), pl.col("source").first(), pl.col("place").first(), votes=pl.col("source").n_unique()
    )
    pair_E = pairs["pair"].to_numpy()
    head_E, tail_E = pair_E >> _CUI_BITS, pair_E & ((1 << _CUI_BITS) - 1)
    weak_E, place_E, votes_E = (pairs[c].to_numpy().astype(np.int64) for c in ("weak", "place", "votes"))
    trust = np.lexsort((pair_E, place_E, -votes_E, weak_E))
    nodes, row_T = np.unique(np.concatenate([head_E[trust], tail_E[trust]]), return_inverse=True)
    row_TE = row_T.reshape(2, -1)
    kept, dropped, component_N = cut_cycles(row_TE[0], row_TE[1], len(nodes))
    kept, dropped = np.sort(trust[kept]), np.sort(trust[dropped])
    names = pl.Series(relations.sources, dtype=pl.String)
    several = rows.filter(pl.col("pair").is_in(pairs.filter(pl.col("votes") > 1)["pair"].implode()))
    several = several.unique(["pair", "source"], keep="first", maintain_order=True).sort("pair", "source")
    pair_S = several["pair"].to_numpy()
    votes = pl.DataFrame(
        {
            "head": concept_ids(pl.Series(pair_S >> _CUI_BITS)),
            "tail": concept_ids(pl.Series(pair_S & ((1 << _CUI_BITS) - 1))),
            "source": "UMLS/" + names.gather(several["source"]),
        }
    )
    tangle = np.unique(component_N[np.searchsorted(nodes, head_E[dropped])], return_inverse=True)[1]
    broken = pl.DataFrame(
        {
            "head": concept_ids(pl.Series(head_E[dropped])),
            "tail": concept_ids(pl.Series(tail_E[dropped])),
            "votes": votes_E[dropped],
            "source": "UMLS/" + names.gather(pairs["source"].gather(dropped)),
            "cycle": tangle.astype(np.int64),
        }
    )
    return Hierarchy(head_E[kept], tail_E[kept], pairs["source"].gather(kept).to_numpy(), votes, broken)


def rows(relations: Relations, hierarchy: Hierarchy, num_rows: int = 500_000) -> Iterator[pl.DataFrame]:
    """Yield rows of ``edges``: the hierarchy by rising (head, tail), then the typed relations likewise."""
    pl = require("polars", "ontologies")
    names, kinds = (pl.Series(texts, dtype=pl.String) for texts in (relations.sources, relations.relations))
    for start in range(0, len(hierarchy.head_E), num_rows):
        part = slice(start, start + num_rows)
        yield pl.DataFrame(
            {
                "head": concept_ids(pl.Series(hierarchy.head_E[part])),
                "tail": concept_ids(pl.Series(hierarchy.tail_E[part])),
                "source": "UMLS/" + names.gather(hierarchy.source_E[part]),
            }
        ).with_columns(relation=pl.lit(IS_A))
    for start in range(0, len(relations.fact_F), num_rows):
        fact = relations.fact_F[start : start + num_rows]
        yield pl.DataFrame(
            {
                "head": concept_ids(pl.Series(fact >> (_CUI_BITS + _LOW_BITS))),
                "relation": kinds.gather(fact & ((1 << _LOW_BITS) - 1)),
                "tail": concept_ids(pl.Series((fact >> _LOW_BITS) & ((1 << _CUI_BITS) - 1))),
                "source": "UMLS/" + names.gather(relations.fact_source_F[start : start + num_rows]),
            }
        )
