"""How a model is asked about classes: by cosines of embeddings, or by presence where it has a query decoder.

Shape legend: N images, K classes, P prompts of a class, D embedding size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image

from benchmarks.harness.features import features
from benchmarks.harness.outcome import Floats
from medvlp.zeroshot.classifier import classify, classify_multi, mean_vectors, prompt_vectors
from medvlp.zeroshot.existence import ExistenceQueries, chosen_scorer, presence
from medvlp.zeroshot.task import Mode

if TYPE_CHECKING:
    from benchmarks.harness.subjects import Subject

Prompts = Sequence[Sequence[str]]
Chosen = tuple[Sequence[int], Sequence[int]]  # a prompt of each class for presence, and one for absence or none at all


class Scorer(Protocol):
    """What a protocol asks of it. ``seen`` is what it keeps of images, for any number of answers."""

    def split(self, split: Any, rows: Sequence[int]) -> Any:
        """Look at rows of a split."""
        ...

    def images(self, images: Sequence[Image.Image]) -> Any:
        """Look at images that are in no split."""
        ...

    def mean_image(self, split: Any, rows: Sequence[int]) -> Any | None:
        """Look at the mean of rows of a split as one image; None where there is none."""
        ...

    def answer(self, seen: Any, chosen: Chosen | None = None) -> Floats:
        """Return probabilities (N, K); ``chosen`` leaves one prompt of each class."""
        ...


def scorer_of(
    subject: Subject, present: Prompts, absent: Prompts | None, mode: Mode, cache: Path | None = None
) -> Scorer:
    """Return what asks a subject, as ``medvlp.zero_shot`` would.

    Args:
        subject: Who is asked.
        present: Prompts of each class.
        absent: Prompts for its absence, where presence is measured against it; a decoder needs none.
        mode: One class per image, or several findings.
        cache: Folder of image embeddings.
    """
    if chosen_scorer("auto", subject.model) == "decoder":
        return ByDecoder(ExistenceQueries(subject.model, present), mode, subject.entry.batch_size)
    absent_vectors = None if absent is None else prompt_vectors(subject, absent)
    return ByCosine(subject, prompt_vectors(subject, present), absent_vectors, mode, cache)


@dataclass
class ByCosine:
    """Cosines of images and classes; kept of an image is its unit vector (D)."""

    subject: Subject
    present: list[Floats]
    absent: list[Floats] | None
    mode: Mode
    cache: Path | None

    def split(self, split: Any, rows: Sequence[int]) -> Floats:
        """The whole split is embedded, so that a row's bits hang on nothing else."""
        return features(self.subject, split, None, self.cache)[list(rows)]

    def images(self, images: Sequence[Image.Image]) -> Floats:
        """See :class:`Scorer`."""
        return self.subject.encode_images(images)

    def mean_image(self, split: Any, rows: Sequence[int]) -> Floats | None:
        """See :class:`Scorer`."""
        mean_D = self.split(split, rows).mean(0)
        length = np.linalg.norm(mean_D)
        return None if length < 1e-6 else (mean_D / length)[None]

    def answer(self, seen: Floats, chosen: Chosen | None = None) -> Floats:
        """See :class:`Scorer`."""
        present, absent = self.present, self.absent
        if chosen is not None:
            present = [vector_PD[[row]] for vector_PD, row in zip(present, chosen[0], strict=True)]
            if absent is not None:
                absent = [vector_PD[[row]] for vector_PD, row in zip(absent, chosen[1], strict=True)]
        class_KD = mean_vectors(present)
        if self.mode == "single":
            return classify(seen, class_KD, self.subject.scale)
        absent_KD = None if absent is None else mean_vectors(absent)
        return classify_multi(seen, class_KD, self.subject.scale, absent_KD=absent_KD, bias=self.subject.bias)


@dataclass
class ByDecoder:
    """Presence by a query decoder; kept of images are the logits of all prompts, (N, P) for each class."""

    queries: ExistenceQueries
    mode: Mode
    batch_size: int

    def split(self, split: Any, rows: Sequence[int]) -> list[Floats]:
        """See :class:`Scorer`."""
        return self.queries.of_split(split, list(rows), self.batch_size)

    def images(self, images: Sequence[Image.Image]) -> list[Floats]:
        """See :class:`Scorer`."""
        size = self.batch_size
        parts = [self.queries(images[start : start + size])[1] for start in range(0, len(images), size)]
        return [np.concatenate(of_class) for of_class in zip(*parts, strict=True)]

    def mean_image(self, split: Any, rows: Sequence[int]) -> list[Floats]:
        """Return what it says where every place holds its mean."""
        return self.queries.of_mean_image(split, list(rows), self.batch_size)

    def answer(self, seen: list[Floats], chosen: Chosen | None = None) -> Floats:
        """See :class:`Scorer`."""
        if chosen is not None:
            seen = [logit_NP[:, [row]] for logit_NP, row in zip(seen, chosen[0], strict=True)]
        return presence(seen, self.mode)
