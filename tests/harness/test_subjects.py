"""Every source of a model opens as a subject; cached features are the fresh ones, or are not used."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import pictures, tiny_model, write_bert

from benchmarks.harness.features import features
from benchmarks.harness.subjects import ModelEntry, Subject, open_subject
from medvlp import torchvision_guard
from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.errors import CheckpointError, ConfigError, DataError, MedvlpError, MissingExtraError
from medvlp.model import save_model

TEXTS = ["an image of the lung", "skin nevus", "normal liver"]
BOTH = frozenset({"image", "text"})


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def checkpoint(bert, tmp_path_factory):
    return save_model(tiny_model(bert), tmp_path_factory.mktemp("model") / "own")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rows = [
        Row(f"k{i}", image, [Text("t")], "test" if i < 14 else "dev", f"c{i}", i, "ab"[i % 2])
        for i, image in enumerate(pictures(20))
    ]
    return PairsStore.write(tmp_path_factory.mktemp("store") / "pairs", rows)


@pytest.fixture
def subject(checkpoint):
    return open_subject("own", ModelEntry(source=str(checkpoint), batch_size=4))


def check(subject, abilities=BOTH):
    assert subject.abilities == abilities
    assert subject.weights_sha256 is not None
    rows = [subject.encode_images(pictures(3))] if "image" in abilities and subject.encode_keys is None else []
    rows += [subject.encode_texts(TEXTS)] if "text" in abilities else []
    for value in rows:
        assert value.dtype == np.float64
        assert value.shape[0] == 3
        assert np.allclose(np.linalg.norm(value, axis=1), 1, atol=1e-12)
    return subject


def test_a_checkpoint(subject, bert):
    check(subject)
    model = tiny_model(bert)
    assert np.allclose(subject.encode_images(pictures(3)), model.encode_image(pictures(3)).double(), atol=1e-6)
    assert np.allclose(subject.encode_texts(TEXTS), model.encode_text(TEXTS).double(), atol=1e-6)
    assert subject.scale == pytest.approx(1 / 0.07)
    assert subject.bias is None
    assert not subject.model.training
    given = Subject.of(subject.model, "x", ModelEntry(source="x", scale=7.5))
    assert given.scale == 7.5


@pytest.mark.extras
def test_layouts_of_published_weights(tmp_path):
    torchvision_guard.install()
    clip = pytest.importorskip("open_clip", reason="needs the extra `clip` (open_clip)")
    from published.published_folders import openai_model, write_hf_clip, write_openai

    write_hf_clip(tmp_path / "plip", own_vocabulary=True)
    write_openai(tmp_path / "clip.pt", openai_model(clip))
    opened = [
        check(open_subject("m", ModelEntry(source=source)))
        for source in (
            f"hf_clip:{tmp_path / 'plip'}",
            f"openai_clip:{tmp_path / 'clip.pt'}",
        )
    ]
    assert len({one.identity for one in opened} - {None}) == 2


@pytest.mark.extras
def test_open_clip_by_folder_and_by_name(tmp_path):
    torchvision_guard.install()
    pytest.importorskip("open_clip", reason="needs the extra `clip` (open_clip)")
    from benchmarks.speed.clip_benchmark_model import TINY, write_model

    folder = write_model(tmp_path / "tiny", TINY, seed=0)
    one = check(open_subject("m", ModelEntry(source=f"open_clip:{folder}")))
    assert one.identity is not None
    assert one.scale == pytest.approx(1 / 0.07)
    with pytest.raises(ConfigError, match="open_clip has no such model"):
        open_subject("m", ModelEntry(source="open_clip:ViT-Nothing"))


def test_timm_encodes_images_only(tmp_path):
    torchvision_guard.install()
    import timm

    one = check(open_subject("m", ModelEntry(source="timm:test_efficientnet")), frozenset({"image"}))
    assert one.why_not("image") is None
    assert one.why_not("text") == "m encodes no texts"
    assert one.why_not("maps") == "m gives no maps"
    with pytest.raises(DataError, match="m: m encodes no texts"):
        one.encode_texts(TEXTS)
    with pytest.raises(ConfigError, match=r"m: has no multiplier of cosines; set `scale:`"):
        _ = one.scale
    again = open_subject("m", ModelEntry(source="timm:test_efficientnet"))
    other = open_subject("m", ModelEntry(source="timm:test_efficientnet", seed=1))
    assert again.weights_sha256 == one.weights_sha256 != other.weights_sha256  # the seed alone decides random weights
    torch.manual_seed(5)
    trunk = timm.create_model("test_efficientnet")
    torch.save(trunk.state_dict(), tmp_path / "trunk.pt")
    loaded = open_subject("m", ModelEntry(source=f"timm:test_efficientnet/{tmp_path / 'trunk.pt'}"))
    pixels = torch.stack([loaded.model.preprocess(image) for image in pictures(2)])
    with torch.no_grad():
        wanted = trunk.eval().forward_head(trunk.forward_features(pixels), pre_logits=True).double().numpy()
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert np.allclose(loaded.encode_images(pictures(2)), wanted, atol=1e-6)


def test_random_weights_leave_the_random_state_alone():
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    open_subject("m", ModelEntry(source="timm:test_efficientnet", seed=9))
    assert torch.equal(torch.rand(2), wanted)


def test_stored_embeddings(store, tmp_path):
    from medvlp.published import save_embeddings
    from medvlp.published.embeddings import EmbeddingsManifest

    split = store.split("test")
    vectors, texts = torch.randn(len(split), 6), torch.randn(3, 6)
    manifest = EmbeddingsManifest(format="medvlp-embeddings/1", model="far", dim=6, normalised=True, projected=True,
                                  preprocessing="theirs", made_by="a test")  # fmt: skip
    save_embeddings(tmp_path / "e", manifest, split.keys, vectors, TEXTS, texts)
    one = check(open_subject("far", ModelEntry(source=f"embeddings:{tmp_path / 'e'}", scale=20.0)))
    unit = torch.nn.functional.normalize(vectors.double(), dim=1).numpy()
    assert np.allclose(one.encode_keys([split.keys[2], split.keys[0]]), unit[[2, 0]], atol=1e-6)
    assert np.allclose(features(one, split, [2, 0], tmp_path / "cache"), unit[[2, 0]], atol=1e-6)
    assert not (tmp_path / "cache").exists()  # they are on disk already
    assert one.scale == 20.0
    assert one.untrained(0) is None
    with pytest.raises(DataError, match="are stored embeddings"):
        one.encode_images(pictures(1))
    with pytest.raises(DataError, match="1 of 1 texts were not embedded"):
        one.encode_texts(["never seen"])


class Mine:
    """A user's own encoder: no torch, no base class."""

    calls = 0

    def encode_image(self, images):
        type(self).calls += len(images)
        return np.array([[*np.asarray(image).mean((0, 1)), 1.0] for image in images])

    def encode_text(self, texts):
        return np.array([[len(text), 1.0, 2.0, 3.0] for text in texts])

    def scale(self):
        return 12.0


