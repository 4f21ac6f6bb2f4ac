"""Losses written row by row as their formulas read: what the vectorised ones are timed against.

Shape letters as in :mod:`medvlp.objectives.make` and :mod:`medvlp.objectives.medklip`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def guidance_weights(text_MD: Tensor, owner_M: Tensor, ontology_M: Tensor, sub_M: Tensor) -> Tensor:
    """Softmax of each sub-caption's product with its image's ontology sentence, over the largest."""
    weight_M = torch.ones(len(text_MD), dtype=text_MD.dtype)
    for image in range(int(owner_M.max()) + 1):
        rows = [row for row in range(len(owner_M)) if owner_M[row].item() == image]
        guides = [row for row in rows if ontology_M[row].item()]
        subs = [row for row in rows if sub_M[row].item()]
        if len(guides) == 1 and subs:
            share_K = torch.stack([text_MD[guides[0]] @ text_MD[row] for row in subs]).softmax(0)
            for row, share in zip(subs, (share_K / share_K.max()).tolist(), strict=True):
                weight_M[row] = share
    return weight_M


def make_loss(
    image_BD: Tensor,
    patch_BND: Tensor,
    text_MD: Tensor,
    owner_M: Tensor,
    ontology_M: Tensor,
    sub_M: Tensor,
    scale: float,
    threshold: float,
    weights: tuple[float, float],
) -> Tensor:
    """MAKE: contrast of images and texts, and of patches and sub-captions."""
    with torch.no_grad():
        weight_M = guidance_weights(text_MD, owner_M, ontology_M, sub_M)
    to_image = []
    for row, text_D in enumerate(text_MD):
        to_image.append(-(scale * (image_BD @ text_D)).log_softmax(0)[owner_M[row].item()])
    to_text = []
    for image, image_D in enumerate(image_BD):
        logit_M = scale * (text_MD @ image_D)
        others = logit_M[owner_M != image]
        rows = [row for row in range(len(text_MD)) if owner_M[row].item() == image]
        losses = [torch.cat([logit_M[row : row + 1], others]).logsumexp(0) - logit_M[row] for row in rows]
        mass = sum(weight_M[row].item() for row in rows)
        to_text.append(sum(weight_M[row].item() * loss for row, loss in zip(rows, losses, strict=True)) / mass)
    aspects = (torch.stack(to_image).mean() + torch.stack(to_text).mean()) / 2
    total, mass = text_MD.new_zeros(()), 0.0
    patches = patch_BND.unbind(0)  # indexing would fill a gradient of all images for each row
    for row, text_D in enumerate(text_MD):
        if not sub_M[row].item():
            continue
        patch_ND = patches[int(owner_M[row])]
        cosine_N = patch_ND @ text_D
        cosine_N = torch.where(cosine_N >= threshold, cosine_N, 0.0)
        if not cosine_N.any().item():
            continue
        region_D = (cosine_N / cosine_N.square().sum().sqrt()) @ patch_ND
        total = total - weight_M[row].item() * (scale * (text_MD @ region_D)).log_softmax(0)[row]
        mass += weight_M[row].item()
    return weights[0] * aspects + weights[1] * total / (mass or 1.0)


def medklip_loss(
    logit_BQ2: Tensor,
    place_BQD: Tensor,
    position_PD: Tensor,
    label_BQ: Tensor,
    position_BQP: Tensor,
    above_PP: Tensor,
    temperature: float,
) -> Tensor:
    """MedKLIP: existence of entities, and the place of those that are present."""
    existence, location = [], []
    related = (above_PP | above_PP.T).tolist()
    places, positions = [place_QD.unbind(0) for place_QD in place_BQD.unbind(0)], position_PD.unbind(0)
    exists = [logit_Q2.unbind(0) for logit_Q2 in logit_BQ2.unbind(0)]
    for image in range(len(label_BQ)):
        for entity in range(label_BQ.shape[1]):
            state = label_BQ[image, entity].item()
            if state != -100:
                target = {0: 0.0, 1: 1.0, 2: 0.5}[int(state)]
                log_2 = exists[image][entity].log_softmax(0)
                existence.append(-(1 - target) * log_2[0] - target * log_2[1])
            states = position_BQP[image, entity].tolist()
            positives = [place for place, one in enumerate(states) if one == 1]
            if not positives:
                continue
            negatives = [
                place
                for place, one in enumerate(states)
                if one not in (1, 2) and not any(related[place][other] for other in positives)
            ]
            logits = [places[image][entity] @ position_D / temperature for position_D in positions]
            losses = [
                torch.stack([logits[one], *(logits[other] for other in negatives)]).logsumexp(0) - logits[one]
                for one in positives
            ]
            location.append(torch.stack(losses).mean())
    return torch.stack(existence).mean() + torch.stack(location).mean()
