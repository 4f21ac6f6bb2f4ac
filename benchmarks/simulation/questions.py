"""What is asked of which scenes: four or five sets of scenes and prompts, with exact truth.

Shape legend: N scenes, K findings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp.zeroshot import templates as wordings
from medvlp.zeroshot.prompts import Prompt, PromptSet


@dataclass(frozen=True)
class Question:
    """One condition: which scenes count for which finding, and by which names it is asked.

    Attributes:
        name: Short name.
        title: Row of the table.
        kinds: Findings asked (K).
        present_NK: Truth over all test scenes.
        counts_NK: Whether a scene takes part in the AUROC of a finding.
        unseen_names: Ask by the names that no text of training holds.
    """

    name: str
    title: str
    kinds: tuple[str, ...]
    present_NK: NDArray[np.bool_]
    counts_NK: NDArray[np.bool_]
    unseen_names: bool = False


def questions(scenes: Sequence[Mapping[str, Any]], held_out: Mapping[str, Any], kinds: Sequence[str]) -> list[Question]:
    """Return every condition the scenes allow.

    Scenes of the part ``test`` are asked about every finding of training. A scene of a held-out part counts only as a
    positive of what is held out in it; its negatives are the test scenes with some other finding, so that telling
    diseased from healthy gains nothing.

    Args:
        scenes: Truth of all test scenes, in row order of the split.
        held_out: What the store's manifest says is held out.
        kinds: All findings.
    """
    part_N = np.array([scene["part"] for scene in scenes])
    present = {
        kind: np.array([any(f["kind"] == kind for f in scene["findings"]) for scene in scenes]) for kind in kinds
    }
    ordinary_N = part_N == "test"
    diseased_N = np.array([len(scene["findings"]) > 0 for scene in scenes])
    known = [kind for kind in kinds if kind != held_out["finding"]]

    def ask(name: str, title: str, asked: Sequence[str], part: str, unseen: bool = False) -> Question:
        truth_NK = np.stack([present[kind] for kind in asked], axis=1)
        counts_NK = np.repeat(ordinary_N[:, None], len(asked), axis=1)
        if part != "test":
            counts_NK = (counts_NK & diseased_N[:, None] & ~truth_NK) | ((part_N == part)[:, None] & truth_NK)
        return Question(name, title, tuple(asked), truth_NK, counts_NK, unseen)

    found = [
        ask("scenes", "held-out scenes", known, "test"),
        ask("names", "held-out synonyms", known, "test", unseen=True),
    ]
    if held_out["combination"]:
        found.append(ask("combination", "held-out combination", held_out["combination"], "combination"))
    if held_out["side"]:
        found.append(ask("side", "held-out side", [held_out["side"]["finding"]], "side"))
    if held_out["finding"]:
        found.append(ask("finding", "held-out finding", [held_out["finding"]], "finding"))
    return [question for question in found if (question.counts_NK & question.present_NK).any()]


def prompt_set(
    names: Mapping[str, Sequence[str]],
    concepts: Mapping[str, str],
    templates: str,
    absent: str | None,
    source: str,
) -> PromptSet:
    """Prompts for the presence and absence of each finding, from exactly these names.

    Args:
        names: Names by finding.
        concepts: Concept id by finding.
        templates: Named set or file of wordings for presence.
        absent: File of wordings for absence, or None for the library's.
        source: Where the names come from, for the record.
    """
    present = wordings.load(templates)
    missing = wordings.ABSENT if absent is None else wordings.load(absent)
    return PromptSet(
        tuple(names),
        tuple(
            tuple(Prompt(wordings.fill(wording, name), source, concepts[kind]) for name in own for wording in present)
            for kind, own in names.items()
        ),
        tuple(tuple(wordings.fill(wording, name) for name in own for wording in missing) for own in names.values()),
        source=source,
    )
