"""A finding is where its mask says, on its side and in its lobe, and changes the image nowhere else."""

import numpy as np
import pytest

from data_prep.simulation.anatomy import LOBES, Anatomy, attenuation, side_of
from data_prep.simulation.findings import LOBAR, SIDED, Finding, heart_warp, plant
from data_prep.simulation.projection import Camera, Exposure, Pose
from data_prep.simulation.render import render
from medvlp.errors import DataError

SIZE, FIELD = 96, 300.0
STRAIGHT = Pose()
TURNED = Pose(turn=6, tilt=-5, roll=3, shift_x=8, shift_z=-8, scale_x=1.05, scale_y=0.95, scale_z=0.96)
QUIET = Exposure(noise=0.0, scatter=0.0)
EVERY = [Finding(kind, 0.6, side, None, 1) for kind in SIDED for side in ("left", "right")]
EVERY += [Finding(kind, 0.6, side_of(lobe), lobe, 1) for kind in LOBAR for lobe in LOBES]
EVERY += [Finding("cardiomegaly", 0.6, None, None, 1)]


def name(finding):
    return f"{finding.kind}-{finding.lobe or finding.side}"


def scene(anatomy, *findings, pose=STRAIGHT, exposure=QUIET):
    return render(anatomy, findings, pose, exposure, SIZE, FIELD, noise_seed=5)


@pytest.mark.parametrize("finding", EVERY, ids=name)
def test_only_voxels_of_its_place_change(anatomy, finding):
    hu = anatomy.hu_YZX.copy()
    box = plant(finding, anatomy, hu)
    changed = hu != anatomy.hu_YZX
    outside = changed.copy()
    outside[box] = False
    assert changed.any()
    assert not outside.any()
    if finding.lobe is not None:
        assert not (changed & ~anatomy.lobes[finding.lobe]).any()
    elif finding.side is not None:
        assert not (changed & ~anatomy.lungs[finding.side]).any()
    else:
        assert not (changed & anatomy.organ("rib_", "vertebrae_")).any(), "the chest wall does not move"


@pytest.mark.parametrize("pose", [STRAIGHT, TURNED], ids=["straight", "turned"])
@pytest.mark.parametrize("finding", EVERY, ids=name)
def test_the_mask_lies_in_the_projection_of_its_place(anatomy, finding, pose):
    mask = scene(anatomy, finding, pose=pose).masks[0]
    if finding.kind == "cardiomegaly":
        place = anatomy.organ("heart", "lung_")
    else:
        place = anatomy.lobes[finding.lobe] if finding.lobe is not None else anatomy.lungs[finding.side]
    shadow = Camera(anatomy, pose, SIZE, FIELD).project(place.astype(np.float32))
    from scipy import ndimage

    near = ndimage.binary_dilation(shadow > 0, iterations=2)  # the mask is smoothed over about a pixel
    assert mask.sum() > 10
    assert (mask & ~near).sum() == 0


@pytest.mark.parametrize("finding", EVERY, ids=name)
def test_the_image_changes_in_the_mask_and_almost_nowhere_else(anatomy, finding):
    made = scene(anatomy, finding)
    change = np.abs(made.image.astype(int) - made.without)
    mask = made.masks[0]
    assert change[mask].mean() > 5 * change[~mask].mean()
    assert change[~mask].mean() < 1.0, "in 255 grey values"


def test_image_left_is_the_patients_right(anatomy):
    for side in ("left", "right"):
        for kind in SIDED:
            columns = scene(anatomy, Finding(kind, 0.5, side, None, 0)).masks[0].nonzero()[1]
            assert (columns.mean() > SIZE / 2) == (side == "left")


def test_a_mirrored_chest_fails_the_test_of_sides(anatomy):
    swapped = {key.replace("left", "?").replace("right", "left").replace("?", "right"): number
               for key, number in anatomy.numbers.items() if "middle" not in key}  # fmt: skip
    numbers = {**swapped, "lung_middle_lobe_right": swapped["lung_upper_lobe_right"]}
    mirrored = Anatomy(anatomy.hu_YZX, anatomy.label_YZX, numbers, anatomy.spacing, {})
    columns = scene(mirrored, Finding("effusion", 0.5, "left", None, 0)).masks[0].nonzero()[1]
    assert columns.mean() < SIZE / 2


