"""What a trained model says about the test images of a set, as numbers from which every score can be computed again.

Each is asked in its own way: a query decoder for presence, cosines otherwise; texts against images by cosine where the
run trained a shared embedding, else as queries of the decoder; maps of the model's own kind. All of it reads the cached
outputs of the frozen image tower. Nothing is fitted but the threshold of the maps, on development images.

Shape legend: N images, K classes, P places, T texts, Q queries, G texts of the gallery, R images that ask, S swapped
captions, I tower width, D embedding size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.harness.protocols.grounding import fit_threshold, values
from benchmarks.harness.protocols.masks import Item
from medvlp.metrics.ranking import similarity_ranks
from medvlp.objectives.devide import DevideHeads, many_description_scores
from medvlp.training.entity_texts import entity_texts
from medvlp.training.features import cached_features, cached_tokens
from medvlp.zeroshot.classifier import mean_vectors, prompt_vectors, to_numpy, unit_vectors
from medvlp.zeroshot.consistency import CHANCE
from medvlp.zeroshot.existence import ExistenceQueries, chosen_scorer, class_logits
from medvlp.zeroshot.explain import on_image

if TYPE_CHECKING:
    from benchmarks.objectives.sets import Prepared
    from benchmarks.objectives.train import Trained
    from medvlp.model import DualEncoder
    from medvlp.training.align import AlignConfig

OWN = "own"
_BATCH = 64
_TIED_RANK, _TIED_LEAD = 1e-6, 1e-9
Floats = NDArray[np.float64]
Way = Literal["cosine", "decoder"]


@dataclass(frozen=True)
class Images:
    """Cached outputs of the image tower for one split."""

    pooled_NI: Tensor
    tokens_NPI: Tensor


def images_of(model: DualEncoder, prepared: Prepared, split: str, cache: Path) -> Images:
    """Return what the frozen image tower makes of a split, pooled and by place."""
    part, digest, device = prepared.store.split(split), prepared.store.digest, torch.device("cpu")
    found = [make(model, part, digest, cache, device) for make in (cached_features, cached_tokens)]
    pooled_NI, tokens_NPI = (torch.from_numpy(np.array(array)) for array in found)
    return Images(pooled_NI, tokens_NPI)


def answer(trained: Trained, settings: AlignConfig, prepared: Prepared) -> dict[str, Any]:
    """Ask everything the set asks.

    Args:
        trained: A trained model in eval mode.
        settings: What it was trained with.
        prepared: The set.

    Returns:
        JSON values: ``scores`` (N, K) by wording, ``ranks``, ``swaps`` and ``grounding``, and ``by``, how it was asked.
    """
    model = trained.model
    shown = images_of(model, prepared, "test", Path(settings.cache))
    scorer = chosen_scorer("auto", model)
    matcher: Way = "decoder" if scorer == "decoder" and "heads" in settings.freeze.always else "cosine"
    with torch.no_grad():
        asked = dict(prepared.prompts)
        if scorer == "decoder":
            asked[OWN] = own_texts(settings, prepared)
        out: dict[str, Any] = {
            "scores": {key: _listed(class_scores(model, texts, shown, scorer)) for key, texts in asked.items()},
            "by": {"scores": scorer, "texts": matcher, "maps": "attention" if scorer == "decoder" else "cosine"},
        }
        if isinstance(trained.heads, DevideHeads):
            out["scores"][OWN] = _listed(described_scores(model, trained.heads, prepared, shown))
        if prepared.gallery is not None:
            out["ranks"] = ranks(model, prepared, shown, matcher)
        if prepared.swaps:
            out["swaps"] = swaps(model, prepared, shown, matcher)
        if prepared.marked:
            names = [own[0] for own in prepared.names["seen"]]
            out["grounding"] = grounding(model, settings, prepared, shown, names)
            if OWN in asked:
                texts = [own[0] for own in asked[OWN]]
                out["grounding_own"] = grounding(model, settings, prepared, shown, texts)
    return out


def own_texts(settings: AlignConfig, prepared: Prepared) -> list[list[str]]:
    """Return the text of each class that this run trained with as its query: described, exchanged, or bare."""
    parts = settings.objective if isinstance(settings.objective, list) else [settings.objective]
    aspects = next((part.aspects for part in parts if hasattr(part, "aspects")), None)
    found = entity_texts(prepared.entities, settings.knowledge, settings.seed, count=1, aspects=aspects)
    text_of = dict(zip((entity.name for entity in prepared.entities.entities), found.by_entity, strict=True))
    return [list(text_of[label]) for label in prepared.labels]


def class_scores(model: DualEncoder, texts_K: Sequence[Sequence[str]], shown: Images, scorer: str) -> Floats:
    """Return the score of each class in each image (N, K), larger where it is rather there."""
    if scorer == "cosine":
        class_KD = mean_vectors(prompt_vectors(model, texts_K))
        return to_numpy(model.project_image(shown.pooled_NI)) @ class_KD.T
    queries = ExistenceQueries(model, texts_K)
    logit_NQ = existence(model, queries.query_QI, shown.tokens_NPI)
    return class_logits([logit_NQ[:, columns] for columns in queries.columns])


def described_scores(model: DualEncoder, heads: DevideHeads, prepared: Prepared, shown: Images) -> Floats:
    """Return DeViDe's own answer (N, K): images against the run's descriptions, as they were trained."""
    feature_EI, entity_E = heads.descriptions.feature_NI, heads.entity_E
    assert feature_EI is not None, "descriptions are encoded once where the text tower is frozen"
    description_ED = heads.embed(feature_EI, model.project_text)
    names = [entity.name for entity in prepared.entities.entities]
    image_ND = model.project_image(shown.pooled_NI)
    score_NQ = many_description_scores(image_ND, description_ED, entity_E, len(names))
    return to_numpy(score_NQ[:, [names.index(label) for label in prepared.labels]])


def existence(model: DualEncoder, query_QI: Tensor, tokens_NPI: Tensor) -> Floats:
    """Return the decoder's logit of presence (N, Q); queries may also be each image's own, (N, Q, I)."""
    parts = []
    for start in range(0, len(tokens_NPI), _BATCH):
        chosen = slice(start, start + _BATCH)
        query = query_QI[chosen] if query_QI.ndim == 3 else query_QI
        exists_BQ2 = to_numpy(model.decode(query, tokens_NPI[chosen]).exists_BQ2)
        parts.append(exists_BQ2[..., 1] - exists_BQ2[..., 0])
    return np.concatenate(parts)


def ranks(model: DualEncoder, prepared: Prepared, shown: Images, matcher: Way) -> dict[str, list[float]]:
    """Return the realistic rank of each image's text, and of the image of each text."""
    gallery = prepared.gallery
    assert gallery is not None, "asked for by the caller"
    rows_R = torch.from_numpy(gallery.rows_R)
    if matcher == "cosine":
        image_RD = to_numpy(model.project_image(shown.pooled_NI[rows_R]))
        close_RG = image_RD @ _text_vectors(model, gallery.texts).T
    else:
        close_RG = existence(model, _text_features(model, gallery.texts), shown.tokens_NPI[rows_R])
    own_RG = gallery.own_RG
    forth = similarity_ranks(close_RG, own_RG, _TIED_RANK).realistic_Q
    back = similarity_ranks(close_RG.T, own_RG.T, _TIED_RANK).realistic_Q
    return {"image_to_text": _listed(forth), "text_to_image": _listed(back)}


