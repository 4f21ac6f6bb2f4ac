"""What a zero-shot call answers, and which prompts carried each score.

A class vector is the L2-normalised mean of its P prompts' unit vectors t_p, so its cosine with an image is exactly the
sum of ``cos(image, t_p) / (P * norm of the mean)``: each prompt's contribution. With several labels per image the score
is presence minus absence, and the prompts for absence contribute with the opposite sign.

Where a query decoder scored, the score is the mean of its prompts' logits of presence instead, and a prompt contributes
its logit over P.

Shape legend: B images, K classes, P prompts of a class, D embedding size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp.errors import DataError
from medvlp.ledger import Ledger
from medvlp.zeroshot.prompts import Prompt, PromptSet
from medvlp.zeroshot.task import Mode

Floats = NDArray[np.float64]
ABSENCE = "absence"


@dataclass(frozen=True)
class Contribution:
    """A prompt's part of a score: ``value`` adds up to the score over all prompts; ``cosine`` is the prompt's own.

    Where a query decoder scored, ``cosine`` holds the prompt's logit of presence.
    """

    prompt: Prompt
    value: float
    cosine: float


@dataclass(frozen=True)
class Group:
    """Several prompts' part of a score: the sum of their contributions, their number, and their mean cosine."""

    name: str
    value: float
    num: int
    cosine: float