def test_any_object_with_the_three_methods(store, tmp_path):
    one = Subject.of(Mine(), entry=ModelEntry(source="mine", batch_size=3))
    assert (one.name, one.abilities, one.scale, one.bias) == ("Mine", BOTH, 12.0, None)
    assert one.weights_sha256 is None
    assert one.untrained(0) is None
    found = one.encode_images(pictures(7))
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    split, before = store.split("test"), Mine.calls
    first, second = (features(one, split, [1, 4], tmp_path / "cache") for _ in range(2))
    assert np.array_equal(first, second)
    assert Mine.calls == before + 4  # what it computes cannot be known, so nothing is kept
    assert not (tmp_path / "cache").exists()


def test_abilities_are_what_an_object_has():
    class Maps:
        encode_text = Mine.encode_text

        def heat_maps(self, images, texts):
            return np.zeros((len(images), len(texts), 2, 2))

    assert Subject.of(Maps()).abilities == frozenset({"text", "maps"})
    with pytest.raises(ConfigError, match="int: can encode neither images nor texts; give it encode_image"):
        Subject.of(3)


@pytest.mark.parametrize("bad", [lambda n: np.zeros((n, 3)), lambda n: np.full((n, 3), np.nan)])
def test_zero_and_nan_are_refused(bad):
    class Broken(Mine):
        def encode_image(self, images):
            return bad(len(images))

    with pytest.raises(DataError, match="images of Broken: an embedding is zero or not finite"):
        Subject.of(Broken()).encode_images(pictures(2))


def test_a_wrong_number_of_rows_is_refused():
    class Short(Mine):
        def encode_text(self, texts):
            return np.ones((1, 4))

    with pytest.raises(DataError, match=r"Short: embeddings of shape \(1, 4\) for 3 texts"):
        Subject.of(Short()).encode_texts(TEXTS)


