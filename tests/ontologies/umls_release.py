"""A hand-made UMLS-like release of 50 concepts that holds every trap of the RRF format once, and how to write it.

The columns of MRSTY and MRDEF stand in another order than documented: MRFILES.RRF says so. No UMLS content.
"""

from __future__ import annotations

from pathlib import Path

from data_prep.ontologies.umls.layout import DOCUMENTED

LAYOUTS = {
    **{table: columns.split() for table, columns in DOCUMENTED.items()},
    "MRSTY": ["ATUI", "TUI", "CUI", "STY", "STN", "CVF"],
    "MRDEF": ["SAB", "DEF", "CUI", "AUI", "ATUI", "SATUI", "SUPPRESS", "CVF"],
}
SOURCES = {"NCI": ("0", "ENG"), "MSH": ("0", "ENG"), "HPO": ("0", "ENG"), "ICD10": ("3", "ENG"), "FMA": ("0", "ENG"),
           "SNOMEDCT_US": ("9", "ENG"), "MDR": ("3", "ENG"), "GO": ("3", "ENG"),
           "MSHPOR": ("3", "POR"), "MSHSPA": ("3", "SPA")}  # fmt: skip
RANKS = [("0900", "MSH", "MH"), ("0800", "NCI", "PT"), ("0700", "SNOMEDCT_US", "PT"), ("0100", "NCI", "SY"),
         ("0095", "MSH", "ET"), ("0050", "HPO", "SY")]  # fmt: skip

DISEASE, NEOPLASM, FINDING, SYMPTOM, BODY, MODEL, DRUG = (
    ("T047", "Disease or Syndrome"),
    ("T191", "Neoplastic Process"),
    ("T033", "Finding"),
    ("T184", "Sign or Symptom"),
    ("T023", "Body Part, Organ, or Organ Component"),
    ("T050", "Experimental Model of Disease"),
    ("T121", "Pharmacologic Substance"),
)
NUMBERED = range(31, 51)  # plain diseases with no trap, C0000031 to C0000050


def cui(number: int) -> str:
    return f"C{number:07d}"


def concept(number: int) -> str:
    return f"UMLS:{cui(number)}"


def atom(number, text, tty="PT", sab="NCI", lat="ENG", best=True, suppress="N", srl=None, code=None, aui=None):
    """A row of MRCONSO; ``best`` sets TS=P, STT=PF, ISPREF=Y."""
    ts, stt, preferred = ("P", "PF", "Y") if best else ("S", "VO", "N")
    return {
        "CUI": cui(number), "LAT": lat, "TS": ts, "STT": stt, "ISPREF": preferred, "SAB": sab, "TTY": tty, "STR": text,
        "AUI": aui or f"A{number:07d}", "SRL": SOURCES[sab][0] if srl is None else srl, "SUPPRESS": suppress,
        "CODE": f"N{number}" if code is None else code,
    }  # fmt: skip


def row(one, rel, two, rela="", sab="NCI", suppress="N"):
    """A row of MRREL: one has ``rel`` two, and ``rela`` is said of two towards one."""
    return {"CUI1": cui(one), "REL": rel, "CUI2": cui(two), "RELA": rela, "SAB": sab, "SUPPRESS": suppress}


def both(child, parent, sab="NCI", rela=True):
    """A hypernym as a source gives it, once from each side."""
    return [
        row(child, "PAR", parent, "inverse_isa" if rela else "", sab),
        row(parent, "CHD", child, "isa" if rela else "", sab),
    ]


def text(number, words, sab="NCI", suppress="N"):
    return {"CUI": cui(number), "SAB": sab, "DEF": words, "SUPPRESS": suppress}


def retired(old, rel, new=None, version="2010AA"):
    return {"CUI1": cui(old), "VER": version, "REL": rel, "CUI2": "" if new is None else cui(new), "MAPIN": "Y"}


def context(number, path, sab="NCI", code="", own=None):
    above = ".".join(f"A{n:07d}" for n in path)
    return {"CUI": cui(number), "AUI": f"A{own or number:07d}", "CXN": "1", "SAB": sab, "PTR": above, "HCD": code}


