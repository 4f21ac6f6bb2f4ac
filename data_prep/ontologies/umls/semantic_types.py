"""The semantic types and groups of the UMLS Semantic Network, used where a release comes without SemGroups.txt."""

from __future__ import annotations

from pathlib import Path

from medvlp.errors import GraphError

_GROUPS = {
    "ACTI": "51 Event|52 Activity|53 Behavior|54 Social Behavior|55 Individual Behavior|56 Daily or Recreational "
    "Activity|57 Occupational Activity|64 Governmental or Regulatory Activity|66 Machine Activity",
    "ANAT": "17 Anatomical Structure|18 Embryonic Structure|21 Fully Formed Anatomical Structure|22 Body System|"
    "23 Body Part, Organ, or Organ Component|24 Tissue|25 Cell|26 Cell Component|29 Body Location or Region|"
    "30 Body Space or Junction|31 Body Substance",
    "CHEM": "103 Chemical|104 Chemical Viewed Structurally|109 Organic Chemical|114 Nucleic Acid, Nucleoside, or "
    "Nucleotide|116 Amino Acid, Peptide, or Protein|120 Chemical Viewed Functionally|121 Pharmacologic Substance|"
    "122 Biomedical or Dental Material|123 Biologically Active Substance|125 Hormone|126 Enzyme|127 Vitamin|"
    "129 Immunologic Factor|130 Indicator, Reagent, or Diagnostic Aid|131 Hazardous or Poisonous Substance|"
    "192 Receptor|195 Antibiotic|196 Element, Ion, or Isotope|197 Inorganic Chemical|200 Clinical Drug",
    "CONC": "77 Conceptual Entity|78 Idea or Concept|79 Temporal Concept|80 Qualitative Concept|81 Quantitative "
    "Concept|82 Spatial Concept|89 Regulation or Law|102 Group Attribute|169 Functional Concept|170 Intellectual "
    "Product|171 Language|185 Classification",
    "DEVI": "74 Medical Device|75 Research Device|203 Drug Delivery Device",
    "DISO": "19 Congenital Abnormality|20 Acquired Abnormality|33 Finding|37 Injury or Poisoning|46 Pathologic "
    "Function|47 Disease or Syndrome|48 Mental or Behavioral Dysfunction|49 Cell or Molecular Dysfunction|"
    "50 Experimental Model of Disease|184 Sign or Symptom|190 Anatomical Abnormality|191 Neoplastic Process",
    "GENE": "28 Gene or Genome|85 Molecular Sequence|86 Nucleotide Sequence|87 Amino Acid Sequence|88 Carbohydrate "
    "Sequence",
    "GEOG": "83 Geographic Area",
    "LIVB": "1 Organism|2 Plant|4 Fungus|5 Virus|7 Bacterium|8 Animal|10 Vertebrate|11 Amphibian|12 Bird|13 Fish|"
    "14 Reptile|15 Mammal|16 Human|96 Group|97 Professional or Occupational Group|98 Population Group|99 Family "
    "Group|100 Age Group|101 Patient or Disabled Group|194 Archaeon|204 Eukaryote",
    "OBJC": "71 Entity|72 Physical Object|73 Manufactured Object|167 Substance|168 Food",
    "OCCU": "90 Occupation or Discipline|91 Biomedical Occupation or Discipline",
    "ORGA": "92 Organization|93 Health Care Related Organization|94 Professional Society|95 Self-help or Relief "
    "Organization",
    "PHEN": "34 Laboratory or Test Result|38 Biologic Function|67 Phenomenon or Process|68 Human-caused Phenomenon or "
    "Process|69 Environmental Effect of Humans|70 Natural Phenomenon or Process",
    "PHYS": "32 Organism Attribute|39 Physiologic Function|40 Organism Function|41 Mental Process|42 Organ or Tissue "
    "Function|43 Cell Function|44 Molecular Function|45 Genetic Function|201 Clinical Attribute",
    "PROC": "58 Health Care Activity|59 Laboratory Procedure|60 Diagnostic Procedure|61 Therapeutic or Preventive "
    "Procedure|62 Research Activity|63 Molecular Biology Research Technique|65 Educational Activity",
}


def _parse() -> tuple[dict[int, str], dict[str, set[int]]]:
    names: dict[int, str] = {}
    groups: dict[str, set[int]] = {}
    for group, text in _GROUPS.items():
        for entry in text.split("|"):
            number, _, name = entry.partition(" ")
            names[int(number)] = name
            groups.setdefault(group, set()).add(int(number))
    return names, groups


TYPES, GROUPS = _parse()
"""Type names by number (47 for T047), and type numbers by group abbreviation: 127 types in 15 groups."""


def tui(number: int) -> str:
    """Return the identifier of a type number: 47 is ``T047``."""
    return f"T{number:03d}"


def read_groups(folder: Path) -> tuple[dict[int, str], dict[str, set[int]], str]:
    """Read SemGroups.txt from the release or its NET folder, else return the built-in table.

    Returns:
        Type names by number, type numbers by group abbreviation, and where they come from.

    Raises:
        GraphError: A line that is not ``GROUP|group name|T000|type name``, with its number.
    """
    for path in (folder / "SemGroups.txt", folder.parent / "NET" / "SemGroups.txt", folder.parent / "SemGroups.txt"):
        if path.is_file():
            break
    else:
        return dict(TYPES), {group: set(numbers) for group, numbers in GROUPS.items()}, "built-in table"
    names: dict[int, str] = {}
    groups: dict[str, set[int]] = {}
    for line, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not text.strip():
            continue
        fields = text.rstrip("\r\n|").split("|")
        if len(fields) != 4 or not (fields[2][:1] == "T" and fields[2][1:].isdigit()):
            raise GraphError("is not GROUP|group name|T000|type name", item=f"{path}:{line}", remedy="restore the file")
        names[int(fields[2][1:])] = fields[3]
        groups.setdefault(fields[0], set()).add(int(fields[2][1:]))
    return names, groups, "SemGroups.txt"
