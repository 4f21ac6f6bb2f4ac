"""Triplets (entity, position, existence) of reports.

Lives here: vocabularies, the extractor on top of mentions, the RadGraph reader, the matrix of positions and entities.
Not here: finding and asserting mentions (``data_prep.text``), the job over many reports (``data_prep.reports``).
"""

from data_prep.text.triplets.extract import Triplet, triplets
from data_prep.text.triplets.matrix import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN, matrix
from data_prep.text.triplets.radgraph import RadGraphReport, read_radgraph, write_radgraph
from data_prep.text.triplets.vocabulary import Vocabulary, load_vocabulary

__all__ = [
    "ABSENT",
    "NOT_MENTIONED",
    "PRESENT",
    "UNCERTAIN",
    "RadGraphReport",
    "Triplet",
    "Vocabulary",
    "load_vocabulary",
    "matrix",
    "read_radgraph",
    "triplets",
    "write_radgraph",
]
