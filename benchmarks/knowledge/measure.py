"""From kept answers to scores: which questions a set asks, and every system's value and bootstrap draws on each.

A set with held-out classes asks two questions: among all classes, and among the held-out ones alone. A set with free
texts also asks for the text of an image and for the image of a text. Scores are ``medvlp.zeroshot.scoring``'s and
``medvlp.metrics``' own. Shape legend: N images, K classes, G texts, Q queries, R seeds, S draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.knowledge.answers import Arrays, free_texts
from benchmarks.knowledge.run import Answered
from medvlp.errors import DataError
from medvlp.io import sha256_json
from medvlp.metrics import bootstrap
from medvlp.metrics.paired import Measured
from medvlp.metrics.ranking import mean_reciprocal_rank, recall_at, similarity_ranks
from medvlp.zeroshot.classifier import Floats, softmax
from medvlp.zeroshot.floors import COLOUR, PRIOR
from medvlp.zeroshot.scoring import SPECS, System, score_systems
from medvlp.zeroshot.task import build_hierarchy, build_task

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

RECALL, MRR, AT = "recall_at_5", "mean_reciprocal_rank", 5
TITLES = {name: spec.title for name, spec in SPECS.items()} | {RECALL: "R@5", MRR: "MRR"}
_TIED = 1e-6
Scores = dict[str, Measured]


@dataclass(frozen=True)
class Question:
    """One question to a set, with everybody's scores.

    Attributes:
        set_name: Short name of the set.
        about: What is asked.
        seen: Whether its class names were seen in training.
        seen_classes: True where all were, False where none was, None for some or for texts.
        classes: Classes asked about; empty for texts.
        num: Images, or queries.
        num_cases: Cases, the unit of the bootstrap.
        optimistic: Whether near-duplicates had to stand in for cases.
        metrics: Names, the leading one first.
        arms: Scores of each arm.
        floors: Scores of each floor, or why it has none.
        dropped: Rows left out, by reason.
    """

    set_name: str
    about: str
    seen: str
    seen_classes: bool | None
    classes: tuple[str, ...]
    num: int
    num_cases: int
    optimistic: bool
    metrics: tuple[str, ...]
    arms: Mapping[str, Scores]
    floors: Mapping[str, Scores | str]
    dropped: Mapping[str, int]

    @property
    def lead(self) -> str:
        """The leading metric."""
        return self.metrics[0]

    def best_floor(self) -> str | None:
        """Name of the floor that is best on the leading metric; a choice on the test part, in the floors' favour."""
        known = {name: scores for name, scores in self.floors.items() if not isinstance(scores, str)}
        return max(known, key=lambda name: known[name][self.lead].value, default=None)


def questions(answered: Answered, graph: DiseaseGraph, num_draws: int) -> list[Question]:
    """Return every question of a set, scored."""
    prepared = answered.prepared
    classes, held_out = prepared.classes, prepared.settings.held_out
    floors: dict[str, Floats | str] = {
        name: answered.floors.get(f"{name}_probability_NK", "the training part holds one class only")
        for name in (PRIOR, COLOUR)
    }
    seen = "yes" if not held_out else f"no for {len(held_out)} of {len(classes)}"
    out = [_classes(answered, graph, classes, "all classes", seen, None if held_out else True, floors, num_draws)]
    if held_out:
        of_them = [label for label in classes if label in held_out]
        reason = "no training image of these classes"
        alone: dict[str, Floats | str] = {PRIOR: np.empty(0), COLOUR: reason}
        out.append(_classes(answered, graph, of_them, "held-out classes alone", "no", False, alone, num_draws))
    if prepared.settings.retrieval:
        out += [_texts(answered, num_draws, forth) for forth in (True, False)]
    return out


def draw_seed(name: str) -> int:
    """Return the seed of a set's draws: sets are drawn apart, so that their differences may be averaged."""
    return int(sha256_json(name)[:8], 16)


def _classes(
    answered: Answered,
    graph: DiseaseGraph,
    classes: list[str],
    about: str,
    seen: str,
    seen_classes: bool | None,
    floors: Mapping[str, Floats | str],
    num_draws: int,
) -> Question:
    prepared = answered.prepared
    positive = prepared.settings.positive if prepared.settings.positive in classes else None
    concepts = prepared.store.class_concepts
    task = build_task(prepared.store.split("test"), classes, concepts, positive=positive)
    if len(task) == 0:
        raise DataError("no test image of the scored classes", item=f"sets.{prepared.name}", remedy="change the split")
    columns = [prepared.prompts.classes.index(label) for label in classes]

    def probability(arrays: Arrays) -> Floats:
        cosine_NK = arrays["class_cosine_NK"][np.ix_(task.rows_N, columns)].astype(np.float64)
        return softmax(float(arrays["scale"]) * cosine_NK)

    systems = [
        System(name, str(place), probability(arrays))
        for name, runs in answered.arms.items()
        for place, arrays in enumerate(runs)
    ]
    uniform_NK = np.full((len(task), len(classes)), 1 / len(classes))
    for name, found in floors.items():
        if not isinstance(found, str):
            systems.append(System(name, "0", found if len(found) else uniform_NK))
    scored = score_systems(
        task,
        None,
        systems,
        places=build_hierarchy(graph, classes, concepts),
        specificity=0.95,
        num_draws=num_draws,
        seed=draw_seed(prepared.name),
    )
    metrics = tuple(name for name in prepared.settings.metrics if not np.isnan(scored[0].value[name][0]))
    if not metrics:
        raise DataError(
            "none of its metrics is defined on its test images", item=f"sets.{prepared.name}", remedy="add images"
        )
    of_system: dict[str, Scores] = {}
    for name in dict.fromkeys(system.name for system in systems):
        runs = [found for found in scored if found.system.name == name]
        of_system[name] = {
            metric: Measured(
                np.array([run.value[metric][0] for run in runs]),
                np.mean([run.draws[metric] for run in runs], axis=0),
                task.num_cases,
            )
            for metric in metrics
        }
    return Question(
        prepared.name,
        about,
        seen,
        seen_classes,
        tuple(classes),
        len(task),
        task.num_cases,
        not prepared.has_cases,
        metrics,
        {name: of_system[name] for name in answered.arms},
        {name: found if isinstance(found, str) else of_system[name] for name, found in floors.items()},
        dict(task.ledger.dropped),
    )


