"""Slide detection (tumour or normal) and subtyping (which tumour) from the tiles of each slide.

Everything that is fitted, k of top-k and the two cuts, comes from the slides of the task's ``fit_split``.
Shape legend: N slides of the scored split, J answers (tumour classes, then normal).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from benchmarks.harness.outcome import Outcome, Skipped
from benchmarks.harness.protocols.slide_common import OpenSlides, Score, Share, SlideSettings, Values, untrained
from benchmarks.slides.score import MEAN_EMBEDDING, POOLINGS, rule_of, score_method
from medvlp.metrics import classification, curves
from medvlp.zeroshot.slide import RATIOS, TRIED_K

if TYPE_CHECKING:
    from benchmarks.harness.protocol import Context
    from benchmarks.harness.subjects import Subject
    from benchmarks.harness.task import TaskConfig

ABILITIES = frozenset({"image", "text"})
FLOORS = ("prior", "colour-histogram")
FLOORS_OF_MODEL = ("mean-pooling", "untrained")
SEEDED = frozenset({"untrained"})

Pooling = Literal["tumour_ratio", "ratio_with_normal", "top_k", "mean", "lse", "mean_embedding"]
_NO_DEV = "no development slides to choose a cut on"


class Config(SlideSettings):
    """Settings of slide classification."""

    name: Literal["slide_classification"] = Field(description="Slide detection or subtyping.")
    pooling: Pooling = Field(
        "tumour_ratio",
        description="From tiles to a slide: share of tumour tiles (KEEP), the same with normal, top-k mean (MI-Zero), "
        "mean cosine, log-sum-exp, or the cosine of the mean embedding.",
    )
    k: int | None = Field(None, ge=1, description="Tiles of top_k; null takes the best of 1, 5, 10, 50, 100 on dev.")
    specificity: Share = Field(0.95, description="Specificity at which sensitivity is read.")


class SlideClassification:
    """An opened task; ``benchmarks.harness.protocol.Question``."""

    def __init__(self, task: TaskConfig, settings: Config, context: Context) -> None:
        self.slides = OpenSlides(task, settings, context)
        self.settings = settings
        self.digest, self.prompts_digest = self.slides.digest, self.slides.prompts_digest
        self.num, self.num_cases = self.slides.num, self.slides.num_cases
        self._target_N = np.array([self.slides.target[row] for row in self.slides.parts["test"]])
        self._tumour_N = self._target_N < len(self.slides.asked.tumours)
        self.subtypes = len(self.slides.asked.tumours) > 1

    def score(self, subject: Subject, seed: int) -> Outcome | Skipped:
        """Pool the tiles' cosines; ``seed`` draws nothing."""
        return self._outcome(self.slides.values(subject), self.settings.pooling)

    def floor(self, name: str, subject: Subject | None, seed: int) -> Outcome | Skipped:
        """Class frequencies, colours, one mean vector per slide, or random weights."""
        if name == "prior":
            return self._prior()
        if name == "colour-histogram":
            found = self.slides.colours()
            return found if isinstance(found, Skipped) else self._outcome(found, "tumour_ratio", colours=True)
        assert subject is not None
        if name == "mean-pooling":
            if self.settings.pooling == MEAN_EMBEDDING:
                return Skipped("the mean embedding is what is asked")
            return self._outcome(self.slides.values(subject), MEAN_EMBEDDING)
        assert name == "untrained", name
        fresh = untrained(subject, seed)
        if isinstance(fresh, Skipped):
            return fresh
        return self._outcome(self.slides.values(fresh), self.settings.pooling)

    # ------------------------------------------------------------------ inside

    def _pool(self, values: Values, pooling: str) -> dict[str, Any]:
        settings, slides = self.settings, self.slides
        mean = pooling == MEAN_EMBEDDING
        smoothing = "none" if mean else settings.smoothing
        rule = rule_of(pooling, settings.threshold, smoothing, settings.radius, values.scale)
        if settings.k is not None:
            rule = rule.with_changes(k=settings.k)
        return score_method(
            settings.specificity,
            rule,
            values.by_mean if mean else values.by_tile,
            values.tiles,
            slides.parts,
            slides.target,
            slides.asked.normal,
            TRIED_K if settings.k is None else (settings.k,),
        )

    def _outcome(self, values: Values, pooling: str, colours: bool = False) -> Outcome:
        # one value per slide has no share of tiles: its colours are answered as they are
        whole = all(len(one) == 1 for one in values.by_tile)
        if colours and whole:
            pooling = MEAN_EMBEDDING
        found = self._pool(values, pooling)
        scores = self._scores(found)
        tried = [name for name in POOLINGS if not colours or (name in RATIOS and not whole)]
        details: dict[str, Any] = {
            "fitted": {"pooling": pooling, "k": found["k"] if pooling == "top_k" else None, "cut": found["cut"],
                       "cut_balanced": self._balanced_cut(found), "split": self.slides.task.fit_split,
                       "num_slides": len(self.slides.parts["dev"])},
            "oracle": self._oracle(found),
            "poolings": [self._row(values, name) for name in tried],
            "per_class": self._per_class(found),
        }  # fmt: skip
        limits = self.slides.limits
        if colours:
            limits += ("Colours answer by the tumour ratio, or one value per slide where no tile is labelled.",)
        return Outcome(
            self.slides.metrics(scores),
            prompts=None if colours else self.slides.prompts,
            predictions=self._predictions(found),
            details=details,
            limits=limits,
        )

    def _scores(self, found: dict[str, Any]) -> list[Score]:
        test, target_N, tumour_N = found["test"], self._target_N, self._tumour_N
        count = len(self.slides.asked.tumours) + (self.slides.asked.normal is not None)
        every_N = np.ones(len(target_N), dtype=bool)
        scores: list[Score] = []
        if self.subtypes:
            answer_N = np.asarray(test["answer"])
            present = len(set(target_N.tolist()))
            scores += [
                Score("balanced_accuracy", "Balanced accuracy",
                      lambda w: classification.balanced_accuracy(target_N, answer_N, count, w), every_N, 1 / present),
                Score("weighted_f1", "Weighted F1",
                      lambda w: classification.f1(target_N, answer_N, count, "weighted", w), every_N),
            ]  # fmt: skip
        if self.slides.asked.normal is None or tumour_N.all() or not tumour_N.any():
            return scores or [self._nothing(every_N)]
        score_N = np.asarray(test["score"])
        cut = np.nan if found["cut"] is None else found["cut"]
        balanced = self._balanced_cut(found)
        at = f"{self.settings.specificity:.2f}"
        detection = [
            Score("auroc", "AUROC, tumour or normal", lambda w: curves.auroc(tumour_N, score_N, w), every_N, 0.5),
            Score("detection_balanced_accuracy", "Balanced accuracy of tumour or normal, cut from dev",
                  lambda w: (curves.sensitivity(tumour_N, score_N, balanced, w)
                             + curves.specificity(tumour_N, score_N, balanced, w)) / 2, every_N, 0.5, _NO_DEV),
            Score("sensitivity_at_specificity", f"Sensitivity, cut of specificity {at} on dev",
                  lambda w: curves.sensitivity(tumour_N, score_N, cut, w), tumour_N, None, _NO_DEV),
            Score("specificity_at_cut", f"Specificity there (asked for: {at})",
                  lambda w: curves.specificity(tumour_N, score_N, cut, w), ~tumour_N, None, _NO_DEV),
        ]  # fmt: skip
        if not self.subtypes:
            return detection
        # -1 (no tile for any tumour) becomes the normal column, which is never right here
        kind_N = np.where(np.asarray(test["kind"]) < 0, count - 1, test["kind"])
        which = Score(
            "tumour_balanced_accuracy", "Balanced accuracy of which tumour, told there is one",
            lambda w: classification.balanced_accuracy(
                target_N[tumour_N], kind_N[tumour_N], count, None if w is None else w[:, tumour_N]
            ),
            tumour_N, 1 / len(set(target_N[tumour_N].tolist())),
        )  # fmt: skip
        return [*scores, which, *detection]

    def _nothing(self, every_N: Any) -> Score:
        def undefined(weight_SN: Any) -> Any:
            return np.nan if weight_SN is None else np.full(len(weight_SN), np.nan)

        reason = "one tumour class needs tumour and normal slides"
        return Score("auroc", "AUROC, tumour or normal", undefined, every_N, 0.5, reason)

    def _balanced_cut(self, found: dict[str, Any]) -> float:
        """The score of best balanced accuracy on development slides (the highest of equals); NaN without both kinds."""
        score_M = np.asarray(found["dev"]["score"], dtype=np.float64)
        tumour_M = np.array([self.slides.target[row] for row in self.slides.parts["dev"]]) < len(
            self.slides.asked.tumours
        )
        if len(score_M) == 0 or np.isnan(score_M).any() or tumour_M.all() or not tumour_M.any():
            return float("nan")
        cuts = np.unique(score_M)[::-1]
        gained = [curves.sensitivity(tumour_M, score_M, c) + curves.specificity(tumour_M, score_M, c) for c in cuts]
        return float(cuts[int(np.argmax(gained))])

    def _oracle(self, found: dict[str, Any]) -> dict[str, Any]:
        """Figures whose cut has seen the scored slides, labelled so."""
        if self.slides.asked.normal is None or self._tumour_N.all() or not self._tumour_N.any():
            return {}
        value = curves.roc_point_sensitivity(self._tumour_N, found["test"]["score"], self.settings.specificity)
        return {"title": "oracle: the cut has seen the scored slides", "specificity": self.settings.specificity,
                "sensitivity": float(value)}  # fmt: skip

    def _row(self, values: Values, pooling: str) -> dict[str, Any]:
        found = self._pool(values, pooling)
        row: dict[str, Any] = {"pooling": pooling, "k": found["k"] if pooling == "top_k" else None}
        for one in self._scores(found):
            value = float(one.function(None))
            row[one.name] = None if np.isnan(value) else value
        return row

    def _per_class(self, found: dict[str, Any]) -> list[dict[str, Any]]:
        names = [*self.slides.asked.tumours, *(["normal"] if self.slides.asked.normal is not None else [])]
        scored = classification.class_scores(self._target_N, found["test"]["answer"], len(names))
        return [
            {"class": name, "n": int(scored["support"][column]), "answered": int(scored["answered"][column]),
             "recall": _plain(scored["sensitivity"][column]), "precision": _plain(scored["precision"][column])}
            for column, name in enumerate(names)
        ]  # fmt: skip

    def _predictions(self, found: dict[str, Any]) -> dict[str, Any]:
        rows = self.slides.parts["test"]
        return {
            "key": np.array([self.slides.found.slides[row].key for row in rows]),
            "target": self._target_N,
            "tumour_score": np.asarray(found["test"]["score"], dtype=np.float64),
            "answer": np.asarray(found["test"]["answer"]),
        }

    def _prior(self) -> Outcome | Skipped:
        train = [] if self.slides.task.split == "train" else self.slides.found.rows("train")
        counted = [self.slides.target[row] for row in train or self.slides.parts["dev"]]
        if not counted:
            return Skipped("there are no training or development slides to count classes on")
        most = int(np.bincount(counted).argmax())
        tumours = np.bincount([one for one in counted if one < len(self.slides.asked.tumours)] or [0])
        found: dict[str, Any] = {"k": None, "cut": None}
        for part, rows in self.slides.parts.items():
            found[part] = {"score": [0.0] * len(rows), "answer": [most] * len(rows),
                           "kind": [int(tumours.argmax())] * len(rows)}  # fmt: skip
        found["cut"] = float(np.nextafter(0.0, 1.0)) if self.slides.parts["dev"] else None  # nothing is called tumour
        return Outcome(
            self.slides.metrics(self._scores(found)),
            predictions=self._predictions(found),
            details={"per_class": self._per_class(found)},
            limits=self.slides.limits,
        )


def _plain(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def open(task: TaskConfig, settings: Config, context: Context) -> SlideClassification:
    """Open the slides of a task and make its prompts; see :class:`OpenSlides` for what is refused."""
    return SlideClassification(task, settings, context)
