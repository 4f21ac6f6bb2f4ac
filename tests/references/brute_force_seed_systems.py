"""The losses of the seed systems as loops: MedKLIP, KAD, MAKE, Structure-CLIP, GLoRIA/MGCA, DeViDe, ARL, ERNIE-ViL.

Written from the formulas alone: one loop per index, float64 scalars that carry gradients, nothing taken from the
product. Names and arguments are the product's. B images, M texts, K swapped captions, Q entities, P positions, N
places, L tokens, E descriptions. States of an entity: 1 present, 0 absent, 2 uncertain, -100 not mentioned.

Choices where a formula leaves a case open:
- Vectors called "unit" arrive so; only where the formula says cosine or divides by a length is one taken here.
- `location_loss`: `above_PP` is used as given, without closing it over grandparents.
- `guidance_weights`: a row is an ontology text, or a sub-caption, or neither; the softmax of cosines has no scale.
- `multi_aspect_loss`, `local_loss`: weights that sum to 0 leave nothing to average; weights and targets are constants.
- `local_loss`: the vector of the places is not made unit again; the denominator holds every valid text, of any image.
- `hinge_contrast`: a text without a negative has a hinge of 0 and counts in the mean.
- `swap_hinge`: counts every swap, whichever text it was made from.
- `word_region_scores`: a text without a real word scores 0 everywhere.
- `text_knowledge_loss`: an image whose present entities have no description counts as one without a present entity.
- `align_loss`: what is not mentioned is a target of 0 and counts; only uncertain entities do not.
- `matching_loss`: column 1 means match. `node_losses`: kinds 0, 1, 2; a target of any other kind counts nowhere.
"""

import torch

PRESENT, ABSENT, UNCERTAIN, UNMENTIONED = 1, 0, 2, -100


def zero(*inputs):
    """A zero that depends on its inputs."""
    total = torch.zeros((), dtype=torch.float64)
    for value in inputs:
        total = total + value.sum() * 0
    return total


def mean(terms, *inputs):
    return sum(terms) / len(terms) if terms else zero(*inputs)


def dot(left, right):
    total = zero()
    for a, b in zip(left, right, strict=True):
        total = total + a * b
    return total


def length(vector):
    return dot(vector, vector).sqrt()


def log_sum(terms):
    """Logarithm of the sum of exponentials, the greatest taken out first."""
    greatest = max(float(term.detach()) for term in terms)
    total = zero()
    for term in terms:
        total = total + (term - greatest).exp()
    return greatest + total.log()


def everyone(flags, count):
    return [True] * count if flags is None else [bool(flag) for flag in flags]


def target_of(state, uncertain, column):
    if state == UNCERTAIN:
        return float(uncertain[column]) if isinstance(uncertain, torch.Tensor) and uncertain.ndim else float(uncertain)
    return float(state)


# MedKLIP


def existence_loss(logit_BQ2, label_BQ, *, uncertain=0.5):
    terms = []
    for b in range(len(label_BQ)):
        for q in range(len(label_BQ[b])):
            if label_BQ[b, q] == UNMENTIONED:
                continue
            t = target_of(int(label_BQ[b, q]), uncertain, q)
            no, yes = logit_BQ2[b, q, 0], logit_BQ2[b, q, 1]
            whole = log_sum([no, yes])
            terms.append(-(1 - t) * (no - whole) - t * (yes - whole))
    return mean(terms, logit_BQ2)


def location_loss(place_BQD, position_PD, position_BQP, above_PP, *, temperature=0.07):
    num_positions, terms = len(position_PD), []
    for b in range(len(place_BQD)):
        for q in range(len(place_BQD[b])):
            z = [dot(place_BQD[b, q], position_PD[p]) / temperature for p in range(num_positions)]
            positives = [p for p in range(num_positions) if position_BQP[b, q, p] == PRESENT]
            negatives = []
            for p in range(num_positions):
                related = any(above_PP[p, a] or above_PP[a, p] for a in positives)
                if p not in positives and position_BQP[b, q, p] != UNCERTAIN and not related:
                    negatives.append(p)
            if positives:
                terms.append(mean([log_sum([z[p]] + [z[n] for n in negatives]) - z[p] for p in positives]))
    return mean(terms, place_BQD, position_PD)


