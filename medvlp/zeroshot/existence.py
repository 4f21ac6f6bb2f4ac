"""Classes asked of a query decoder: how likely each prompt is to be there, in place of cosines.

Shape legend: B images, K classes, P prompts of a class, Q distinct prompts, I tower width, D embedding size.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medvlp.errors import ConfigError
from medvlp.zeroshot.answer import Floats
from medvlp.zeroshot.classifier import image_batches, softmax, to_numpy
from medvlp.zeroshot.task import Mode

if TYPE_CHECKING:
    from PIL import Image

Scorer = Literal["cosine", "decoder"]


def chosen_scorer(scorer: str, model: Any) -> Scorer:
    """Return what scores: with ``auto`` the query decoder of a model that has one.

    Raises:
        ConfigError: If there is no such scorer, or the model has no decoder.
    """
    has_decoder = getattr(model, "decoder", None) is not None
    if scorer not in ("auto", "cosine", "decoder"):
        raise ConfigError(f"{scorer!r} is not a choice", item="scorer", remedy="use auto, cosine or decoder")
    if scorer == "decoder" and not has_decoder:
        raise ConfigError("the model has no query decoder", item="scorer: decoder", remedy="use cosine")
    return "decoder" if has_decoder and scorer != "cosine" else "cosine"


class ExistenceQueries:
    """Prompts as queries; embedded once, for any number of images.

    Args:
        model: A dual encoder with a query decoder, in eval mode.
        texts_K: Prompts of each class; all of them are asked in one pass, so that a decoder whose queries attend to one
            another sees the same company for every image.
    """

    def __init__(self, model: Any, texts_K: Sequence[Sequence[str]], batch_size: int = 256) -> None:
        import torch

        self.model = model
        distinct = sorted({text for texts in texts_K for text in texts}, key=lambda text: (len(text), text))
        row = {text: number for number, text in enumerate(distinct)}
        self.columns = [[row[text] for text in texts] for texts in texts_K]
        device, parts = model.logit_scale.device, []
        with torch.no_grad():
            for begin in range(0, len(distinct), batch_size):
                ids_ML, mask_ML = model.tokenize(distinct[begin : begin + batch_size])
                parts.append(model.text_features(ids_ML.to(device), mask_ML.to(device)))
            self.query_QI = torch.cat(parts)

    def __call__(self, images: Sequence[Image.Image]) -> tuple[Floats, list[Floats]]:
        """Return image embeddings (B, D), and for each class the logits of presence of its prompts (B, P)."""
        import torch

        with torch.no_grad():
            pixels_BCHW = torch.stack([self.model.preprocess(image) for image in images])
            pooled_BI, tokens_BNI = self.model.image_tokens(pixels_BCHW.to(self.query_QI.device))
            exists_BQ2 = to_numpy(self.model.decode(self.query_QI, tokens_BNI).exists_BQ2)
            image_BD = to_numpy(self.model.project_image(pooled_BI))
        logit_BQ = exists_BQ2[..., 1] - exists_BQ2[..., 0]
        return image_BD, [logit_BQ[:, columns] for columns in self.columns]

    def of_split(self, split: Any, rows: Sequence[int], batch_size: int = 64) -> list[Floats]:
        """Return for each class the logits of presence of its prompts (N, P) in rows of a split, in their order."""
        with closing(image_batches(self.model, split, rows, batch_size)) as batches:
            parts = [self(images)[1] for images in batches]
        if not parts:
            return [np.zeros((0, len(columns))) for columns in self.columns]
        return [np.concatenate(of_class) for of_class in zip(*parts, strict=True)]

    def of_mean_image(self, split: Any, rows: Sequence[int], batch_size: int = 64) -> list[Floats]:
        """Return for each class the logits (1, P) where every place holds its mean over rows of a split."""
        import torch

        total, count = torch.zeros(()), 0
        with torch.no_grad(), closing(image_batches(self.model, split, rows, batch_size)) as batches:
            for images in batches:
                pixels_BCHW = torch.stack([self.model.preprocess(image) for image in images])
                tokens_BNI = self.model.image_tokens(pixels_BCHW.to(self.query_QI.device))[1]
                total, count = total + tokens_BNI.sum(0, keepdim=True).cpu(), count + len(images)
            mean_1NI = (total / count).to(self.query_QI.device)
            exists_1Q2 = to_numpy(self.model.decode(self.query_QI, mean_1NI).exists_BQ2)
        logit_1Q = exists_1Q2[..., 1] - exists_1Q2[..., 0]
        return [logit_1Q[:, columns] for columns in self.columns]


def presence(logits: Sequence[Floats], mode: Mode) -> Floats:
    """Return probabilities (B, K) from the logits (B, P) of each class's prompts.

    A softmax over the classes where an image has one (``single``), else each class by itself.
    """
    logit_BK = class_logits(logits)
    return softmax(logit_BK) if mode == "single" else 1 / (1 + np.exp(-logit_BK))


def class_logits(logits: Sequence[Floats]) -> Floats:
    """Return one logit per class (B, K): the mean over its prompts."""
    return np.stack([logit_BP.mean(1) for logit_BP in logits], 1)
