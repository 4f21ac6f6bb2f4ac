"""Features of reports by a frozen text tower: computed once, kept on disk for every run with the same tower and texts.

Shape legend: M reports, W tower width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from medvlp.errors import CheckpointError
from medvlp.io import MANIFEST, atomic_folder, verify_manifest, write_manifest
from medvlp.training.features import tower_digest

if TYPE_CHECKING:
    from medvlp.case_model import CaseModel

FORMAT = "medvlp-report-features-1"
_FILE = "features.npy"


def report_features(model: CaseModel, texts: Sequence[str], folder: Path | None) -> Tensor:
    """Return the text tower's output (M, W), float32 on the CPU, in eval mode.

    Args:
        model: Its text tower must not change afterwards.
        texts: Reports; none gives (0, W).
        folder: Where features are kept, under a digest of tower, tokenizer settings and texts; None keeps none. The
            texts themselves are not written.

    Raises:
        CheckpointError: If a kept file was altered.
    """
    if not texts:
        return torch.zeros(0, int(model.text.width))
    if folder is None:
        return _embed(model, texts)
    digest = hashlib.sha256(f"{tower_digest(model.text)} {model.config.text.model_dump_json()}".encode())
    for text in texts:
        digest.update(text.encode() + b"\0")
    target = folder / f"reports-{digest.hexdigest()[:32]}"
    if not (target / MANIFEST).is_file():
        found_MW = _embed(model, texts).numpy()
        with atomic_folder(target, replace=True, own=True) as partial:
            np.save(partial / _FILE, found_MW)
            write_manifest(partial, {"format": FORMAT, "reports": len(texts)})
    verify_manifest(target, CheckpointError)
    return torch.from_numpy(np.load(target / _FILE))


def _embed(model: CaseModel, texts: Sequence[str]) -> Tensor:
    training = model.training
    found_MW = model.eval().text_features(texts).float().cpu()
    model.train(training)
    return found_MW
