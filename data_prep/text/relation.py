"""Which place a finding is said to be at: rules over a window of words, or a dependency parse where a model is chosen.

Both answer the same question for one sentence: for each finding, the numbers of the regions it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from data_prep.text.phrases import Token, words
from medvlp.errors import DataError
from medvlp.io import require

Span = tuple[int, int]
"""First token and the one behind the last."""
Relation = Callable[[str, Sequence[Token], Sequence[Span], Sequence[Span]], list[list[int]]]
"""Text, tokens of a sentence, findings, regions: the regions of each finding, by number."""

_VERBS = words("is are was were be been has have remain appear seem show demonstrate reveal : look contain exhibit")
_PREPOSITIONS = words(
    "in of at within over overlying overly involving involve along throughout to near from projecting project on "
    "under around about across adjacent behind above below beneath superimposed obscuring inside into through for"
)
_JOINTS = words(", and or / & nor")
_STOPS = words("; . ( ) but however although though while which who without with")
_MAX_BEFORE, _MAX_AFTER, _MAX_SUBJECT = 4, 9, 14


def window_relation(
    text: str, tokens: Sequence[Token], findings: Sequence[Span], regions: Sequence[Span]
) -> list[list[int]]:
    """Relate by rules, of which the first that applies counts.

    1. behind a preposition ("nodule is seen in the left upper lobe and lingula");
    2. inside the finding's words ("low lung volumes");
    3. right before it ("left lower lobe opacity") or right behind it ("enlarged heart");
    4. before the verb of its clause ("the heart and aorta are enlarged");
    5. those of the finding it is joined to ("... hyperexpanded and clear").
    """
    sentence = _Sentence(tokens, findings, regions)
    related = [
        sentence.behind(finding) or sentence.inside(finding) or sentence.beside(finding) or sentence.subject(finding)
        for finding in findings
    ]
    order = sorted(range(len(findings)), key=lambda number: findings[number])
    for before, number in pairwise(order):
        if not related[number] and sentence.joined(findings[before], findings[number]):
            related[number] = related[before]
    for number, after in reversed(list(pairwise(order))):
        if (
            not related[number]
            and sentence.joined(findings[number], findings[after])
            and sentence.behind(findings[after])
        ):
            related[number] = related[after]
    return related


class _Sentence:
    def __init__(self, tokens: Sequence[Token], findings: Sequence[Span], regions: Sequence[Span]) -> None:
        self.forms = [token.form for token in tokens]
        self.regions = list(regions)
        self.in_finding = {place: number for number, (a, b) in enumerate(findings) for place in range(a, b)}
        self.at = {place: number for number, (a, b) in enumerate(regions) for place in range(a, b)}

    def inside(self, finding: Span) -> list[int]:
        return sorted({self.at[place] for place in range(*finding) if place in self.at})

    def beside(self, finding: Span) -> list[int]:
        for place in range(finding[0] - 1, max(-1, finding[0] - 1 - _MAX_BEFORE), -1):
            if place in self.at:
                return self._with_joined(self.at[place], backwards=True)
            if self._parts(place):
                break
        for place in range(finding[1], min(len(self.forms), finding[1] + _MAX_BEFORE)):
            if place in self.at:
                return [self.at[place]]
            if self._parts(place):
                break
        return []

    def behind(self, finding: Span) -> list[int]:
        prepositions = 0
        for place in range(finding[1], min(len(self.forms), finding[1] + _MAX_AFTER)):
            form = self.forms[place]
            if place in self.at and prepositions:
                return self._with_joined(self.at[place], backwards=False)
            if form in _STOPS or form in _JOINTS or place in self.in_finding:
                break
            prepositions += form in _PREPOSITIONS
        return []

    def subject(self, finding: Span) -> list[int]:
        """Regions before the finding's verb, back to the verb, finding or stop before them."""
        verb = next((p for p in range(finding[0] - 1, -1, -1) if self.forms[p] in _VERBS or self._ends(p)), -1)
        if verb < 0 or self._ends(verb):
            return []
        found: list[int] = []
        for place in range(verb - 1, max(-1, verb - 1 - _MAX_SUBJECT), -1):
            if place in self.at:
                found.append(self.at[place])
            elif self.forms[place] in _VERBS or self._ends(place):
                break
        return sorted(set(found))

    def joined(self, first: Span, second: Span) -> bool:
        """Whether two findings are parts of one list: "atelectasis or infiltrate", "scar / atelectasis"."""
        between = self.forms[first[1] : second[0]]
        return (
            bool(between)
            and len(between) <= 3
            and between[0] in _JOINTS
            and not set(between) & (_VERBS | _PREPOSITIONS)
        )

    def _ends(self, place: int) -> bool:
        return self.forms[place] in _STOPS or (place in self.in_finding and place not in self.at)

    def _parts(self, place: int) -> bool:
        form = self.forms[place]
        return form in _VERBS or form in _PREPOSITIONS or form in _JOINTS or form in _STOPS or place in self.in_finding

    def _with_joined(self, number: int, backwards: bool) -> list[int]:
        """A region and those in one list with it: "right middle lobe and lingula"."""
        result = [number]
        while True:
            edge = self.regions[result[-1]][0 if backwards else 1]
            step = -1 if backwards else 1
            place, joints, words = (edge - 1 if backwards else edge), 0, 0
            while 0 <= place < len(self.forms) and place not in self.at and words < 4:
                form = self.forms[place]
                if form in _VERBS or form in _STOPS or place in self.in_finding:
                    return result
                joints, words, place = joints + (form in _JOINTS), words + 1, place + step
            if not joints or not 0 <= place < len(self.forms) or place not in self.at:
                return result
            result.append(self.at[place])


