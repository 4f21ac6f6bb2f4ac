"""The standard pathology sets of single images, as sources of the pairs store: from a configuration to its listing."""

from __future__ import annotations

from data_prep.pairs.items import Listing
from data_prep.pairs.standard.bach import Bach, list_bach
from data_prep.pairs.standard.breakhis import BreakHis, list_breakhis
from data_prep.pairs.standard.crc_he import CrcHe, list_crc_he
from data_prep.pairs.standard.pcam import Pcam, list_pcam
from data_prep.pairs.standard.sicapv2 import SicapV2, list_sicapv2
from data_prep.pairs.standard.wsss4luad import Wsss4Luad, list_wsss4luad

PathologySource = CrcHe | Bach | BreakHis | SicapV2 | Pcam | Wsss4Luad


def list_pathology(source: PathologySource) -> Listing:
    """List what a copy of a standard set holds.

    Raises:
        DataError: What the copy lacks, or has too much, in one line.
    """
    match source:
        case CrcHe():
            return list_crc_he(source)
        case Bach():
            return list_bach(source)
        case BreakHis():
            return list_breakhis(source)
        case SicapV2():
            return list_sicapv2(source)
        case Pcam():
            return list_pcam(source)
        case Wsss4Luad():
            return list_wsss4luad(source)
