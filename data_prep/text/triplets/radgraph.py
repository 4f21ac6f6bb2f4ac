"""RadGraph annotations, v1 and XL, read into one set of labels and written back as they were.

A file is ``{report: {text, entities: {id: {tokens, label, start_ix, end_ix, relations: [[type, id], ...]}}}}``;
indices count the tokens of the space-joined text, both ends included. Source: Jain et al. 2021 (v1), Delbrouck et al.
2024 (XL).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from data_prep.text.assertion import Assertion
from data_prep.text.laterality import side_sentence
from data_prep.text.phrases import tokenise
from data_prep.text.triplets.extract import Triplet
from data_prep.text.triplets.vocabulary import UNSPECIFIED, Vocabulary
from medvlp.errors import DataError
from medvlp.io import read_json, write_json
from medvlp.ledger import Ledger


class Kind(StrEnum):
    """What an entity is."""

    anatomy = "Anatomy"
    observation = "Observation"


class RelationType(StrEnum):
    """How two entities stand to each other."""

    located_at = "located_at"
    modify = "modify"
    suggestive_of = "suggestive_of"


@dataclass(frozen=True)
class Label:
    """Both vocabularies' labels as one: kind, certainty, and XL's mark of a measurement."""

    kind: Kind
    certainty: Assertion
    measurement: bool = False


_CERTAINTY = {
    "definitely present": Assertion.present,
    "definitely absent": Assertion.absent,
    "uncertain": Assertion.uncertain,
}
V1 = {
    "ANAT-DP": Label(Kind.anatomy, Assertion.present),
    "OBS-DP": Label(Kind.observation, Assertion.present),
    "OBS-DA": Label(Kind.observation, Assertion.absent),
    "OBS-U": Label(Kind.observation, Assertion.uncertain),
}
XL = {
    f"{kind.value}::{'measurement::' if measured else ''}{words}": Label(kind, certainty, measured)
    for kind in Kind
    for measured in (False, True)
    for words, certainty in _CERTAINTY.items()
}


@dataclass(frozen=True)
class Entity:
    """Tokens ``start`` to ``end`` (both included) of a report, their label, and relations as (type, id)."""

    tokens: str
    label: Label
    start: int
    end: int
    relations: tuple[tuple[RelationType, str], ...]


@dataclass(frozen=True)
class RadGraphReport:
    """One annotated report.

    Attributes:
        words: Vocabulary its labels were written in, ``v1`` or ``xl``.
        extra: Further keys, kept for writing.
        labeler: Whose annotation of several this is.
    """

    key: str
    text: str
    entities: dict[str, Entity]
    words: str = "v1"
    extra: dict[str, Any] = field(default_factory=dict)
    labeler: str | None = None


def read_radgraph(path: Path, *, labeler: str | None = None, ledger: Ledger | None = None) -> Iterator[RadGraphReport]:
    """Yield the reports of a file, checked.

    Args:
        path: A RadGraph JSON, of either vocabulary, or the output of the ``radgraph`` package.
        labeler: Which annotation of a doubly annotated report (``labeler_1``) counts.
        ledger: Takes up malformed reports; without it the first one is an error.

    Raises:
        DataError: Naming file, report and entity, and what is wrong with it; never the text.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError("is not RadGraph JSON (an object of reports is expected)", item=path)
    for key, record in content.items():
        try:
            yield _report(str(key), record, labeler)
        except DataError as error:
            if ledger is None:
                raise DataError(error.problem, item=f"{path}: {error.item}", remedy=error.remedy) from None
            ledger.drop(key, "malformed RadGraph record")


def write_radgraph(path: Path, reports: Iterator[RadGraphReport] | list[RadGraphReport]) -> None:
    """Write reports in the vocabulary they were read in; what :func:`read_radgraph` read comes out equal."""
    names = {"v1": {label: name for name, label in V1.items()}, "xl": {label: name for name, label in XL.items()}}
    content = {}
    for report in reports:
        entities = {
            number: {
                "tokens": entity.tokens,
                "label": names[report.words][entity.label],
                "start_ix": entity.start,
                "end_ix": entity.end,
                "relations": [[kind.value, target] for kind, target in entity.relations],
            }
            for number, entity in report.entities.items()
        }
        annotation: dict[str, Any] = {"entities": entities}
        if report.labeler is not None:
            annotation = {report.labeler: {**report.extra[report.labeler], **annotation}}
        content[report.key] = {"text": report.text, **report.extra, **annotation}
    write_json(path, content)


def _report(key: str, record: Any, labeler: str | None) -> RadGraphReport:
    if not isinstance(record, dict):
        raise DataError("is not an object", item=key)
    text = record.get("text")
    if not isinstance(text, str):
        raise DataError("has no text", item=key)
    chosen = None if "entities" in record else labeler or "labeler_1"
    annotation = record if chosen is None else record.get(chosen)
    if not isinstance(annotation, dict) or not isinstance(annotation.get("entities"), dict):
        remedy = "choose a labeler" if any(name.startswith("labeler") for name in record) else None
        raise DataError("has no entities", item=key, remedy=remedy)
    tokens = text.split(" ")
    words = {"v1" if entity.get("label") in V1 else "xl" for entity in annotation["entities"].values() if _is(entity)}
    if len(words) > 1:
        raise DataError("mixes labels of both vocabularies, or holds an unknown one", item=key)
    entities = {
        str(number): _entity(f"{key}: entity {number}", entity, tokens, annotation["entities"])
        for number, entity in annotation["entities"].items()
    }
    extra = {name: value for name, value in record.items() if name not in {"text", "entities"}}
    return RadGraphReport(key, text, entities, next(iter(words), "v1"), extra, chosen)