class DependencyRelation:
    """Relate along the dependency tree of a spaCy model; what the tree leaves open is left to the window rules.

    A region belongs to a finding if it modifies it ("pleural effusion"), hangs below it by prepositions ("opacity in
    the right lung") or is the subject of the verb whose complement or object the finding is ("the heart is enlarged").

    Args:
        model: Name of an installed spaCy pipeline with a parser, as given to ``spacy.load``.
    """

    def __init__(self, model: str) -> None:
        spacy = require("spacy", "nlp")
        try:
            self._parse = spacy.load(model, exclude=["ner", "lemmatizer"])
        except OSError:
            raise DataError(
                "no such spaCy model is installed", item=model, remedy="install it, or use relation: window"
            ) from None
        if not self._parse.has_pipe("parser"):
            raise DataError("the spaCy model has no dependency parser", item=model, remedy="choose one that has")

    def __call__(
        self, text: str, tokens: Sequence[Token], findings: Sequence[Span], regions: Sequence[Span]
    ) -> list[list[int]]:
        """Return the regions of each finding, by number."""
        rules = window_relation(text, tokens, findings, regions)
        if not findings or not regions:
            return rules
        offset = tokens[0].start
        parsed = self._parse(text[offset : tokens[-1].end])
        region_of = {
            word.i: number
            for number, (a, b) in enumerate(regions)
            for word in parsed
            if tokens[a].start <= word.idx + offset < tokens[b - 1].end
        }
        result = []
        for (a, b), rule in zip(findings, rules, strict=True):
            inside = [w for w in parsed if tokens[a].start <= w.idx + offset < tokens[b - 1].end]
            result.append(sorted({n for word in inside for n in _related(word, region_of)}) or rule)
        return result


_DOWN = words("amod compound nmod prep pobj conj nummod npadvmod advmod acl relcl")
_SUBJECT = words("nsubj nsubjpass")
_COMPLEMENT = words("acomp attr dobj oprd xcomp advmod ROOT")


def _related(word: Any, region_of: dict[int, int]) -> list[int]:
    """Regions at, below, or as the subject of the clause of a parsed word."""
    if word.i in region_of:
        return [region_of[word.i]]
    below = [child for child in word.children if child.dep_ in _DOWN]
    found: list[int] = []
    while below:
        child = below.pop()
        if child.i in region_of:
            found.append(region_of[child.i])
        below += [grandchild for grandchild in child.children if grandchild.dep_ in _DOWN]
    if found:
        return found
    if word.dep_ in _SUBJECT:  # "opacity ... has increased in the left lower lobe"
        at = [child for child in word.head.children if child.dep_ == "prep"]
        return [region_of[w.i] for child in at for w in child.subtree if w.i in region_of]
    head = word
    while head.dep_ == "conj":
        head = head.head
    if head.dep_ == "amod" and head.head.i in region_of:
        return [region_of[head.head.i]]
    verb = head if head.pos_ in {"AUX", "VERB"} else head.head
    if head.dep_ in _COMPLEMENT and verb.pos_ in {"AUX", "VERB"}:
        subjects = [child for child in verb.children if child.dep_ in _SUBJECT]
        inside = [w for subject in subjects for w in subject.subtree if w.i in region_of]
        return [region_of[w.i] for w in inside]
    return []
