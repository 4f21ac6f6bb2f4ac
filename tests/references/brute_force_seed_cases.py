"""Random cases for the losses of the seed systems: missing, invalid, unowned, uncertain, tied, single and saturated."""

import importlib
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import brute_force_seed_systems as ref
import numpy as np
import pytest
import torch
from brute_force_seed_checks import Arguments, Case, compare, outcome
from torch import Tensor

PACKAGE = "medvlp.objectives"
NUM_CASES = 36
SCALES = (1.0, 14.3, 60.0)
SHARES = (0.7, 1.0, 0.8, 0.5, 1.0, 0.9, 0.0)  # of valid texts, real words, masked places
PALETTES = ((1, 0, 2, -100), (1, 0), (1, 2), (0, 2, -100), (1, -100), (2, -100), (-100,), (1,), (0,))


def _n(rng: np.random.Generator, low: int = 1, high: int = 5) -> int:
    return int(rng.integers(low, high + 1))


def _normal(rng: np.random.Generator, *shape: int, size: float = 1.0) -> Tensor:
    """Noise in which now and then the first two rows are equal."""
    values = rng.normal(size=shape) * size
    if shape and shape[0] > 1 and rng.random() < 0.15:
        values[1] = values[0]
    return torch.tensor(values)


def _flags(rng: np.random.Generator, index: int, *shape: int) -> Tensor:
    return torch.tensor(rng.random(shape) < SHARES[index % len(SHARES)])


def _states(rng: np.random.Generator, index: int, *shape: int) -> Tensor:
    return torch.tensor(rng.choice(PALETTES[index % len(PALETTES)], size=shape))