def swaps(model: DualEncoder, prepared: Prepared, shown: Images, matcher: Way) -> dict[str, list[float]]:
    """Return for each swapped caption whether it lies below the true one, by this image and by the mean image."""
    row_S = torch.tensor([one.row for one in prepared.swaps])
    texts = list(dict.fromkeys(text for one in prepared.swaps for text in (one.true, one.swapped)))
    place = {text: number for number, text in enumerate(texts)}
    true_S, swapped_S = (
        torch.tensor([place[text] for text in of])
        for of in ([one.true for one in prepared.swaps], [one.swapped for one in prepared.swaps])
    )
    asked = torch.from_numpy(prepared.asked_rows)
    if matcher == "cosine":
        text_TD = _text_vectors(model, texts)
        image_ND = to_numpy(model.project_image(shown.pooled_NI))
        apart_SD = text_TD[true_S] - text_TD[swapped_S]
        lead_S = (image_ND[row_S] * apart_SD).sum(1)
        blind_S = apart_SD @ image_ND[asked].mean(0)
    else:
        query_TI = _text_features(model, texts)
        pair_S2I = torch.stack([query_TI[true_S], query_TI[swapped_S]], 1)
        mean_1PI = shown.tokens_NPI[asked].mean(0, keepdim=True)
        logit_S2 = _own_queries(model, pair_S2I, shown.tokens_NPI, row_S)
        blind_S2 = _own_queries(model, pair_S2I, mean_1PI, torch.zeros_like(row_S))
        lead_S, blind_S = logit_S2[:, 0] - logit_S2[:, 1], blind_S2[:, 0] - blind_S2[:, 1]
    return {"below": _listed(_above(lead_S)), "blind": _listed(_above(blind_S))}


