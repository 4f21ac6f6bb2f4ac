"""A chest of ellipsoids, a graph of six findings, and a configuration that uses them."""

import json

import numpy as np
import pytest

NUMBERS = {
    "lung_upper_lobe_left": 1, "lung_lower_lobe_left": 2, "lung_upper_lobe_right": 3, "lung_middle_lobe_right": 4,
    "lung_lower_lobe_right": 5, "heart": 6, "rib_left_1": 7, "rib_right_1": 8, "vertebrae_T6": 9,
}  # fmt: skip
CONCEPTS = {
    "HP:0": {"name": "finding"},
    "HP:1": {"name": "Pleural effusion", "parents": ["HP:0"], "synonyms": ["Fluid around lungs"]},
    "HP:2": {"name": "pneumothorax", "parents": ["HP:0"], "synonyms": ["Collapsed lung", "pneumothorax (disease)"]},
    "HP:3": {"name": "Parenchymal consolidation", "parents": ["HP:0"]},
    "HP:4": {"name": "Pulmonary nodule", "parents": ["HP:0"], "synonyms": ["Spot on the lung"]},
    "HP:5": {"name": "Pulmonary mass", "parents": ["HP:0"]},
    "HP:6": {"name": "Cardiomegaly", "parents": ["HP:0"], "synonyms": ["Enlarged heart", "Increased heart size"]},
}
FINDINGS = {
    "effusion": {"concept": "HP:1", "label": "pleural effusion", "unseen": ["fluid around lungs"]},
    "pneumothorax": {"concept": "HP:2", "label": "pneumothorax", "unseen": ["collapsed lung"]},
    "consolidation": {"concept": "HP:3", "label": "parenchymal consolidation", "unseen": ["airspace opacity"]},
    "nodule": {"concept": "HP:4", "label": "pulmonary nodule", "unseen": ["spot on the lung"]},
    "mass": {"concept": "HP:5", "label": "pulmonary mass", "unseen": ["lung mass"]},
    "cardiomegaly": {"concept": "HP:6", "label": "cardiomegaly", "unseen": ["increased heart size"]},
}
HELD_OUT = {
    "combination": ["effusion", "nodule"],
    "side": {"finding": "pneumothorax", "side": "right"},
    "finding": "mass",
}
SPACING = 5.0


@pytest.fixture(scope="session")
def anatomy():
    """40 x 56 x 60 voxels of 5 mm; column 0 is the patient's right."""
    from data_prep.simulation.anatomy import Anatomy

    shape = (40, 56, 60)
    y, z, x = (np.arange(n).reshape([-1 if a == axis else 1 for a in range(3)]) for axis, n in enumerate(shape))

    def ellipsoid(centre, radii):
        return sum(((v - c) / r) ** 2 for v, c, r in zip((y, z, x), centre, radii, strict=True)) <= 1

    label = np.zeros(shape, dtype=np.uint8)
    for side, column in (("right", 17), ("left", 43)):
        shell = ellipsoid((20, 26, column), (15, 25, 13)) & ~ellipsoid((20, 26, column), (14, 24, 12))
        label[shell & ((x < 17) | (x > 43) | (z < 6))] = NUMBERS[f"rib_{side}_1"]
        lung = ellipsoid((20, 26, column), (13.5, 23.5, 11.5))
        label[lung & (z < 26)] = NUMBERS[f"lung_upper_lobe_{side}"]
        label[lung & (z >= 26)] = NUMBERS[f"lung_lower_lobe_{side}"]
        if side == "right":
            label[lung & (z >= 22) & (z < 32)] = NUMBERS["lung_middle_lobe_right"]
    label[ellipsoid((24, 32, 33), (8, 9, 9))] = NUMBERS["heart"]
    label[(abs(y - 5) < 3) & (abs(x - 30) < 3) & (z >= 0)] = NUMBERS["vertebrae_T6"]
    hu = np.where(ellipsoid((20, 28, 30), (19, 40, 29)), 30.0, -1000.0)
    lungs = (label > 0) & (label <= 5)
    hu = np.where(lungs, -850.0, hu)
    hu = np.where((label >= 7), 400.0, hu).astype(np.float32)
    return Anatomy(hu, label, NUMBERS, SPACING, {"phantom": "0"})


@pytest.fixture(scope="session")
def graph_folder(tmp_path_factory):
    from medvlp.knowledge.graph import DiseaseGraph

    folder = tmp_path_factory.mktemp("simulation") / "graph"
    DiseaseGraph.from_dict(CONCEPTS).save(folder, {})
    return folder


@pytest.fixture(scope="session")
def make_config(graph_folder):
    """Build a configuration; keyword arguments replace its keys."""
    from data_prep.simulation.config import SimulationConfig

    def make(**changes):
        settings = {
            "graph": str(graph_folder),
            "image_size": 64,
            "scenes": {"train": 24, "dev": 4, "test": 16, "combination": 6, "side": 6, "finding": 6},
            "findings": FINDINGS,
            "held_out": HELD_OUT,
            **changes,
        }
        return SimulationConfig.model_validate_json(json.dumps(settings))

    return make


@pytest.fixture(scope="session")
def store(make_config, anatomy, tmp_path_factory):
    """A finished store of 62 scenes."""
    from data_prep.simulation.simulate import simulate
    from medvlp.data.pairs import PairsStore

    folder = tmp_path_factory.mktemp("simulation") / "scenes"
    return PairsStore.load(simulate(make_config(), folder, anatomy=anatomy, preview_scenes=4))
