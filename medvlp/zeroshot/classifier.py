"""From embeddings to probabilities, and thresholds that never see the test split.

Shape legend: N images, K classes, P prompts, D embedding size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import DataError
from medvlp.metrics import curves
from medvlp.zeroshot.prompts import PromptSet

Floats = NDArray[np.float64]
_SMALLEST_NORM = 1e-6


def to_numpy(value: Any) -> Floats:
    """Return a tensor on any device, or an array, as float64."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().float().numpy()
    return np.asarray(value, dtype=np.float64)


def scale_of(model: Any) -> float:
    """Return the model's multiplier of cosines as a number."""
    return float(to_numpy(model.scale()))


def class_vectors(model: Any, prompts: PromptSet, *, absent: bool = False, batch_size: int = 256) -> Floats:
    """Return one unit vector per class (K, D): L2 of the mean over prompts of L2 of each text embedding.

    Args:
        model: Anything with ``encode_text(list of strings) -> (M, D)``.
        prompts: What to embed; each distinct text is embedded once.
        absent: Use the prompts for absence.
        batch_size: Texts per call.

    Raises:
        DataError: If a class's prompts cancel out or are not finite.
    """
    texts_K = prompts.absent if absent else prompts.texts
    if absent and not texts_K:
        raise DataError("has no prompts for absence", item=prompts.source, remedy="score with mode single or sigmoid")
    distinct = sorted({text for texts in texts_K for text in texts}, key=lambda text: (len(text), text))
    parts = []
    for begin in range(0, len(distinct), batch_size):
        parts.append(to_numpy(model.encode_text(distinct[begin : begin + batch_size])))
    text_PD = unit(np.concatenate(parts), "prompts")
    row = {text: number for number, text in enumerate(distinct)}
    mean_KD = np.stack([text_PD[[row[text] for text in texts]].mean(0) for texts in texts_K])
    return unit(mean_KD, "class vectors")


def unit(value_ND: Floats, item: str) -> Floats:
    """Scale rows to unit length; a zero or a NaN is a :class:`DataError` that names ``item``."""
    norm_N1 = np.linalg.norm(value_ND, axis=1, keepdims=True)
    if not np.isfinite(norm_N1).all() or (norm_N1 < _SMALLEST_NORM).any():
        raise DataError("an embedding is zero or not finite", item=item, remedy="check the model's weights")
    return value_ND / norm_N1


def classify(image_ND: Any, class_KD: Any, scale: float) -> Floats:
    """Single-label probabilities (N, K): softmax of ``scale`` times cosine."""
    return softmax(scale * (to_numpy(image_ND) @ to_numpy(class_KD).T))


def classify_multi(
    image_ND: Any, class_KD: Any, scale: float, *, absent_KD: Any = None, bias: float | None = None
) -> Floats:
    """Independent probabilities per class (N, K).

    Args:
        image_ND: Image embeddings.
        class_KD: Vectors of presence.
        scale: Multiplier of cosines.
        absent_KD: Vectors of absence: the probability is presence against absence (CheXzero's pairs).
        bias: Added to the scaled cosine before the sigmoid, for a model trained with a sigmoid loss. Without a bias
            and without absence only the ranking means something, and a threshold has to be fitted.
    """
    logit_NK = scale * (to_numpy(image_ND) @ to_numpy(class_KD).T)
    if absent_KD is not None:
        logit_NK = logit_NK - scale * (to_numpy(image_ND) @ to_numpy(absent_KD).T)
    elif bias is not None:
        logit_NK = logit_NK + bias
    return 1 / (1 + np.exp(-np.clip(logit_NK, -60, 60)))


def softmax(logit_NK: Floats) -> Floats:
    """Softmax over the last axis, shifted for stability."""
    power_NK = np.exp(logit_NK - logit_NK.max(-1, keepdims=True))
    return power_NK / power_NK.sum(-1, keepdims=True)


def embed_images(model: Any, split: Any, batch_size: int = 64, *, rows: Sequence[int] | None = None) -> Floats:
    """Embed the images of a split in order (N, D), with a progress bar on a terminal.

    Raises:
        DataError: If the model does not return one finite vector per image.
    """
    rows = range(len(split)) if rows is None else rows
    parts = []
    for batch in _with_progress(list(_chunks(rows, batch_size)), f"embedding {split.name}"):
        parts.append(to_numpy(model.encode_image([split[row].image for row in batch])))
    image_ND = np.concatenate(parts) if parts else np.zeros((0, 1))
    if len(image_ND) != len(rows):
        raise DataError(f"{len(image_ND)} embeddings for {len(rows)} images", item=split.name)
    return unit(image_ND, f"images of {split.name}") if len(image_ND) > 0 else image_ND


def _chunks(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size]


def _with_progress(items: list[Any], label: str) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(items, label, console=console, transient=True, disable=not console.is_terminal)


def refuse_test(split: str) -> None:
    """Refuse to fit anything on a test split.

    Raises:
        DataError: If the split is named test.
    """
    if split.strip().lower() == "test":
        raise DataError("nothing may be fitted on the test split", item=split, remedy="fit on dev or train")


def fit_thresholds(target_NK: Any, probability_NK: Any, split: str, *, specificity: float | None = 0.95) -> list[float]:
    """Fit one threshold per class (NaN where undefined): at a specificity, or of best F1 if that is None.

    Args:
        target_NK: True where the class is present.
        probability_NK: Scores.
        split: Name of the split these samples come from.
        specificity: Specificity to keep.

    Raises:
        DataError: If ``split`` is test.
    """
    refuse_test(split)
    target_NK, probability_NK = np.asarray(target_NK, dtype=bool), to_numpy(probability_NK)
    return [
        curves.threshold_at_best_f1(target_N, score_N)
        if specificity is None
        else curves.threshold_at_specificity(target_N, score_N, specificity)
        for target_N, score_N in zip(target_NK.T, probability_NK.T, strict=True)
    ]
