"""The standard sets of whole slides: from a configuration to the list of its slides."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from data_prep.pairs.standard.camelyon16 import Camelyon16, list_camelyon16
from data_prep.pairs.standard.cptac import Cptac, list_cptac
from data_prep.pairs.standard.ebrains import Ebrains, list_ebrains
from data_prep.pairs.standard.kaggle_slides import Panda, UbcOcean, list_panda, list_ubc_ocean
from data_prep.pairs.standard.slide_rows import SlideListing, SlideRow
from data_prep.pairs.standard.tcga import Tcga, list_tcga

__all__ = ["SlideListing", "SlideRow", "SlideSource", "list_slides"]

SlideSource = Annotated[Camelyon16 | Panda | UbcOcean | Ebrains | Tcga | Cptac, Field(discriminator="name")]


def list_slides(source: Camelyon16 | Panda | UbcOcean | Ebrains | Tcga | Cptac) -> SlideListing:
    """List what a copy of a standard set of slides holds.

    Raises:
        DataError: What the copy lacks, or has too much, in one line.
    """
    match source:
        case Camelyon16():
            return list_camelyon16(source)
        case Panda():
            return list_panda(source)
        case UbcOcean():
            return list_ubc_ocean(source)
        case Ebrains():
            return list_ebrains(source)
        case Tcga():
            return list_tcga(source)
        case Cptac():
            return list_cptac(source)
