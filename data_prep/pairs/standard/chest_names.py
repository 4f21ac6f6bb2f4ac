"""What the chest sets' labels are called, and which diseases they are in the Human Disease Ontology (DOID).

Findings that are no diseases (effusion, nodule, opacity ...) have no concept there and are linked by their name, so
that a graph with phenotypes too finds them by itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from data_prep.pairs.items import Listing

NAMES = {
    "No Finding": "no finding",
    "No finding": "no finding",
    "normal": "normal chest radiograph",
    "Infiltration": "infiltration",
    "Effusion": "pleural effusion",
    "Pleural Effusion": "pleural effusion",
    "Nodule": "lung nodule",
    "Mass": "lung mass",
    "Nodule/Mass": "lung nodule or mass",
    "Pleural_Thickening": "pleural thickening",
    "Edema": "pulmonary edema",
    "Emphysema": "pulmonary emphysema",
    "emphysema": "pulmonary emphysema",
    "Fibrosis": "pulmonary fibrosis",
    "Lung Opacity": "lung opacity",
    "Pleural Other": "other pleural abnormality",
    "ILD": "interstitial lung disease",
    "COPD": "chronic obstructive pulmonary disease",
    "Enlarged PA": "enlarged pulmonary artery",
    "Lung tumor": "lung tumor",
    "Tuberculosis": "pulmonary tuberculosis",
    "Normal": "normal chest radiograph",
    "No Lung Opacity / Not Normal": "abnormality other than lung opacity",
}
"""Display names where the raw label, in small letters, is not one."""

CONCEPTS = {
    "pneumonia": "DOID:552",
    "pneumothorax": "DOID:1673",
    "pulmonary edema": "DOID:11396",
    "pulmonary emphysema": "DOID:9675",
    "pulmonary fibrosis": "DOID:3770",
    "interstitial lung disease": "DOID:3082",
    "chronic obstructive pulmonary disease": "DOID:3083",
    "pulmonary tuberculosis": "DOID:2957",
}
"""DOID ids by display name, in the release of 2024-01-31."""


def describe(listing: Listing, labels: Iterable[str]) -> None:
    """Give raw labels of chest sets their display names and, where certain, concepts."""
    for label in labels:
        words = label.replace("_", " ").split()
        name = NAMES.get(label, " ".join(word if word.isupper() else word.lower() for word in words))
        listing.label_names[label] = name
        if name in CONCEPTS:
            listing.label_concepts[label] = [CONCEPTS[name]]
