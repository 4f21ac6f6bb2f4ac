"""Grounding on images with one coloured square each: maps that know score, others are at chance, ties are told."""

import numpy as np
import pytest
from PIL import Image
from protocols.protocol_cases import COLOURS, ColourEncoder, Subject, context_of, means_of, task_config

from benchmarks.harness.outcome import Skipped
from benchmarks.harness.protocols import grounding, labelled
from benchmarks.harness.protocols.grounding import Config, bump, fit_threshold, unit_range, values
from benchmarks.harness.protocols.occlusion import occluded, occlusion_maps
from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.errors import DataError

SETTINGS = {"name": "grounding", "num_texts": 2, "grid": 5}
SIDE = 32


def write_scenes(folder, per_part=8):
    """One square of the class's colour on grey; in train and dev it is where it likes, in test too."""
    rng, rows, lines = np.random.default_rng(0), [], ["key,label,file"]
    (folder / "masks").mkdir(parents=True)
    for split in ("train", "dev", "test"):
        for number in range(per_part):
            for label, colour in COLOURS.items():
                y, x = rng.integers(0, SIDE - 12, 2)
                pixels = np.full((SIDE, SIDE, 3), (90, 90, 100), dtype=np.uint8)
                pixels[y : y + 12, x : x + 12] = colour
                mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
                mask[y : y + 12, x : x + 12] = 255
                key = f"{split}-{label}-{number}"
                Image.fromarray(mask).save(folder / "masks" / f"{key}.png")
                lines.append(f"{key},{label},{key}.png")
                case = f"{split}-{number}"
                rows.append(Row(key, Image.fromarray(pixels), [Text("x")], split, case, len(rows), label, []))
    (folder / "masks" / "masks.csv").write_text("\n".join(lines) + "\n")
    return PairsStore.write(folder / "store", rows, classes={label: [] for label in COLOURS}), folder / "masks"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "all")


@pytest.fixture
def ask(scenes, tmp_path):
    store, masks = scenes

    def make(task=None, **changes):
        settings = Config(**{**SETTINGS, "masks": str(masks), **changes})
        return grounding.open(task_config(settings, **(task or {})), settings, context_of(tmp_path, store))

    return make


