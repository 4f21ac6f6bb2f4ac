"""CLIP_benchmark's published protocol, so that its numbers can be had from any subject: same steps, same tie rules.

Of `LAION-AI/CLIP_benchmark` 1.6: ``zeroshot_classification`` (acc1, acc5, mean_per_class_recall) and
``zeroshot_retrieval`` (image_retrieval_recall@k, text_retrieval_recall@k), in float32. What is particular to it:

* a class vector is the unit mean of the unit vectors of its templates, each class embedded by itself, and cosines are
  multiplied by 100 whatever the model's scale is;
* equal scores take the order in which ``torch.topk`` happens to return them. That order is no rule, so ``ties`` gives
  the best and the worst case beside it; without equal scores at the cut, all are the same number;
* every caption is an item of its own, also where two images share its words.

Shape legend: N images of classes, K classes, I images, T captions, Q queries, G gallery items, D embedding size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from medvlp.errors import DataError
from medvlp.metrics import classification, ranking

Ties = Literal["topk", "optimistic", "pessimistic", "realistic"]
SCALE = 100.0
_DEEP = 5
_UNIT = 1e-5


@torch.no_grad()
def class_matrix(model: Any, names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Return class vectors as columns (D, K), float32.

    Args:
        model: Anything with ``encode_text``.
        names: K class names.
        templates: Wordings whose place for the name is ``{c}``.

    Raises:
        DataError: If a template has no ``{c}``.
    """
    wrong = next((template for template in templates if "{c}" not in template), None)
    if wrong is not None or not templates:
        raise DataError("no template says {c}", item=repr(wrong), remedy="write {c} where the class name belongs")
    columns = []
    for name in names:
        texts_PD = _units(model.encode_text([template.format(c=name) for template in templates]))
        mean_D = texts_PD.mean(dim=0)
        columns.append(mean_D / mean_D.norm())
    return torch.stack(columns, dim=1)


def class_logits(image_ND: Any, class_DK: Tensor) -> NDArray[np.float32]:
    """Return 100 times the cosines (N, K), float32; pass images in the batches in which they were embedded."""
    logits: NDArray[np.float32] = (SCALE * _units(image_ND) @ class_DK).numpy()
    return logits


def classification_scores(logit_NK: ArrayLike, target_N: ArrayLike, ties: Ties = "topk") -> dict[str, float]:
    """Return ``acc1``, ``acc5`` (NaN below five classes) and ``mean_per_class_recall``.

    Args:
        logit_NK: Scores.
        target_N: True class numbers.
        ties: How equal scores count in ``acc1`` and ``acc5``; the recall takes the first best class, as argmax does.
    """
    logit_NK, target_N = np.asarray(logit_NK, dtype=np.float32), np.asarray(target_N)
    num_classes = logit_NK.shape[1]
    right_NK = target_N[:, None] == np.arange(num_classes)
    # The package asks for one or five places at once and reads both accuracies off the answer.
    deepest = _DEEP if num_classes >= _DEEP else 1
    found = recalls(logit_NK, right_NK, [1, deepest], ties, deepest)
    return {
        "acc1": found[0],
        "acc5": found[1] if deepest == _DEEP else float("nan"),
        "mean_per_class_recall": float(classification.balanced_accuracy(target_N, logit_NK.argmax(1), num_classes)),
    }


def retrieval_scores(
    image_ID: Any, text_TD: Any, image_of_T: ArrayLike, recall_at: Sequence[int], ties: Ties = "topk"
) -> dict[str, float]:
    """Return ``image_retrieval_recall@k`` (a caption looks for its image) and ``text_retrieval_recall@k``.

    Args:
        image_ID: Image embeddings.
        text_TD: Embeddings of captions.
        image_of_T: Number of the image that each caption belongs to.
        recall_at: The k.
        ties: How equal scores count.
    """
    image_ID, text_TD = _units(image_ID), _units(text_TD)
    score_TI = (text_TD @ image_ID.T).numpy()
    right_TI = np.asarray(image_of_T)[:, None] == np.arange(len(image_ID))
    scores = {}
    for k in recall_at:
        scores[f"image_retrieval_recall@{k}"] = recalls(score_TI, right_TI, [k], ties)[0]
        scores[f"text_retrieval_recall@{k}"] = recalls(score_TI.T, right_TI.T, [k], ties)[0]
    return scores


def recalls(
    score_QG: NDArray[np.float32], right_QG: NDArray[np.bool_], recall_at: Sequence[int], ties: Ties, deepest: int = 0
) -> list[float]:
    """Return the share of queries with a right item among the first k, for each k.

    Args:
        score_QG: Scores, larger is better.
        right_QG: True where the item answers the query; each query needs one.
        recall_at: The k, at most G each.
        ties: ``topk``, or a rule of :mod:`medvlp.metrics.ranking`.
        deepest: Places asked of ``torch.topk`` at once, on which its order of equal scores depends; k by default.

    Raises:
        DataError: If a query has no right item, or k is more than there are items.
    """
    num_items = score_QG.shape[1]
    if max(recall_at) > num_items:
        raise DataError(f"recall at {max(recall_at)} of {num_items} items", item="recall_at", remedy="lower it")
    if not right_QG.any(1).all():
        raise DataError("a query has no right item", item=int((~right_QG.any(1)).argmax()), remedy="leave it out")
    if ties != "topk":
        ranks = ranking.similarity_ranks(score_QG, right_QG)
        rank_Q = getattr(ranks, f"{ties}_Q")
        return [float(ranking.recall_at(rank_Q, k)) for k in recall_at]
    out = []
    for k in recall_at:
        # The values decide the order of ties as well as the memory layout, so neither is touched.
        place_Qk = torch.topk(torch.from_numpy(score_QG), max(k, deepest), dim=1).indices[:, :k].numpy()
        out.append(float(np.take_along_axis(right_QG, place_Qk, axis=1).any(1).mean()))
    return out


def _units(value: Any) -> Tensor:
    """Return rows of length 1 in float32; rows that are so already stay as they are, to their last bit."""
    rows = value.detach().cpu().float() if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value)).float()
    done = bool(((rows.norm(dim=-1) - 1).abs() < _UNIT).all())
    return rows if done else functional.normalize(rows, dim=-1)
