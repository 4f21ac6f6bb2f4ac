"""Pixels: masks are paired, split and checked; the decoder learns shapes; Dice is MONAI's; floors are beaten."""

import numpy as np
import pytest
import torch
from finetune_cases import mask_config, write_masks
from PIL import Image

from medvlp.encoders.image import TimmImage
from medvlp.errors import ConfigError, DataError
from medvlp.finetune.config import FewShot, Full, Linear, Lora, MaskFolder, MaskFolders, MaskFractions, Probe
from medvlp.finetune.masks import MaskData, read_folder, read_mask
from medvlp.finetune.segmenter import Segmenter
from medvlp.training.draws import Draw

pytest.importorskip("monai", reason="needs the extra finetune")
pytestmark = pytest.mark.extras


def folder_of(place, **changes):
    settings = {"images": str(place / "images"), "masks": str(place / "masks"), "classes": ["rest", "disc", "square"]}
    return MaskFolder(**{**settings, **changes})


def test_shapes_are_learned_beyond_the_floors_and_reopened(place, tmp_path):
    from medvlp.finetune import load, run
    from medvlp.io import read_json
    from medvlp.training.optim import OptimizerConfig

    optimizer = OptimizerConfig(lr=1e-2, warmup_steps=5, weight_decay=0.01)
    config = mask_config(place, Full(layer_decay=1.0), steps=80, optimizer=optimizer, batch_norm="batch", log_every=40)
    out = run(config, tmp_path / "run")
    value = read_json(out / "results" / "results.json")
    systems = value["systems"]
    assert systems["model"]["mean_dice"]["value"] > 0.9
    for floor in ("one-class", "pixel-colour"):
        assert systems[floor]["mean_dice"]["value"] < 0.8
        assert systems[floor]["lead"]["low"] > 0
    assert value["task"]["num"] == 4
    network = load(out)
    image = Image.open(place / "shapes" / "images" / "00.png").resize((100, 80))
    (answer_HW,) = network.predict([image])
    assert answer_HW.shape == (80, 100)
    assert set(np.unique(answer_HW)) == {0, 1, 2}


@pytest.mark.parametrize("method", [Linear(), Lora(rank=2)])
def test_other_methods_and_resume_give_the_same_bits(place, tmp_path, monkeypatch, method):
    pytest.importorskip("peft", reason="needs the extra finetune")
    from medvlp.encoders.weights import read_state_dict
    from medvlp.finetune import run
    from medvlp.training.loop import Engine

    config = mask_config(place, method, steps=3, checkpoint={"every": 1})
    straight = run(config, tmp_path / "straight")
    whole = Engine.step

    def step(self, batches, out):
        if self.done == 2:
            raise KeyboardInterrupt
        return whole(self, batches, out)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "step", step)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "cut")
    resumed = run(config, tmp_path / "cut")
    left, right = (read_state_dict(out / "model" / "model.safetensors") for out in (straight, resumed))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert not any("lora" in name for name in left)


def test_dice_equals_its_definition():
    from medvlp.finetune.segment import dice, mean_dice

    rng = np.random.default_rng(0)
    truth = [rng.integers(0, 3, (6, 5)).astype(np.uint8) for _ in range(4)]
    truth[1][truth[1] == 2] = 0
    maps = [rng.integers(0, 3, (6, 5)).astype(np.uint8) for _ in range(4)]
    found_NK = dice(maps, truth, 3, ignore=None)
    for n in range(4):
        for k in (1, 2):
            both = ((maps[n] == k) & (truth[n] == k)).sum()
            either = (maps[n] == k).sum() + (truth[n] == k).sum()
            wanted = 2 * both / either if (truth[n] == k).any() else np.nan
            assert found_NK[n, k - 1] == pytest.approx(wanted, nan_ok=True)
    assert np.isnan(found_NK[1, 1])
    assert float(mean_dice(found_NK)) == pytest.approx(np.nanmean(np.nanmean(found_NK, axis=0)))
    weight_SN = np.array([[1, 1, 1, 1], [2, 0, 0, 1]])
    assert mean_dice(found_NK, weight_SN).shape == (2,)
    assert float(mean_dice(found_NK, weight_SN)[0]) == pytest.approx(float(mean_dice(found_NK)))
    truth[0][:] = 255
    assert np.isnan(dice(maps, truth, 3, ignore=255)[0]).all()


def test_ignored_pixels_count_in_no_loss():
    from medvlp.finetune.losses import PixelObjective

    torch.manual_seed(0)
    target_BHW = torch.randint(0, 3, (2, 8, 8))
    logits_BKHW = torch.randn(2, 3, 8, 8) + torch.nn.functional.one_hot(target_BHW, 3).movedim(3, 1)
    half_BHW = target_BHW.clone()
    half_BHW[:, :, 4:] = 9
    objective = PixelObjective(ignore=9, smoothing=0.0)
    found = objective.terms(logits_BKHW, half_BHW)
    other_BKHW = logits_BKHW.clone()
    other_BKHW[:, :, :, 4:] = torch.randn(2, 3, 8, 4)
    again = objective.terms(other_BKHW, half_BHW)
    assert torch.allclose(found["dice"], again["dice"])
    wanted = torch.nn.functional.cross_entropy(logits_BKHW[..., :4], target_BHW[..., :4])
    assert torch.allclose(found["cross_entropy"], wanted)
    share_BKHW = logits_BKHW[..., :4].softmax(1)
    truth_BKHW = torch.nn.functional.one_hot(target_BHW[..., :4], 3).movedim(3, 1)
    both_K = (share_BKHW * truth_BKHW).sum((0, 2, 3))
    sum_K = share_BKHW.sum((0, 2, 3)) + truth_BKHW.sum((0, 2, 3))
    assert torch.allclose(found["dice"], (1 - 2 * both_K / sum_K).mean(), atol=1e-4)
    wrong = objective.terms(-logits_BKHW, half_BHW)
    assert not torch.allclose(found["cross_entropy"], wrong["cross_entropy"], rtol=0.01)


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])
def test_the_decoder_gives_every_pixel_a_class_on_any_pyramid(name):
    tower = TimmImage(TimmImage.Config(model=name))
    network = Segmenter(tower, ["rest", "thing"], 16).eval()
    size = tower.preprocess.size
    assert network(torch.randn(2, 3, size, size)).shape == (2, 2, size, size)
    levels = network.pyramid(torch.randn(1, 3, size, size))
    assert len(levels) >= 3
    assert len({level.shape[-1] for level in levels}) == (1 if name == "test_vit" else len(levels))