def _own_queries(model: DualEncoder, query_SQI: Tensor, tokens_NPI: Tensor, row_S: Tensor) -> Floats:
    parts = [
        existence(model, query_SQI[start : start + _BATCH], tokens_NPI[row_S[start : start + _BATCH]])
        for start in range(0, len(row_S), _BATCH)
    ]
    return np.concatenate(parts)


def _above(lead_S: Floats) -> Floats:
    """1 where the true caption is nearer, one half where both are as near."""
    return np.where(np.abs(lead_S) < _TIED_LEAD, CHANCE, (lead_S > 0).astype(np.float64))


def grounding(
    model: DualEncoder, settings: AlignConfig, prepared: Prepared, shown: Images, texts_K: Sequence[str]
) -> dict[str, Any]:
    """Return pointing, signed contrast, Dice and IoU of each marked class, cut at a threshold of development maps."""
    development = images_of(model, prepared, "dev", Path(settings.cache))
    maps = {
        part: place_maps(model, prepared, prepared.marked[part], images, texts_K)
        for part, images in (("dev", development), ("test", shown))
    }
    threshold, _ = fit_threshold(maps["dev"], [item.mask for item in prepared.marked["dev"]], "dev")
    scored = prepared.marked["test"]
    found = values(maps["test"], [item.mask for item in scored], threshold)
    return {"threshold": threshold, **{name: _listed(value_N) for name, value_N in found.items()}}


def place_maps(
    model: DualEncoder, prepared: Prepared, items: Sequence[Item], images: Images, texts_K: Sequence[str]
) -> list[Floats]:
    """Return one map per marked class on the pixels of its image, as ``medvlp.zeroshot.explain`` makes them.

    All classes are asked together, each by one text: a decoder whose queries attend to one another always sees the
    same company.
    """
    query_KI = _text_features(model, texts_K)
    column = {label: number for number, label in enumerate(prepared.labels)}
    out = []
    for item in items:
        tokens_1PI = images.tokens_NPI[item.row][None]
        if model.decoder is not None:
            map_KP = model.decode(query_KI, tokens_1PI).attention_BQN[0]
        else:
            map_KP = model.project_text(query_KI) @ model.project_image(tokens_1PI)[0].T
        size = (item.mask.shape[1], item.mask.shape[0])
        laid_HW = on_image(map_KP[column[item.label]][None], model.preprocess, size)[0]
        out.append(np.nan_to_num(to_numpy(laid_HW), nan=float(map_KP.min())))
    return out


def _text_features(model: DualEncoder, texts: Sequence[str]) -> Tensor:
    parts = [
        model.text_features(*model.tokenize(list(texts[start : start + _BATCH])))
        for start in range(0, len(texts), _BATCH)
    ]
    return torch.cat(parts)


def _text_vectors(model: DualEncoder, texts: Sequence[str]) -> Floats:
    return unit_vectors(to_numpy(model.project_text(_text_features(model, texts))), "texts")


def _listed(value: Floats) -> Any:
    """Return JSON values, null where a number is not defined."""
    if value.ndim > 1:
        return [_listed(row) for row in value]
    return [None if math.isnan(number) else float(number) for number in value]