def test_untrained_differs_and_is_deterministic(subject):
    one, same, other = subject.untrained(0), subject.untrained(0), subject.untrained(1)
    assert subject.weights_sha256 != one.weights_sha256 == same.weights_sha256 != other.weights_sha256
    images = pictures(3)
    assert np.array_equal(one.encode_images(images), same.encode_images(images))
    assert not np.allclose(one.encode_images(images), subject.encode_images(images), atol=1e-2)
    assert not np.allclose(one.encode_images(images), other.encode_images(images), atol=1e-2)
    assert one.scale == pytest.approx(subject.scale)
    assert one.title == "own, untrained"
    assert one.abilities == subject.abilities


def counted(subject):
    """Count the images that reach the network."""
    seen = []
    inner = subject.model.encode_image
    subject.model.encode_image = lambda images: seen.append(len(images)) or inner(images)
    return seen


def test_features_are_embedded_once(subject, store, tmp_path):
    split, cache, seen = store.split("test"), tmp_path / "cache", counted(subject)
    fresh = features(subject, split)
    assert np.allclose(fresh, subject.encode_images([split[row].image for row in range(len(split))]), atol=1e-6)
    seen.clear()
    assert np.array_equal(features(subject, split, cache=cache), fresh)
    assert np.array_equal(features(subject, split, cache=cache), fresh)
    assert np.array_equal(features(subject, split, [5, 2, 5], cache), fresh[[5, 2, 5]])
    assert sum(seen) == len(split)
    assert np.linalg.norm(fresh, axis=1) == pytest.approx(1, abs=1e-12)
    assert features(subject, split, [], cache).shape == (0, fresh.shape[1])
    dev = features(subject, store.split("dev"), cache=cache)
    assert sum(seen) == len(split) + len(dev)


def test_rows_are_added_to_those_that_are_there(subject, store, tmp_path):
    split, cache, seen = store.split("test"), tmp_path / "cache", counted(subject)
    fresh = features(subject, split)
    seen.clear()
    assert np.allclose(features(subject, split, [0, 1, 2], cache), fresh[:3], atol=1e-6)
    assert np.allclose(features(subject, split, [8, 2, 1], cache), fresh[[8, 2, 1]], atol=1e-6)
    assert sum(seen) == 4
    assert len(list(cache.iterdir())) == 1


def test_another_weight_preprocessing_or_image_misses_the_cache(subject, store, tmp_path):
    split, cache = store.split("test"), tmp_path / "cache"
    before = features(subject, split, cache=cache)
    with torch.no_grad():
        subject.model.image_head.first.weight[0, 0] += 0.5
    changed = Subject.of(subject.model, "own", subject.entry)
    after = features(changed, split, cache=cache)
    assert not np.array_equal(before, after)
    assert np.array_equal(after, features(changed, split))
    changed.model.preprocess = dataclasses.replace(changed.model.preprocess, resize_mode="squash")
    squashed = features(changed, split, cache=cache)
    assert not np.array_equal(squashed, after)
    assert np.array_equal(squashed, features(changed, split))
    rows = [Row(f"k{i}", Image.new("RGB", (50, 50), (9 * i, 3, 200)), [Text("t")], "test", f"c{i}", i, "a")
            for i in range(14)]  # fmt: skip
    other = PairsStore.write(tmp_path / "other", rows).split("test")  # the same keys, other images
    assert np.array_equal(features(changed, other, cache=cache), features(changed, other))


def test_an_altered_cache_is_refused(subject, store, tmp_path):
    split, cache = store.split("test"), tmp_path / "cache"
    features(subject, split, cache=cache)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="was altered; remove it, and it is made again"):
        features(subject, split, cache=cache)
    path.write_bytes(whole[:40])
    with pytest.raises(CheckpointError, match="is damaged"):
        features(subject, split, cache=cache)


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ("nowhere/at/all", CheckpointError, "no such folder"),
        ("embeddings:nowhere", DataError, "no such folder"),
        ("keep:nowhere", CheckpointError, "nowhere"),
        ("timm:", ConfigError, "names no network; write timm:NAME"),
        ("timm:resnet1800", ConfigError, "timm has no such model"),
        ("timm:test_efficientnet/nowhere.pt", CheckpointError, "weight file not found"),
    ],
)
def test_errors_are_one_line(source, kind, said):
    with pytest.raises(kind, match=said) as caught:
        open_subject("m", ModelEntry(source=source))
    assert isinstance(caught.value, MedvlpError)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there_is_one_line():
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(ConfigError, match="m, device: cuda: .*; use cpu") as caught:
        open_subject("m", ModelEntry(source="timm:test_efficientnet", device="cuda"))
    assert "\n" not in str(caught.value)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtraError, match=r"pip install \"medvlp\[clip\]\"") as caught:
        open_subject("m", ModelEntry(source="open_clip:ViT-B-32"))
    assert "\n" not in str(caught.value)