def test_image_and_mask_move_alike(place):
    found = read_folder(folder_of(place / "shapes"))
    item = found.splits["train"][0]
    preprocess = Segmenter(TimmImage(TimmImage.Config(model="test_efficientnet", image_size=64)), ["a"], 8).preprocess
    plain = MaskData([item], found.config, preprocess, False, 0)[Draw(0, 0, 0)]
    data = MaskData([item], found.config, preprocess, True, 0)
    seen = set()
    for step in range(60):  # by chance, one of the eight would be missing in one of 300 tries
        moved = data[Draw(step, 0, 0)]
        inside = moved.image_CHW.mean(0)[moved.target > 0]
        assert float(inside.min()) > float(moved.image_CHW.mean(0)[moved.target == 0].max()) - 0.5
        assert float(inside.mean()) == pytest.approx(float(plain.image_CHW.mean(0)[plain.target > 0].mean()), abs=1e-4)
        seen.add(moved.target.numpy().tobytes())
        assert torch.equal(moved.image_CHW, data[Draw(step, 0, 0)].image_CHW)
    assert len(seen) == 8


def test_whole_cases_go_to_one_split(tmp_path):
    folder = write_masks(tmp_path / "shapes", count=12)
    for kind in ("images", "masks"):
        for path in sorted((folder / kind).iterdir()):
            path.rename(path.with_name(f"p{int(path.stem) // 3}_{path.name}"))
    split = MaskFractions(train=0.5, dev=0.25, case_pattern=r"^(p\d+)_")
    found = read_folder(folder_of(folder, split=split))
    cases = {name: {item.case for item in items} for name, items in found.splits.items()}
    assert [len(cases[name]) for name in ("train", "dev", "test")] == [2, 1, 1]
    assert not cases["train"] & cases["test"]
    assert found.digest == read_folder(folder_of(folder, split=split)).digest
    with pytest.raises(DataError, match="does not match split.case_pattern"):
        read_folder(folder_of(folder, split=MaskFractions(case_pattern=r"^(q\d+)_")))
    with pytest.raises(ConfigError, match=r"split\.case_pattern: needs a group"):
        read_folder(folder_of(folder, split=MaskFractions(case_pattern=r"^p\d+_")))
    with pytest.raises(ConfigError, match="leave nothing for the test"):
        read_folder(folder_of(folder, split=MaskFractions(train=0.8, dev=0.2)))


def test_what_is_wrong_with_a_folder_is_named(tmp_path):
    folder = write_masks(tmp_path / "shapes", count=6)
    (folder / "masks" / "05.png").unlink()
    found = read_folder(folder_of(folder))
    assert found.ledger.dropped == {"no mask of this name": 1}
    with pytest.raises(DataError, match="no such folder"):
        read_folder(folder_of(folder, masks=str(folder / "none")))
    with pytest.raises(DataError, match="no image with a mask in the train split"):
        read_folder(folder_of(folder, split=MaskFolders()))
    Image.new("RGB", (64, 64)).save(folder / "images" / "00.jpg")
    with pytest.raises(DataError, match="00: two images have this name"):
        read_folder(folder_of(folder))


def test_what_is_wrong_with_a_mask_is_named(tmp_path):
    folder = write_masks(tmp_path / "shapes", count=6)
    config = folder_of(folder)
    item = read_folder(config).splits["train"][0]
    assert set(np.unique(read_mask(item, config, (64, 64)))) == {0, 1, 2}
    with pytest.raises(DataError, match=r"is \(64, 64\), its image \(32, 32\) pixels"):
        read_mask(item, config, (32, 32))
    with pytest.raises(DataError, match="holds the value 2, but there are 2 classes; list all classes"):
        read_mask(item, folder_of(folder, classes=["rest", "disc"]), (64, 64))
    assert 2 in read_mask(item, folder_of(folder, classes=["rest", "disc"], ignore=2), (64, 64))
    Image.new("RGB", (64, 64)).save(item.mask)
    with pytest.raises(DataError, match="is a RGB image, not class numbers; save it with one channel"):
        read_mask(item, config, (64, 64))
    item.mask.write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 40)
    with pytest.raises(DataError, match="not a readable PNG"):
        read_mask(item, config, (64, 64))


def test_settings_that_do_not_fit_pixels(place, tmp_path):
    from medvlp.finetune import run

    for config, message in [
        (mask_config(place, Probe()), "method: probe: is for classes of whole images; use linear, full or lora"),
        (mask_config(place, FewShot()), "method: few_shot: is for classes"),
        (mask_config(place, Full(), class_weights="balanced"), "class_weights, sampling: are for classes"),
    ]:
        with pytest.raises(ConfigError, match=message):
            run(config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
