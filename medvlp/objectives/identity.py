"""Who matches whom across ranks: owners, equal texts, groups, and concepts related in the hierarchy.

Shapes: B images and M texts of this rank, A images and T texts of all ranks, K concepts of an image,
U distinct concepts, R rows, C columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from medvlp.errors import TrainingError
from medvlp.objectives.gather import Gather

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.knowledge.graph import DiseaseGraph

Rows = Callable[[slice], Tensor]
"""Gives the (rows, C) block of a matrix that is never held whole."""


class Identity:
    """Matching of this rank's rows with every rank's columns; each collective runs once, on first use.

    Concepts of an image are ``batch.concepts`` together with ``batch.concept_B``; -1 is no concept. A class
    label without a concept (``normal``) comes from ``batch.label_B``, where the batch has it.
    """

    def __init__(self, batch: Batch, gather: Gather, device: torch.device) -> None:
        self.batch, self.gather, self.device = batch, gather, device
        self.group_B = batch.group_B.to(device)
        self.owner_M = batch.text_owner_M.to(device)
        num_images = len(self.group_B)
        if len(self.owner_M) and not 0 <= int(self.owner_M.min()) <= int(self.owner_M.max()) < num_images:
            raise TrainingError(f"a text is owned by a row outside the {num_images} of the batch", item="text_owner_M")
        self.index_B = torch.arange(num_images, device=device) + gather.rank * num_images

    @cached_property
    def all_group(self) -> Tensor:
        """Group of every image, (A,)."""
        return self.gather(self.group_B)

    @cached_property
    def all_owner(self) -> Tensor:
        """Global row of the image that each text belongs to, (T,)."""
        return self.gather(self.index_B[self.owner_M])

    @cached_property
    def all_code(self) -> Tensor:
        """Small integer per text, equal where texts are equal up to case and outer blanks, (T,)."""
        digests = [hashlib.blake2b(text.strip().casefold().encode(), digest_size=8) for text in self.batch.texts]
        codes = [int.from_bytes(digest.digest(), "big", signed=True) for digest in digests]
        return torch.unique(self.gather(torch.tensor(codes, device=self.device)), return_inverse=True)[1]

    @property
    def _texts(self) -> slice:
        num_texts = len(self.owner_M)
        return slice(self.gather.rank * num_texts, (self.gather.rank + 1) * num_texts)

    def own_texts(self, rows: slice) -> Tensor:
        """True where a column is the very text of a row (text-only training), (rows, T)."""
        columns = torch.arange(len(self.all_owner), device=self.device)
        return columns[self._texts][rows, None] == columns

    def equal_texts(self, rows: slice) -> Tensor:
        """True where a column is the text of a row or equal to it up to case and outer blanks, (rows, T)."""
        return self.all_code[self._texts][rows, None] == self.all_code

    def text_to_text(self, rows: slice) -> Tensor:
        """True where two different texts belong to one group, (rows, T)."""
        text_group = self.all_group[self.all_owner]
        return (text_group[self._texts][rows, None] == text_group) & ~self.own_texts(rows)

    def positives(self, kind: str) -> tuple[Rows, Rows]:
        """Return the positives of this rank's images (rows, T) and of its texts (rows, A).

        Args:
            kind: ``own`` (ownership), ``text`` (ownership of an equal text) or ``group`` (equal group).
        """
        owner, num_images = self.all_owner, len(self.all_group)
        my_owner, images = owner[self._texts], torch.arange(num_images, device=self.device)
        if kind == "own":
            return (
                lambda rows: self.index_B[rows, None] == owner,
                lambda rows: my_owner[rows, None] == images,
            )
        if kind == "group":
            group = self.all_group
            return (
                lambda rows: self.group_B[rows, None] == group[owner],
                lambda rows: group[my_owner][rows, None] == group,
            )
        code = self.all_code
        num_codes = int(code.max()) + 1

        def image_rows(rows: slice) -> Tensor:
            own = (self.index_B[rows, None] == owner).float()
            return own.new_zeros(len(own), num_codes).index_add_(1, code, own)[:, code] > 0

        def text_rows(rows: slice) -> Tensor:
            equal = self.equal_texts(rows).float()
            return equal.new_zeros(len(equal), num_images).index_add_(1, owner, equal) > 0

        return image_rows, text_rows

    @cached_property
    def all_concepts(self) -> Tensor:
        """Concept rows of every image, padded with -1, (A, K)."""
        sets = [{int(row)} for row in self.batch.concept_B]
        for known, more in zip(sets, self.batch.concepts, strict=False):
            known.update(more)
        lists = [sorted(row for row in known if row >= 0) for known in sets]
        widest = max((len(row) for row in lists), default=0)
        width = max(1, int(self.gather(torch.tensor([widest], device=self.device)).max()))
        padded = [row + [-1] * (width - len(row)) for row in lists]
        return self.gather(torch.tensor(padded, device=self.device).reshape(-1, width))

    @cached_property
    def all_label(self) -> Tensor | None:
        """Class code of every image, -1 for none, (A,); None where the batch has no labels."""
        label_B = getattr(self.batch, "label_B", None)
        return None if label_B is None else self.gather(label_B.to(self.device))

    def related(self, graph: DiseaseGraph | None, *, from_text: bool = False) -> Tensor:
        """True where images share a label or have an equal, ancestor or descendant concept.

        Args:
            graph: Hierarchy; None compares labels and concepts for equality alone.
            from_text: Rows are this rank's texts (by owner) instead of its images.

        Returns:
            (B, A), or (M, A) with ``from_text``.
        """
        matrix = related_sets(self.all_concepts[self.index_B], self.all_concepts, graph)
        if self.all_label is not None:
            mine = self.all_label[self.index_B, None]
            matrix = matrix | ((mine == self.all_label) & (mine >= 0))
        return matrix[self.owner_M] if from_text else matrix

    def related_groups(self, group_G: Tensor, graph: DiseaseGraph | None, *, published: bool = False) -> Tensor:
        """True where two groups must not be negatives of one another; False for a group with itself.

        Args:
            group_G: Ids of all groups in column order, this rank's own ones contiguous at its place.
            graph: Hierarchy; None compares labels and concepts for equality alone.
            published: As in KEEP's release: the first image's primary concept speaks for its group, and
                groups without a concept (``normal``) stay negatives of one another even with equal labels.

        Returns:
            (R, G), R = G / world groups of this rank; any member of one related to any of the other.
        """
        member_GA = group_G[:, None] == self.all_group
        if published:
            member_GA = member_GA & (member_GA.cumsum(1) == 1)
            concept_A1 = self.gather(self.batch.concept_B.to(self.device))[:, None]
            related_BA = related_sets(concept_A1[self.index_B], concept_A1, graph)
        else:
            related_BA = self.related(graph)
        member_GA = member_GA.float()
        num_own = len(group_G) // self.gather.world
        own = slice(self.gather.rank * num_own, (self.gather.rank + 1) * num_own)
        related_RG = member_GA[own][:, self.index_B] @ related_BA.float() @ member_GA.T > 0
        return related_RG & (group_G[own, None] != group_G)


def related_sets(row_RK: Tensor, column_CK: Tensor, graph: DiseaseGraph | None) -> Tensor:
    """True where any concept of the row is, or is an ancestor or descendant of, any concept of the column.

    Args:
        row_RK: Concept rows, -1 for none.
        column_CK: Concept rows, -1 for none.
        graph: Hierarchy; None means equality alone.

    Returns:
        (R, C) bool; an entry without concepts is related to nothing.
    """
    rows, columns = row_RK.cpu().numpy(), column_CK.cpu().numpy()
    concepts = np.unique(np.concatenate([rows.ravel(), columns.ravel()]))
    concepts = concepts[concepts >= 0]
    equal = np.eye(len(concepts), dtype=bool)
    linked = (equal if graph is None else equal | graph.related(concepts)).astype(np.float32)
    hits = _membership(rows, concepts) @ linked @ _membership(columns, concepts).T
    return torch.from_numpy(hits > 0).to(row_RK.device)


def _membership(sets_NK: np.ndarray, concepts_U: np.ndarray) -> np.ndarray:
    """(N, U) indicator of which concepts a padded list holds."""
    member = np.zeros((len(sets_NK), len(concepts_U)), dtype=np.float32)
    row, column = np.nonzero(sets_NK >= 0)
    member[row, np.searchsorted(concepts_U, sets_NK[row, column])] = 1
    return member


def group_size(all_id: Tensor, world: int, what: str) -> int:
    """Return the common number of rows per group, after checking it over all ranks.

    Args:
        all_id: Group id of each row, rank after rank.
        world: Number of ranks.
        what: What a row is ("images", "texts"), for the message.

    Raises:
        TrainingError: Naming the first group whose size differs, or which two ranks share.
    """
    ids, inverse, counts = torch.unique(all_id, return_inverse=True, return_counts=True)
    sizes, frequency = torch.unique(counts, return_counts=True)
    size = int(sizes[frequency.argmax()])
    odd = (counts != size).nonzero().flatten()
    if len(odd):
        group, count = int(ids[odd[0]]), int(counts[odd[0]])
        raise TrainingError(
            f"has {count} {what} in the batch where most groups have {size}",
            item=f"group {group}",
            remedy="draw every group with the same number of instances (GroupPlan does)",
        )
    ranks = torch.arange(world, device=all_id.device).repeat_interleave(len(all_id) // world)
    first: Sequence[int] = ranks.new_full((len(ids),), world).scatter_reduce(0, inverse, ranks, "amin").tolist()
    last: Sequence[int] = ranks.new_full((len(ids),), -1).scatter_reduce(0, inverse, ranks, "amax").tolist()
    for group, low, high in zip(ids.tolist(), first, last, strict=True):
        if low != high:
            raise TrainingError(
                f"its {what} are split over ranks {low} and {high}",
                item=f"group {group}",
                remedy="give every rank whole groups (GroupPlan does)",
            )
    return size
