"""A graph written by hand and random acyclic ones, for the knowledge tests."""

from __future__ import annotations

import numpy as np

SMALL = {
    "X:1": {"name": "disease", "xrefs": ["UMLS:C0012634"]},
    "X:2": {"name": "cancer", "parents": ["X:1"], "synonyms": ["Malignancy", "malignancy", "malignant tumour"]},
    "X:3": {"name": "lung disease", "parents": ["X:1"], "definitions": ["A disease of the lung."]},
    "X:4": {"name": "lung cancer", "parents": ["X:2", "X:3"], "synonyms": ["pulmonary neoplasm"]},
    "X:5": {"name": "lung adenocarcinoma", "parents": ["X:4"], "synonyms": ["ADC"]},
    "X:6": {"name": "apparent diffusion coefficient finding", "synonyms": ["A.D.C.", "adc"]},
}


def random_dag(num_concepts: int, seed: int) -> dict[str, dict]:
    """Concepts whose parents are drawn among earlier ones: up to three each, sometimes none."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(num_concepts)
    concepts: dict[str, dict] = {f"R:{row}": {"name": f"concept {row}"} for row in range(num_concepts)}
    for place in range(1, num_concepts):
        chosen = rng.choice(place, size=min(place, int(rng.integers(0, 4))), replace=False)
        concepts[f"R:{order[place]}"]["parents"] = [f"R:{order[parent]}" for parent in chosen]
    return concepts
