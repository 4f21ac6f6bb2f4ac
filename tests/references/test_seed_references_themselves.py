"""The loops for the losses of the seed systems give the numbers worked out by hand; each of their operators is pinned.

Logits are logarithms (ln 3 against 0 is a softmax of 3/4 and 1/4) and vectors come from the 3-4-5 triangle, so every
expected number is a fraction inside one logarithm.
"""

from math import e, exp, log, sqrt

import brute_force_mutants as mutation
import brute_force_seed_systems as ref
import pytest
import torch

X, Y, BACK, SLANT = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.6, 0.8)
SURE, WRONG, EVEN = log(4 / 3), log(4), log(2)  # cost of a right 3:1, a wrong 3:1 and an even 1:1
TILT = (0.0, log(3))
LEAN = 0.75 * WRONG + 0.25 * SURE  # soft target of 1/4 under 3:1 odds
NO_ORDER = [[0] * 4 for _ in range(4)]
CROSS = [X, Y, BACK, (0.0, -1.0)]  # exponentials 4, 1, 1/4, 1 from X at temperature 1 / ln 4


def order(low, high):
    """above_PP of four positions where only `high` lies above `low`."""
    return [[int((a, b) == (low, high)) for b in range(4)] for a in range(4)]


def location(states, above, count=1):
    return {
        "place_BQD": [[X] * count],
        "position_PD": CROSS,
        "position_BQP": [states],
        "above_PP": above,
        "temperature": 1 / log(4),
    }


# Exponentials: image 0 has 3, 1, 1 with the three texts, image 1 has 1, 3, 3.
ASPECT = {"image_BD": [X, Y], "text_MD": [X, Y, Y], "scale": log(3), "owner_M": [0, 0, 1], "weight_M": [1.0, 0.5, 1.0]}
# Cosines: image 0 has 1, .6, 0 and image 1 has 0, .8, 1.
HINGE = {"image_BD": [(2.0, 0.0), (0.0, 3.0)], "text_MD": [(5.0, 0.0), (3.0, 4.0), (0.0, 0.5)], "owner_M": [0, 0, 1]}
KNOWN = {"text_MD": [X], "description_ED": [X, Y, BACK, Y], "entity_E": [0, 1, 2, 3], "owner_M": [0], "scale": log(3)}
SCORES = {"score_BM": [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]], "owner_M": [0, 0, 1], "temperature3": log(3)}