def published_location_loss(place_RD, position_PD, positive_R, negative_RJ):
    terms = []
    for r in range(len(place_RD)):
        own = dot(place_RD[r], position_PD[positive_R[r]])
        others = [dot(place_RD[r], position_PD[n]) for n in negative_RJ[r]]
        terms.append(log_sum([own, *others]) - own)
    return mean(terms, place_RD, position_PD)


# KAD


def pair_loss(a_ND, b_ND, code_N, scale):
    terms = []
    for left, right in ((a_ND, b_ND), (b_ND, a_ND)):
        for i in range(len(left)):
            logits = [scale * dot(left[i], right[j]) for j in range(len(right))]
            same = [j for j in range(len(right)) if code_N[i] == code_N[j]]
            terms.append(sum((log_sum(logits) - logits[j]) / len(same) for j in same))
    return mean(terms, a_ND, b_ND)


# MAKE


def guidance_weights(text_MD, owner_M, ontology_M, sub_M, valid_M):
    text_MD, num_texts = text_MD.detach(), len(text_MD)
    weights = [1.0 if valid_M[m] else 0.0 for m in range(num_texts)]
    for image in {int(owner) for owner in owner_M}:
        own = [m for m in range(num_texts) if owner_M[m] == image and valid_M[m]]
        guides = [m for m in own if ontology_M[m]]
        subs = [m for m in own if sub_M[m]]
        if len(guides) != 1 or not subs:
            continue
        closeness = [float(dot(text_MD[guides[0]], text_MD[k])) for k in subs]
        whole = sum(float(torch.tensor(c, dtype=torch.float64).exp()) for c in closeness)
        shares = [float(torch.tensor(c, dtype=torch.float64).exp()) / whole for c in closeness]
        for k, share in zip(subs, shares, strict=True):
            weights[k] = share / max(shares)
    return torch.tensor(weights, dtype=torch.float64)


def multi_aspect_loss(image_BD, text_MD, scale, owner_M, valid_M, weight_M):
    num_images, valid = len(image_BD), [m for m in range(len(text_MD)) if valid_M[m]]
    z = [[scale * dot(image_BD[i], text_MD[m]) for m in range(len(text_MD))] for i in range(num_images)]
    to_image = []
    for m in valid:
        to_image.append(log_sum([z[i][m] for i in range(num_images)]) - z[owner_M[m]][m])
    to_text = []
    for i in range(num_images):
        own = [m for m in valid if owner_M[m] == i]
        others = [m for m in valid if owner_M[m] != i]
        weight = sum(float(weight_M[m]) for m in own)
        if own and weight > 0:
            losses = [(float(weight_M[m]), log_sum([z[i][m]] + [z[i][o] for o in others]) - z[i][m]) for m in own]
            to_text.append(sum(w * loss for w, loss in losses) / weight)
    return (mean(to_image, image_BD, text_MD) + mean(to_text, image_BD, text_MD)) / 2


def local_loss(patch_BND, text_MD, scale, owner_M, valid_M, sub_M, weight_M, *, threshold=0.3):
    top, bottom = zero(patch_BND, text_MD), 0.0
    valid = [m for m in range(len(text_MD)) if valid_M[m]]
    for m in valid:
        if not sub_M[m]:
            continue
        patches, kept = patch_BND[owner_M[m]], []
        for p in range(len(patches)):
            c = dot(patches[p], text_MD[m])
            if c >= threshold and c != 0:
                kept.append((p, c))
        if not kept:
            continue
        size = length([c for _, c in kept])
        region = [sum(c / size * patches[p][d] for p, c in kept) for d in range(len(text_MD[m]))]
        logits = {o: scale * dot(region, text_MD[o]) for o in valid}
        top = top + float(weight_M[m]) * (log_sum(list(logits.values())) - logits[m])
        bottom += float(weight_M[m])
    return top / bottom if bottom else top