def _mostly_known(rng: np.random.Generator, index: int, *shape: int) -> Tensor:
    """States with something present in four cases of five."""
    return _states(rng, index // 5 if index % 5 == 4 else index % 2, *shape)


def _integers(rng: np.random.Generator, high: int, *shape: int) -> Tensor:
    return torch.tensor(rng.integers(0, high, size=shape))


def _soft(rng: np.random.Generator, index: int, count: int) -> Arguments:
    choices: tuple[Arguments, ...] = (
        {},
        {"uncertain": 0.3},
        {"uncertain": torch.tensor(rng.uniform(0.1, 0.9, size=count))},
    )
    return choices[index % 3]


def _texts(rng: np.random.Generator, index: int) -> tuple[int, int, int, Tensor, Tensor]:
    """Images, texts, width, owners and validity: images without a text, single images, one image with all texts."""
    images = 1 if index % 9 == 8 else _n(rng, 2)
    texts = _n(rng) if index % 5 == 0 else _n(rng, 3)
    owner = torch.zeros(texts, dtype=torch.int64) if index % 9 == 7 else _integers(rng, images, texts)
    return images, texts, _n(rng, 2), owner, _flags(rng, index, texts)


def _scale(index: int) -> Tensor:
    return torch.tensor(SCALES[index % 3], dtype=torch.float64)


def existence(rng: np.random.Generator, index: int) -> Arguments:
    b, q = _n(rng), _n(rng)
    logits = _normal(rng, b, q, 2, size=(1.0, 6.0, 40.0)[index % 3])
    return {"logit_BQ2": logits, "label_BQ": _states(rng, index, b, q), **_soft(rng, index // 3, q)}


def location(rng: np.random.Generator, index: int) -> Arguments:
    b, q, p, d = _n(rng, 1, 3), _n(rng, 1, 4), _n(rng, 1 + (index > 3), 5), _n(rng, 2)
    above = np.zeros((p, p), dtype=bool)  # a forest: grandparents too
    for child in range(1, p):
        parent = int(rng.integers(0, child + (index % 4 > 0) * p))
        if parent < child:
            above[child] = above[parent]
            above[child, parent] = True
    order = rng.permutation(p)
    return {
        "place_BQD": _normal(rng, b, q, d),
        "position_PD": _normal(rng, p, d),
        "position_BQP": _mostly_known(rng, index, b, q, p),
        "above_PP": torch.tensor(above[order][:, order]),
        **({"temperature": 0.5} if index % 3 else {}),
    }


def published_location(rng: np.random.Generator, index: int) -> Arguments:
    r, p, d, j = _n(rng), _n(rng), _n(rng, 2), _n(rng)
    return {
        "place_RD": _normal(rng, r, d, size=1.0 + 8.0 * (index % 2)),
        "position_PD": _normal(rng, p, d),
        "positive_R": _integers(rng, p, r),
        "negative_RJ": _integers(rng, p, r, j),
    }


def pairs(rng: np.random.Generator, index: int) -> Arguments:
    n, d = _n(rng), _n(rng, 2)
    codes = _integers(rng, (1, 2, 9)[index // 3 % 3], n)
    return {"a_ND": _normal(rng, n, d), "b_ND": _normal(rng, n, d), "code_N": codes, "scale": _scale(index)}


def guidance(rng: np.random.Generator, index: int) -> Arguments:
    texts, d = _n(rng, 4, 8), _n(rng, 2)
    kind = torch.tensor(rng.choice(3, size=texts, p=(0.1, 0.3, 0.6)))  # plain, ontology, sub-caption
    owner, valid = _integers(rng, 1 + index % 3, texts), _flags(rng, index, texts)
    if index % 4 == 2:  # an invalid ontology text, alone or beside a valid one
        kind[:2], kind[2:], owner[:] = 1, 2, 0
        valid[0], valid[1] = index % 8 == 2, False
    return {
        "text_MD": _normal(rng, texts, d),
        "owner_M": owner,
        "ontology_M": kind == 1,
        "sub_M": kind == 2,
        "valid_M": valid,
    }


def _weights(rng: np.random.Generator, valid: Tensor) -> Tensor:
    return torch.tensor(rng.uniform(0.1, 1.0, size=len(valid))) * valid


def multi_aspect(rng: np.random.Generator, index: int) -> Arguments:
    b, m, d, owner, valid = _texts(rng, index)
    image, text = _normal(rng, b, d), _normal(rng, m, d)
    weight = _weights(rng, valid)
    return {
        "image_BD": image,
        "text_MD": text,
        "scale": _scale(index),
        "owner_M": owner,
        "valid_M": valid,
        "weight_M": weight,
    }


def local(rng: np.random.Generator, index: int) -> Arguments:
    b, m, d, owner, valid = _texts(rng, index)
    patch, text = _normal(rng, b, _n(rng), d), _normal(rng, m, d)
    options: tuple[Arguments, ...] = ({}, {"threshold": 0.0}, {"threshold": 0.6})
    if index % 8 == 7:  # nothing comes near
        options = ({"threshold": 0.999},)
    if index % 6 == 5:  # cosines of exactly the threshold
        patch, text = (torch.eye(d, dtype=torch.float64)[_integers(rng, d, *v.shape[:-1])] for v in (patch, text))
        options = ({"threshold": 1.0},)
    return {
        "patch_BND": patch,
        "text_MD": text,
        "scale": _scale(index),
        "owner_M": owner,
        "valid_M": valid,
        "sub_M": torch.tensor(rng.random(m) < 0.8),
        "weight_M": _weights(rng, valid),
        **options[index % len(options)],
    }


def hinge(rng: np.random.Generator, index: int) -> Arguments:
    b, m, d, owner, valid = _texts(rng, index)
    options: tuple[Arguments, ...] = ({}, {"hardest": False}, {"margin": 0.8}, {"margin": 0.8, "hardest": False})
    some: Arguments = {} if index % 5 == 4 else {"valid_M": valid}
    image, text = _normal(rng, b, d), _normal(rng, m, d)
    return {"image_BD": image, "text_MD": text, "owner_M": owner, **some, **options[index // 4 % 4]}


def swaps(rng: np.random.Generator, index: int) -> Arguments:
    b, m, d, owner, _ = _texts(rng, index)
    k = _n(rng)
    return {
        "image_BD": _normal(rng, b, d),
        "text_MD": _normal(rng, m, d),
        "swap_KD": _normal(rng, k, d),
        "swap_of_K": _integers(rng, m, k),
        "owner_M": owner,
        **({"margin": 0.7} if index % 2 else {}),
    }


def word_region(rng: np.random.Generator, index: int) -> Arguments:
    b, m, words, d = _n(rng, 1, 3), _n(rng, 1, 4), _n(rng), _n(rng, 2)
    return {
        "patch_BND": _normal(rng, b, _n(rng), d),
        "word_MLD": _normal(rng, m, words, d),
        "word_mask_ML": _flags(rng, index, m, words),
        **({"temperatures": (1.5, 9.0)} if index % 3 else {}),
    }


def local_scores(rng: np.random.Generator, index: int) -> Arguments:
    b, m, _, owner, valid = _texts(rng, index)
    score = torch.tensor(rng.uniform(-1, 1, size=(b, m)))
    option: Arguments = {"temperature3": 1.7} if index % 2 else {}
    return {"score_BM": score, "owner_M": owner, "valid_M": valid, **option}


def many_descriptions(rng: np.random.Generator, index: int) -> Arguments:
    q, d = _n(rng), _n(rng, 2)
    entity = torch.tensor(rng.permutation([*range(q), *rng.integers(0, q, size=_n(rng, 0))]))
    image, description = _normal(rng, _n(rng), d), _normal(rng, len(entity), d)
    option: Arguments = {"temperature": 0.9} if index % 2 else {}
    return {"image_BD": image, "description_ED": description, "entity_E": entity, "num_entities": q, **option}


def bce(rng: np.random.Generator, index: int) -> Arguments:
    b, q = _n(rng), _n(rng)
    bias = torch.tensor(0.4, dtype=torch.float64) if index % 2 else torch.tensor(rng.normal(size=q))
    score = _normal(rng, b, q, size=(1.0, 6.0, 40.0)[index % 3])
    return {"score_BQ": score, "label_BQ": _states(rng, index, b, q), "bias": bias, **_soft(rng, index // 3, q)}


def text_knowledge(rng: np.random.Generator, index: int) -> Arguments:
    b, m, d, owner, valid = _texts(rng, index)
    q, descriptions = _n(rng, 2, 4), _n(rng, 3)
    return {
        "text_MD": _normal(rng, m, d),
        "description_ED": _normal(rng, descriptions, d),
        "entity_E": _integers(rng, q, descriptions),  # some have none
        "label_BQ": _mostly_known(rng, index, b, q),
        "owner_M": owner,
        "valid_M": valid,
        "scale": _scale(index),
    }


def align(rng: np.random.Generator, index: int) -> Arguments:
    b, q, g = _n(rng), _n(rng), _n(rng)
    image, text = (_normal(rng, b, g, size=1.0 + 5.0 * (index % 2)) for _ in range(2))
    entity = _normal(rng, q, g)
    return {"image_BG": image, "text_BG": text, "entity_QG": entity, "label_BQ": _states(rng, index, b, q)}


def masked_tokens(rng: np.random.Generator, index: int) -> Arguments:
    m, words, v = _n(rng), _n(rng), _n(rng, 2)
    target = torch.where(_flags(rng, index, m, words), _integers(rng, v, m, words), -100)
    return {"logit_MLV": _normal(rng, m, words, v, size=(1.0, 6.0, 40.0)[index % 3]), "target_ML": target}


def masked_patches(rng: np.random.Generator, index: int) -> Arguments:
    b, n, c = _n(rng), _n(rng), _n(rng)
    pixel = torch.tensor(rng.normal(size=(b, n, c)) * 3 + 1)
    if index % 4 == 1:
        pixel[0] = 2.0  # a patch of one colour
    option: Arguments = {"normalise": False} if index % 3 == 2 else {}
    return {
        "pred_BNC": _normal(rng, b, n, c),
        "pixel_BNC": pixel,
        "masked_BN": _flags(rng, index, b, n),
        **option,
    }


def matching(rng: np.random.Generator, index: int) -> Arguments:
    r = _n(rng)
    return {"logit_R2": _normal(rng, r, 2, size=(1.0, 40.0)[index % 2]), "match_R": _integers(rng, 2, r)}


def nodes(rng: np.random.Generator, index: int) -> Arguments:
    made = masked_tokens(rng, index)
    kinds = ((-1, 0, 1, 2), (0, 1, 2), (1,), (0, 2), (-1,))[index % 5]
    return {**made, "kind_ML": torch.tensor(rng.choice(kinds, size=tuple(made["target_ML"].shape)))}


LOSSES: dict[str, tuple[Callable[[np.random.Generator, int], Arguments], tuple[str, ...]]] = {
    "medklip.existence_loss": (existence, ()),
    "medklip.location_loss": (location, ("place_BQD", "position_PD")),
    "medklip.published_location_loss": (published_location, ()),
    "kad.pair_loss": (pairs, ("a_ND", "b_ND")),
    "make.guidance_weights": (guidance, ("text_MD",)),
    "make.multi_aspect_loss": (multi_aspect, ("image_BD", "text_MD")),
    "make.local_loss": (local, ("patch_BND", "text_MD")),
    "structure_clip.hinge_contrast": (hinge, ("image_BD", "text_MD")),
    "structure_clip.swap_hinge": (swaps, ("image_BD", "text_MD", "swap_KD")),
    "local.word_region_scores": (word_region, ("patch_BND", "word_MLD")),
    "local.local_contrast": (local_scores, ()),
    "devide.many_description_scores": (many_descriptions, ("image_BD", "description_ED")),
    "devide.entity_bce": (bce, ()),
    "devide.text_knowledge_loss": (text_knowledge, ("text_MD", "description_ED")),
    "arl.align_loss": (align, ()),
    "arl.masked_token_loss": (masked_tokens, ()),
    "arl.masked_patch_loss": (masked_patches, ()),
    "arl.matching_loss": (matching, ()),
    "ernie_vil.node_losses": (nodes, ()),
}


def _equal_rows(arguments: Arguments) -> bool:
    """Whether two vectors are the same, so that the hardest negative may be either."""
    vectors = (arguments[key] for key in ("image_BD", "text_MD"))
    return any(torch.equal(a, b) for rows in vectors for a, b in pairwise(rows))


@cache
def cases(loss: str) -> tuple[Case, ...]:
    """The cases of a loss, the same in every run."""
    draw, unit = LOSSES[loss]
    made = []
    for index in range(NUM_CASES):
        arguments = draw(np.random.default_rng([41, list(LOSSES).index(loss), index]), index)
        smooth = not (loss == "structure_clip.hinge_contrast" and _equal_rows(arguments))
        made.append(Case(f"{loss}[{index}]", arguments, unit, smooth))
    return tuple(made)


@cache
def expected(loss: str, index: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Value and gradients of the loops."""
    return outcome(cases(loss)[index], getattr(ref, loss.split(".")[1]))


def check(loss: str, index: int, function: Callable) -> None:
    """Raise Disagreement unless `function` has the loops' value and gradients on one case of a loss."""
    compare(cases(loss)[index], function, expected(loss, index))


def load(loss: str) -> Callable:
    """The product's function; skips while its file is not there."""
    module, name = loss.split(".")
    path = f"{PACKAGE}.{module}"
    try:
        found = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        pytest.skip(f"{path} is not written yet")
    return getattr(found, name)
