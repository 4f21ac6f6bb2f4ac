"""A tiny OBO file with every kind of line the reader knows."""

OBO = """format-version: 1.2
data-version: releases/2024-01-01
ontology: toy

[Term]
id: DOID:1
name: disease
xref: UMLS_CUI:C0012634

[Term]
id: DOID:2
name: cancer
alt_id: DOID:20
def: "A disease \\"of\\" uncontrolled growth." [url:http\\://example.org] {comment="x"}
synonym: "Malignancy" EXACT []
synonym: "malignancy" RELATED []
synonym: "tumour" BROAD [X:1]
synonym: "bad word" EXACT obsolete_synonym []
xref: NCI:C9305
xref: SNOMEDCT_US_2023_03_01:363346000
xref: ICD-O:8000/3
xref: url:http\\://example.org
is_a: DOID:1 ! disease
relationship: has_symptom DOID:3 {source="x"} ! pain

[Term]
id: DOID:3
name: pain
is_a: DOID:1 ! disease

[Term]
id: DOID:4
name: obsolete lump
is_obsolete: true
replaced_by: DOID:2

[Term]
id: DOID:5
name: obsolete bump
is_obsolete: true
"""
