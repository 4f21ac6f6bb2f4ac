"""A pack of slides knows which tile is whose, and refuses what does not fit together."""

import pytest
import torch

from medvlp.errors import DataError
from medvlp.fusion.bag import TileBag


def test_packing_keeps_order_and_owners():
    features, centres = [torch.ones(2, 3), torch.zeros(1, 3)], [torch.ones(2, 2), torch.zeros(1, 2)]
    bag = TileBag.pack(features, centres).to("cpu")
    assert len(bag) == 2
    assert bag.owner_T.tolist() == [0, 0, 1]
    assert bag.lengths_S.dtype == torch.int64
    assert torch.equal(bag.features_TD, torch.cat(features))
    assert torch.equal(bag.centres_um_TX, torch.cat(centres))
    assert TileBag.pack(features).centres_um_TX is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3, 2), torch.tensor([2, 2])), r"lengths sum to 4, features are \(3, 2\)"),
        ((torch.zeros(3), torch.tensor([3])), r"features are \(3,\)"),
        ((torch.zeros(3, 2), torch.tensor([3, 0])), "a slide has no tiles; leave slides without tissue out"),
        ((torch.zeros(0, 2), torch.tensor([], dtype=torch.int64)), "a slide has no tiles"),
        ((torch.zeros(3, 2), torch.tensor([3]), torch.zeros(2, 2)), r"expected \(3, 2\) centres, got \(2, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        TileBag(*arguments)


@pytest.mark.parametrize("features", [[], [torch.zeros(2, 3), torch.zeros(0, 3)]])
def test_an_empty_slide_cannot_be_packed(features):
    with pytest.raises(DataError, match="a slide has no tiles"):
        TileBag.pack(features)
