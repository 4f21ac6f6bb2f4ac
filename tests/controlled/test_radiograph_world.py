"""Radiographs of the made world: single findings projected once, added up, exposed."""

import numpy as np
import pytest

from benchmarks.controlled import radiograph
from data_prep.simulation.anatomy import LOBES, Anatomy

SIZE = 32


def _chest():
    """Two lungs, a heart and ribs in 36 x 44 x 48 voxels of 6 mm; column 0 is the patient's right."""
    shape = (36, 44, 48)
    y, z, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij", sparse=True)

    def ball(centre, radii):
        return sum(((v - c) / r) ** 2 for v, c, r in zip((y, z, x), centre, radii, strict=True)) <= 1

    numbers = {name: number for number, name in enumerate(LOBES.values(), 1)} | {
        "heart": 6,
        "rib_left": 7,
        "rib_right": 8,
    }
    label = np.zeros(shape, dtype=np.uint8)
    for side, column in (("right", 13), ("left", 35)):
        shell = ball((18, 20, column), (13, 19, 10.5)) & ~ball((18, 20, column), (12, 18, 9.5))
        label[shell & ((x < 13) | (x > 35) | (z < 4))] = numbers[f"rib_{side}"]
        lung = ball((18, 20, column), (12, 18, 9.5))
        label[lung & (z < 18)] = numbers[f"lung_upper_lobe_{side}"]
        label[lung & (z >= 18)] = numbers[f"lung_lower_lobe_{side}"]
        if side == "right":
            label[lung & (z >= 16) & (z < 24)] = numbers["lung_middle_lobe_right"]
    label[ball((21, 26, 26), (7, 8, 8))] = numbers["heart"]
    hu = np.where(ball((18, 22, 24), (17, 36, 23)), 30.0, -1000.0)
    hu = np.where((label > 0) & (label <= 5), -850.0, np.where(label >= 7, 400.0, hu))
    return Anatomy(hu.astype(np.float32), label, numbers, 6.0, {"phantom": "0"})


@pytest.fixture(scope="module")
def bank():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(radiograph, "_POSES", radiograph._POSES[:1])  # one is enough to look at, and quick
        return radiograph.open_bank(SIZE, None, anatomy=_chest())


def _picture(bank, nuisance=0.0, seed=0, **changed):
    names = ["fluid", "air", "solid", "many", "large", "heart", "zone", "side"]
    factors = np.array([changed.get(name, 0.05) for name in names])
    return radiograph.renderer(bank)(factors, np.random.default_rng(seed), SIZE, nuisance).astype(float)


def test_the_bank_holds_every_finding_in_its_pose(bank):
    assert len(bank.plain_KPP) == 1
    kinds = {kind for kind, _, _ in bank.change}
    assert kinds == {"effusion", "pneumothorax", "consolidation", "nodule", "mass", "cardiomegaly"}
    for (kind, where, severity), change in bank.change.items():
        assert change.shape[0] == 1
        assert change.shape[2:] == (SIZE, SIZE)
        strongest = change.min() if kind == "pneumothorax" else change.max()
        assert abs(strongest) > 0.02, (kind, where, severity)


def test_a_severer_finding_changes_more(bank):
    for kind, where in {(kind, where) for kind, where, _ in bank.change}:
        if kind in ("effusion", "nodule", "mass"):
            light, severe = (np.abs(bank.change[kind, where, at]).sum() for at in (0.15, 1.0))
            assert severe > light, (kind, where)


def test_factors_show_where_they_should(bank):
    """Dense tissue is bright; the patient's left is on the right of the picture."""
    plain = _picture(bank, side=1.0)
    fluid = _picture(bank, fluid=0.95, side=1.0) - plain
    assert fluid.sum() > 0
    assert fluid[SIZE // 2 :].sum() > fluid[: SIZE // 2].sum()
    assert np.abs(_picture(bank, heart=0.95) - _picture(bank, heart=0.5)).max() > 5
    upper = np.mean([_picture(bank, many=0.95, zone=0.99, seed=seed)[: SIZE // 2].mean() for seed in range(12)])
    lower = np.mean([_picture(bank, many=0.95, zone=0.01, seed=seed)[: SIZE // 2].mean() for seed in range(12)])
    assert upper > lower


def test_radiographs_are_grey_and_repeatable(bank):
    first, again, other = (_picture(bank, 1.0, seed, many=0.9, large=0.9) for seed in (3, 3, 4))
    assert first.shape == (SIZE, SIZE, 3)
    assert (first == first[..., :1]).all()
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
