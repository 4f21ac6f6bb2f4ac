"""From mentions to triplets: one per position of each finding in a section that says what is seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_prep.text.assertion import Assertion
from data_prep.text.sections import DESCRIBES, SectionKind

if TYPE_CHECKING:
    from data_prep.text.mentions import Mention
    from data_prep.text.triplets.vocabulary import Vocabulary


@dataclass(frozen=True)
class Triplet:
    """What a report says of one finding at one position.

    Attributes:
        entity: Column of the vocabulary's matrix.
        position: Row of the vocabulary's matrix.
        existence: Present, absent, uncertain, historical or of the family.
        finding: The finer finding behind the entity.
        concept: Id in the graph, if the words name one.
        anatomy: Regions of the vocabulary, finer than positions, joined by ``"; "``.
        start, end: The finding's place in the text; -1 where the source gives none.
    """

    entity: str
    position: str
    existence: Assertion
    finding: str
    concept: str | None = None
    anatomy: str | None = None
    section: str = SectionKind.body.value
    sentence: int = 0
    start: int = -1
    end: int = -1


def triplets(
    mentions: Iterable[Mention], vocabulary: Vocabulary, sections: Iterable[SectionKind] = DESCRIBES
) -> list[Triplet]:
    """Return the triplets of a report, in order of place.

    Args:
        mentions: Of :func:`data_prep.text.mentions.annotate`, with the same vocabulary.
        vocabulary: Gives each finding its entity; mentions of concepts alone have none and are left out.
        sections: Those that count; by default not the indication, the comparison and the technique.
    """
    wanted = frozenset(sections)
    return [
        Triplet(
            entity=vocabulary.entity_of[mention.finding],
            position=position,
            existence=mention.assertion,
            finding=mention.finding,
            concept=mention.concept,
            anatomy=mention.anatomy,
            section=mention.section.value,
            sentence=mention.sentence,
            start=mention.start,
            end=mention.end,
        )
        for mention in mentions
        if mention.finding is not None and mention.section in wanted
        for position in mention.positions
    ]
