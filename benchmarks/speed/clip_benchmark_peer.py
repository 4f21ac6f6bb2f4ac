"""CLIP_benchmark's own loops on the images of a job; run by the Python of its own environment.

Called as ``python clip_benchmark_peer.py JOB.json RESULT.npz`` and prints one line of JSON. Its evaluation functions,
its model loader and a torch ``DataLoader`` as its command line builds one (default workers), with ``--no_amp``.
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

if torch.version.cuda is None:  # torchvision's compiled part needs a CUDA build; its transforms do not
    OPERATORS = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        OPERATORS.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from clip_benchmark.metrics import zeroshot_classification, zeroshot_retrieval
from clip_benchmark.models.open_clip import load_open_clip
from PIL import Image
from torch.utils.data import DataLoader, default_collate


class Files(torch.utils.data.Dataset):
    """Image files as its own data sets read them, each with its class or its captions."""

    def __init__(self, files: list[str], targets: list[Any], transform: Any, classes: list[str]) -> None:
        self.files, self.targets, self.transform, self.classes = files, targets, transform, classes

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.transform(Image.open(self.files[index]).convert("RGB")), self.targets[index]


def captions_together(batch: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Stack the images and leave each image's captions a list."""
    images, captions = zip(*batch, strict=True)
    return default_collate(list(images)), captions


def cpu_seconds() -> float:
    """Return processor time of this process and of those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    """Do the job."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model, transform, tokenizer = load_open_clip(job["model"], job["weights"], device="cpu")
    model.eval()
    keep: dict[str, Any] = {}
    said: dict[str, Any] = {}

    def loader(files: list[str], targets: list[Any], collate: Any) -> DataLoader[Any]:
        return DataLoader(
            Files(files, targets, transform, job["classnames"]),
            batch_size=job["batch_size"],
            shuffle=False,
            num_workers=job["workers"],
            collate_fn=collate,
        )

    if job["scores"]:
        classes = loader(job["class_files"], job["labels"], None)
        texts = (job["classnames"], job["templates"])
        said["classification"] = zeroshot_classification.evaluate(model, classes, tokenizer, *texts, "cpu", amp=False)
        matrix = zeroshot_classification.zero_shot_classifier(model, tokenizer, *texts, "cpu", amp=False)
        logits, _ = zeroshot_classification.run_classification(model, matrix, classes, "cpu", amp=False)
        keep |= {"class_DK": matrix.numpy(), "logit_NK": logits.numpy()}
        said["retrieval"] = zeroshot_retrieval.evaluate(
            model,
            loader(job["note_files"], job["notes"], captions_together),
            tokenizer,
            "cpu",
            amp=False,
            recall_k_list=job["recall_at"],
        )
    else:
        matrix = torch.zeros(job["width"], len(job["classnames"]))
        start, cpu = time.perf_counter(), cpu_seconds()
        zeroshot_classification.run_classification(
            model, matrix, loader(job["class_files"], job["labels"], None), "cpu", amp=False
        )
        said |= {"seconds": time.perf_counter() - start, "cpu_seconds": cpu_seconds() - cpu}
    np.savez(sys.argv[2], **keep)
    print(json.dumps(said))


main()
