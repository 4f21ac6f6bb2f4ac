"""The fuzzy tier: names that resemble a mention, by cosine of character 3-grams weighted by TF-IDF.

The vector space is that of scispaCy's candidate generator. The search is exact instead of approximate: one product of
sparse matrices finds the true nearest names, the same ones on every machine and run, and nothing has to be built beyond
the matrix itself, where scispaCy builds a navigable graph for minutes.

Shape letters: M mentions, K nearest names, F 3-grams, N names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from medvlp.errors import DataError
from medvlp.io import atomic_folder, read_json, sha256_json, verify_manifest, write_json, write_manifest

FORMAT = "medvlp-linker-index"
_CHUNK = 64


@dataclass(frozen=True)
class FuzzyIndex:
    """Nearest names of mentions.

    Attributes:
        names: The distinct names, as keys (:func:`data_prep.text.linking.words.key`).
        vectorizer: Fitted on them.
        matrix_FN: Unit vectors of the names, one column each.
    """

    names: list[str]
    vectorizer: TfidfVectorizer
    matrix_FN: Any

    @classmethod
    def build(cls, names: Sequence[str]) -> FuzzyIndex:
        """Index names; the same names in any order give the same index."""
        kept = sorted(set(names))
        vectorizer = _vectorizer()
        return cls(kept, vectorizer, vectorizer.fit_transform(kept).T.tocsr())

    @classmethod
    def cached(cls, names: Sequence[str], folder: Path | None) -> FuzzyIndex:
        """Read the index of these names from ``folder``, or build it and write it there; None keeps nothing.

        The entry is named by a digest of the names. A damaged entry is a DataError that names the file.
        """
        if folder is None:
            return cls.build(names)
        kept = sorted(set(names))
        place = folder / f"fuzzy-{sha256_json(kept)[:16]}"
        if not place.is_dir():
            index = cls.build(kept)
            index._write(place)
            return index
        if verify_manifest(place).get("format") != FORMAT:
            raise DataError("is not a linker index", item=place, remedy="remove it; it is built again")
        vectorizer = _vectorizer()
        vectorizer.vocabulary_ = read_json(place / "vocabulary.json")
        vectorizer.fixed_vocabulary_ = True
        vectorizer.idf_ = np.load(place / "idf.npy", allow_pickle=False)
        return cls(kept, vectorizer, sparse.load_npz(place / "matrix.npz"))

    def _write(self, place: Path) -> None:
        with atomic_folder(place, replace=True, own=True) as partial:
            vocabulary = {gram: int(column) for gram, column in self.vectorizer.vocabulary_.items()}
            write_json(partial / "vocabulary.json", vocabulary)
            np.save(partial / "idf.npy", self.vectorizer.idf_, allow_pickle=False)
            sparse.save_npz(partial / "matrix.npz", self.matrix_FN, compressed=False)
            write_manifest(partial, {"format": FORMAT, "names": len(self.names)})

    def nearest(self, mentions: Sequence[str], num_names: int) -> list[list[tuple[str, float]]]:
        """Return for each mention up to ``num_names`` names with their cosine, best first, ties by name.

        A mention without a 3-gram in common with any name has none.
        """
        found: list[list[tuple[str, float]]] = []
        for begin in range(0, len(mentions), _CHUNK):
            vector_MF = self.vectorizer.transform(mentions[begin : begin + _CHUNK])
            score_MN = (vector_MF @ self.matrix_FN).tocsr()
            for row in range(score_MN.shape[0]):
                span = slice(score_MN.indptr[row], score_MN.indptr[row + 1])
                column_K, score_K = score_MN.indices[span], score_MN.data[span].round(6)
                if len(score_K) > num_names:
                    least = np.partition(score_K, -num_names)[-num_names]
                    near = score_K >= least
                    column_K, score_K = column_K[near], score_K[near]
                order_K = np.lexsort((column_K, -score_K))[:num_names]
                found.append([(self.names[column_K[i]], float(score_K[i])) for i in order_K])
        return found


def _vectorizer() -> TfidfVectorizer:
    return TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), dtype=np.float32)
