"""Towers: published weights arrive intact, random ones build, and what does not fit is refused by name."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny_models import pictures, write_bert

from medvlp.encoders.heads import Head
from medvlp.encoders.image import EFFICIENTNET_LITE0, HfImage, TimmImage
from medvlp.encoders.text import MINILM, TextEncoder, num_positions, pool
from medvlp.encoders.weights import read_state_dict, renamed_in_order
from medvlp.errors import CheckpointError, ConfigError, DataError


def published(path):
    from medvlp.config import resolve_path
    from medvlp.errors import MedvlpError

    try:
        return resolve_path(path)
    except MedvlpError as error:
        pytest.skip(str(error))


def test_efficientnet_weights_all_arrive():
    path = published(EFFICIENTNET_LITE0)
    tower = TimmImage(TimmImage.Config(model="tf_efficientnet_lite0", weights=EFFICIENTNET_LITE0))
    saved = list(read_state_dict(path).values())
    mine = list(tower.trunk.state_dict().values())
    assert len(saved) == len(mine) + 2  # the classifier's weight and bias
    assert all(torch.equal(a, b) for a, b in zip(saved, mine, strict=False))
    assert tower.width == 1280
    assert (tower.preprocess.size, tower.preprocess.mean) == (224, (0.5, 0.5, 0.5))


def test_minilm_is_what_transformers_alone_computes():
    folder = str(published(MINILM))
    encoder = TextEncoder().eval()
    from transformers import AutoModel, AutoTokenizer

    texts = ["small left pleural effusion", "fluid in the left pleural space", "colon adenocarcinoma"]
    alone = []
    reference, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        for text in texts:  # one at a time, so that no padding takes part
            alone.append(reference(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0))
        features = encoder(*encoder.tokenize(texts))
    torch.testing.assert_close(features, torch.stack(alone))
    unit = torch.nn.functional.normalize(features, dim=-1)
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.3


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "test_resnet"])
def test_timm_tower_gives_one_vector(name):
    tower = TimmImage(TimmImage.Config(model=name, image_size=96)).eval()
    assert tower(torch.zeros(2, 3, 96, 96)).shape == (2, tower.width)
    assert tower.preprocess(pictures(1)[0]).shape == (3, 96, 96)


def test_timm_weights_without_classifier_and_by_name(tmp_path):
    from safetensors.torch import save_file

    donor = TimmImage(TimmImage.Config(model="test_resnet"))
    save_file(donor.trunk.state_dict(), tmp_path / "w.safetensors")
    tower = TimmImage(TimmImage.Config(model="test_resnet", weights=str(tmp_path / "w.safetensors")))
    assert all(torch.equal(a, b) for a, b in zip(tower.state_dict().values(), donor.state_dict().values(), strict=True))


def test_timm_wrong_weights_named(tmp_path):
    from safetensors.torch import save_file

    state = TimmImage(TimmImage.Config(model="test_resnet")).trunk.state_dict()
    first = next(iter(state))
    state.pop(first)
    state["extra.weight"] = torch.zeros(1)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=rf"missing: {first}.*unexpected: extra.weight"):
        TimmImage(TimmImage.Config(model="test_resnet", weights=str(tmp_path / "w.safetensors")))


def test_unknown_timm_name():
    with pytest.raises(ConfigError, match=r"timm has no such model; nearest: .*test_vit"):
        TimmImage(TimmImage.Config(model="test_vitt"))


def test_unknown_timm_name_with_nothing_alike_still_has_a_remedy():
    with pytest.raises(ConfigError, match=r"timm has no such model; (nearest: \w|see timm\.list_models)"):
        TimmImage(TimmImage.Config(model="resnot50"))
    with pytest.raises(ConfigError, match=r"timm has no such model; see timm\.list_models"):
        TimmImage(TimmImage.Config(model="0000000000"))


def test_order_match_needs_equal_last_names():
    layer = torch.nn.Linear(2, 2)
    assert renamed_in_order({"a.weight": layer.weight, "a.bias": layer.bias}, layer) is not None
    assert renamed_in_order({"a.weight": layer.weight, "a.scale": layer.bias}, layer) is None


def test_weight_file_with_code_is_refused(tmp_path):
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"not a readable weight file"):
        read_state_dict(tmp_path / "w.pth")
    torch.save([1, 2], tmp_path / "l.pth")
    with pytest.raises(CheckpointError, match=r"other than named tensors"):
        read_state_dict(tmp_path / "l.pth")
    (tmp_path / "z.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"not a readable weight file"):
        read_state_dict(tmp_path / "z.safetensors")


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler", "max"])
def test_padding_changes_nothing(bert, pooling):
    encoder = TextEncoder(TextEncoder.Config(model=str(bert), context_length=16, pooling=pooling)).eval()
    texts = ["lung carcinoma", "a normal image of the colon tissue"]
    with torch.no_grad():
        longest, fixed = encoder(*encoder.tokenize(texts)), encoder(*encoder.tokenize(texts, fixed=True))
        alone = encoder(*encoder.tokenize(texts[:1]))
    assert encoder.tokenize(texts, fixed=True)[0].shape == (2, 16)
    torch.testing.assert_close(longest, fixed)
    torch.testing.assert_close(longest[:1], alone)


def test_pooling_by_hand():
    states = torch.tensor([[[1.0, 2.0], [3.0, -4.0], [100.0, 100.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert pool(states, mask, "mean").tolist() == [[2.0, -1.0]]
    assert pool(states, mask, "max").tolist() == [[3.0, 2.0]]
    assert pool(states, mask, "cls").tolist() == [[1.0, 2.0]]


def test_context_longer_than_positions(bert):
    with pytest.raises(ConfigError, match=r"context_length 65 is more than the tower's 64 positions; .*at most 64"):
        TextEncoder(TextEncoder.Config(model=str(bert), context_length=65))


def test_roberta_positions_start_behind_padding(tmp_path):
    folder = write_bert(tmp_path / "roberta", positions=20, model_type="roberta")
    from transformers import AutoConfig

    longest = num_positions(AutoConfig.from_pretrained(str(folder)))
    encoder = TextEncoder(TextEncoder.Config(model=str(folder), context_length=longest))
    ids, mask = encoder.tokenize(["lung " * 40])
    assert ids.shape == (1, longest)
    assert torch.isfinite(encoder(ids, mask)).all()


def test_random_start_differs_from_published(bert):
    torch.manual_seed(1)
    config = TextEncoder.Config(model=str(bert), context_length=16)
    loaded, again = TextEncoder(config), TextEncoder(config)
    random = TextEncoder(config.model_copy(update={"weights": "none"}))
    tensors = [
        dict(e.transformer.named_parameters())["encoder.layer.0.output.dense.weight"] for e in (loaded, again, random)
    ]
    assert torch.equal(tensors[0], tensors[1])
    assert not torch.equal(tensors[0], tensors[2])


def test_missing_text_weights_named(bert, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in bert.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    del state["encoder.layer.1.output.dense.bias"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"encoder.layer.1.output.dense.bias: the weights lack tensors"):
        TextEncoder(TextEncoder.Config(model=str(tmp_path), context_length=16))


def test_no_such_folder_and_no_config(tmp_path):
    with pytest.raises(CheckpointError, match=r"no such model folder; check the path"):
        TextEncoder(TextEncoder.Config(model=str(tmp_path / "absent")))
    with pytest.raises(CheckpointError, match=r"no config.json in this folder"):
        TextEncoder(TextEncoder.Config(model=str(tmp_path)))
    with pytest.raises(CheckpointError, match=r"no such folder, nor such a hub model"):
        TextEncoder(TextEncoder.Config(model="owner/absent-model"))


def test_text_encoder_round_trip(bert, tmp_path):
    from transformers import AutoModel

    encoder = TextEncoder(TextEncoder.Config(model=str(bert), context_length=16, pooling="cls")).eval()
    with torch.no_grad():
        encoder.transformer.embeddings.word_embeddings.weight.add_(0.5)
    encoder.save(tmp_path / "run" / "text_encoder")
    again = TextEncoder.load(tmp_path / "run")
    texts = ["squamous cell carcinoma", "skin nevus"]
    with torch.no_grad():
        assert torch.equal(encoder(*encoder.tokenize(texts)), again(*again.tokenize(texts)))
    assert AutoModel.from_pretrained(str(tmp_path / "run" / "text_encoder")) is not None
    as_tower = TextEncoder(TextEncoder.Config(model=str(tmp_path / "run"), pooling="cls", context_length=16)).eval()
    with torch.no_grad():
        assert torch.equal(encoder(*encoder.tokenize(texts)), as_tower(*as_tower.tokenize(texts)))
    with pytest.raises(ConfigError, match=r"trained with pooling cls, the config says mean"):
        TextEncoder(TextEncoder.Config(model=str(tmp_path / "run"), context_length=16))


def test_hf_vision_tower(tmp_path):
    import json

    from transformers import ViTConfig, ViTModel

    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32)
    ViTModel(config).save_pretrained(str(tmp_path / "vit"))
    saved = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1], "resample": 2, "size": {"height": 32, "width": 32}}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(saved))
    tower = HfImage(HfImage.Config(model=str(tmp_path / "vit"))).eval()
    assert tower.width == 16
    assert (tower.preprocess.mean, tower.preprocess.interpolation) == ((0.1, 0.2, 0.3), "bilinear")
    assert tower.preprocess.resize_mode == "squash"
    assert tower(torch.zeros(2, 3, 32, 32)).shape == (2, 16)
    with pytest.raises(ConfigError, match=r"takes 32 pixel images, not 64"):
        HfImage(HfImage.Config(model=str(tmp_path / "vit"), image_size=64))


def test_heads_have_the_documented_shapes():
    shapes = {
        name: [tuple(p.shape) for p in Head(name, 8, 6, side).parameters()]
        for name, side in (("linear", "image"), ("mlp", "image"), ("kep_mlp", "text"))
    }
    assert shapes == {
        "linear": [(6, 8)],
        "mlp": [(12, 8), (12,), (6, 12)],
        "kep_mlp": [(6, 8), (6,), (6, 6), (6,)],
    }
    assert [tuple(p.shape) for p in Head("mlp", 8, 6, "text").parameters()] == [(7, 8), (6, 7)]
    with pytest.raises(ConfigError, match=r"image_head: none: the tower gives 8 features but embed_dim is 6"):
        Head("none", 8, 6, "image")


def test_configs_refuse_typos():
    with pytest.raises(ValidationError):
        TimmImage.Config(model="test_vit", wieghts="none")
    with pytest.raises(ValidationError):
        TextEncoder.Config(pooling="average")


def test_tokenizer_counts_truncation_and_refuses_non_text(bert):
    encoder = TextEncoder(TextEncoder.Config(model=str(bert), context_length=8))
    ids, mask = encoder.tokenize(["lung", "lung " * 6, "lung " * 7])
    assert ids.shape == (3, 8)
    assert mask.sum(1).tolist() == [3, 8, 8]
    assert encoder.tokenizer.truncated_share == pytest.approx(1 / 3)
    encoder.tokenizer.reset_counts()
    assert encoder.tokenizer.truncated_share == 0
    for bad, message in (([], "non-empty list"), ("lung", "non-empty list"), (["a", None], "text 1: is NoneType")):
        with pytest.raises(DataError, match=message):
            encoder.tokenize(bad)


def test_cleaning_is_open_clips():
    open_clip_tokenizer = pytest.importorskip("open_clip.tokenizer", reason="needs the extra `clip`")
    from medvlp.encoders.tokenizer import clean

    reference = open_clip_tokenizer.get_clean_fn("whitespace")
    rng = np.random.default_rng(0)
    alphabet = [*"ab &;<>#0x\t\n\r\x0b\x1f\x7f", "&amp;", "&lt;", "é", "’", "ﬁ", "Ａ", "Ã©", "\u00a0", "µ"]
    samples = ["".join(rng.choice(alphabet, 12)) for _ in range(500)] + ["", "plain text", " a  b "]
    assert [clean(text) for text in samples] == [reference(text) for text in samples]
