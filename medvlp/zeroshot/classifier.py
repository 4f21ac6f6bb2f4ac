"""From embeddings to probabilities, and thresholds that never see the test split.

Shape legend: N images, K classes, P prompts, D embedding size.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medvlp.data.transform import Preprocess
from medvlp.errors import DataError
from medvlp.metrics import curves
from medvlp.zeroshot.prompts import PromptSet

if TYPE_CHECKING:
    from PIL import Image

Floats = NDArray[np.float64]
_SMALLEST_NORM = 1e-6


def to_numpy(value: Any) -> Floats:
    """Return a tensor on any device, or an array, as float64."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().float().numpy()
    return np.asarray(value, dtype=np.float64)


@contextmanager
def in_eval(model: Any) -> Iterator[None]:
    """Hold a model in eval mode for a while; then it is as it was."""
    training = bool(getattr(model, "training", False))
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()


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
    if absent and not prompts.absent:
        raise DataError("has no prompts for absence", item=prompts.source, remedy="score with mode single or sigmoid")
    return mean_vectors(prompt_vectors(model, prompts.absent if absent else prompts.texts, batch_size))


def prompt_vectors(model: Any, texts_K: Sequence[Sequence[str]], batch_size: int = 256) -> list[Floats]:
    """Return the unit vectors (P, D) of every class's texts; each distinct text is embedded once.

    Raises:
        DataError: If an embedding is zero or not finite.
    """
    distinct = sorted({text for texts in texts_K for text in texts}, key=lambda text: (len(text), text))
    parts = []
    for begin in range(0, len(distinct), batch_size):
        parts.append(to_numpy(model.encode_text(distinct[begin : begin + batch_size])))
    text_PD = unit_vectors(np.concatenate(parts), "prompts")
    row = {text: number for number, text in enumerate(distinct)}
    return [text_PD[[row[text] for text in texts]] for texts in texts_K]


def mean_vectors(prompts_K: Sequence[Floats]) -> Floats:
    """Return one unit vector per class (K, D): L2 of the mean of its prompts' vectors (P, D).

    Raises:
        DataError: If a class's prompts cancel out.
    """
    return unit_vectors(np.stack([prompt_PD.mean(0) for prompt_PD in prompts_K]), "class vectors")


def unit_vectors(value_ND: Floats, item: str) -> Floats:
    """Return rows divided by their length; a zero or not finite row is a :class:`DataError` naming ``item``."""
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

    A model with ``encode_keys`` (stored embeddings) is asked by key and never sees a pixel. For any other, threads
    decode the next batch while the encoder works on this one. They also resize, for a model whose ``preprocess`` is
    a :class:`medvlp.data.transform.Preprocess`: resizing what has its size already changes nothing, so the numbers
    are those of ``encode_image`` on the whole images.

    Raises:
        DataError: If the model does not return one finite vector per image.
    """
    rows = range(len(split)) if rows is None else rows
    by_key = getattr(model, "encode_keys", None)
    parts = []
    if by_key is not None:
        chunks = list(_chunks(rows, batch_size))
        for chunk in with_progress(chunks, f"embedding {split.name}", len(chunks)):
            parts.append(to_numpy(by_key([split.keys[row] for row in chunk])))
    else:
        with closing(image_batches(model, split, rows, batch_size)) as batches:
            parts = [to_numpy(model.encode_image(images)) for images in batches]
    image_ND = np.concatenate(parts) if parts else np.zeros((0, 1))
    if len(image_ND) != len(rows):
        raise DataError(f"{len(image_ND)} embeddings for {len(rows)} images", item=split.name)
    return unit_vectors(image_ND, f"images of {split.name}") if len(image_ND) > 0 else image_ND


def image_batches(
    model: Any, split: Any, rows: Sequence[int], batch_size: int
) -> Generator[list[Image.Image], None, None]:
    """Yield rows of a split as images of the model's size, those of the next batch made ready meanwhile."""
    chunks = list(_chunks(rows, batch_size))
    with closing(_images_ahead(model, split, chunks)) as batches:
        yield from with_progress(batches, f"embedding {split.name}", len(chunks))


def _chunks(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size]


def _images_ahead(model: Any, split: Any, chunks: Sequence[Sequence[int]]) -> Generator[list[Image.Image], None, None]:
    """Yield the images of each chunk, while those of the next are being made ready."""
    preprocess = getattr(model, "preprocess", None)
    resize = preprocess.resize if isinstance(preprocess, Preprocess) else None

    def ready(row: int) -> Image.Image:
        image: Image.Image = split[row].image
        return image if resize is None else resize(image)

    waiting: deque[list[Future[Image.Image]]] = deque()
    pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="images")
    try:
        for chunk in chunks:
            waiting.append([pool.submit(ready, row) for row in chunk])
            if len(waiting) > 1:
                yield [image.result() for image in waiting.popleft()]
        for last in waiting:
            yield [image.result() for image in last]
    finally:
        pool.shutdown(cancel_futures=True)


def with_progress(items: Iterable[Any], label: str, total: int) -> Iterator[Any]:
    """Yield items under a progress bar, shown on a terminal only."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(items, label, total=total, console=console, transient=True, disable=not console.is_terminal)


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
