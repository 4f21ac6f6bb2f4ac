"""The radiology sets as one source."""

from __future__ import annotations

from data_prep.pairs.items import Listing
from data_prep.pairs.standard.chest_challenges import RsnaPneumonia, SiimPneumothorax, list_rsna, list_siim
from data_prep.pairs.standard.chest_expert import CheXpert, list_chexpert
from data_prep.pairs.standard.chest_ms import MsCxr, list_ms_cxr
from data_prep.pairs.standard.chest_nih import ChestXray14, list_chestxray14
from data_prep.pairs.standard.chest_pad import PadChest, list_padchest
from data_prep.pairs.standard.chest_vindr import VinDrCxr, list_vindr

RadiologySource = ChestXray14 | CheXpert | PadChest | RsnaPneumonia | SiimPneumothorax | VinDrCxr | MsCxr


def list_radiology(source: RadiologySource) -> Listing:
    """List the images of a radiology set.

    Raises:
        DataError: What the copy lacks, or where it is not the published set.
    """
    if isinstance(source, ChestXray14):
        return list_chestxray14(source)
    if isinstance(source, CheXpert):
        return list_chexpert(source)
    if isinstance(source, PadChest):
        return list_padchest(source)
    if isinstance(source, RsnaPneumonia):
        return list_rsna(source)
    if isinstance(source, SiimPneumothorax):
        return list_siim(source)
    return list_vindr(source) if isinstance(source, VinDrCxr) else list_ms_cxr(source)
