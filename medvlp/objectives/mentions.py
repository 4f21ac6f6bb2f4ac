"""Which words of a text name which entity, and masking in which a mention is masked whole or not at all.

Source: Chen et al. 2022 (ARL, arXiv 2209.07118), its masking of whole entities; shares of replacements as in BERT.
Shapes: M texts, L tokens, A names, W tokens of the longest name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from medvlp.data.batch import Tokenize

NO_ENTITY, NO_TARGET = -1, -100
"""What a token that mentions nothing mentions; and the target of a position that is not asked about."""
_NO_TOKEN = -1
_LEAD = "the"  # some tokenisers write a word differently behind another one than at the start


@dataclass(frozen=True)
class Mentions:
    """What the tokens of texts name.

    Attributes:
        entity_ML: Row of the entity a token mentions, :data:`NO_ENTITY` for none, int64.
        first_ML: Place of the first token of the mention a token belongs to; of itself where it belongs to none.
    """

    entity_ML: Tensor
    first_ML: Tensor


class MentionFinder(nn.Module):
    """Finds names by their tokens, from left to right, of several names at one place the longest.

    A name is found as it is written, with a capital letter, and with an s behind it; one with a token the tokeniser
    does not know is not looked for, as it would be found in any unknown word.

    Args:
        names: Names of each entity.
        tokenize: Texts to ids and mask.
        unknown_id: Token id of what the tokeniser does not know, None if it knows everything.
    """

    def __init__(self, names: Sequence[Sequence[str]], tokenize: Tokenize, unknown_id: int | None = None) -> None:
        super().__init__()
        self.name_AW: Tensor
        self.entity_A: Tensor
        self.special_K: Tensor
        special = _ids(tokenize, [""])[0]
        found: dict[tuple[int, ...], int] = {}
        for row, of_entity in enumerate(names):
            for name in of_entity:
                for ids in _spellings(name, tokenize, special):
                    if unknown_id not in ids:
                        found.setdefault(ids, row)  # a name that two entities share is the first one's
        width = max((len(ids) for ids in found), default=0)
        padded = [[*ids, *[_NO_TOKEN] * (width - len(ids))] for ids in found]
        self.register_buffer(
            "name_AW", torch.tensor(padded, dtype=torch.long).view(len(found), width), persistent=False
        )
        self.register_buffer("entity_A", torch.tensor(list(found.values()), dtype=torch.long), persistent=False)
        self.register_buffer("special_K", torch.tensor(special, dtype=torch.long), persistent=False)

    def forward(self, ids_ML: Tensor) -> Mentions:
        """Return what the tokens (M, L) mention."""
        count, length = ids_ML.shape
        place_ML = torch.arange(length, device=ids_ML.device).expand(count, -1)
        if len(self.name_AW) == 0:
            return Mentions(torch.full_like(ids_ML, NO_ENTITY), place_ML)
        size_ML, name_ML = self._longest(ids_ML)
        entity, first = [], []
        end_M = first_M = torch.zeros_like(ids_ML[:, 0])
        entity_M = torch.full_like(end_M, NO_ENTITY)
        for place in range(length):  # a mention begins only where the one before has ended
            begins_M = (end_M <= place) & (size_ML[:, place] > 0)
            end_M = torch.where(begins_M, place + size_ML[:, place], end_M)
            entity_M = torch.where(begins_M, self.entity_A[name_ML[:, place]], entity_M)
            first_M = torch.where(begins_M, place, first_M)
            inside_M = end_M > place
            entity.append(torch.where(inside_M, entity_M, NO_ENTITY))
            first.append(torch.where(inside_M, first_M, place))
        return Mentions(torch.stack(entity, 1), torch.stack(first, 1))

    def special(self, ids_ML: Tensor) -> Tensor:
        """Tell which tokens (M, L) stand for no part of a text."""
        return torch.isin(ids_ML, self.special_K)

    def _longest(self, ids_ML: Tensor) -> tuple[Tensor, Tensor]:
        """Length and row of the longest name that begins at each token; length 0 where none does."""
        width = self.name_AW.shape[1]
        near_A = torch.isin(self.name_AW[:, 0], ids_ML).nonzero()[:, 0]  # few of many names begin with a word of these
        if len(near_A) == 0:
            return torch.zeros_like(ids_ML), torch.zeros_like(ids_ML)
        name_AW = self.name_AW[near_A]
        ahead_MLW = nn.functional.pad(ids_ML, (0, width - 1), value=_NO_TOKEN - 1).unfold(1, width, 1)
        same_MLA = torch.ones(*ids_ML.shape, len(name_AW), dtype=torch.bool, device=ids_ML.device)
        for column in range(width):
            token_A = name_AW[:, column]
            same_MLA &= (ahead_MLW[:, :, column, None] == token_A) | (token_A == _NO_TOKEN)
        size_ML, best_ML = (same_MLA * (name_AW != _NO_TOKEN).sum(1)).max(-1)
        return size_ML, near_A[best_ML]


def _ids(tokenize: Tokenize, texts: Sequence[str]) -> list[list[int]]:
    ids_ML, mask_ML = tokenize(list(texts))
    return [ids[mask.bool()].tolist() for ids, mask in zip(ids_ML, mask_ML, strict=True)]


def _spellings(name: str, tokenize: Tokenize, special: Sequence[int]) -> list[tuple[int, ...]]:
    """Token ids of a name at the start of a text and behind another word, with and without a capital letter or an s."""
    written = [one + end for one in (name, name[:1].upper() + name[1:]) for end in ("", "s")]
    lead, *plain = [
        tuple(token for token in ids if token not in special)
        for ids in _ids(tokenize, [_LEAD, *written, *(f"{_LEAD} {one}" for one in written)])
    ]
    alone, behind = plain[: len(written)], plain[len(written) :]
    return [ids for ids in (*alone, *(ids[len(lead) :] for ids in behind)) if ids]


@dataclass(frozen=True)
class Masked:
    """Texts with tokens to be guessed.

    Attributes:
        ids_ML: Token ids with replacements.
        target_ML: Id of each chosen token, :data:`NO_TARGET` elsewhere.
        entity_ML: As in :class:`Mentions`, without the entities of which any mention was chosen.
    """

    ids_ML: Tensor
    target_ML: Tensor
    entity_ML: Tensor


def mask_whole(
    ids_ML: Tensor, may_ML: Tensor, mentions: Mentions, num_entities: int, mask_id: int, num_ids: int, share: float
) -> Masked:
    """Choose tokens, a mention's all together, and replace most of them; by torch's generator, which a step seeds.

    Of the chosen tokens 80 % become the mask, 10 % a random token, and 10 % stay.

    Args:
        ids_ML: Token ids.
        may_ML: True on tokens that may be chosen.
        mentions: What they mention.
        num_entities: Number of entities.
        mask_id: Id of the mask.
        num_ids: Ids a random token is drawn from, 0 to ``num_ids - 1``.
        share: Chance of each mention, and of each other token.
    """
    chance_ML = torch.rand(ids_ML.shape, device=ids_ML.device)
    chosen_ML = (chance_ML.gather(1, mentions.first_ML) < share) & may_ML
    kind_ML = torch.rand(ids_ML.shape, device=ids_ML.device)
    random_ML = torch.randint(num_ids, ids_ML.shape, device=ids_ML.device)
    replaced_ML = torch.where(kind_ML < 0.8, mask_id, torch.where(kind_ML < 0.9, random_ML, ids_ML))
    hit_ML = torch.where(chosen_ML, mentions.entity_ML, NO_ENTITY)
    hit_MQ = torch.zeros(len(ids_ML), num_entities + 1, dtype=torch.bool, device=ids_ML.device)
    hit_MQ = hit_MQ.scatter(1, hit_ML + 1, True)
    hit_MQ[:, 0] = True  # no entity stays none
    known_ML = ~hit_MQ.gather(1, mentions.entity_ML + 1)
    return Masked(
        torch.where(chosen_ML, replaced_ML, ids_ML),
        torch.where(chosen_ML, ids_ML, NO_TARGET),
        torch.where(known_ML, mentions.entity_ML, NO_ENTITY),
    )
