"""One call from images to probabilities and reasons: contributions add up exactly, classes and images are named."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import medvlp
from medvlp.errors import ConfigError, DataError, GraphError
from medvlp.zeroshot import ZeroShot
from medvlp.zeroshot.classes import resolve_classes
from medvlp.zeroshot.classifier import class_vectors, classify, scale_of, to_numpy

CLASSES = ["T:4", "squamous carcinoma", "T:6"]


def picture(colour, size=(20, 24)):
    return Image.new("RGB", size, colour)


RED, GREEN, BLUE = picture((200, 40, 40)), picture((40, 160, 60)), picture((50, 60, 190))


@pytest.fixture(scope="session")
def tower():
    """Texts and images far from degenerate: each text has a vector of its own, drawn from its letters."""

    class Hashed:
        num_texts = 0

        def encode_text(self, texts):
            self.num_texts += len(texts)
            rows = [np.random.default_rng(list(text.encode())).normal(size=6) + 1 for text in texts]
            return torch.nn.functional.normalize(torch.tensor(np.stack(rows), dtype=torch.float32), dim=-1)

        def encode_image(self, images):
            rows = [[*np.asarray(image).mean((0, 1)) / 100, *np.asarray(image).std((0, 1)) / 100] for image in images]
            return torch.nn.functional.normalize(torch.tensor(np.array(rows), dtype=torch.float32), dim=-1)

        def scale(self):
            return torch.tensor(20.0)

    return Hashed()


def test_colours_are_told_apart_and_probabilities_are_those_of_the_classifier(encoder, graph):
    answer = medvlp.zero_shot(encoder, [RED, GREEN, BLUE], CLASSES, graph)
    assert answer.labels == CLASSES
    assert answer.classes == tuple(CLASSES)
    assert answer.names == ("adeno carcinoma", "squamous carcinoma", "wart")
    assert answer.concepts == {"T:4": ["T:4"], "squamous carcinoma": ["T:5"], "T:6": ["T:6"]}
    assert answer.probabilities.sum(1) == pytest.approx(1)
    image_BD = to_numpy(encoder.encode_image([RED, GREEN, BLUE]))
    expected = classify(image_BD, class_vectors(encoder, answer.prompts), scale_of(encoder))
    assert answer.probabilities == pytest.approx(expected, abs=1e-6)
    assert answer.images == ("image 0", "image 1", "image 2")
    assert answer.unmatched == ()


@pytest.mark.parametrize("mode", ["single", "multi"])
def test_contributions_add_up_to_the_score(tower, graph, mode):
    noise = np.random.default_rng(0).integers(0, 255, (2, 9, 7, 3), dtype=np.uint8)
    answer = medvlp.zero_shot(tower, noise, [*CLASSES, "normal tissue"], graph, mode=mode, templates="pathology")
    kinds = {"preferred", "exact", "hypernym-path", "definition", "display-name"} | (
        {"absence"} if mode == "multi" else set()
    )
    assert {group.name for item in answer.explain() for group in item.kinds} == kinds
    for image in range(2):
        for column in range(4):
            found = answer.contributions(image, column)
            assert sum(item.value for item in found) == pytest.approx(answer.scores[image, column], abs=1e-9)
            vector = to_numpy(tower.encode_text([found[0].prompt.text]))[0]
            pixels = to_numpy(tower.encode_image([Image.fromarray(noise[image])]))[0]
            assert found[0].cosine == pytest.approx(float(vector @ pixels), abs=1e-6)
    if mode == "single":
        pixels = to_numpy(tower.encode_image([Image.fromarray(part) for part in noise]))
        assert answer.scores == pytest.approx(pixels @ class_vectors(tower, answer.prompts).T, abs=1e-6)
    for item in answer.explain(top=3):
        assert sum(c.value for c in item.top) + item.rest == pytest.approx(item.score, abs=1e-9)
        for groups in (item.kinds, item.names):
            assert sum(group.value for group in groups) == pytest.approx(item.score, abs=1e-9)
        assert [c.value for c in item.top] == sorted((c.value for c in item.top), reverse=True)


def test_a_wrong_sign_or_weight_would_show(tower, graph):
    answer = medvlp.zero_shot(tower, [RED], CLASSES, graph)
    found = answer.contributions(0, 0)
    assert len({round(item.value / item.cosine, 9) for item in found}) == 1  # one weight for all prompts of a class
    assert sum(item.cosine for item in found) / len(found) != pytest.approx(answer.scores[0, 0], abs=1e-3)
    assert -sum(item.value for item in found) != pytest.approx(answer.scores[0, 0], abs=1e-3)


def test_absence_counts_against(encoder, graph):
    answer = medvlp.zero_shot(encoder, [RED], ["T:4", "T:6"], graph, mode="multi")
    assert answer.labels == [("T:4",)]
    assert answer.probabilities[0, 0] > 0.5 > answer.probabilities[0, 1]
    kinds = {group.name: group for group in answer.explain(num_classes=1)[0].kinds}
    assert kinds["absence"].value < 0 < kinds["preferred"].value
    assert medvlp.zero_shot(encoder, RED, ["T:4"], graph, mode="multi").probabilities.shape == (1, 1)


def test_names_wordings_and_ancestors_are_grouped(tower, graph):
    answer = medvlp.zero_shot(tower, RED, CLASSES, graph, num_paths=4)
    explained = {item.label: item for item in answer.explain()}
    item = explained["T:4"]
    assert {group.name for group in item.names} == {
        "adeno carcinoma", "glandular carcinoma", "cancer adeno carcinoma", "A cancer of adeno kind.",
    }  # fmt: skip
    assert {group.num for group in item.names} == {8, 1}
    assert [group.name for group in item.ancestors] == ["T:2 cancer"]
    paths = {group.name: group.value for group in item.kinds}["hypernym-path"]
    assert item.ancestors[0].value == pytest.approx(paths)
    assert [group.name for group in explained["T:6"].ancestors] == ["T:3 infection"]
    assert [item.probability for item in answer.explain()] == sorted(answer.probabilities[0], reverse=True)
    assert len(answer.explain(num_classes=2)) == 2
    assert answer.explain(top=0)[0].top == ()


def test_it_reads_well_and_as_json(encoder, graph):
    answer = medvlp.zero_shot(encoder, [RED], CLASSES, graph)
    text = str(answer.explain(top=2))
    assert text.startswith("image 0: T:4 (adeno carcinoma)  probability 0.")
    assert "  by kind: " in text
    assert "preferred: adeno carcinoma" in text or "exact: glandular carcinoma" in text
    assert " other prompts\n" in text
    assert "paths through: T:2 cancer" in text
    value = json.loads(json.dumps({"answer": answer.to_json(), "why": answer.explain().to_json()}))
    assert value["answer"]["images"][0]["label"] == "T:4"
    assert value["answer"]["prompts_digest"] == answer.prompts.digest
    assert value["why"][0]["score"] == pytest.approx(sum(group["value"] for group in value["why"][0]["kinds"]))


def test_prompts_are_embedded_once_for_many_calls(tower, graph):
    ask = ZeroShot(tower, CLASSES, graph, batch_size=2)
    before = tower.num_texts
    many = ask([RED, GREEN, BLUE])
    assert tower.num_texts == before
    alone = [ask(image).probabilities[0] for image in (RED, GREEN, BLUE)]
    assert many.probabilities == pytest.approx(np.stack(alone))


def test_without_a_graph_the_own_words_are_the_prompts(encoder):
    answer = medvlp.zero_shot(encoder, RED, ["adeno", "wart"], templates=["a slide of {name}"])
    assert answer.prompts.texts == (("a slide of adeno",), ("a slide of wart",))
    assert answer.unmatched == ("adeno", "wart")
    assert answer.labels == ["adeno"]
    assert answer.explain()[0].kinds[0].name == "display-name"


def test_every_form_of_image_gives_the_same_answer(encoder, graph, tmp_path):
    RED.save(tmp_path / "red.png")
    array = np.asarray(RED)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    forms = [
        RED, tmp_path / "red.png", str(tmp_path / "red.png"), (tmp_path / "red.png").read_bytes(), array, tensor,
        [RED], array[None], tensor[None], (image for image in [RED]),
    ]  # fmt: skip
    ask = ZeroShot(encoder, CLASSES, graph)
    expected = ask([RED]).probabilities
    for form in forms:
        answer = ask(form)
        assert answer.probabilities == pytest.approx(expected)
    assert ask(tmp_path / "red.png").images == (str(tmp_path / "red.png"),)
    assert ask([np.full((5, 4), 7, np.uint8), np.full((5, 4, 1), 7, np.uint8)]).probabilities.shape == (2, 3)


def test_a_model_in_training_is_asked_in_eval_mode_and_stays_in_training(encoder, graph):
    encoder.train()
    modes = []
    encode, encoder.encode_image = (
        encoder.encode_image,
        lambda images: (modes.append(encoder.training), encode(images))[1],
    )
    ZeroShot(encoder, CLASSES, graph)(RED)
    assert modes == [False]
    assert encoder.training


def test_unreadable_images_are_named_or_counted(encoder, graph, tmp_path):
    RED.save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"nothing")
    (tmp_path / "c.png").write_bytes(b"")
    ask, files = ZeroShot(encoder, CLASSES, graph, batch_size=1), sorted(tmp_path.iterdir())
    with pytest.raises(DataError, match=r"b\.png: not an image, or its header is damaged"):
        ask(files)
    answer = ask(files, skip_unreadable=True)
    assert answer.images == (str(tmp_path / "a.png"),)
    assert answer.ledger.kept == 1
    assert sum(answer.ledger.dropped.values()) == 2
    with pytest.raises(DataError, match="images: none of 2 images can be read"):
        ask(files[1:], skip_unreadable=True)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "images: expected at least one image"),
        (np.zeros((4, 4, 3)), "image 0: holds float64 values; pass bytes"),
        (torch.zeros(3, 4, 4), "image 0: holds float32 values"),
        (np.zeros((4, 4, 5), np.uint8), r"image 0: has the shape \(4, 4, 5\), expected \(H, W, 3\) or \(H, W\)"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), r"has the shape \(4, 4, 3\), expected \(3, H, W\)"),
        (["nowhere.png"], r"nowhere\.png: image not found"),
        ([RED, 5], "image 1: expected a path, bytes or a PIL image, got int"),
    ],
)
def test_images_that_are_none_are_refused(encoder, graph, images, message):
    with pytest.raises(DataError, match=message):
        medvlp.zero_shot(encoder, images, CLASSES, graph)


@pytest.mark.parametrize(
    ("classes", "error", "message"),
    [
        (["T:4"], DataError, "classes: at least 2 classes are needed, got only 'T:4'"),
        ([], DataError, "at least 2 classes are needed, got none"),
        (["T:4", "T:4"], DataError, "classes: 'T:4' and 'T:4' are the same class"),
        (["T:4", "Adeno-Carcinoma"], DataError, "'T:4' and 'Adeno-Carcinoma' are the same class"),
        (["normal", "Normal"], DataError, "'normal' and 'Normal' are the same class"),
        (["T:4", "T:44"], GraphError, r"T:44: unknown concept; nearest: T:4 \(adeno carcinoma\)"),
        (["T:4", " "], DataError, "classes: expected a list of concept ids or names"),
        ("T:4,T:5", DataError, "classes: expected a list"),
    ],
)
def test_classes_that_cannot_be_asked_are_refused(encoder, graph, classes, error, message):
    with pytest.raises(error, match=message):
        medvlp.zero_shot(encoder, RED, classes, graph)


def test_ids_need_a_graph_and_options_their_values(encoder, graph):
    with pytest.raises(DataError, match="T:4: is a concept id, which means nothing without a graph; pass graph"):
        medvlp.zero_shot(encoder, RED, ["T:4", "T:5"])
    with pytest.raises(ConfigError, match="mode: 'one' is not a choice; use single or multi"):
        medvlp.zero_shot(encoder, RED, CLASSES, graph, mode="one")
    with pytest.raises(ConfigError, match="options: max_names and batch_size start at 1"):
        medvlp.zero_shot(encoder, RED, CLASSES, graph, batch_size=0)
    with pytest.raises(DataError, match="explain: expected top of at least 0"):
        medvlp.zero_shot(encoder, RED, CLASSES, graph).explain(num_classes=0)


def test_a_name_several_concepts_carry_belongs_to_those_that_prefer_it(graph):
    found = resolve_classes(["malignant tumour", "cancer", "nothing of the kind"], graph)
    assert found.concepts == {"malignant tumour": ["T:4", "T:5"], "cancer": ["T:2"], "nothing of the kind": []}
    assert found.unmatched == ("nothing of the kind",)


def test_paths_stand_for_model_and_graph(graph_folder, tmp_path):
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tiny_models import tiny_model, write_bert

    from medvlp.model import save_model

    model = tiny_model(write_bert(tmp_path / "bert"))
    save_model(model, tmp_path / "model")
    by_path = medvlp.zero_shot(str(tmp_path / "model"), RED, CLASSES, str(graph_folder))
    answer = medvlp.zero_shot(model, RED, CLASSES, graph_folder)
    assert by_path.probabilities == pytest.approx(answer.probabilities, abs=1e-6)
    for item in answer.explain():
        assert sum(group.value for group in item.kinds) == pytest.approx(item.score, abs=1e-6)
