"""Tuning starts from the zero-shot answer, learns on the drawn images alone, stops on development, leaves towers be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from protocols.protocol_cases import ColourEncoder, Subject, context_of, drawn, means_of, task_config, write_store
from sklearn.metrics import balanced_accuracy_score
from tiny_models import tiny_model, write_bert

from benchmarks.harness.outcome import Skipped
from benchmarks.harness.protocols import labelled, prompt_tuning
from benchmarks.harness.protocols.prompt_tuning import Config
from benchmarks.harness.protocols.tuning import ContextTokens, ShiftedVectors, tune
from medvlp.errors import DataError, TrainingError
from medvlp.zeroshot.classifier import class_vectors, classify, classify_multi, embed_images

SETTINGS = Config(name="prompt_tuning", shots=[2], draws=2)
STEPS = {"scale": 10.0, "absent_KD": None, "steps": 60, "learning_rate": 0.02, "patience": 60}


def unit(value):
    return value / np.linalg.norm(value, axis=1, keepdims=True)


def embed(subject, store, part, folder):
    return embed_images(subject.model, store.split(part.split), rows=part.rows_N.tolist())


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """A question about colours, and a model that calls red green and green red."""
    monkeypatch.setattr(labelled, "embedded", embed)
    store = write_store(tmp_path / "store", noise=25)

    class Confused(ColourEncoder):
        def encode_text(self, texts):
            swap = {"red": "green", "green": "red"}
            return super().encode_text([" ".join(swap.get(word.strip("."), word) for word in t.split()) for t in texts])

    def make(settings=SETTINGS, **changes):
        return prompt_tuning.open(task_config(settings, **changes), settings, context_of(tmp_path, store))

    return make, Subject(Confused()), store


def test_the_start_is_the_zero_shot_answer_and_tuning_mends_it(opened):
    make, subject, store = opened
    question = make(Config(name="prompt_tuning", shots=[2, 4], draws=2, steps=300, learning_rate=0.02, patience=50))
    found = question.score(subject, 0)
    class_KD = class_vectors(subject.model, question.prompts)
    answer = classify(embed(subject, store, question.parts.scored, None), class_KD, subject.scale).argmax(1)
    zero_shot = balanced_accuracy_score(question.parts.scored.target_N, answer)
    values = means_of(found)
    assert values["balanced_accuracy.untuned.0"] == pytest.approx(zero_shot)
    assert values["balanced_accuracy.tuned.4"] > zero_shot + 0.3
    assert found.metrics[0].name == "balanced_accuracy.tuned.4"
    assert found.prompts["digest"] == question.prompts_digest
    assert found.details["space"] == "vectors"
    chosen = found.details["shots"][0]["tuned"]["chosen"]
    assert chosen["development_loss"][-1][1] < chosen["development_loss"][0][1]


def test_seeds_repeat_and_floors_have_the_same_scores(opened):
    make, subject, _ = opened
    question = make()
    first, again, other = (question.score(subject, seed) for seed in (0, 0, 4))
    assert means_of(first) == means_of(again)
    assert first.details["shots"][0]["images"] != other.details["shots"][0]["images"]
    colour, prior = question.floor("colour-histogram", None, 0), question.floor("prior", None, 0)
    assert colour.metrics[0].name == prior.metrics[0].name == first.metrics[0].name
    assert colour.metrics[0].value > prior.metrics[0].value == pytest.approx(1 / 3)
    assert "needs text vectors" in {m.name: m.reason for m in colour.metrics}["accuracy.text-prototypes.2"]
    assert question.floor("untrained", subject, 0) == Skipped(labelled.NOT_RANDOM)


def test_several_labels_are_presence_against_absence(opened):
    make, subject, store = opened
    question = make(mode="multi")
    found = question.score(subject, 0)
    absent_KD = class_vectors(subject.model, question.prompts, absent=True)
    image_RD = embed(subject, store, question.parts.scored, None)
    score_RK = classify_multi(image_RD, class_vectors(subject.model, question.prompts), 10.0, absent_KD=absent_KD)
    from sklearn.metrics import roc_auc_score

    assert means_of(found)["auroc.untuned.0"] == pytest.approx(roc_auc_score(question.parts.scored.target_NK, score_RK))
    assert found.metrics[0].name == "auroc.tuned.2"


def test_the_gradient_is_that_of_cross_entropy_and_no_shift_gives_the_vectors_back():
    parts, inputs = drawn()
    class_KD = unit(np.random.default_rng(3).normal(size=(3, 6)))
    vectors = ShiftedVectors(class_KD, shared=False)
    np.testing.assert_allclose(vectors().detach().numpy(), class_KD, atol=1e-12)
    image_ND = unit(inputs.train_NI)
    tuned = tune(vectors, parts.train, image_ND, None, None, **{**STEPS, "steps": 1})
    probability = classify(image_ND, class_KD, 10.0)
    wanted = -np.log(probability[np.arange(len(image_ND)), parts.train.target_N]).mean()
    assert tuned.loss[0] == pytest.approx(wanted)
    slope_KD = 10.0 * (probability - parts.train.target_NK).T @ image_ND / len(image_ND)
    slope_KD -= (slope_KD * class_KD).sum(1, keepdims=True) * class_KD  # through the division by the length
    # Adam's first step is the learning rate against the sign of the slope.
    np.testing.assert_allclose(vectors.shift_KD.detach().numpy(), -0.02 * np.sign(slope_KD), atol=1e-6)


def test_a_shared_shift_moves_all_classes_alike():
    vectors = ShiftedVectors(np.eye(3), shared=True)
    assert vectors.shift_KD.shape == (1, 3)
    parts, _ = drawn()
    tune(vectors, parts.train, unit(np.random.default_rng(0).normal(size=(45, 3))), None, None, **STEPS)
    assert np.abs(vectors.shift_KD.detach().numpy()).max() > 0


def test_the_best_development_step_is_taken_and_patience_ends_it():
    parts, inputs = drawn(effect=2.0)
    class_KD = unit(np.random.default_rng(3).normal(size=(3, 6)))
    images = unit(inputs.train_NI), unit(inputs.dev_MI)
    tuned = tune(ShiftedVectors(class_KD, False), parts.train, images[0], parts.dev, images[1], **STEPS)
    assert tuned.step == int(np.argmin(tuned.development)) > 0
    wrong = replace(parts.dev, target_NK=np.roll(parts.dev.target_NK, 1, axis=1))
    start = classify(images[1], class_KD, 10.0).argmax(1)
    perfect = replace(parts.dev, target_NK=np.eye(3, dtype=bool)[start])
    for dev in (wrong, perfect):
        stopped = tune(
            ShiftedVectors(class_KD, False), parts.train, images[0], dev, images[1], **{**STEPS, "patience": 5}
        )
        assert stopped.step == int(np.argmin(stopped.development))
        assert len(stopped.loss) <= stopped.step + 6
    with pytest.raises(TrainingError, match="step 0: the loss is not finite"):
        tune(ShiftedVectors(class_KD, False), parts.train, images[0] * np.nan, None, None, **STEPS)


def test_permuting_the_shots_changes_nothing():
    parts, inputs = drawn(effect=1.0)
    class_KD, image_ND = unit(np.random.default_rng(3).normal(size=(3, 6))), unit(inputs.train_NI)
    order = np.random.default_rng(0).permutation(len(parts.train))
    shuffled = replace(parts.train, target_NK=parts.train.target_NK[order])
    one = tune(ShiftedVectors(class_KD, False), parts.train, image_ND, None, None, **STEPS)
    two = tune(ShiftedVectors(class_KD, False), shuffled, image_ND[order], None, None, **STEPS)
    np.testing.assert_allclose(one.class_KD, two.class_KD, atol=1e-6)


@pytest.mark.extras
def test_context_tokens_are_learned_and_the_model_stays_as_it_was(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setattr(labelled, "embedded", embed)
    model = tiny_model(write_bert(tmp_path / "bert"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tokens = ContextTokens(model, ["a lung carcinoma", "a nevus of the skin"], "an image of", 4, shared=False)
    assert tokens.context_KVW.shape == (2, 4, 32)
    assert [name for name, _ in tokens.named_parameters()] == ["context_KVW"]
    first = tokens.context_KVW[0].detach()
    torch.testing.assert_close(first[0], first[3])  # three words, repeated
    none = ContextTokens(model, ["a lung carcinoma", "a nevus of the skin"], "an image of", 0, shared=False)
    wanted = model.encode_text(["a lung carcinoma", "a nevus of the skin"]).double()
    torch.testing.assert_close(none().detach(), wanted, atol=1e-5, rtol=1e-4)
    store = write_store(tmp_path / "store", per_class=4, side=64)
    settings = Config(name="prompt_tuning", shots=[2], draws=1, space="tokens", steps=5, num_context=2)
    question = prompt_tuning.open(task_config(settings), settings, context_of(tmp_path, store))
    found = question.score(Subject(model), 0)
    assert found.details["space"] == "tokens"
    losses = found.details["shots"][0]["tuned"]["chosen"]["loss"]
    assert losses[-1][1] < losses[0][1]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_without_token_embeddings_is_skipped_where_they_are_asked_for(opened):
    make, subject, _ = opened
    found = make(Config(name="prompt_tuning", shots=[2], draws=1, space="tokens")).score(subject, 0)
    assert isinstance(found, Skipped)
    assert "does not take token embeddings" in found.reason
    automatic = make(Config(name="prompt_tuning", shots=[2], draws=1, space="auto")).score(subject, 0)
    assert automatic.details["space"] == "vectors"


def test_nothing_is_tuned_on_test(opened):
    make, subject, _ = opened
    with pytest.raises(DataError, match="nothing may be fitted on the test split"):
        make(fit_split="test")
    question = make()
    question.parts = replace(question.parts, dev=replace(question.parts.dev, split="test"))
    with pytest.raises(DataError, match="nothing may be fitted on the test split"):
        question.score(subject, 0)