def _texts(answered: Answered, num_draws: int, forth: bool) -> Question:
    """Images ask for their texts (``forth``), or texts for their images; a shared text has several right images."""
    prepared = answered.prepared
    split = prepared.store.split("test")
    gallery = {text: place for place, text in enumerate(free_texts(split))}
    if not gallery:
        raise DataError("has no free text to retrieve", item=f"sets.{prepared.name}", remedy="set retrieval: false")
    own_NG = np.zeros((len(split), len(gallery)), dtype=bool)
    for row, texts in enumerate(split.column("texts")):
        own_NG[row, [gallery[text.text] for text in texts if text.aspect == "caption"]] = True
    asked_N = np.flatnonzero(own_NG.any(1))
    own_NG = own_NG[asked_N]
    case_N = np.asarray(split.column("case"), dtype=object)[asked_N]
    right_QG = own_NG if forth else own_NG.T
    case_Q = case_N if forth else case_N[own_NG.argmax(0)]  # of the first image that a text belongs to

    def ranks(cosine_NG: Floats) -> Callable[[Any], Scores]:
        shown_NG = cosine_NG[asked_N].astype(np.float64)
        rank_Q = similarity_ranks(shown_NG if forth else shown_NG.T, right_QG, _TIED).realistic_Q
        return lambda weight: {RECALL: recall_at(rank_Q, AT, weight), MRR: mean_reciprocal_rank(rank_Q, weight)}

    by_luck_Q = {RECALL: recall_by_luck(right_QG, AT), MRR: reciprocal_rank_by_luck(right_QG)}

    def luck(weight: Any) -> Any:
        weight_SQ = np.ones((1, len(right_QG))) if weight is None else weight
        drawn = {name: weight_SQ @ value_Q / weight_SQ.sum(1) for name, value_Q in by_luck_Q.items()}
        return {name: value_S[0] if weight is None else value_S for name, value_S in drawn.items()}

    runs: dict[str, list[Callable[[Any], Any]]] = {
        name: [ranks(arrays["text_cosine_NG"]) for arrays in found] for name, found in answered.arms.items()
    }
    runs |= {PRIOR: [luck], COLOUR: [ranks(answered.floors[f"{COLOUR}_text_cosine_NG"])]}
    weights = list(bootstrap.draw_weights(case_Q, num_draws, draw_seed(prepared.name)))
    num_cases = len(set(case_Q))
    scored: dict[str, Scores] = {}
    for name, statistics in runs.items():
        plain = [statistic(None) for statistic in statistics]
        drawn = [[statistic(weight_SQ) for weight_SQ in weights] for statistic in statistics]
        scored[name] = {
            metric: Measured(
                np.array([float(found[metric]) for found in plain]),
                np.mean([np.concatenate([block[metric] for block in blocks]) for blocks in drawn], axis=0),
                num_cases,
            )
            for metric in (RECALL, MRR)
        }
    return Question(
        prepared.name,
        "image → note" if forth else "note → image",
        "yes",
        None,
        (),
        len(right_QG),
        num_cases,
        not prepared.has_cases,
        (RECALL, MRR),
        {name: scored[name] for name in answered.arms},
        {name: scored[name] for name in (PRIOR, COLOUR)},
        {"image without a note": len(split) - len(asked_N)} if forth and len(split) > len(asked_N) else {},
    )


def recall_by_luck(right_QG: Any, k: int) -> Floats:
    """Chance (Q,) that a random order has a right item among its first ``k``."""
    total, right_Q = right_QG.shape[1], right_QG.sum(1)
    return np.array([1 - comb(total - int(n), min(k, total)) / comb(total, min(k, total)) for n in right_Q])


def reciprocal_rank_by_luck(right_QG: Any) -> Floats:
    """Expected 1 / rank of the first right item (Q,) in a random order."""
    total = right_QG.shape[1]

    def expected(n: int) -> float:
        first = range(1, total - n + 2)
        return sum(comb(total - rank, n - 1) / rank for rank in first) / comb(total, n)

    return np.array([expected(int(n)) for n in right_QG.sum(1)])