CASES = {
    "existence_loss": [
        # present costs ln 4/3, absent ln 4, uncertain at 1/4 three quarters of ln 4 and one of ln 4/3; -100 is no pair
        ({"logit_BQ2": [[TILT] * 4], "label_BQ": [[1, 0, -100, 2]], "uncertain": 0.25}, (SURE + WRONG + LEAN) / 3),
        # a column of its own for each entity: 1/2 of both, and 1/4
        (
            {"logit_BQ2": [[TILT] * 2], "label_BQ": [[2, 2]], "uncertain": [0.5, 0.25]},
            ((SURE + WRONG) / 2 + LEAN) / 2,
        ),
        ({"logit_BQ2": [[TILT]], "label_BQ": [[-100]]}, 0.0),
    ],
    "location_loss": [
        (location([[1, 0, -100, 2]], NO_ORDER), log(5.25 / 4)),  # 4 against 1 and 1/4; the uncertain one is out
        (location([[1, 0, -100, 2]], order(0, 1)), log(4.25 / 4)),  # its ancestor is out
        (location([[1, 0, -100, 2]], order(1, 0)), log(4.25 / 4)),  # its descendant is out
        (location([[1, 0, -100, 2]], order(1, 2)), log(5.25 / 4)),  # two negatives above one another stay
        # two positives, each alone against 1/4 and 1; the second pair has no positive
        (location([[1, 1, 0, 0], [0, 2, 0, -100]], NO_ORDER, 2), (log(5.25 / 4) + log(2.25)) / 2),
        (location([[0, 2, 0, 0]], NO_ORDER), 0.0),
    ],
    "published_location_loss": [
        # row 0: 2 of 2 + 3 + 1; row 1: 1 of 1 + 1 + 4
        (
            {
                "place_RD": [(log(2), log(3)), (log(4), 0.0)],
                "position_PD": [X, Y, (0.0, 0.0)],
                "positive_R": [0, 1],
                "negative_RJ": [[1, 2], [2, 0]],
            },
            (log(3) + log(6)) / 2,
        ),
        # a negative that is the positive again counts twice below: 2 of 2 + 2
        (
            {"place_RD": [(log(2), 7.0)], "position_PD": [X], "positive_R": [0], "negative_RJ": [[0]]},
            EVEN,
        ),
    ],
    "pair_loss": [
        ({"a_ND": [X, Y], "b_ND": [X, Y], "code_N": [0, 1], "scale": log(3)}, SURE),
        ({"a_ND": [X, Y], "b_ND": [X, Y], "code_N": [5, 5], "scale": log(3)}, (SURE + WRONG) / 2),
        # rows of a both prefer column 0; columns see two equal rows
        ({"a_ND": [X, X], "b_ND": [X, Y], "code_N": [0, 1], "scale": log(3)}, ((SURE + WRONG) / 2 + EVEN) / 2),
    ],
    "guidance_weights": [
        # image 0: cosines 1 and 0 with its ontology text, shares e/(e+1) and 1/(e+1), divided by the larger: 1 and 1/e;
        # a plain text and an ontology text count whole, an invalid one not at all
        (
            {
                "text_MD": [X, X, Y, Y, Y],
                "owner_M": [0, 0, 0, 0, 0],
                "ontology_M": [1, 0, 0, 0, 0],
                "sub_M": [0, 1, 1, 0, 1],
                "valid_M": [1, 1, 1, 1, 0],
            },
            [1.0, 1.0, 1 / e, 1.0, 0.0],
        ),
        # image 0 has two ontology texts, image 1 an invalid one, image 2 one with cosines .8 and .6
        (
            {
                "text_MD": [X, Y, X, Y, X, X, Y, Y, SLANT, X],
                "owner_M": [0, 0, 0, 0, 1, 1, 2, 2, 2, 2],
                "ontology_M": [1, 1, 0, 0, 1, 0, 0, 0, 1, 0],
                "sub_M": [0, 0, 1, 1, 0, 1, 1, 0, 0, 1],
                "valid_M": [1, 1, 1, 1, 0, 1, 1, 1, 1, 1],
            },
            [1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, exp(-0.2)],
        ),
    ],
    "multi_aspect_loss": [
        # to images: ln 4/3, ln 4, ln 4/3. To texts: image 0 has 3:1 (weight 1) and 1:1 (weight 1/2), image 1 3:(1 + 3)
        (
            {**ASPECT, "valid_M": [1, 1, 1]},
            ((2 * SURE + WRONG) / 3 + ((SURE + EVEN / 2) / 1.5 + log(7 / 3)) / 2) / 2,
        ),
        ({**ASPECT, "valid_M": [1, 0, 1]}, SURE),  # every remaining comparison is 3:1
        ({**ASPECT, "valid_M": [0, 1, 1]}, ((WRONG + SURE) / 2 + (EVEN + log(6 / 3)) / 2) / 2),  # images 1:1 and 3:3
        ({**ASPECT, "valid_M": [0, 0, 0]}, 0.0),
    ],
    "local_loss": [
        # text 0 keeps place 0 (1 >= .7, .6 not): 4:1. Text 1 keeps place 1: cosines .6 and .8. Weights 1 and 1/2
        (
            {
                "patch_BND": [[X, SLANT]],
                "text_MD": [X, Y],
                "scale": log(4),
                "owner_M": [0, 0],
                "valid_M": [1, 1],
                "sub_M": [1, 1],
                "weight_M": [1.0, 0.5],
                "threshold": 0.7,
            },
            (log(5 / 4) + 0.5 * log(1 + 4**-0.2)) / 1.5,
        ),
        # a = (.6, .8), the vector is the text itself: cosines 1, .6, -.6 at scale 2.5 ln 2, so 1 : 1/2 : 1/16;
        # the sub-caption that points back stays below the threshold, but in the denominator; the invalid one does not
        (
            {
                "patch_BND": [[X, Y], [X, X]],
                "text_MD": [SLANT, X, BACK, SLANT],
                "scale": 2.5 * log(2),
                "owner_M": [0, 1, 0, 0],
                "valid_M": [1, 1, 1, 0],
                "sub_M": [1, 0, 1, 1],
                "weight_M": [0.4, 1.0, 1.0, 0.0],
            },
            log(1.5 + 1 / 16),
        ),
        # two equal places: a = (.6, .6) / (.6 sqrt 2), the vector is sqrt 2 long: .6 sqrt 2 against sqrt 2, 1:2
        (
            {
                "patch_BND": [[X, X]],
                "text_MD": [SLANT, X],
                "scale": log(2) / (0.4 * sqrt(2)),
                "owner_M": [0, 0],
                "valid_M": [1, 1],
                "sub_M": [1, 0],
                "weight_M": [1.0, 1.0],
            },
            log(3),
        ),
    ],
    "hinge_contrast": [
        # text 1 is nearer to image 1: .2 + .8 - .6 = .4 of three texts; all else is 0
        (dict(HINGE), 0.4 / 3),
        # text 1: .7 over images; image 1 with text 1: .5 + .8 - 1 = .3
        ({**HINGE, "margin": 0.5}, (0.7 + 0.3) / 3),
        ({**HINGE, "margin": 0.5, "hardest": False}, (0.7 + (0 + 0.3) / 2) / 3),
        # without text 1 every hinge is 1.5 + 0 - 1
        ({**HINGE, "margin": 1.5, "valid_M": [1, 0, 1]}, 1.0),
        ({**HINGE, "valid_M": [0, 0, 0]}, 0.0),
    ],
    "swap_hinge": [
        # .1 - .6 + 1 = .5, and .1 - .6 + 0 below 0
        (
            {
                "image_BD": [Y, (2.0, 0.0)],
                "text_MD": [X, (3.0, 4.0)],
                "swap_KD": [(4.0, 0.0), Y],
                "swap_of_K": [1, 1],
                "owner_M": [0, 1],
            },
            0.25,
        ),
        # image Y: own text 0, swap .8, margin .5
        (
            {
                "image_BD": [Y],
                "text_MD": [X],
                "swap_KD": [SLANT],
                "swap_of_K": [0],
                "owner_M": [0],
                "margin": 0.5,
            },
            1.3,
        ),
    ],
    "word_region_scores": [
        # attention 3/4 and 1/4, context (.75, .25), cosine .75 / sqrt(.625); a second word alike changes nothing
        (
            {
                "patch_BND": [[X, Y]],
                "word_MLD": [[X, Y, BACK], [Y, SLANT, SLANT], [X, X, X]],
                "word_mask_ML": [[1, 1, 0], [1, 0, 0], [0, 0, 0]],
                "temperatures": (log(3), 5.0),
            },
            [[0.75 / sqrt(0.625), 0.75 / sqrt(0.625), 0.0]],
        ),
        # the one place is the context: cosines 1 and 0, ln((3 + 1) / 2) / ln 3; the other image has Y
        (
            {
                "patch_BND": [[X], [Y]],
                "word_MLD": [[X, Y], [X, X]],
                "word_mask_ML": [[1, 1], [1, 1]],
                "temperatures": (4.0, log(3)),
            },
            [[EVEN / log(3), 1.0], [EVEN / log(3), 0.0]],
        ),
    ],
    "local_contrast": [
        # to images: ln 4/3, ln 4, ln 4/3. To texts: image 0 ln 5/3 and ln 5, image 1 ln 7/3
        (
            {**SCORES, "valid_M": [1, 1, 1]},
            ((2 * SURE + WRONG) / 3 + ((log(5 / 3) + log(5)) / 2 + log(7 / 3)) / 2) / 2,
        ),
        ({**SCORES, "valid_M": [1, 0, 1]}, SURE),
        # image 0 has no text: to images ln 4/3, to texts image 1 alone has nothing else
        ({**SCORES, "valid_M": [0, 0, 1]}, SURE / 2),
        ({**SCORES, "valid_M": [0, 0, 0]}, 0.0),
    ],
    "many_description_scores": [
        # image 0: (3 + 1) / 2 and 1; image 1: (1 + 3) / 2 and 3
        (
            {
                "image_BD": [X, Y],
                "description_ED": [X, Y, Y],
                "entity_E": [0, 1, 0],
                "num_entities": 2,
                "temperature": 1 / log(3),
            },
            [[EVEN, 0.0], [EVEN, log(3)]],
        ),
        # one description: the cosine over the temperature
        (
            {"image_BD": [X], "description_ED": [SLANT], "entity_E": [0], "num_entities": 1, "temperature": 0.1},
            [[6.0]],
        ),
    ],
    "entity_bce": [
        (
            {"score_BQ": [[log(3) - 2.0] * 4], "label_BQ": [[1, 0, -100, 2]], "bias": 2.0, "uncertain": 0.25},
            (SURE + WRONG + LEAN) / 3,
        ),
        (
            {"score_BQ": [[0.0, 1.0]], "label_BQ": [[1, 2]], "bias": [log(3), log(3) - 1]},
            (SURE + (SURE + WRONG) / 2) / 2,
        ),
        ({"score_BQ": [[0.0]], "label_BQ": [[-100]], "bias": 1.0}, 0.0),
    ],
    "text_knowledge_loss": [
        # exponentials 3, 1, 1/3, 1: present 3, absent 1, the uncertain and the unmentioned are out
        ({**KNOWN, "label_BQ": [[1, 0, 2, -100]], "valid_M": [1]}, SURE),
        # positives 3 and 1, absent 1/3 + 1
        ({**KNOWN, "label_BQ": [[1, 1, 0, 0]], "valid_M": [1]}, (log(13 / 9) + log(7 / 3)) / 2),
        ({**KNOWN, "label_BQ": [[1, 2, -100, 1]], "valid_M": [1]}, 0.0),  # nothing absent
        ({**KNOWN, "label_BQ": [[1, 0, 0, 0]], "valid_M": [0]}, 0.0),
        # the text of image 1, which has nothing present, leaves the mean
        (
            {
                **KNOWN,
                "text_MD": [X, X],
                "owner_M": [0, 1],
                "label_BQ": [[1, 0, 2, -100], [0, 0, 2, 0]],
                "valid_M": [1, 1],
            },
            SURE,
        ),
    ],
    "align_loss": [
        # image: logits ln 3 and 0; text: 0 and 0
        (
            {"image_BG": [(log(3), 0.0)], "text_BG": [(0.0, 0.0)], "entity_QG": [X, Y], "label_BQ": [[1, 0]]},
            ((SURE + EVEN) / 2 + EVEN) / 2,
        ),
        # the uncertain entity is left out, the unmentioned one is a 0
        (
            {"image_BG": [(9.0, log(3))], "text_BG": [(9.0, 0.0)], "entity_QG": [X, Y], "label_BQ": [[2, -100]]},
            (WRONG + EVEN) / 2,
        ),
    ],
    "masked_token_loss": [
        ({"logit_MLV": [[TILT, TILT, TILT]], "target_ML": [[1, -100, 0]]}, (SURE + WRONG) / 2),
        ({"logit_MLV": [[TILT], [TILT]], "target_ML": [[-100], [1]]}, SURE),
        ({"logit_MLV": [[TILT]], "target_ML": [[-100]]}, 0.0),
    ],
    "masked_patch_loss": [
        # pixels 1 and 3: mean 2, variance 1, targets of square 1 / 1.000001; pixels 5 and 5: targets 0
        (
            {
                "pred_BNC": [[(0.0, 0.0), (8.0, 8.0), (1.0, 2.0)]],
                "pixel_BNC": [[(1.0, 3.0), (1.0, 3.0), (5.0, 5.0)]],
                "masked_BN": [[1, 0, 1]],
            },
            (1 / 1.000001 + 2.5) / 2,
        ),
        # (0 + 4) / 2 as it is
        (
            {"pred_BNC": [[(1.0, 1.0)]], "pixel_BNC": [[(1.0, 3.0)]], "masked_BN": [[1]], "normalise": False},
            2.0,
        ),
        # the sign of a target: prediction 1, 1 against about -1, 1
        (
            {"pred_BNC": [[(1.0, 1.0)]], "pixel_BNC": [[(1.0, 3.0)]], "masked_BN": [[1]]},
            ((1 + 1 / sqrt(1.000001)) ** 2 + (1 - 1 / sqrt(1.000001)) ** 2) / 2,
        ),
        ({"pred_BNC": [[(1.0, 1.0)]], "pixel_BNC": [[(1.0, 3.0)]], "masked_BN": [[0]]}, 0.0),
    ],
    "matching_loss": [
        ({"logit_R2": [TILT, TILT], "match_R": [1, 0]}, (SURE + WRONG) / 2),
        ({"logit_R2": [TILT, (0.0, 0.0)], "match_R": [1, 1]}, (SURE + EVEN) / 2),
    ],
    "node_losses": [
        # kind 0: right and wrong; kind 1: masked out; kind 2: right; a target without a kind counts nowhere
        (
            {
                "logit_MLV": [[TILT] * 3, [TILT] * 3],
                "target_ML": [[1, 0, -100], [1, 0, -100]],
                "kind_ML": [[0, 0, 1], [2, -1, 0]],
            },
            [(SURE + WRONG) / 2, 0.0, SURE],
        ),
        ({"logit_MLV": [[TILT, TILT]], "target_ML": [[0, -100]], "kind_ML": [[1, 1]]}, [0.0, WRONG, 0.0]),
    ],
}
WITHOUT_EFFECT = {
    "total + value.sum() * 0",  # adds nothing
    "logit - log_sum(logits)",  # attention sums to one, but a cosine does not see how long the context is
    "float(torch.tensor(c, dtype=torch.float64).exp()) / whole",  # shares are divided by the greatest share
}
FLAGS = ("valid_M", "ontology_M", "sub_M", "above_PP", "word_mask_ML", "masked_BN")


