"""The dermatology sets as one source."""

from __future__ import annotations

from data_prep.pairs.items import Listing
from data_prep.pairs.standard.derm_fitzpatrick import Fitzpatrick17k, SkinCon, list_fitzpatrick17k, list_skincon
from data_prep.pairs.standard.derm_ham import Ham10000, list_ham10000
from data_prep.pairs.standard.derm_pad import PadUfes20, list_pad_ufes_20
from data_prep.pairs.standard.derm_sd import Sd198, list_sd198
from data_prep.pairs.standard.derm_seven import Derm7pt, list_derm7pt

DermatologySource = PadUfes20 | Ham10000 | Fitzpatrick17k | SkinCon | Sd198 | Derm7pt


def list_dermatology(source: DermatologySource) -> Listing:
    """List the images of a dermatology set.

    Raises:
        DataError: What the copy lacks, or where it is not the published set.
    """
    if isinstance(source, PadUfes20):
        return list_pad_ufes_20(source)
    if isinstance(source, Ham10000):
        return list_ham10000(source)
    if isinstance(source, Fitzpatrick17k):
        return list_fitzpatrick17k(source)
    if isinstance(source, SkinCon):
        return list_skincon(source)
    return list_sd198(source) if isinstance(source, Sd198) else list_derm7pt(source)