@dataclass(frozen=True)
class ClassExplanation:
    """Why one image has its score for one class.

    Attributes:
        image: Name of the image.
        label: The class as it was asked for.
        name: What the class is called.
        probability: Its probability.
        score: Cosine of image and class vector (single), or presence minus absence (multi).
        top: The prompts with the largest contributions.
        rest: Sum of the contributions of all other prompts.
        kinds: Contributions by kind of prompt (preferred, exact, hypernym-path, definition, ...); they add up to score.
        names: Contributions by name, over all wordings of it; they add up to score.
        ancestors: Contributions of path prompts by each concept on the path. A path counts for all its concepts, so
            these overlap and do not add up.
        unit: What a prompt's own number is: ``cosine``, or ``logit`` where a query decoder scored.
    """

    image: str
    label: str
    name: str
    probability: float
    score: float
    top: tuple[Contribution, ...]
    rest: float
    kinds: tuple[Group, ...]
    names: tuple[Group, ...]
    ancestors: tuple[Group, ...]
    unit: str = "cosine"

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON."""
        groups = {
            key: [{"name": g.name, "value": g.value, "num": g.num, "cosine": g.cosine} for g in getattr(self, key)]
            for key in ("kinds", "names", "ancestors")
        }
        return {
            "image": self.image,
            "label": self.label,
            "name": self.name,
            "probability": self.probability,
            "score": self.score,
            "unit": self.unit,
            "top": [
                {"text": c.prompt.text, "kind": c.prompt.kind, "concept": c.prompt.concept, "value": c.value,
                 "cosine": c.cosine}
                for c in self.top
            ],
            "rest": self.rest,
            **groups,
        }  # fmt: skip

    def __str__(self) -> str:
        """Lines for reading; values add up to the score."""
        lines = [
            f"{self.image}: {_called(self.label, self.name)}  "
            f"probability {self.probability:.3f}  score {self.score:+.4f}"
        ]
        lines.append("  by kind: " + ", ".join(f"{g.name} {g.value:+.4f} ({g.num})" for g in self.kinds))
        lines += [f"  {c.value:+.4f}  {self.unit} {c.cosine:+.3f}  {c.prompt.kind}: {c.prompt.text}" for c in self.top]
        num_rest = sum(g.num for g in self.kinds) - len(self.top)
        if num_rest > 0:
            lines.append(f"  {self.rest:+.4f}  {num_rest} other prompts")
        if self.ancestors:
            above = ", ".join(f"{g.name} {g.value:+.4f} ({g.num})" for g in self.ancestors)
            lines.append(f"  paths through: {above}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Explanation(Sequence[ClassExplanation]):
    """Explanations image by image, the most probable class first; ``print`` gives them as text."""

    items: tuple[ClassExplanation, ...]

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __str__(self) -> str:
        return "\n".join(map(str, self.items))

    def to_json(self) -> list[dict[str, Any]]:
        """Return a JSON-ready list."""
        return [item.to_json() for item in self.items]


@dataclass(frozen=True)
class Answer:
    """Probabilities of every image and class.

    Attributes:
        images: Name of each image: its path, or ``image N``.
        classes: Classes as they were asked for.
        names: What each class is called: the preferred name of its concept, or the words it was asked for with.
        concepts: Concept ids of each class.
        unmatched: Classes that no concept describes; their own words are their prompts.
        mode: One class per image, or any number.
        probabilities: (B, K); rows add up to 1 in single mode.
        scores: (B, K) cosines with the class vectors; presence minus absence in multi mode; logits of presence where a
            query decoder scored.
        prompts: Every prompt with its origin, and a digest.
        ledger: Images read and skipped, by reason.
    """

    images: tuple[str, ...]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    concepts: Mapping[str, Sequence[str]]
    unmatched: tuple[str, ...]
    mode: Mode
    probabilities: Floats
    scores: Floats
    prompts: PromptSet
    ledger: Ledger
    _image_BD: Floats = field(repr=False)
    _present: tuple[Floats, ...] = field(repr=False)
    _absent: tuple[Floats, ...] = field(repr=False)
    _concept_names: Mapping[str, str] = field(repr=False)
    _logits: tuple[Floats, ...] = field(default=(), repr=False)

    @property
    def scorer(self) -> str:
        """``decoder`` where a query decoder scored, else ``cosine``."""
        return "decoder" if self._logits else "cosine"

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    @property
    def labels(self) -> list[Any]:
        """The most probable class of each image; in multi mode the tuple of classes likelier present than absent."""
        if self.mode == "single":
            return [self.classes[column] for column in self.probabilities.argmax(1)]
        return [tuple(np.array(self.classes)[row > 0.5].tolist()) for row in self.probabilities]

    def explain(self, top: int = 5, num_classes: int | None = None) -> Explanation:
        """Say which names, definitions and hypernym paths carried each score.

        Args:
            top: Prompts to list per image and class; the groups always cover all of them.
            num_classes: Only so many of each image's most probable classes; all by default.

        Raises:
            DataError: If a number is below 1 (``top`` may be 0).
        """
        if top < 0 or (num_classes is not None and num_classes < 1):
            raise DataError("expected top of at least 0 and num_classes of at least 1", item="explain")
        order_BK = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :num_classes]
        return Explanation(
            tuple(
                self._explain_one(image, int(column), top) for image in range(len(self)) for column in order_BK[image]
            )
        )

    def contributions(self, image: int, column: int) -> list[Contribution]:
        """Return every prompt's part of a score, in prompt order; the values add up to ``scores[image, column]``."""
        if self._logits:
            logit_P = self._logits[column][image]
            pairs = zip(self.prompts.prompts[column], logit_P.tolist(), strict=True)
            return [Contribution(prompt, logit / len(logit_P), logit) for prompt, logit in pairs]
        found = _contributions(self.prompts.prompts[column], self._present[column], self._image_BD[image], 1.0)
        if self._absent:
            prompts = [Prompt(text, ABSENCE) for text in self.prompts.absent[column]]
            found += _contributions(prompts, self._absent[column], self._image_BD[image], -1.0)
        return found

    def _explain_one(self, image: int, column: int, top: int) -> ClassExplanation:
        found = self.contributions(image, column)
        ranked = sorted(found, key=lambda item: -item.value)
        by_ancestor = [
            (f"{concept} {self._concept_names[concept]}", item)
            for item in found
            for concept in item.prompt.path[:-1]  # the last is the class's own concept
        ]
        return ClassExplanation(
            image=self.images[image],
            label=self.classes[column],
            name=self.names[column],
            probability=float(self.probabilities[image, column]),
            score=float(self.scores[image, column]),
            top=tuple(ranked[:top]),
            rest=float(sum(item.value for item in ranked[top:])),
            kinds=_grouped((item.prompt.kind, item) for item in found),
            names=_grouped((item.prompt.name or item.prompt.text, item) for item in found),
            ancestors=_grouped(by_ancestor),
            unit="logit" if self._logits else "cosine",
        )

    def to_json(self) -> dict[str, Any]:
        """Return classes and probabilities as JSON, without explanations."""
        rows = zip(self.images, self.labels, self.probabilities, strict=True)
        return {
            "mode": self.mode,
            "scorer": self.scorer,
            "classes": [
                {"label": label, "name": name, "concepts": list(self.concepts[label])}
                for label, name in zip(self.classes, self.names, strict=True)
            ],
            "unmatched": list(self.unmatched),
            "prompts_digest": self.prompts.digest,
            "images": [
                {"image": image, "label": label, "probabilities": dict(zip(self.classes, row.tolist(), strict=True))}
                for image, label, row in rows
            ],
            "skipped": self.ledger.to_json()["dropped"],
        }


def _contributions(prompts: Sequence[Prompt], prompt_PD: Floats, image_D: Floats, sign: float) -> list[Contribution]:
    cosine_P = prompt_PD @ image_D
    value_P = sign * cosine_P / (len(prompt_PD) * np.linalg.norm(prompt_PD.mean(0)))
    return [
        Contribution(prompt, float(value), float(cosine))
        for prompt, value, cosine in zip(prompts, value_P, cosine_P, strict=True)
    ]


def _grouped(pairs: Iterable[tuple[str, Contribution]]) -> tuple[Group, ...]:
    """Sum contributions by key, the largest part first."""
    found: dict[str, list[Contribution]] = {}
    for key, item in pairs:
        found.setdefault(key, []).append(item)
    groups = [
        Group(
            key,
            float(sum(item.value for item in items)),
            len(items),
            float(np.mean([item.cosine for item in items])),
        )
        for key, items in found.items()
    ]
    return tuple(sorted(groups, key=lambda group: -abs(group.value)))


def _called(label: str, name: str) -> str:
    return label if label == name else f"{label} ({name})"