# Structure-CLIP


def cosine(left, right):
    return dot(left, right) / (length(left) * length(right))


def positive_part(value):
    return value if value > 0 else value * 0


def hinge_contrast(image_BD, text_MD, owner_M, *, margin=0.2, hardest=True, valid_M=None):
    counts = everyone(valid_M, len(text_MD))
    valid, image_side, text_side = [m for m in range(len(text_MD)) if counts[m]], [], []
    for m in valid:
        i = int(owner_M[m])
        own = cosine(image_BD[i], text_MD[m])
        over_images = [cosine(image_BD[j], text_MD[m]) for j in range(len(image_BD)) if j != i]
        over_texts = [cosine(image_BD[i], text_MD[o]) for o in valid if owner_M[o] != i]
        for side, others in ((text_side, over_images), (image_side, over_texts)):
            hinges = [positive_part(margin + other - own) for other in others]
            if hardest and hinges:
                hinges = [max(hinges, key=lambda hinge: float(hinge.detach()))]
            side.append(mean(hinges, image_BD, text_MD))
    return mean(text_side, image_BD, text_MD) + mean(image_side, image_BD, text_MD)


def swap_hinge(image_BD, text_MD, swap_KD, swap_of_K, owner_M, *, margin=0.1):
    terms = []
    for k in range(len(swap_KD)):
        image, text = image_BD[owner_M[swap_of_K[k]]], text_MD[swap_of_K[k]]
        terms.append(positive_part(margin - cosine(image, text) + cosine(image, swap_KD[k])))
    return mean(terms, image_BD, text_MD, swap_KD)


# GLoRIA / MGCA


def word_region_scores(patch_BND, word_MLD, word_mask_ML, *, temperatures=(4.0, 5.0)):
    first, second = temperatures
    rows = []
    for b in range(len(patch_BND)):
        for m in range(len(word_MLD)):
            words = [word_MLD[m, w] for w in range(len(word_MLD[m])) if word_mask_ML[m, w]]
            matches = []
            for word in words:
                logits = [first * dot(word, patch) for patch in patch_BND[b]]
                shares = [(logit - log_sum(logits)).exp() for logit in logits]
                context = [
                    sum(share * patch[d] for share, patch in zip(shares, patch_BND[b], strict=True))
                    for d in range(len(word))
                ]
                matches.append(second * cosine(context, word))
            if words:
                count = torch.tensor(float(len(words)), dtype=torch.float64)
                rows.append((log_sum(matches) - count.log()) / second)
            else:
                rows.append(zero(patch_BND, word_MLD))
    return torch.stack(rows).reshape(len(patch_BND), len(word_MLD)) if rows else zero(patch_BND, word_MLD)


def local_contrast(score_BM, owner_M, valid_M, *, temperature3=10.0):
    num_images, valid = len(score_BM), [m for m in range(len(owner_M)) if valid_M[m]]
    to_image, to_text = [], []
    for m in valid:
        logits = [temperature3 * score_BM[i, m] for i in range(num_images)]
        to_image.append(log_sum(logits) - logits[int(owner_M[m])])
    for i in range(num_images):
        own = [m for m in valid if owner_M[m] == i]
        if own:
            whole = log_sum([temperature3 * score_BM[i, m] for m in valid])
            to_text.append(mean([whole - temperature3 * score_BM[i, m] for m in own]))
    return (mean(to_image, score_BM) + mean(to_text, score_BM)) / 2


# DeViDe


def many_description_scores(image_BD, description_ED, entity_E, num_entities, *, temperature=0.07):
    rows = []
    for b in range(len(image_BD)):
        for q in range(num_entities):
            own = [e for e in range(len(description_ED)) if entity_E[e] == q]
            count = torch.tensor(float(len(own)), dtype=torch.float64)
            rows.append(log_sum([dot(image_BD[b], description_ED[e]) / temperature for e in own]) - count.log())
    return torch.stack(rows).reshape(len(image_BD), num_entities)


