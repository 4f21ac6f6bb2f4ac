"""What must not matter to the losses of the seed systems: order, rows that do not count, emptiness, half precision."""

import brute_force_seed_checks as seed
import pytest
import torch
from brute_force_seed_cases import LOSSES, NUM_CASES, cases, expected, load

# Axes in whose order nothing is told; without an entry an axis holds classes, numbers of a vector, or two columns.
ORDERLESS = {
    "medklip.existence_loss": "BQ",
    "medklip.location_loss": "BQPD",
    "medklip.published_location_loss": "RJPD",
    "kad.pair_loss": "ND",
    "make.guidance_weights": "MD",
    "make.multi_aspect_loss": "BMD",
    "make.local_loss": "BNMD",
    "structure_clip.hinge_contrast": "BMD",
    "structure_clip.swap_hinge": "BMKD",
    "local.word_region_scores": "BNMLD",
    "local.local_contrast": "BM",
    "devide.many_description_scores": "BED",
    "devide.entity_bce": "BQ",
    "devide.text_knowledge_loss": "BMEQD",
    "arl.align_loss": "BGQ",
    "arl.masked_token_loss": "ML",
    "arl.masked_patch_loss": "BNC",
    "arl.matching_loss": "R",
    "ernie_vil.node_losses": "ML",
}
INVALID = {"valid_M": False, "weight_M": 0.0}
# Rows that count for nothing: an axis, and what marks them.
FILLERS = [
    ("medklip.existence_loss", "Q", {"label_BQ": -100}),
    ("medklip.existence_loss", "B", {"label_BQ": -100}),
    ("medklip.location_loss", "P", {"position_BQP": 2}),
    ("medklip.location_loss", "Q", {"position_BQP": 0}),
    ("medklip.location_loss", "B", {"position_BQP": -100}),
    ("medklip.published_location_loss", "P", {}),
    ("make.guidance_weights", "M", INVALID),
    ("make.multi_aspect_loss", "M", INVALID),
    ("make.local_loss", "M", INVALID),
    ("make.local_loss", "N", {"patch_BND": 0.0}),
    ("structure_clip.hinge_contrast", "M", INVALID),
    ("local.word_region_scores", "L", {"word_mask_ML": False}),
    ("local.local_contrast", "M", INVALID),
    ("devide.entity_bce", "Q", {"label_BQ": -100}),
    ("devide.text_knowledge_loss", "M", INVALID),
    ("devide.text_knowledge_loss", "Q", {"label_BQ": 1}),  # entities without a description
    ("arl.align_loss", "Q", {"label_BQ": 2}),
    ("arl.masked_token_loss", "L", {"target_ML": -100}),
    ("arl.masked_token_loss", "M", {"target_ML": -100}),
    ("arl.masked_patch_loss", "N", {"masked_BN": False}),
    ("arl.masked_patch_loss", "B", {"masked_BN": False}),
    ("ernie_vil.node_losses", "L", {"target_ML": -100}),
    ("ernie_vil.node_losses", "M", {"kind_ML": -1}),
]
EMPTY = [
    ("medklip.existence_loss", "B"),
    ("medklip.existence_loss", "Q"),
    ("medklip.location_loss", "Q"),
    ("medklip.published_location_loss", "R"),
    ("medklip.published_location_loss", "J"),
    ("kad.pair_loss", "N"),
    ("make.multi_aspect_loss", "M"),
    ("make.local_loss", "M"),
    ("structure_clip.hinge_contrast", "M"),
    ("structure_clip.swap_hinge", "K"),
    ("local.local_contrast", "M"),
    ("devide.entity_bce", "Q"),
    ("devide.text_knowledge_loss", "M"),
    ("devide.text_knowledge_loss", "E"),
    ("arl.align_loss", "Q"),
    ("arl.masked_token_loss", "L"),
    ("arl.masked_patch_loss", "N"),
    ("arl.matching_loss", "R"),
    ("ernie_vil.node_losses", "L"),
]


@pytest.mark.parametrize(
    ("loss", "letter"), [(loss, letter) for loss, letters in ORDERLESS.items() for letter in letters]
)
def test_order_of_an_axis_changes_nothing(loss, letter):
    function, name, moved = load(loss), loss.split(".")[1], 0
    for index in range(12):
        case = cases(loss)[index]
        other, rows = seed.permutation(case, letter, index)
        value, _ = seed.outcome(case, function)
        letters = seed.OUTPUT_AXES.get(name, "")
        if letter in letters:
            value = value.index_select(letters.index(letter), torch.tensor(rows))
        seed.close(seed.outcome(other, function)[0], value, other.name)
        moved += rows != sorted(rows)
    assert moved >= 4


@pytest.mark.parametrize(("loss", "letter", "marks"), FILLERS)
def test_rows_that_do_not_count_change_nothing(loss, letter, marks):
    function, name = load(loss), loss.split(".")[1]
    for index in range(16):
        case = cases(loss)[index]
        if "valid_M" in marks and "valid_M" not in case.arguments:
            continue  # all are valid
        if letter == "N" and case.arguments.get("threshold", 1) <= 0:
            continue  # an empty place has a cosine of 0, which such a threshold keeps
        value, slopes = seed.outcome(case, function)
        more, wider = seed.outcome(seed.pad(case, letter, marks, index), function)
        if letter in seed.OUTPUT_AXES.get(name, ""):
            assert not more[len(value) :].any()
            more = more[: len(value)]
        seed.close(more, value, f"{case.name} padded {letter}")
        for key, slope in slopes.items() if case.smooth else ():
            letters = seed.axes(key, case.arguments[key])
            own = letter in letters and wider[key].shape != slope.shape
            kept = (
                wider[key].narrow(letters.index(letter), 0, slope.shape[letters.index(letter)]) if own else wider[key]
            )
            seed.close(kept, slope, f"{case.name} gradient of {key} padded {letter}", 1e-7)


@pytest.mark.parametrize(("loss", "letter"), EMPTY)
def test_an_empty_axis_gives_a_zero_that_can_be_differentiated(loss, letter):
    function = load(loss)
    for index in range(3):
        case = seed.select(cases(loss)[index], letter, [])
        value, slopes = seed.outcome(case, function)
        assert not value.any()
        assert set(slopes) == set(case.leaves())
        assert not any(slope.any() for slope in slopes.values())


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_computed_in_float32(loss):
    function = load(loss)
    for index in range(12):
        case = cases(loss)[index]
        half = {key: leaf.detach().bfloat16() for key, leaf in case.leaves().items()}
        single = {key: leaf.float() for key, leaf in half.items()}
        constants = {
            key: value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
            for key, value in case.arguments.items()
            if key not in half
        }
        narrow, wide = function(**constants, **half), function(**constants, **single)
        assert narrow.dtype == torch.float32
        torch.testing.assert_close(narrow, wide, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_float32_stays_finite_and_close(loss):
    function = load(loss)
    for index in range(NUM_CASES):
        case = cases(loss)[index]
        leaves = case.leaves(torch.float32)
        value = case.call(function, leaves)
        torch.testing.assert_close(value.double(), expected(loss, index)[0], rtol=2e-3, atol=2e-3)
        if value.requires_grad:
            value.sum().backward()
            assert all(torch.isfinite(leaf.grad).all() for leaf in leaves.values() if leaf.grad is not None)
