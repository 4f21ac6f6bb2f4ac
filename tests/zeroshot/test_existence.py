"""Zero-shot by a query decoder through the same call as by cosine."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch

import medvlp
from medvlp.errors import ConfigError
from medvlp.fusion.query_decoder import QueryDecoder
from medvlp.zeroshot import quick
from medvlp.zeroshot.ask import ZeroShot
from medvlp.zeroshot.evaluate import EvaluateConfig, evaluate
from medvlp.zeroshot.existence import ExistenceQueries
from medvlp.zeroshot.prompts import build_prompts

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]
CLASSES = ["lung", "colon", "nevus"]
pytestmark = pytest.mark.extras


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    from tiny_models import tiny_model, write_bert

    bert = write_bert(tmp_path_factory.mktemp("existence") / "bert")
    decoder = QueryDecoder.Config(width=16, layers=1, heads=2, between_queries=False)
    return tiny_model(bert), tiny_model(bert, decoder=decoder)


@pytest.fixture(scope="module")
def images():
    from tiny_models import pictures

    return pictures(5)


def expected_logits(model, images, texts):
    with torch.no_grad():
        tokens_BNI = model.image_tokens(torch.stack([model.preprocess(image) for image in images]))[1]
        exists = model.decode(model.text_features(*model.tokenize(texts)), tokens_BNI).exists_BQ2
    return (exists[..., 1] - exists[..., 0]).double().numpy()


def test_presence_by_the_decoder_is_what_the_decoder_says(models, images):
    answer = medvlp.zero_shot(models[1], images, CLASSES, mode="multi", templates=["a {name}"])
    logit_BK = expected_logits(models[1], images, ["a lung", "a colon", "a nevus"])
    assert answer.scorer == "decoder"
    assert np.allclose(answer.scores, logit_BK, atol=1e-5)
    assert np.allclose(answer.probabilities, 1 / (1 + np.exp(-logit_BK)), atol=1e-6)
    assert answer.prompts.absent == ()


def test_single_mode_is_a_softmax_and_several_prompts_are_a_mean(models, images):
    templates = ["a {name}", "an image of {name}"]
    answer = medvlp.zero_shot(models[1], images, CLASSES, templates=templates, batch_size=2)
    logits = [expected_logits(models[1], images, [t.format(name=name) for name in CLASSES]) for t in templates]
    mean_BK = np.mean(logits, 0)
    power_BK = np.exp(mean_BK)
    assert np.allclose(answer.scores, mean_BK, atol=1e-5)
    assert np.allclose(answer.probabilities, power_BK / power_BK.sum(1, keepdims=True), atol=1e-6)
    for image in range(5):
        for column in range(3):
            parts = answer.contributions(image, column)
            assert sum(part.value for part in parts) == pytest.approx(answer.scores[image, column])
    explained = answer.explain()
    assert "logit" in str(explained)
    assert explained[0].to_json()["unit"] == "logit"
    assert answer.to_json()["scorer"] == "decoder"


def test_the_scorer_can_be_chosen_and_must_fit(models, images):
    plain, asked = models
    cosine = medvlp.zero_shot(asked, images, CLASSES, scorer="cosine")
    assert cosine.scorer == "cosine"
    class_KD = ZeroShot(asked, CLASSES, scorer="cosine")._class_KD
    assert np.allclose(cosine.scores, asked.encode_image(images).double().numpy() @ class_KD.T, atol=1e-5)
    assert medvlp.zero_shot(plain, images, CLASSES).scorer == "cosine"
    with pytest.raises(ConfigError, match="scorer: decoder: the model has no query decoder; use cosine"):
        ZeroShot(plain, CLASSES, scorer="decoder")
    with pytest.raises(ConfigError, match="'both' is not a choice"):
        ZeroShot(plain, CLASSES, scorer="both")


def zero_shot_of(model, split, texts_K):
    with torch.no_grad():
        images = [split[row].image.convert("RGB") for row in range(len(split))]
        flat = [text for texts in texts_K for text in texts]
        logit_NQ = expected_logits(model, images, flat)
    ends = np.cumsum([len(texts) for texts in texts_K])
    return np.stack([part.mean(1) for part in np.split(logit_NQ, ends[:-1], 1)], 1)


@pytest.mark.parametrize("mode", ["single", "multi"])
def test_evaluate_asks_the_decoder(models, store, graph_folder, tmp_path, mode):
    config = EvaluateConfig(
        checkpoint="none",
        data=str(store.folder),
        graph=str(graph_folder),
        mode=mode,
        bootstrap_draws=20,
        num_examples=0,
    )
    results = json.loads((evaluate(config, tmp_path / "out", model=models[1]) / "results.json").read_text())
    assert results["model"]["scorer"] == "decoder"
    texts_K = [[prompt["text"] for prompt in prompts] for prompts in results["prompts"]["classes"].values()]
    logit_NK = zero_shot_of(models[1], store.split("test"), texts_K)
    power_NK = np.exp(logit_NK)
    expected = power_NK / power_NK.sum(1, keepdims=True) if mode == "single" else 1 / (1 + np.exp(-logit_NK))
    table = pyarrow.parquet.read_table(tmp_path / "out" / "predictions.parquet").to_pandas()
    found = table[[f"probability: {label}" for label in results["prompts"]["classes"]]].to_numpy()
    row_of = {key: row for row, key in enumerate(store.split("test").keys)}
    assert np.allclose(found, expected[[row_of[key] for key in table["key"]]], atol=1e-5)
    assert "asked of each image" in (tmp_path / "out" / "report.html").read_text()
    cosine = evaluate(config.model_copy(update={"scorer": "cosine"}), tmp_path / "cosine", model=models[1])
    told = json.loads((cosine / "results.json").read_text())["model"]["scorer"]
    other = pyarrow.parquet.read_table(cosine / "predictions.parquet").to_pandas()
    assert told == "cosine"
    assert not np.allclose(
        other[[f"probability: {label}" for label in results["prompts"]["classes"]]], found, atol=1e-3
    )


def test_the_score_while_training_asks_the_decoder(models, store, graph):
    prompts = build_prompts(
        graph, {label: store.class_concepts[label] for label in sorted(store.class_concepts)}, "plain"
    )
    split = store.split("dev")
    truth = quick.class_numbers(split.column("label"), prompts.classes)
    logit_NK = zero_shot_of(models[1], split, prompts.texts)
    right = (logit_NK.argmax(1) == truth)[truth >= 0]
    models[1].train()
    found = quick.score_split(models[1], split, prompts, batch_size=7)
    assert models[1].training
    assert found["accuracy"] == pytest.approx(right.mean())
    models[1].eval()
    first = quick.score_split(models[1], split, prompts, num_images=10)
    assert first["num"] == (truth[:10] >= 0).sum()


def test_the_mean_image_is_asked_as_one(models, store):
    split, texts = store.split("dev"), ["a lung", "a colon"]
    queries = ExistenceQueries(models[1], [[text] for text in texts])
    with torch.no_grad():
        pixels = torch.stack([models[1].preprocess(split[row].image.convert("RGB")) for row in (1, 4, 5)])
        mean_1NI = models[1].image_tokens(pixels)[1].mean(0, keepdim=True)
        exists = models[1].decode(models[1].text_features(*models[1].tokenize(texts)), mean_1NI).exists_BQ2
    found = np.concatenate(queries.of_mean_image(split, [1, 4, 5], batch_size=2), 1)
    assert np.allclose(found, (exists[..., 1] - exists[..., 0]).double().numpy(), atol=1e-5)
    assert [part.shape for part in queries.of_split(split, [])] == [(0, 1), (0, 1)]