def binary_cross_entropy(logit, target):
    """-t log sigmoid(x) - (1 - t) log(1 - sigmoid(x))."""
    return target * log_sum([zero(), -logit]) + (1 - target) * log_sum([zero(), logit])


def entity_bce(score_BQ, label_BQ, bias, *, uncertain=0.5):
    terms = []
    for b in range(len(label_BQ)):
        for q in range(len(label_BQ[b])):
            if label_BQ[b, q] != UNMENTIONED:
                logit = score_BQ[b, q] + (bias[q] if bias.ndim and len(bias) > 1 else bias.sum())
                terms.append(binary_cross_entropy(logit, target_of(int(label_BQ[b, q]), uncertain, q)))
    return mean(terms, score_BQ, bias)


def text_knowledge_loss(text_MD, description_ED, entity_E, label_BQ, owner_M, valid_M, scale):
    terms = []
    for m in range(len(text_MD)):
        state = [int(label_BQ[owner_M[m], entity_E[e]]) for e in range(len(description_ED))]
        z = [scale * dot(text_MD[m], description_ED[e]) for e in range(len(description_ED))]
        positives = [e for e in range(len(z)) if state[e] == PRESENT]
        absent = [z[e] for e in range(len(z)) if state[e] == ABSENT]
        if valid_M[m] and positives:
            terms.append(mean([log_sum([z[e], *absent]) - z[e] for e in positives]))
    return mean(terms, text_MD, description_ED)


# ARL


def align_loss(image_BG, text_BG, entity_QG, label_BQ):
    sides = []
    for vectors in (image_BG, text_BG):
        terms = []
        for b in range(len(label_BQ)):
            for q in range(len(label_BQ[b])):
                if label_BQ[b, q] != UNCERTAIN:
                    target = 1.0 if label_BQ[b, q] == PRESENT else 0.0
                    terms.append(binary_cross_entropy(dot(vectors[b], entity_QG[q]), target))
        sides.append(mean(terms, image_BG, text_BG, entity_QG))
    return mean(sides)


def _cross_entropy(logits, target):
    return log_sum(list(logits)) - logits[int(target)]


def masked_token_loss(logit_MLV, target_ML):
    terms = []
    for m in range(len(target_ML)):
        for w in range(len(target_ML[m])):
            if target_ML[m, w] != -100:
                terms.append(_cross_entropy(logit_MLV[m, w], target_ML[m, w]))
    return mean(terms, logit_MLV)


def masked_patch_loss(pred_BNC, pixel_BNC, masked_BN, *, normalise=True):
    terms = []
    for b in range(len(masked_BN)):
        for n in range(len(masked_BN[b])):
            if not masked_BN[b, n]:
                continue
            pixels = [float(pixel) for pixel in pixel_BNC[b, n]]
            if normalise:
                centre = sum(pixels) / len(pixels)
                spread = sum((pixel - centre) ** 2 for pixel in pixels) / len(pixels)
                pixels = [(pixel - centre) / (spread + 1e-6) ** 0.5 for pixel in pixels]
            terms.append(mean([(guess - pixel) ** 2 for guess, pixel in zip(pred_BNC[b, n], pixels, strict=True)]))
    return mean(terms, pred_BNC)


def matching_loss(logit_R2, match_R):
    return mean([_cross_entropy(logit_R2[r], match_R[r]) for r in range(len(match_R))], logit_R2)


# ERNIE-ViL


def node_losses(logit_MLV, target_ML, kind_ML):
    kinds = []
    for kind in range(3):
        terms = []
        for m in range(len(target_ML)):
            for w in range(len(target_ML[m])):
                if kind_ML[m, w] == kind and target_ML[m, w] != -100:
                    terms.append(_cross_entropy(logit_MLV[m, w], target_ML[m, w]))
        kinds.append(mean(terms, logit_MLV))
    return torch.stack(kinds)
