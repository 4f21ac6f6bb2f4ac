"""What a report says about a scene: names, sentences of presence and absence, triplets.

Names come from the graph; those set aside as unseen are in no text. The wordings are our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_prep.simulation.config import SimulationConfig
from data_prep.simulation.findings import Finding, Kind
from data_prep.simulation.scene import Scene
from medvlp.data.pairs import Text
from medvlp.errors import ConfigError
from medvlp.knowledge.names import normalise

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

_TEXTS = 3  # random stream
_GRADES = {
    "effusion": ("small", "moderate", "large"),
    "pneumothorax": ("small", "moderate", "large"),
    "consolidation": ("mild", "moderate", "extensive"),
    "cardiomegaly": ("mild", "moderate", "severe"),
}
_PRESENT = (
    "There is {finding}{place}.",
    "{Finding} is seen{place}.",
    "{Finding}{place}.",
    "The radiograph shows {finding}{place}.",
    "Findings of {finding}{place}.",
)
_ABSENT = ("No {name}.", "There is no {name}.", "No evidence of {name}.", "Negative for {name}.", "No sign of {name}.")
_CLEAR = ("The lungs are clear.", "Normal chest radiograph.", "No acute finding.", "Heart and lungs are unremarkable.")
_PLACES = {
    "effusion": (" on the {side}", " at the {side} lung base", " in the {side} pleural space"),
    "pneumothorax": (" on the {side}", " at the {side} apex", " in the {side} pleural space"),
}
_POSITIONS = {"effusion": "{side} pleural space", "pneumothorax": "{side} pleural space", "cardiomegaly": "heart"}


@dataclass(frozen=True)
class Vocabulary:
    """Names of each finding for texts, and for evaluation alone."""

    seen: Mapping[Kind, tuple[str, ...]]
    unseen: Mapping[Kind, tuple[str, ...]]
    concepts: Mapping[Kind, str]


def vocabulary(config: SimulationConfig, graph: DiseaseGraph) -> Vocabulary:
    """Collect the names of every finding.

    Raises:
        GraphError: If a concept is not in the graph.
        ConfigError: If a name of a text contains an unseen name of any finding, or two findings share a concept.
    """
    concepts: dict[Kind, str] = {}
    seen: dict[Kind, tuple[str, ...]] = {}
    for kind, names in config.findings.items():
        row = graph.index(names.concept)
        concepts[kind] = graph.ids[row]
        own = [name.text for name in graph.names(names.concept) if name.kind in ("preferred", "exact")]
        readable = [text for text in own if "(" not in text and "," not in text]
        unseen = {normalise(text) for text in names.unseen}
        found: dict[str, str] = {}
        for text in (names.label, *names.extra, *readable):
            if normalise(text) not in unseen:
                found.setdefault(normalise(text), text[:1].lower() + text[1:])
        seen[kind] = tuple(found.values())
    if len(set(concepts.values())) != len(concepts):
        raise ConfigError("two findings have the same concept in the graph", item="findings", remedy="change one")
    for kind, names in config.findings.items():
        for hidden in map(normalise, names.unseen):
            known = [text for found in seen.values() for text in found if f" {hidden} " in f" {normalise(text)} "]
            if known:
                raise ConfigError(
                    f"the unseen name {hidden!r} is part of the name {known[0]!r}",
                    item=f"findings.{kind}.unseen",
                    remedy="set another name aside",
                )
    return Vocabulary(seen, {kind: tuple(names.unseen) for kind, names in config.findings.items()}, concepts)


def texts(scene: Scene, config: SimulationConfig, words: Vocabulary) -> list[Text]:
    """Return the scene's texts: one report of all sentences, then each sentence by itself."""
    rng = np.random.default_rng([config.seed, scene.number, _TEXTS])
    present = [_sentence(finding, words.seen[finding.kind], rng) for finding in scene.findings]
    absent = [kind for kind in config.findings if kind not in scene.kinds and kind != config.held_out.finding]
    number = int(rng.integers(config.negatives + 1))
    negatives = [
        _pick(_ABSENT, rng).format(name=_pick(words.seen[absent[index]], rng))
        for index in rng.permutation(len(absent))[:number]
    ]
    clear = [_pick(_CLEAR, rng)] if not present else []
    sentences = [*clear, *present, *negatives]
    report = " ".join(sentences[index] for index in rng.permutation(len(sentences)))
    own = [Text(sentence, "finding") for sentence in [*clear, *present]]
    return [Text(report, "report"), *own, *(Text(sentence, "absent finding") for sentence in negatives)]


def triplets(scene: Scene, config: SimulationConfig) -> list[dict[str, str | None]]:
    """Entity, position, existence of every finding the scene has or lacks."""
    out: list[dict[str, str | None]] = []
    for finding in scene.findings:
        label = config.findings[finding.kind].label
        out.append({"entity": label, "position": position(finding), "existence": "present"})
    for kind, names in config.findings.items():
        if kind not in scene.kinds:
            out.append({"entity": names.label, "position": None, "existence": "absent"})
    return out


def position(finding: Finding) -> str:
    """Where a finding lies, in words."""
    if finding.lobe is not None:
        return finding.lobe
    return _POSITIONS[finding.kind].format(side=finding.side)


def grade(finding: Finding) -> str:
    """Severity in words; the diameter for a nodule or mass."""
    if finding.diameter_mm is not None:
        return f"{round(finding.diameter_mm)} mm"
    return _GRADES[finding.kind][min(2, int(3 * finding.severity))]


def _sentence(finding: Finding, names: Sequence[str], rng: np.random.Generator) -> str:
    name = _pick(names, rng)
    if rng.random() < 0.6:
        name = f"{grade(finding)} {name}"
    place = f" in the {finding.lobe}" if finding.lobe is not None else ""
    if finding.kind in _PLACES:
        place = _pick(_PLACES[finding.kind], rng).format(side=finding.side)
    return _pick(_PRESENT, rng).format(finding=name, Finding=name[:1].upper() + name[1:], place=place)


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