def release() -> dict[str, list[dict[str, str]]]:
    """The rows of every table."""
    plain = [atom(n, f"disease number {n}", code=f"00{n}") for n in NUMBERED]
    return {
        "MRCONSO": [
            atom(1, "lung disease"),
            # the first row, the longest and the best ranked one are not the preferred one
            atom(2, "inflammation of the lung tissue, not further specified", "MH", "MSH", best=False),
            atom(2, "pneumonia", "SY", aui="A0000102"),
            atom(2, "Pneumonia", "ET", "MSH", best=False),  # differs by case only
            atom(2, "Lungenentzündung", "PT", "MSHSPA", lat="GER"),
            atom(3, '"thorn in foot'),  # opens with a quote that is closed nowhere; another quote three rows on
            atom(4, "NA", "SY", best=False),
            atom(4, "sodium excess"),
            atom(5, '2" nail in foot'),
            atom(6, "None"),
            atom(7, "null", code="0007"),
            atom(8, "enfermedad sin nombre", "MH", "MSHSPA", lat="SPA"),  # no English name at all
            atom(9, "old name", suppress="O"),  # the preferred atom is obsolete: MRRANK decides
            atom(9, "z by the weakest", "SY", "HPO", best=False),
            atom(9, "a much longer name by the strongest", "PT", best=False),
            atom(9, "short", "SY", best=False),
            atom(10, "editor's name", suppress="E"),  # only suppressed names
            atom(10, "source's name", suppress="Y", best=False),
            atom(11, "restricted name", "PT", "SNOMEDCT_US", code="100"),  # free only under its second name
            atom(11, "free name", "SY", best=False),
            atom(12, "wholly restricted", "PT", "SNOMEDCT_US", code="200"),
            atom(13, "name with   two  blanks "),
            atom(14, "µ-Größe – naïve"),
            atom(15, "lung", code="7195", sab="FMA", aui="A0000115"),
            atom(16, "tumour of mice"),
            atom(17, "lung tumour"),
            atom(18, "cough"),
            atom(19, "some drug"),
            *(atom(n, f"ring {n}") for n in (20, 21, 22)),
            atom(23, "thorax", sab="FMA", aui="A0000123"),
            *(atom(n, f"tangle {n}") for n in (24, 25, 26, 27)),
            atom(28, "opacity"),
            atom(29, "code with prefix", sab="HPO", tty="PT", code="HP:0000029"),
            atom(30, "no code", code="NOCODE"),
            *plain,
        ],
        "MRSTY": [
            {"CUI": cui(n), "TUI": kind[0], "STY": kind[1]}
            for n, kind in [
                *((n, DISEASE) for n in (*range(1, 15), 17, 20, 21, 22, 24, 25, 26, 27)),
                (15, BODY), (16, MODEL), (17, NEOPLASM), (18, SYMPTOM), (19, DRUG), (23, BODY), (28, FINDING),
                (29, FINDING), (30, FINDING), *((n, DISEASE) for n in NUMBERED),
            ]
        ],
        "MRREL": [
            *both(2, 1),
            *both(2, 1, "MSH", rela=False),
            row(1, "PAR", 1, "inverse_isa"),  # a concept above itself
            row(15, "PAR", 23, "part_of", "FMA"),  # hierarchical, but no hypernym
            row(23, "CHD", 15, "has_part", "FMA"),
            row(15, "RO", 2, "has_finding_site", "SNOMEDCT_US"),  # pneumonia has_finding_site lung, twice
            row(2, "RO", 15, "finding_site_of", "SNOMEDCT_US"),
            row(17, "PAR", 31, "inverse_isa", suppress="O"),  # obsolete
            row(17, "RB", 1),  # broader only
            row(1, "RN", 17),
            row(17, "SIB", 2), row(2, "SIB", 17), row(17, "RL", 32), row(17, "AQ", 33), row(34, "QB", 17),
            row(17, "DEL", 35), row(17, "XR", 36), row(17, "RU", 37), row(17, "SY", 38), row(17, "", 39, "due_to"),
            row(17, "AQ", 40, "due_to"), row(19, "RO", 2, "may_be_treated_by"),
            # a ring of three: two sources for two edges, one for the third, which has to go
            *both(20, 21), *both(20, 21, "MSH"), *both(21, 22), *both(21, 22, "HPO"), *both(22, 20, "MDR"),
            # a tangle of two rings through 24: only 26 above 24 and 27 above 24 by one source
            *both(24, 25), *both(24, 25, "MSH"), *both(25, 26), *both(25, 26, "MSH"), *both(26, 24, "NCI"),
            *both(25, 27), *both(25, 27, "MSH"), *both(27, 24, "HPO"),
            *both(18, 19), *both(11, 12, "SNOMEDCT_US"), *both(12, 1, "NCI"),
            *(line for n in NUMBERED for line in both(n, 1)),
        ],
        "MRDEF": [
            text(2, "An inflammation.", "MSH"),
            text(2, "A preferred text.", "NCI"),
            text(2, "Uma inflamação.", "MSHPOR"),
            text(2, "A suppressed text.", "NCI", "O"),
            text(2, "Another text.", "HPO"),
            text(2, "A text of a source without names.", "GO"),
            text(11, "A restricted text.", "SNOMEDCT_US"),
            text(8, "A text of a concept without a name."),
            text(3, '"A thorn.'),
        ],
        "MRCUI": [
            retired(101, "SY", 2),
            retired(102, "SY", 101),
            retired(103, "SY", 102),  # a chain of three
            retired(104, "SY", 105),
            retired(105, "SY", 104),  # a ring
            retired(106, "DEL"),
            retired(107, "RB", 1),  # mapped, not merged
            retired(108, "SY", 106),  # ends in a deleted one
            retired(109, "SY", 19),  # its concept may be outside the graph
            retired(31, "SY", 2),  # in use again
            retired(110, "SY", 3, "2005AA"),
            retired(110, "SY", 4, "2015AB"),  # merged twice, the later counts
        ],
        "MRHIER": [
            context(1, []),
            context(2, [1], code="J18"),
            context(2, [1, 31], code="second"),  # two places
            context(33, [1, 9999999]),  # an atom that is not there
        ],
        "MRSAB": [
            {"RSAB": "NCI", "VSAB": "NCI_old", "SRL": "3", "LAT": "ENG", "CURVER": "N"},
            *({"RSAB": n, "VSAB": n, "SRL": s, "LAT": lat, "CURVER": "Y"} for n, (s, lat) in SOURCES.items()),
        ],
        "MRRANK": [{"RANK": rank, "SAB": sab, "TTY": tty, "SUPPRESS": "N"} for rank, sab, tty in RANKS],
        "MRDOC": [
            {"DOCKEY": "RELA", "VALUE": one, "TYPE": "rela_inverse", "EXPL": two}
            for pair in (("has_finding_site", "finding_site_of"), ("part_of", "has_part"), ("due_to", "cause_of"),
                         ("may_treat", "may_be_treated_by"))
            for one, two in (pair, pair[::-1])
        ],
    }  # fmt: skip


def line(table: str, values: dict[str, str]) -> str:
    return "".join(f"{values.get(column, '')}|" for column in LAYOUTS[table]) + "\n"


def write(folder: Path, tables: dict[str, list[dict[str, str]]] | None = None) -> Path:
    """Write the tables with MRFILES.RRF."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for table, rows in (release() if tables is None else tables).items():
        content = "".join(line(table, values) for values in rows).encode()
        (folder / f"{table}.RRF").write_bytes(content)
        layout = LAYOUTS[table]
        listed.append(f"{table}.RRF|Descr|{','.join(layout)}|{len(layout)}|{len(rows)}|{len(content)}|\n")
    (folder / "MRFILES.RRF").write_text("".join(listed), encoding="utf-8")
    return folder
