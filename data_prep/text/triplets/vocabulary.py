"""Vocabularies: which findings and places a field's reports speak of, and the matrix they are counted in.

A vocabulary is a YAML file. Its entities are the matrix's columns (E), its positions the rows (P); findings are finer
than entities (several share a column), regions are positions before the side is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from data_prep.text.laterality import Side
from data_prep.text.phrases import PhraseMatcher
from medvlp.config import Config, load_as
from medvlp.errors import ConfigError
from medvlp.io import sha256_json

FOLDER = Path(__file__).with_name("vocabularies")
UNSPECIFIED = "unspecified"
_SEMANTIC_TYPES = {"finding": "Finding", "device": "Medical Device", "procedure": "Therapeutic or Preventive Procedure"}


class Refinement(Config):
    """A finding that gets a name of its own at certain regions: enlargement of the heart is cardiomegaly."""

    regions: list[str] = Field(description="Regions at which it holds.")
    to: str = Field(description="The finding it becomes.")


class FindingEntry(Config):
    """One finding: how it is written, and where it is counted."""

    names: list[str] = Field([], description="Phrases, in the patterns of `data_prep.text.phrases`.")
    entity: str | None = Field(None, description="Column of the matrix; by default the finding's own id.")
    region: str | None = Field(None, description="Region it lies in when the report names none.")
    type: Literal["finding", "device", "procedure"] = Field("finding", description="What it is.")
    at: list[Refinement] = Field([], description="Names it takes at certain regions.")


class RegionEntry(Config):
    """One place of the body: how it is written, and the position it is on either side."""

    names: list[str] = Field(description="Phrases, in the patterns of `data_prep.text.phrases`.")
    none: str = Field(description="Position when no side is said, or when the region has none.")
    left: str | None = Field(None, description="Position on the left.")
    right: str | None = Field(None, description="Position on the right.")


class VocabularyFile(Config):
    """A vocabulary as it is written down."""

    name: str = Field(description="What the vocabulary is called.")
    title: str = Field(description="What it is for, in one line.")
    positions: dict[str, list[str]] = Field(description="Rows of the matrix in order, each with its parent positions.")
    normal: list[str] = Field([], description="First columns: entities that say that nothing is wrong.")
    abnormal: list[str] = Field(description="Further columns: entities by name.")
    tail: str = Field("tail_abnorm_obs", description="Column of abnormal findings without one of their own.")
    excluded: str = Field("excluded_obs", description="Column of what is said about the picture, not the patient.")
    findings: dict[str, FindingEntry] = Field(description="Findings by id.")
    regions: dict[str, RegionEntry] = Field(description="Regions by id.")


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """A checked vocabulary, ready to match.

    Attributes:
        positions: Names of the P rows.
        entities: Names of the E columns.
        digest: Of all that the file says.
        ancestor_PP: ``ancestor_PP[i, j]``: row j contains row i (j is a parent, a parent's parent, ...).
    """

    name: str
    title: str
    positions: tuple[str, ...]
    entities: tuple[str, ...]
    normal: frozenset[str]
    findings: dict[str, FindingEntry]
    regions: dict[str, RegionEntry]
    entity_of: dict[str, str]
    ancestor_PP: NDArray[np.bool_]
    digest: str
    finding_phrases: PhraseMatcher[str] = field(repr=False)
    region_phrases: PhraseMatcher[str] = field(repr=False)

    @property
    def excluded_PP(self) -> NDArray[np.bool_]:
        """``excluded_PP[i, j]``: where i is true, j is no negative: i itself, what contains it, what is in it."""
        same_PP = np.eye(len(self.positions), dtype=bool)
        return same_PP | self.ancestor_PP | self.ancestor_PP.T

    def places(self, region: str | None, side: Side | None) -> tuple[str, ...]:
        """Return the positions of a region on a side; both for a bilateral one, ``unspecified`` for no region."""
        if region is None:
            return (UNSPECIFIED,)
        entry = self.regions[region]
        if side is None or entry.left is None or entry.right is None:
            return (entry.none,)
        return {
            Side.left: (entry.left,),
            Side.right: (entry.right,),
            Side.bilateral: (entry.left, entry.right) if entry.left != entry.right else (entry.left,),
        }[side]

    def contains(self, outer: str, inner: str) -> bool:
        """Whether position ``outer`` strictly contains position ``inner``."""
        return bool(self.ancestor_PP[self.positions.index(inner), self.positions.index(outer)])

    def refined(self, finding: str, regions: Iterable[str]) -> str:
        """Return the finding's name at these regions."""
        places = set(regions)
        return next((at.to for at in self.findings[finding].at if places & set(at.regions)), finding)

    def semantic_type(self, finding: str) -> str:
        """Return the UMLS semantic type of a finding."""
        return _SEMANTIC_TYPES[self.findings[finding].type]


def shipped_vocabularies() -> list[str]:
    """Return the names of the vocabularies that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_vocabulary(name_or_path: str) -> Vocabulary:
    """Read a vocabulary, a shipped one by name (``radiology``) or a file of your own.

    Raises:
        ConfigError: Listing what is wrong: unknown positions, entities, regions, a cycle of positions.
    """
    path = FOLDER / f"{name_or_path}.yaml"
    if not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        known = ", ".join(shipped_vocabularies())
        raise ConfigError("no such vocabulary", item=name_or_path, remedy=f"name a file, or one of {known}")
    return _load(str(path.resolve()), path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _load(path: str, _changed: int) -> Vocabulary:
    file = load_as(VocabularyFile, path)
    entities = (*file.normal, *file.abnormal, file.tail, file.excluded)
    entity_of = {
        name: entry.entity or (name if name in entities else file.tail) for name, entry in file.findings.items()
    }
    problems = _problems(file, entities, entity_of)
    if problems:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in problems))
    return Vocabulary(
        name=file.name,
        title=file.title,
        positions=tuple(file.positions),
        entities=entities,
        normal=frozenset(file.normal),
        findings=file.findings,
        regions=file.regions,
        entity_of=entity_of,
        ancestor_PP=_ancestors(path, file.positions),
        digest=sha256_json(file.model_dump(mode="json")),
        finding_phrases=PhraseMatcher((p, name) for name, entry in file.findings.items() for p in entry.names),
        region_phrases=PhraseMatcher((p, name) for name, entry in file.regions.items() for p in entry.names),
    )


def _problems(file: VocabularyFile, entities: tuple[str, ...], entity_of: dict[str, str]) -> list[str]:
    positions = set(file.positions)
    found = [f"entity {name} is listed twice" for name in sorted({e for e in entities if entities.count(e) > 1})]
    if UNSPECIFIED not in positions:
        found.append(f"positions: {UNSPECIFIED} is missing")
    for name, parents in file.positions.items():
        found += [f"positions.{name}: no such parent: {parent}" for parent in parents if parent not in positions]
    for name, region in file.regions.items():
        named = [place for place in (region.none, region.left, region.right) if place is not None]
        found += [f"regions.{name}: no such position: {place}" for place in named if place not in positions]
        if (region.left is None) != (region.right is None):
            found.append(f"regions.{name}: a side is missing")
    for name, finding in file.findings.items():
        if entity_of[name] not in entities:
            found.append(f"findings.{name}: no such entity: {entity_of[name]}")
        wanted = [finding.region, *(region for at in finding.at for region in at.regions)]
        found += [f"findings.{name}: no such region: {r}" for r in wanted if r is not None and r not in file.regions]
        found += [f"findings.{name}: no such finding: {at.to}" for at in finding.at if at.to not in file.findings]
    return found


def _ancestors(path: str, parents: dict[str, list[str]]) -> NDArray[np.bool_]:
    index = {name: number for number, name in enumerate(parents)}
    above_PP = np.zeros((len(index), len(index)), dtype=bool)
    for name, named in parents.items():
        above_PP[index[name], [index[parent] for parent in named]] = True
    while True:
        further_PP = above_PP | (above_PP.astype(np.int32) @ above_PP.astype(np.int32) > 0)
        if (further_PP == above_PP).all():
            break
        above_PP = further_PP
    circular = [name for name, number in index.items() if above_PP[number, number]]
    if circular:
        raise ConfigError(f"positions contain each other in a circle: {', '.join(circular)}", item=path)
    return above_PP