def _is(entity: Any) -> bool:
    return isinstance(entity, dict)


def _entity(item: str, raw: Any, tokens: list[str], others: dict[str, Any]) -> Entity:
    if not _is(raw):
        raise DataError("is not an object", item=item)
    missing = [name for name in ("tokens", "label", "start_ix", "end_ix", "relations") if name not in raw]
    if missing:
        raise DataError(f"lacks {', '.join(missing)}", item=item)
    label = V1.get(raw["label"]) or XL.get(raw["label"]) if isinstance(raw["label"], str) else None
    if label is None:
        raise DataError(f'unknown label "{str(raw["label"])[:60]}"', item=item)
    start, end = raw["start_ix"], raw["end_ix"]
    if type(start) is not int or type(end) is not int or not 0 <= start <= end < len(tokens):
        raise DataError(f"tokens {start} to {end} are not in a text of {len(tokens)}", item=item)
    if raw["tokens"] != " ".join(tokens[start : end + 1]):
        raise DataError("its tokens are not those of the text at its place (both ends count)", item=item)
    relations = []
    for relation in raw["relations"] if isinstance(raw["relations"], list) else [None]:
        if not isinstance(relation, list) or len(relation) != 2:
            raise DataError("a relation is not a pair of type and entity", item=item)
        kind, target = relation
        if kind not in set(RelationType):
            raise DataError(f'unknown relation "{str(kind)[:60]}"', item=item)
        if str(target) not in others:
            raise DataError(f"a relation leads to entity {str(target)[:20]}, which is not there", item=item)
        relations.append((RelationType(kind), str(target)))
    return Entity(raw["tokens"], label, start, end, tuple(relations))


def radgraph_triplets(report: RadGraphReport, vocabulary: Vocabulary) -> tuple[list[Triplet], int]:
    """Return the triplets of an annotated report, and how many observations the vocabulary has no word for.

    As in MedKLIP: an observation with its modifiers is located at the anatomies its ``located_at`` leads to, each with
    the anatomy that modifies it ("left lower lobe"); one that leads nowhere is at its own region, else ``unspecified``.
    """
    modifiers: dict[str, list[str]] = {}
    for number, entity in report.entities.items():
        for kind, target in entity.relations:
            if kind is RelationType.modify:
                modifiers.setdefault(target, []).append(number)
    found: list[Triplet] = []
    unknown = 0
    for number, entity in report.entities.items():
        if entity.label.kind is not Kind.observation or entity.label.measurement:
            continue
        alone = not any(kind is RelationType.modify for kind, _ in entity.relations)
        names = _find(report, [number, *modifiers.get(number, [])], vocabulary.finding_phrases.longest, entity)
        if not names:
            unknown += alone
            continue
        at = [target for kind, target in entity.relations if kind is RelationType.located_at]
        found += _located(report, entity, names[0], at, modifiers, vocabulary)
    return found, unknown


def _words(report: RadGraphReport, numbers: list[str]) -> str:
    parts = sorted({number: report.entities[number] for number in numbers}.values(), key=lambda entity: entity.start)
    return " ".join(entity.tokens for entity in parts)


def _find(report: RadGraphReport, numbers: list[str], longest: Callable[[Any], Any], entity: Entity) -> list[str]:
    """Findings in an observation's own words, else in them together with its modifiers' ("low" + "volumes")."""
    alone = [match.value for match in longest(tokenise(entity.tokens))]
    return alone or [match.value for match in longest(tokenise(_words(report, numbers)))]


def _located(
    report: RadGraphReport,
    entity: Entity,
    finding: str,
    at: list[str],
    modifiers: dict[str, list[str]],
    vocabulary: Vocabulary,
) -> list[Triplet]:
    positions: dict[str, None] = {}
    regions = []
    for target in at:
        anatomy = [n for n in [target, *modifiers.get(target, [])] if report.entities[n].label.kind is Kind.anatomy]
        words = _words(report, anatomy)
        tokens = tokenise(words)
        for match in vocabulary.region_phrases.longest(tokens):
            (side,) = side_sentence(tokens, [(0, len(words))])
            regions.append(match.value)
            positions.update(dict.fromkeys(vocabulary.places(match.value, side)))
    name = vocabulary.refined(finding, regions)
    default = vocabulary.findings[name].region
    if not positions:
        positions = dict.fromkeys(vocabulary.places(default, None)) if not at else {UNSPECIFIED: None}
    exact = [p for p in positions if not any(vocabulary.contains(p, other) for other in positions)]
    sentence = report.text.split(" ")[: entity.start].count(".")
    starts = [0]
    for token in report.text.split(" "):
        starts.append(starts[-1] + len(token) + 1)
    start, end = starts[entity.start], starts[entity.end + 1] - 1
    return [
        Triplet(
            entity=vocabulary.entity_of[name],
            position=position,
            existence=entity.label.certainty,
            finding=name,
            anatomy="; ".join(dict.fromkeys(regions)) or (None if at else default),
            sentence=sentence,
            start=start,
            end=end,
        )
        for position in exact
    ]
