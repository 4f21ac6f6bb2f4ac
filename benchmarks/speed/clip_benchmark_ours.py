"""This library on the images of a job, in a process of its own, beside ``clip_benchmark_peer.py``.

Called as ``python -m benchmarks.speed.clip_benchmark_ours JOB.json RESULT.npz`` and prints one line of JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import clip_benchmark
from benchmarks.harness.subjects import ModelEntry, Subject, open_subject
from medvlp.data.pairs import PairsSplit, PairsStore
from medvlp.zeroshot.classifier import embed_images
from medvlp.zeroshot.retrieval_task import build_retrieval_task

TIES: tuple[clip_benchmark.Ties, ...] = ("topk", "optimistic", "pessimistic", "realistic")


def cpu_seconds() -> float:
    """Return processor time of this process and of those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def in_batches(subject: Subject, split: PairsSplit, rows: list[int], size: int) -> list[torch.Tensor]:
    """Embed in float32, batch by batch, as the package does: the last bit depends on the batch."""
    return [
        subject.model.encode_image([split[row].image for row in rows[i : i + size]]) for i in range(0, len(rows), size)
    ]


def scores(job: dict[str, Any], subject: Subject, keep: dict[str, Any]) -> dict[str, Any]:
    """Return the package's numbers from this library's parts, by every rule for ties."""
    size, classes, notes = job["batch_size"], _split(job["classes"]), _split(job["notes_store"])
    class_DK = clip_benchmark.class_matrix(subject.model, job["classnames"], job["templates"])
    batches = in_batches(subject, classes, job["class_rows"], size)
    logit_NK = np.concatenate([clip_benchmark.class_logits(batch, class_DK) for batch in batches])
    keep |= {"class_DK": class_DK.numpy(), "logit_NK": logit_NK}
    # The harness's own way, in float64, through the same call that every protocol uses.
    wide_ND = embed_images(subject.model, classes, size, rows=job["class_rows"])
    keep["harness_NK"] = clip_benchmark.SCALE * wide_ND @ class_DK.double().numpy()
    image_ID = torch.cat(in_batches(subject, notes, job["note_rows"], size))
    texts = [text for of_image in job["notes"] for text in of_image]
    owner_T = np.repeat(np.arange(len(job["notes"])), [len(of_image) for of_image in job["notes"]])
    parts, begin = [], 0
    for start in range(0, len(job["notes"]), size):
        count = sum(len(of_image) for of_image in job["notes"][start : start + size])
        parts.append(subject.model.encode_text(texts[begin : begin + count], batch_size=count))
        begin += count
    text_TD, target_N = torch.cat(parts), np.asarray(job["labels"])
    found = {
        rule: {
            **clip_benchmark.classification_scores(logit_NK, target_N, rule),
            **clip_benchmark.retrieval_scores(image_ID, text_TD, owner_T, job["recall_at"], rule),
        }
        for rule in TIES
    }
    return {"scores": found, "harness": clip_benchmark.classification_scores(keep["harness_NK"], target_N)}


def notes_of(split: PairsSplit) -> tuple[list[int], list[list[str]]]:
    """Return the rows that have notes of their own, and each row's notes."""
    task = build_retrieval_task(split)
    return task.rows_I.tolist(), [[task.texts_T[text] for text in texts] for texts in task.texts_of_I]


def _split(place: dict[str, str]) -> PairsSplit:
    return PairsStore.load(place["store"], verify=False).split(place["split"])


def main() -> None:
    """Do the job."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    subject = open_subject("ours", ModelEntry(source=job["source"], batch_size=job["batch_size"]))
    keep: dict[str, Any] = {}
    if job["scores"]:
        said = scores(job, subject, keep)
    else:
        split = _split(job["classes"])
        class_DK = torch.zeros(job["width"], len(job["classnames"]))
        start, cpu = time.perf_counter(), cpu_seconds()
        image_ND = embed_images(subject.model, split, job["batch_size"], rows=job["class_rows"])
        clip_benchmark.class_logits(image_ND, class_DK)
        said = {"seconds": time.perf_counter() - start, "cpu_seconds": cpu_seconds() - cpu}
    np.savez(sys.argv[2], **keep)
    print(json.dumps(said))


if __name__ == "__main__":
    main()
