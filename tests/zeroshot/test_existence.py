"""Zero-shot by a query decoder through the same call as by cosine."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import medvlp
from medvlp.errors import ConfigError
from medvlp.fusion.query_decoder import QueryDecoder
from medvlp.zeroshot.ask import ZeroShot

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
