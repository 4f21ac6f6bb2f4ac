"""The straightforward way to turn RRF files into a graph: every table whole in pandas, column by column.

It does what ``data_prep.ontologies.umls`` does with the configuration of the benchmark and writes equal tables, with
the options that keep pandas from misreading RRF (no quoting, no missing values, all text) and only the columns it
needs. It checks no line and hashes no file.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.ontologies.acyclic import cut_cycles
from data_prep.ontologies.terms import curie
from data_prep.ontologies.umls.config import UmlsConfig
from data_prep.ontologies.umls.layout import DOCUMENTED
from data_prep.ontologies.umls.semantic_types import GROUPS, TYPES, tui
from medvlp.knowledge.store import SCHEMAS


def read(folder: Path, table: str, columns: str) -> pd.DataFrame:
    """Read some columns of a table."""
    return pd.read_csv(
        folder / f"{table}.RRF",
        sep="|",
        header=None,
        names=[*DOCUMENTED[table].split(), "(end)"],
        usecols=columns.split(),
        index_col=False,
        dtype=str,
        quoting=csv.QUOTE_NONE,
        keep_default_na=False,
        encoding="utf-8",
    )


def build(config: UmlsConfig, out: Path) -> None:
    """Write the five tables."""
    folder = Path(config.rrf)
    types = read(folder, "MRSTY", "CUI TUI").drop_duplicates().sort_values(["CUI", "TUI"])
    wanted = {tui(n) for group in config.semantic_groups for n in GROUPS[group]} - set(config.exclude_types)
    chosen = types[types.CUI.isin(types.CUI[types.TUI.isin(wanted)])]
    sources = read(folder, "MRSAB", "RSAB SRL LAT").set_index("RSAB")
    names, concepts, xrefs = _names(folder, config, set(chosen.CUI))
    kept = set(concepts.CUI)
    spelled = chosen.assign(STY=chosen.TUI.map({tui(n): name for n, name in TYPES.items()}))
    kinds = spelled[spelled.CUI.isin(kept)].groupby("CUI").STY.agg(list)
    codes = xrefs[xrefs.CUI.isin(kept)].groupby("CUI").xref.agg(list)
    ids = "UMLS:" + concepts.CUI
    tables = {
        "concepts": pd.DataFrame(
            {
                "id": ids,
                "name": concepts.text,
                "semantic_types": concepts.CUI.map(kinds),
                "cui": concepts.CUI,
                "source": "UMLS",
                "xrefs": [x if isinstance(x, list) else [] for x in concepts.CUI.map(codes)],
            }
        ),
        "names": names,
        "definitions": _definitions(folder, config, kept, sources),
        "edges": _edges(folder, config, kept),
        "aliases": _aliases(folder, kept, set(types.CUI)),
    }
    for name, schema in SCHEMAS.items():
        data = pa.Table.from_pandas(tables[name][schema.names], schema=schema, preserve_index=False)
        pq.write_table(data.replace_schema_metadata(None), out / f"{name}.parquet", compression="zstd")


def _names(folder: Path, config: UmlsConfig, chosen: set[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    atoms = read(folder, "MRCONSO", "CUI LAT TS STT ISPREF SAB TTY CODE STR SRL SUPPRESS")
    atoms = atoms[atoms.CUI.isin(chosen) & atoms.SUPPRESS.isin(config.suppress) & atoms.LAT.isin(config.languages)]
    coded = atoms[atoms.SAB.isin(config.xref_sources) & ~atoms.CODE.isin(["", "NOCODE"])]
    coded = coded[~coded.CODE.str.startswith("MTHU")]
    prefix = coded.SAB.map({source: curie(source, "") for source in config.xref_sources})
    xrefs = coded.assign(xref=np.where(coded.CODE.str.contains(":", regex=False), coded.CODE, prefix + coded.CODE))
    ranks = read(folder, "MRRANK", "RANK SAB TTY")
    rank = pd.Series(ranks.RANK.astype(int).to_numpy(), index=pd.MultiIndex.from_frame(ranks[["SAB", "TTY"]]))
    text = atoms.STR.str.replace(r"\s+", " ", regex=True).str.strip()
    atoms = atoms.assign(
        text=text,
        best=(atoms.TS == "P") & (atoms.STT == "PF") & (atoms.ISPREF == "Y"),
        rank=rank.reindex(pd.MultiIndex.from_frame(atoms[["SAB", "TTY"]])).fillna(0).to_numpy(),
        length=text.str.len(),
        folded=text.str.lower(),
    )
    order = ["CUI", "best", "rank", "length", "text", "SAB"]
    atoms = atoms.sort_values(order, ascending=[True, False, False, True, True, True])
    atoms = atoms[atoms.length > 0].drop_duplicates(["CUI", "folded"])
    preferred = ~atoms.duplicated("CUI")
    names = pd.DataFrame(
        {
            "concept": "UMLS:" + atoms.CUI,
            "text": atoms.text,
            "kind": np.where(preferred, "preferred", "exact"),
            "source": "UMLS/" + atoms.SAB,
            "licence": "UMLS " + atoms.SAB + " level " + atoms.SRL,
        }
    )
    xrefs = xrefs[["CUI", "xref"]].drop_duplicates().sort_values(["CUI", "xref"])
    return names, atoms.loc[preferred, ["CUI", "text"]], xrefs


def _definitions(folder: Path, config: UmlsConfig, kept: set[str], sources: pd.DataFrame) -> pd.DataFrame:
    rows = read(folder, "MRDEF", "CUI SAB DEF SUPPRESS")
    rows = rows[rows.CUI.isin(kept) & rows.SUPPRESS.isin(config.suppress)]
    rows = rows[rows.SAB.map(sources.LAT).isin(["", *config.languages])]
    place = {source: number for number, source in enumerate(config.definition_sources)}
    rows = rows.assign(
        text=rows.DEF.str.replace(r"\s+", " ", regex=True).str.strip(),
        place=rows.SAB.map(place).fillna(len(place)),
    )
    rows = rows[rows.text != ""].sort_values(["CUI", "place", "SAB", "text"])
    rows = rows.assign(folded=rows.text.str.lower()).drop_duplicates(["CUI", "folded"])
    licence = "UMLS " + rows.SAB + " level " + rows.SAB.map(sources.SRL)
    return pd.DataFrame(
        {"concept": "UMLS:" + rows.CUI, "text": rows.text, "source": "UMLS/" + rows.SAB, "licence": licence}
    )


def _edges(folder: Path, config: UmlsConfig, kept: set[str]) -> pd.DataFrame:
    rows = read(folder, "MRREL", "CUI1 REL CUI2 RELA SAB SUPPRESS")
    rows = rows[rows.SUPPRESS.isin(config.suppress) & (rows.CUI1 != rows.CUI2)]
    rows = rows[rows.CUI1.isin(kept) & rows.CUI2.isin(kept)]
    up = rows[(rows.REL == "PAR") & rows.RELA.isin(["", "inverse_isa"])]
    down = rows[(rows.REL == "CHD") & rows.RELA.isin(["", "isa"])]
    pairs = pd.concat(
        [
            pd.DataFrame({"head": up.CUI1, "tail": up.CUI2, "SAB": up.SAB}),
            pd.DataFrame({"head": down.CUI2, "tail": down.CUI1, "SAB": down.SAB}),
        ]
    )
    edges = pairs.drop_duplicates().groupby(["head", "tail"]).SAB.agg(["nunique", "min"]).reset_index()
    trusted = edges.sort_values(["nunique", "head", "tail"], ascending=[False, True, True], kind="stable")
    numbers, _ = pd.factorize(pd.concat([trusted["head"], trusted["tail"]]))
    ends = numbers.astype(np.int64).reshape(2, -1)
    cut = cut_cycles(ends[0], ends[1], int(numbers.max(initial=-1)) + 1)[0]
    edges = trusted.iloc[cut].sort_values(["head", "tail"])
    is_a = pd.DataFrame({"head": edges["head"], "relation": "is_a", "tail": edges["tail"], "source": edges["min"]})
    inverse = read(folder, "MRDOC", "VALUE TYPE EXPL").query("TYPE == 'rela_inverse'").set_index("VALUE").EXPL
    facts = []
    for relation in config.relations:
        said, turned = rows[relation == rows.RELA], rows[inverse[relation] == rows.RELA]
        facts.append(
            pd.concat(
                [
                    pd.DataFrame({"head": said.CUI2, "relation": relation, "tail": said.CUI1, "source": said.SAB}),
                    pd.DataFrame(
                        {"head": turned.CUI1, "relation": relation, "tail": turned.CUI2, "source": turned.SAB}
                    ),
                ]
            )
        )
    fact = pd.concat(facts).groupby(["head", "tail", "relation"], as_index=False).source.min()
    both = pd.concat([is_a, fact[is_a.columns]])
    return both.assign(head="UMLS:" + both["head"], tail="UMLS:" + both["tail"], source="UMLS/" + both["source"])


def _aliases(folder: Path, kept: set[str], known: set[str]) -> pd.DataFrame:
    rows = read(folder, "MRCUI", "CUI1 VER REL CUI2")
    rows = rows[(rows.REL == "SY") & ~rows.CUI1.isin(known)].drop_duplicates()
    rows = rows.sort_values(["CUI1", "VER", "CUI2"], ascending=[True, False, True])
    onward = dict(zip(rows.CUI1[::-1], rows.CUI2[::-1], strict=True))
    found = {}
    for old in onward:
        seen, end = {old}, onward[old]
        while end in onward and end not in seen:
            seen.add(end)
            end = onward[end]
        if end in kept:
            found[old] = end
    olds = sorted(found)
    return pd.DataFrame(
        {
            "alias": [f"UMLS:{old}" for old in olds],
            "concept": [f"UMLS:{found[old]}" for old in olds],
            "reason": "replaced_by",
        }
    )