class Mapper(ColourEncoder):
    """Has heat maps at half the image's size: nearness of each cell's colour to the one that the text names."""

    def heat_maps(self, images, texts):
        out = np.zeros((len(images), len(texts), SIDE // 2, SIDE // 2))
        for n, image in enumerate(images):
            pixels = np.asarray(image.convert("RGB").resize((SIDE // 2, SIDE // 2)), dtype=np.float64)
            for m, text in enumerate(texts):
                colour = next(colour for name, colour in COLOURS.items() if name in text)
                out[n, m] = -np.abs(pixels - colour).sum(2)
        return out


def test_own_maps_that_know_the_place_score_near_one(ask):
    question = ask()
    found = question.score(Subject(Mapper(), ("image", "text", "maps")), 0)
    value = means_of(found)
    assert [metric.name for metric in found.metrics] == ["pointing", "cnr", "dice", "iou"]
    assert value["pointing"] == 1.0
    assert value["dice"] > 0.85
    assert value["iou"] == pytest.approx(np.mean(found.predictions["iou"]))
    assert found.details["maps"] == "own"
    assert (found.metrics[0].n, found.metrics[0].num_cases) == (24, 8)
    assert found.metrics[0].chance == pytest.approx(144 / SIDE**2)
    assert found.prompts["digest"] == question.prompts_digest
    assert {row["label"]: row["n"] for row in found.details["classes"]} == dict.fromkeys(sorted(COLOURS), 8)


def test_occlusion_finds_the_square_and_another_text_does_not(ask):
    question, subject = ask(), Subject(ColourEncoder())
    real, other = question.score(subject, 0), question.floor("other-text", subject, 0)
    centre, prior = question.floor("centre", None, 0), question.floor("prior-map", None, 0)
    assert real.details["maps"] == "occlusion"
    assert means_of(real)["pointing"] > max(means_of(floor)["pointing"] for floor in (centre, prior, other)) + 0.2
    assert means_of(real)["cnr"] > 1 > means_of(other)["cnr"]
    assert (real.metrics[1].draw_S > other.metrics[1].draw_S).mean() > 0.95
    assert centre.prompts is None
    assert question.floor("untrained", subject, 0) == Skipped(labelled.NOT_RANDOM)


def test_an_occlusion_map_is_the_fall_of_the_cosine_under_each_patch():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    subject = Subject(ColourEncoder())
    found, again = occlusion_maps(subject, [image, image], ["red", ["green", "red"]], 3)
    assert found.shape == again.shape == (20, 30)
    text = subject.encode_texts(["red"])[0]
    whole = subject.encode_images([image])[0] @ text
    total, count = np.zeros((20, 30)), np.zeros((20, 30))
    pixels = np.asarray(image)
    mean = tuple(round(v) for v in pixels.reshape(-1, 3).mean(0))
    for row in range(3):
        for column in range(3):
            hidden = pixels.copy()
            place = np.s_[row * 5 : row * 5 + 10, round(column * 7.5) : round((column + 2) * 7.5)]
            hidden[place] = mean
            total[place] += whole - subject.encode_images([Image.fromarray(hidden)])[0] @ text
            count[place] += 1
    assert count.min() == 1
    np.testing.assert_allclose(found, total / count, atol=1e-12)
    assert subject.model.num_images == 1 + 1 + 9 + 9, "the same image twice is embedded once"
    assert len(occluded(image, 4)) == 16


def test_thresholds_come_from_the_other_split_and_equal_a_loop(ask):
    question = ask()
    maps = [bump(item.mask.shape, 0.3) for item in question.fitted]
    threshold, curve = fit_threshold(maps, [item.mask for item in question.fitted], "dev")

    def dice(mask, cut):
        return 2 * (mask & cut).sum() / (mask.sum() + cut.sum())

    for cut, value in curve:
        masks = [item.mask for item in question.fitted]
        wanted = np.mean([dice(mask, unit_range(found) >= cut) for mask, found in zip(masks, maps, strict=True)])
        assert value == pytest.approx(wanted)
    assert threshold == max(curve, key=lambda entry: entry[1])[0]
    with pytest.raises(DataError, match="nothing may be fitted on the test split"):
        fit_threshold(maps, [item.mask for item in question.fitted], "test")


def test_without_a_part_to_fit_on_only_overlap_is_missing(ask, scenes, tmp_path):
    masks = scenes[1]
    kept = [line for line in (masks / "masks.csv").read_text().splitlines() if not line.startswith("dev")]
    folder = tmp_path / "masks"
    folder.mkdir()
    for path in masks.glob("*.png"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "masks.csv").write_text("\n".join(kept) + "\n")
    found = ask(masks=str(folder)).floor("centre", None, 0)
    assert means_of(found)["pointing"] >= 0
    assert np.isnan(means_of(found)["dice"])
    assert found.metrics[2].reason == "no marked image in the dev split to fit a threshold on"


def test_maps_that_are_constant_or_inside_out_are_told_apart():
    mask = np.zeros((8, 8), dtype=bool)
    mask[:4, :2] = True
    found = values([np.zeros((8, 8)), mask.astype(float), 1.0 - mask], [mask] * 3, 0.5)
    np.testing.assert_allclose(found["pointing"], [8 / 64, 1, 0])
    np.testing.assert_allclose(found["dice"], [0, 1, 0])
    assert np.isnan(found["cnr"]).all(), "neither part varies"


def test_a_draw_by_hash_is_a_part_of_all_and_stays(ask):
    some = [(item.key, item.label) for item in ask(most=7).scored]
    assert len(some) == 7
    assert some == [(item.key, item.label) for item in ask(most=7).scored]
    assert set(some) < {(item.key, item.label) for item in ask().scored}
    assert ask(most=7).digest != ask(most=8).digest


def test_models_without_maps_or_texts_are_skipped_with_the_reason(ask):
    assert ask(maps="own").score(Subject(ColourEncoder()), 0) == Skipped("gives no maps")
    assert "encodes images and texts" in ask().score(Subject(ColourEncoder(), ("image",)), 0).reason


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("test-pink-0,red,test-red-0.png", r"test-pink-0 \(red\): has a mask and no image in the store"),
        ("test-red-0,red,test-red-0.png", "masks.csv:74: key and label occur twice"),
        ("test-red-0,green,none.png", "is no readable mask"),
        ("test-red-0,green,../masks/../../x.png", "masks.csv:74: lies outside the folder"),
        ("test-red-0,pink,test-red-0.png", "pink: has masks and is no class of the data"),
    ],
)
def test_masks_that_do_not_fit_are_named(ask, scenes, tmp_path, line, said):
    folder = tmp_path / "masks"
    folder.mkdir()
    for path in scenes[1].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    with (folder / "masks.csv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=said):
        ask(masks=str(folder))


def test_nothing_is_fitted_on_what_is_scored(ask):
    with pytest.raises(DataError, match="nothing may be fitted on the test split"):
        ask({"fit_split": "test"})
    with pytest.raises(DataError, match="split dev: is scored and fitted on"):
        ask({"split": "dev"})


@pytest.mark.extras
def test_a_query_decoder_brings_its_attention(ask, scenes, tmp_path):
    from tiny_models import tiny_model, write_bert

    from benchmarks.harness.subjects import Subject as RealSubject
    from medvlp.encoders.image import TimmImage
    from medvlp.fusion.query_decoder import QueryDecoder
    from medvlp.zeroshot.explain import explain

    image = TimmImage.Config(model="test_vit", image_size=64)
    decoder = QueryDecoder.Config(width=16, layers=1, heads=2)
    bert = write_bert(tmp_path / "bert")
    model, plain = tiny_model(bert, image=image, decoder=decoder).eval(), tiny_model(bert, image=image).eval()
    subject = RealSubject.of(model, "asks")
    assert "maps" in subject.abilities
    assert "maps" not in RealSubject.of(plain, "plain").abilities
    question = ask(maps="own", most=6)
    found = question.score(subject, 0)
    assert found.details["maps"] == "own"
    assert found.metrics[0].n == 6
    untrained = question.floor("untrained", subject, 1)
    assert untrained.details["maps"] == "own"
    item = question.scored[0]
    texts = dict(zip(question.prompts.classes, question.prompts.texts, strict=True))[item.label][:2]
    attention = explain(model, scenes[0].split("test")[item.row].image, texts).maps[0].mean(0)
    expected = values([attention.astype(np.float64)], [item.mask], None)
    assert found.predictions["pointing"][0] == expected["pointing"][0]
    assert found.predictions["cnr"][0] == pytest.approx(expected["cnr"][0])
    assert question.score(RealSubject.of(plain, "plain"), 0) == Skipped("gives no maps")
