"""What is fitted on development data is what trying everything finds; a flipped operator is noticed."""

import brute_force_mutants as mutation
import pytest
from brute_force_fits import FITS
from test_metrics_against_brute_force import fails

from medvlp.zeroshot import trust


@pytest.mark.parametrize("name", FITS)
def test_fit_equals_trying_everything(name):
    FITS[name](getattr(trust, name))


@pytest.mark.filterwarnings("ignore")
def test_every_flipped_operator_in_the_source_is_noticed(tmp_path):
    survivors, count = [], 0
    for name, check in FITS.items():
        function = getattr(trust, name)
        for mutant in mutation.mutants(function, trust.__name__):
            count += 1
            with mutation.swapped_in(mutant, function, trust.__name__, tmp_path) as broken:
                if not fails(check, broken):
                    survivors.append(mutant.text)
    assert count >= 10
    assert survivors == []