def tensors(arguments):
    """Lists become float64, int64 or bool tensors; plain numbers stay, but for what may carry a gradient."""
    made = {}
    for key, value in arguments.items():
        if isinstance(value, list) or key in ("scale", "bias"):
            whole = not torch.tensor(value).is_floating_point()
            value = torch.tensor(value, dtype=torch.bool if key in FLAGS else torch.int64 if whole else torch.float64)
        made[key] = value
    return made


def check(name, function):
    for arguments, expected in CASES[name]:
        actual = function(**tensors(arguments))
        torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)


def test_every_reference_has_two_cases():
    losses = {name for name in vars(ref) if name.endswith(("_loss", "_losses", "_hinge", "_contrast", "_scores"))}
    assert losses | {"guidance_weights", "entity_bce"} == set(CASES)
    assert all(len(cases) >= 2 for cases in CASES.values())


@pytest.mark.parametrize("name", CASES)
def test_loops_give_the_numbers_worked_out_by_hand(name):
    check(name, getattr(ref, name))


def test_every_operator_of_the_loops_is_pinned_by_hand(tmp_path):
    checks = {name: lambda function, name=name: check(name, function) for name in CASES}
    left, num = mutation.survivors(checks, lambda name: getattr(ref, name), ref.__name__, tmp_path)
    assert num >= 60
    assert {text.split(": ")[1] for text in left} == WITHOUT_EFFECT
