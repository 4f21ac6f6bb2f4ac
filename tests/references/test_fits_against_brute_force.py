"""What is fitted on development data is what trying everything finds; a flipped operator is noticed."""

import brute_force_mutants as mutation
import pytest
from brute_force_fits import FITS

from medvlp.zeroshot import trust


@pytest.mark.parametrize("name", FITS)
def test_fit_equals_trying_everything(name):
    FITS[name](getattr(trust, name))


@pytest.mark.filterwarnings("ignore")
def test_every_flipped_operator_in_the_source_is_noticed(tmp_path):
    survivors, count = [], 0
    for name, check in FITS.items():  # each by itself: what two of them reach, both have to notice
        left, num = mutation.survivors({name: check}, lambda name: getattr(trust, name), trust.__name__, tmp_path)
        survivors += left
        count += num
    assert count >= 10
    assert survivors == []