def test_fluid_is_low_air_is_high_and_both_grow_with_severity(anatomy):
    areas = {}
    for kind in SIDED:
        made = [scene(anatomy, Finding(kind, severity, "left", None, 0)) for severity in (0.0, 0.5, 1.0)]
        areas[kind] = [one.masks[0].sum() for one in made]
        assert areas[kind] == sorted(areas[kind])
        assert areas[kind][0] < areas[kind][2]
        change = (made[2].image.astype(int) - made[2].without)[made[2].masks[0]].mean()
        assert (change > 0) == (kind == "effusion"), "fluid is bright, air is dark"
    rows = {kind: scene(anatomy, Finding(kind, 0.2, "left", None, 0)).masks[0].nonzero()[0].mean() for kind in SIDED}
    assert rows["effusion"] > rows["pneumothorax"]


def test_a_nodule_has_the_diameter_it_is_said_to_have(anatomy):
    finding = Finding("nodule", 1.0, "left", "left lower lobe", 3)
    hu = anatomy.hu_YZX.copy()
    plant(finding, anatomy, hu)
    volume = ((hu - anatomy.hu_YZX).sum() / (40.0 + 850.0)) * anatomy.spacing**3
    assert finding.diameter_mm == 30
    assert (6 * volume / np.pi) ** (1 / 3) == pytest.approx(30, abs=2)


def test_the_heart_grows_without_folding(anatomy):
    finding = Finding("cardiomegaly", 1.0, None, None, 0)
    box, source = heart_warp(finding, anatomy)
    for axis in range(3):
        assert (np.diff(source[axis], axis=axis) >= 0).all(), "voxels swap places"
    from scipy import ndimage

    heart = anatomy.organ("heart")
    grown = ndimage.map_coordinates(heart.astype(np.float32), source, order=1) > 0.5
    assert grown.sum() > 1.15 * heart[box].sum()
    assert not (heart[box] & ~grown).sum() > 0.02 * heart.sum()


def test_projection_equals_tracing_rays(anatomy):
    """Brute force: one ray per pixel, sampled at every slice it crosses."""
    from scipy import ndimage

    pose = Pose(turn=5, tilt=3, shift_x=6, shift_z=-4, scale_x=1.04, scale_y=0.97, scale_z=1.02)
    camera = Camera(anatomy, pose, 24, FIELD)
    value = attenuation(anatomy.hu_YZX)
    found = camera.project(value)
    num_slices = len(value)
    depth = (np.arange(num_slices) - (num_slices - 1) / 2) * anatomy.spacing * pose.scale_y
    middle = 1800 - 30 - depth[-1]
    source = np.array([-middle, middle * np.tan(np.radians(pose.tilt)), middle * np.tan(np.radians(pose.turn))])
    for row, column in ((5, 7), (12, 12), (18, 15)):
        at_middle = np.array([0, (row + 0.5) / 24 - 0.5, (column + 0.5) / 24 - 0.5]) * FIELD
        at_middle -= [0, pose.shift_z, pose.shift_x]
        points = source + (at_middle - source) * ((depth + middle) / middle)[:, None]
        z = np.clip(anatomy.centre_ZX[0] + points[:, 1] / (anatomy.spacing * pose.scale_z), 0, value.shape[1] - 1)
        x = anatomy.centre_ZX[1] + points[:, 2] / (anatomy.spacing * pose.scale_x)
        samples = ndimage.map_coordinates(value, [np.arange(num_slices), z, x], order=1)
        assert found[row, column] == pytest.approx(samples.sum() * anatomy.spacing * pose.scale_y, rel=1e-4)


def test_a_box_projects_like_the_whole_volume(anatomy):
    camera = Camera(anatomy, TURNED, 32, FIELD)
    box = anatomy.boxes["left"]
    value = np.zeros_like(anatomy.hu_YZX)
    value[box] = 0.01
    np.testing.assert_allclose(camera.project(value[box], box), camera.project(value), atol=1e-5)


def test_rendering_is_deterministic_and_noise_is_not_constant(anatomy):
    findings = [
        Finding("consolidation", 0.5, "left", "left lower lobe", 9),
        Finding("cardiomegaly", 0.5, None, None, 9),
    ]
    first, second = (scene(anatomy, *findings, pose=TURNED, exposure=Exposure()) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert all(np.array_equal(a, b) for a, b in zip(first.masks, second.masks, strict=True))
    assert first.image.std() > 10


def test_organ_masks_show_a_grown_heart_and_no_other_finding(anatomy):
    plain = scene(anatomy).organs
    for finding in EVERY:
        shown = not np.array_equal(scene(anatomy, finding).organs, plain)
        assert shown == (finding.kind == "cardiomegaly"), name(finding)


def test_masks_without_a_lung_are_refused(anatomy):
    label = np.where(anatomy.label_YZX == anatomy.numbers["heart"], 0, anatomy.label_YZX)
    with pytest.raises(DataError, match=r"heart: has no voxel in the organ masks; use masks of a whole chest"):
        Anatomy(anatomy.hu_YZX, label, anatomy.numbers, anatomy.spacing, {})
