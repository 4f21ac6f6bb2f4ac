"""The comparison with CLIP_benchmark as far as it goes without the package: our side to the last bit, and the page."""

import argparse
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmarks.speed import clip_benchmark
from benchmarks.speed.clip_benchmark_model import TINY
from medvlp import torchvision_guard
from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.errors import DataError

CLASSES = ("colon", "liver", "lung", "nerve", "skin")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    from tiny_models import pictures

    rows = []
    for i, image in enumerate(pictures(22)):
        notes = [Text(f"note {i % 9} of a patient", "report")] * (i < 20) + [Text("template", "class-template")]
        rows.append(Row(f"k{i}", image, notes, "train", f"c{i}", i, CLASSES[i % 5] if i < 21 else None))
    return PairsStore.write(tmp_path_factory.mktemp("store") / "pairs", rows)


@pytest.fixture
def options(store, tmp_path):
    return argparse.Namespace(
        classes=str(store.folder), notes=str(store.folder), split="train", images=None, model=None, seed=3,
        names={"lung": "the lung"}, templates=["an image of {c}.", "{c}"], recall_at=[1, 5], batch_size=8,
        peer_python=tmp_path / "none", repeats=1,
    )  # fmt: skip


@pytest.mark.extras
def test_our_side_is_open_clips_arithmetic_bit_for_bit(options, store, tmp_path, monkeypatch):
    torchvision_guard.install()
    open_clip = pytest.importorskip("open_clip", reason="needs the extra `clip` (open_clip)")

    from benchmarks.harness.subjects import ModelEntry, open_subject
    from benchmarks.speed import clip_benchmark_ours

    monkeypatch.setattr(clip_benchmark, "SMALL", TINY)
    (tmp_path / "job").mkdir()
    job = clip_benchmark.prepare(options, tmp_path / "job")
    assert job["classnames"] == ["colon", "liver", "the lung", "nerve", "skin"]
    assert len(job["class_rows"]) == len(job["class_files"]) == 21
    assert [len(texts) for texts in job["notes"]] == [1] * 20
    keep = {}
    subject = open_subject("ours", ModelEntry(source=job["source"]))
    said = clip_benchmark_ours.scores(job, subject, keep)

    stock, _, transform = open_clip.create_model_and_transforms(job["model"])
    stock.eval()
    tokenizer, split = open_clip.get_tokenizer(job["model"]), store.split("train")
    with torch.no_grad():
        columns = []
        for name in job["classnames"]:
            texts = tokenizer([template.format(c=name) for template in job["templates"]])
            column = functional.normalize(stock.encode_text(texts), dim=-1).mean(dim=0)
            columns.append(column / column.norm())
        matrix = torch.stack(columns, dim=1)
        logits = []
        for i in range(0, 21, 8):
            pixels = torch.stack([transform(split[row].image) for row in job["class_rows"][i : i + 8]])
            logits.append(100.0 * functional.normalize(stock.encode_image(pixels), dim=-1) @ matrix)
    assert np.array_equal(keep["class_DK"], matrix.numpy())
    assert np.array_equal(keep["logit_NK"], torch.cat(logits).numpy())
    assert np.abs(keep["harness_NK"] - keep["logit_NK"]).max() < 1e-4
    by_ties = said["scores"]
    assert set(by_ties["topk"]) == {
        "acc1", "acc5", "mean_per_class_recall", "image_retrieval_recall@1", "text_retrieval_recall@1",
        "image_retrieval_recall@5", "text_retrieval_recall@5",
    }  # fmt: skip
    # Notes are shared, so an image's own note is tied with its copies.
    assert by_ties["pessimistic"]["text_retrieval_recall@1"] == 0
    for key, value in by_ties["topk"].items():
        assert by_ties["pessimistic"][key] <= value <= by_ties["optimistic"][key]


def test_what_is_told():
    rounds = {
        clip_benchmark.OURS: [{"seconds": 1.0, "cpu_seconds": 2.0}, {"seconds": 2.0, "cpu_seconds": 2.0}],
        clip_benchmark.PEER: [{"seconds": 2.0, "cpu_seconds": 1.0}, {"seconds": 3.0, "cpu_seconds": 1.0}],
    }
    told = clip_benchmark.speed(rounds, 60)
    assert told["clock"] == {"medvlp": 45.0, "CLIP_benchmark": 25.0, "ratio": 1.75, "ratios": [2.0, 1.5]}
    assert told["processor"]["ratio"] == 0.5
    nan, third = float("nan"), 1 / 3
    said = {
        clip_benchmark.OURS: {"scores": {"topk": {"acc1": third, "acc5": nan, "image_retrieval_recall@1": 0.25}}},
        clip_benchmark.PEER: {
            "classification": {"acc1": third, "acc5": nan},
            "retrieval": {"image_retrieval_recall@1": 0.2500001},
        },
    }
    assert [one["same"] for one in clip_benchmark.compared(said)] == [True, True, False]


def test_mistakes_are_one_line(options, monkeypatch, capsys, tmp_path):
    words = [
        "x",
        "--peer-python",
        str(tmp_path / "none"),
        "--classes",
        "a",
        "--notes",
        "b",
        "--out",
        str(tmp_path / "o"),
    ]
    monkeypatch.setattr(sys, "argv", words)
    assert clip_benchmark.main() == clip_benchmark.USER_ERROR
    assert (
        capsys.readouterr().err == f"error: {tmp_path / 'none'}: no such Python; name bin/python of its environment\n"
    )
    (tmp_path / "t.json").write_text('{"a": 1}')
    monkeypatch.setattr(sys, "argv", [*words, "--templates", str(tmp_path / "t.json")])
    assert clip_benchmark.main() == clip_benchmark.USER_ERROR
    assert "holds no JSON list" in capsys.readouterr().err
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho 'no package here' >&2\nexit 3\n")
    failing.chmod(0o755)
    with pytest.raises(DataError, match=r"CLIP_benchmark: failed \(exit code 3\): no package here"):
        clip_benchmark.once(clip_benchmark.PEER, failing, {}, tmp_path)
