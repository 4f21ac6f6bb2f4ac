"""Stored embeddings stand in for the model that made them: the same evaluation, and nothing else."""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from tiny_models import tiny_model

import medvlp
from medvlp.errors import DataError
from medvlp.io import write_manifest
from medvlp.model import save_model
from medvlp.published import StoredEmbeddings, save_embeddings
from medvlp.published.embeddings import FORMAT, EmbeddingsManifest, NoEncoderError
from medvlp.published.request import answer_request, write_request
from medvlp.zeroshot.evaluate import EvaluateConfig, evaluate


@pytest.fixture(scope="module")
def model(bert, tmp_path_factory):
    return save_model(tiny_model(bert), tmp_path_factory.mktemp("model") / "own")


@pytest.fixture(scope="module")
def config(store, model):
    return EvaluateConfig(
        checkpoint=str(model), data=str(store.folder), bootstrap_draws=20, num_examples=0, floors=["prior", "untrained"]
    )


@pytest.fixture(scope="module")
def request_folder(config, tmp_path_factory):
    out = tmp_path_factory.mktemp("request") / "request"
    assert write_request(config, out) == {"images": 36, "texts": len(json.loads((out / "texts.json").read_text()))}
    return out


@pytest.fixture(scope="module")
def embedded(model, request_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("embeddings") / "e"
    return answer_request(medvlp.load(model), request_folder, out, name="tiny")


def results(folder):
    table = pyarrow.parquet.read_table(folder / "predictions.parquet").to_pandas()
    return json.loads((folder / "results.json").read_text()), table


def test_the_request_holds_what_the_evaluation_needs_and_no_report(request_folder, store):
    listed = json.loads((request_folder / "image_ids.json").read_text())
    keys = {entry["key"] for entry in listed}
    labelled = {key for split in ("test", "dev") for key in store.split(split).keys if not key.endswith("none")}
    assert keys == labelled
    first = store.split("test")[0]
    (file,) = [entry["file"] for entry in listed if entry["key"] == first.key]
    assert np.array_equal(np.asarray(Image.open(request_folder / file)), np.asarray(first.image))
    assert "secret" not in "".join(path.read_text() for path in request_folder.glob("*.json"))


def test_evaluation_is_that_of_the_model(config, embedded, tmp_path):
    evaluate(config, tmp_path / "model")
    evaluate(config.model_copy(update={"checkpoint": f"embeddings:{embedded}"}), tmp_path / "stored")
    (mine, mine_table), (other, other_table) = results(tmp_path / "model"), results(tmp_path / "stored")
    assert mine_table["answer"].tolist() == other_table["answer"].tolist()
    columns = [name for name in mine_table if name.startswith("probability")]
    np.testing.assert_allclose(mine_table[columns], other_table[columns], atol=1e-6)
    for first, second in zip(mine["metrics"], other["metrics"], strict=True):
        assert first["name"] == second["name"]
        assert first["value"] == pytest.approx(second["value"], abs=1e-6, nan_ok=True)
    assert mine["prompts"]["digest"] == other["prompts"]["digest"]
    assert other["model"]["weights_sha256"] == StoredEmbeddings(embedded).digest
    skipped = next(floor for floor in other["floors"] if floor["name"] == "untrained")
    assert "not a torch module" in json.dumps(skipped)


def test_a_partial_import_is_told_first(config, model, tmp_path):
    import shutil

    shutil.copytree(model, tmp_path / "partial")
    write_manifest(tmp_path / "partial", {"format": "medvlp-import/1", "partial": True})
    evaluate(config.model_copy(update={"checkpoint": str(tmp_path / "partial")}), tmp_path / "e")
    limits = results(tmp_path / "e")[0]["limits"]
    assert limits[0].startswith("These weights were imported in part: some of the model's tensors are random.")


def test_exchanged_images_would_show(config, embedded, tmp_path):
    """The equality has power: the same vectors under other keys give other predictions."""
    stored = StoredEmbeddings(embedded)
    keys = json.loads((embedded / "image_ids.json").read_text())
    texts = json.loads((embedded / "texts.json").read_text())
    shifted = save_embeddings(
        tmp_path / "shifted",
        stored.manifest,
        [*keys[1:], keys[0]],
        stored.encode_keys(keys),
        texts,
        stored.encode_text(texts),
    )
    tables = []
    for name, folder in (("a", embedded), ("b", shifted)):
        evaluate(config.model_copy(update={"checkpoint": f"embeddings:{folder}"}), tmp_path / name)
        tables.append(results(tmp_path / name)[1])
    columns = [name for name in tables[0] if name.startswith("probability")]
    assert np.abs(tables[0][columns] - tables[1][columns]).to_numpy().max() > 1e-4


ADAPTER = """
import medvlp
MODEL, PREPROCESSING, LICENCE, SCALE = "tiny", "as trained", "none", {scale}
model = medvlp.load({path!r})
def encode_images(images):
    return 3 * model.encode_image(images)
def encode_texts(texts):
    return model.encode_text(texts)
"""


def run_script(request_folder, *arguments):
    command = [sys.executable, str(request_folder / "embed.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)


def test_the_stand_alone_script(config, model, embedded, request_folder, tmp_path):
    adapter = tmp_path / "adapter.py"
    adapter.write_text(ADAPTER.format(path=str(model), scale=float(medvlp.load(model).scale())))
    done = run_script(request_folder, adapter, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    script = StoredEmbeddings(tmp_path / "out")
    assert script.manifest.model == "tiny"
    assert script.manifest.request_sha256 == StoredEmbeddings(embedded).manifest.request_sha256
    keys = json.loads((embedded / "image_ids.json").read_text())
    torch.testing.assert_close(
        script.encode_keys(keys), StoredEmbeddings(embedded).encode_keys(keys), atol=1e-6, rtol=0
    )
    evaluate(config.model_copy(update={"checkpoint": f"embeddings:{tmp_path / 'out'}"}), tmp_path / "evaluated")
    again = run_script(request_folder, adapter, tmp_path / "out")
    assert again.returncode == 1
    assert "already exists" in again.stderr
    (tmp_path / "empty.py").write_text("MODEL = 'x'")
    done = run_script(request_folder, tmp_path / "empty.py", tmp_path / "other")
    assert "defines no PREPROCESSING, LICENCE, SCALE, encode_images, encode_texts" in done.stderr
    assert run_script(request_folder).stderr.startswith("Stand-alone: answer an embedding request")


def test_the_script_does_not_use_this_library():
    from pathlib import Path

    import medvlp.published as room

    text = (Path(room.__file__).parent / "embed_request.py").read_text()
    assert "import medvlp" not in text
    assert "from medvlp" not in text


def test_what_was_not_embedded_is_named(embedded, config, tmp_path):
    stored = medvlp.load(f"embeddings:{embedded}")
    with pytest.raises(DataError, match=r"1 of 2 texts were not embedded, the first is 'a wart'; write what is needed"):
        stored.encode_text(["a wart", json.loads((embedded / "texts.json").read_text())[0]])
    with pytest.raises(DataError, match=r"1 of 1 images were not embedded, the first is 'train/normal liver-0'"):
        stored.encode_keys(["train/normal liver-0"])
    changed = config.model_copy(update={"checkpoint": f"embeddings:{embedded}", "fit_split": "train"})
    with pytest.raises(DataError, match=r"18 of 18 images were not embedded, the first is 'train/"):
        evaluate(changed, tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_what_only_a_model_can_do_is_refused_in_one_line(embedded, tmp_path):
    from medvlp.export import export

    stored = medvlp.load(f"embeddings:{embedded}")
    with pytest.raises(
        NoEncoderError, match=r"are stored embeddings, which have no `encode_image`; use the model itself"
    ):
        stored.encode_image([Image.new("RGB", (8, 8))])
    assert not hasattr(stored, "preprocess")
    with pytest.raises(DataError, match=r"which have no `config`"):
        export(f"embeddings:{embedded}", "safetensors", tmp_path / "x")


def manifest(**changes):
    values = {"format": FORMAT, "model": "m", "dim": 2, "normalised": True, "projected": True, "preprocessing": "p",
              "made_by": "t", "scale": 10.0}  # fmt: skip
    return EmbeddingsManifest(**{**values, **changes})


def written(folder, **changes):
    """Write two images and one text, then change files and list them anew."""
    keys, texts = ["a", "b"], ["t"]
    save_embeddings(folder, manifest(), keys, torch.eye(2), texts, torch.ones(1, 2))
    values = json.loads((folder / "manifest.json").read_text())
    values.pop("files")
    for name, value in changes.items():
        if name in values:
            values[name] = value
        else:
            (folder / f"{name}.json").write_text(json.dumps(value))
    write_manifest(folder, {key: value for key, value in values.items() if value != "drop"})
    return folder


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"format": "other/1"}, r"manifest.json: is not of format medvlp-embeddings/1; name a folder of stored"),
        ({"projected": False}, r"are from before the projection, so images and texts cannot be compared; store what"),
        ({"normalised": False}, r"the vectors are not of length 1; divide each by its length"),
        ({"dim": 3}, r"images.safetensors: is \(2, 2\), not \(N, 3\) as the manifest says"),
        ({"model": "drop"}, r"manifest.json: `model`: Field required; write it as"),
        ({"image_ids": ["a"]}, r"image_ids.json: names 1 vectors, there are 2"),
        ({"image_ids": ["a", "a"]}, r"image_ids.json: a name stands twice; store each once"),
        ({"texts": {"t": 1}}, r"texts.json: is not a list of strings"),
    ],
)
def test_bad_folders(tmp_path, changes, expected):
    with pytest.raises(DataError, match=expected):
        StoredEmbeddings(written(tmp_path / "e", **changes))


def test_altered_and_unnormalised_files(tmp_path):
    from safetensors.torch import save_file

    folder = written(tmp_path / "e")
    save_file({"image": 2 * torch.eye(2)}, folder / "images.safetensors")
    with pytest.raises(DataError, match=r"images.safetensors: differs from its sha256 in manifest.json"):
        StoredEmbeddings(folder)
    values = json.loads((folder / "manifest.json").read_text())
    values.pop("files")
    write_manifest(folder, values)
    with pytest.raises(DataError, match=r"images.safetensors: row 0 has length 2, not 1; normalise and store again"):
        StoredEmbeddings(folder)


def test_without_a_scale_the_configuration_has_to_give_one(tmp_path):
    stored = StoredEmbeddings(written(tmp_path / "e", scale=None))
    with pytest.raises(
        DataError, match=r"has no multiplier of cosines; set `scale:` in the evaluation's configuration"
    ):
        stored.scale()


@pytest.mark.parametrize(
    ("image_ND", "keys", "expected"),
    [
        (torch.eye(2), ["a"], r"image embeddings: \(2, 2\) vectors for 1 names of width 2"),
        (torch.eye(2), ["a", "a"], r"image embeddings: a key or text stands twice; embed each once"),
        (torch.zeros(1, 2), ["a"], r"image embeddings: a vector is zero or not finite"),
    ],
)
def test_vectors_that_cannot_be_stored(tmp_path, image_ND, keys, expected):
    with pytest.raises(DataError, match=expected):
        save_embeddings(tmp_path / "e", manifest(), keys, image_ND, ["t"], torch.ones(1, 2))
    assert not (tmp_path / "e").exists()
