"""Zero-shot diagnosis as one call: images and classes in, probabilities and their reasons out.

Shape legend: B images, K classes, D embedding size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medvlp.errors import ConfigError, DataError
from medvlp.ledger import Ledger
from medvlp.zeroshot import templates as wordings
from medvlp.zeroshot.answer import Answer, Floats
from medvlp.zeroshot.classes import resolve_classes
from medvlp.zeroshot.classifier import (
    classify,
    classify_multi,
    in_eval,
    mean_vectors,
    prompt_vectors,
    scale_of,
    to_numpy,
    unit_vectors,
    with_progress,
)
from medvlp.zeroshot.existence import ExistenceQueries, chosen_scorer, class_logits, presence
from medvlp.zeroshot.inputs import as_list, batches
from medvlp.zeroshot.prompts import build_prompts
from medvlp.zeroshot.task import Mode

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph


class ZeroShot:
    """A model asked about a fixed list of classes; prompts are embedded once, for any number of calls.

    Args:
        model: What ``medvlp.load`` gives, or anything with ``encode_image``, ``encode_text`` and ``scale()``; or a path
            that ``medvlp.load`` opens.
        classes: Concept ids, plain names, or both; a name is looked up in the graph.
        graph: Source of names, definitions and hypernyms, or its folder; None asks with the classes' own words.
        templates: Wordings: general, pathology, radiology, plain, a file, or a list of texts with ``{name}``.
        names: Preferred names only, or exact synonyms too.
        max_names: Names per class; preferred ones always stay.
        num_paths: Hypernym paths per concept, used like names.
        num_definitions: Definitions per concept, used as they are.
        mode: ``single``: one class per image. ``multi``: any number, each presence against absence.
        display_names: What to call a class that no concept describes.
        seed: Chooses among more than ``max_names`` names, and the parents on a path.
        batch_size: Images per forward pass.
        scorer: ``cosine`` of image and class vector, ``decoder``: presence by the model's query decoder, or ``auto``:
            the decoder where the model has one. With it, a probability is that of presence in multi mode (no prompts
            for absence are needed), and a softmax over the classes' logits in single mode.

    Raises:
        DataError: If two classes are the same, or only one is given in single mode.
        GraphError: For an unknown id, with the nearest ones.
        ConfigError: If an option has no such value.
    """

    def __init__(
        self,
        model: Any,
        classes: Sequence[str],
        graph: DiseaseGraph | str | Path | None = None,
        *,
        templates: str | Sequence[str] = "general",
        names: Literal["preferred", "synonyms"] = "synonyms",
        max_names: int = 8,
        num_paths: int = 1,
        num_definitions: int = 1,
        mode: Mode = "single",
        display_names: Mapping[str, str] | None = None,
        seed: int = 0,
        batch_size: int = 64,
        scorer: Literal["auto", "cosine", "decoder"] = "auto",
    ) -> None:
        for option, value, valid in (("mode", mode, ("single", "multi")), ("names", names, ("preferred", "synonyms"))):
            if value not in valid:
                raise ConfigError(f"{value!r} is not a choice", item=option, remedy=f"use {' or '.join(valid)}")
        if min(max_names, batch_size) < 1 or min(num_paths, num_definitions) < 0:
            raise ConfigError("max_names and batch_size start at 1, num_paths and num_definitions at 0", item="options")
        graph = _opened_graph(graph)
        self.classes = resolve_classes(classes, graph, least=2 if mode == "single" else 1)
        self.model = _opened_model(model)
        self.scorer = chosen_scorer(scorer, self.model)
        absent = mode == "multi" and self.scorer == "cosine"
        self.mode, self.batch_size = mode, batch_size
        self.prompts = build_prompts(
            graph,
            self.classes.concepts,
            templates,
            seed,
            names=names,
            max_names=max_names,
            num_paths=num_paths,
            num_definitions=num_definitions,
            absent_templates=wordings.ABSENT if absent else (),
            display_names=display_names,
        )
        with in_eval(self.model):
            self._present = prompt_vectors(self.model, self.prompts.texts)
            self._absent = prompt_vectors(self.model, self.prompts.absent) if absent else []
            self._queries = ExistenceQueries(self.model, self.prompts.texts) if self.scorer == "decoder" else None
        self._class_KD = mean_vectors(self._present)
        self._absent_KD = mean_vectors(self._absent) if self._absent else None
        paths = {concept for prompts in self.prompts.prompts for prompt in prompts for concept in prompt.path}
        self._concept_names = {} if graph is None else {concept: graph.name(concept) for concept in sorted(paths)}

    def __call__(self, images: Any, *, skip_unreadable: bool = False) -> Answer:
        """Answer for images.

        Args:
            images: One image or a list: paths, PIL images, encoded bytes, arrays (H, W, 3) or (H, W), tensors
                (3, H, W), arrays and tensors of bytes (uint8); or one array (B, H, W, 3) or tensor (B, 3, H, W).
            skip_unreadable: Count images that cannot be read in ``Answer.ledger`` instead of stopping.

        Raises:
            DataError: Naming the image that cannot be read; or if none is left.
        """
        items = as_list(images)
        ledger = Ledger()
        names: list[str] = []
        parts: list[Floats] = []
        logit_parts: list[list[Floats]] = []
        found = batches(items, self.batch_size, ledger=ledger if skip_unreadable else None)
        total = -(-len(items) // self.batch_size)
        with in_eval(self.model):
            for batch_names, batch in with_progress(found, "embedding images", total):
                names += batch_names
                if self._queries is None:
                    parts.append(to_numpy(self.model.encode_image(batch)))
                else:
                    image_BD, logits_K = self._queries(batch)
                    parts.append(image_BD)
                    logit_parts.append(logits_K)
        if not names:
            reasons = ", ".join(f"{count} {reason}" for reason, count in ledger.dropped.most_common())
            raise DataError(f"none of {len(items)} images can be read ({reasons})", item="images")
        if not skip_unreadable:
            ledger.keep(len(names))
        image_BD = unit_vectors(np.concatenate(parts), "images")
        scale = scale_of(self.model)
        logits = tuple(np.concatenate(of_class) for of_class in zip(*logit_parts, strict=True))
        score_BK = class_logits(logits) if logits else image_BD @ self._class_KD.T
        if logits:
            probability_BK = presence(logits, self.mode)
        elif self._absent_KD is None:
            probability_BK = classify(image_BD, self._class_KD, scale)
        else:
            probability_BK = classify_multi(image_BD, self._class_KD, scale, absent_KD=self._absent_KD)
            score_BK = score_BK - image_BD @ self._absent_KD.T
        return Answer(
            images=tuple(names),
            classes=self.classes.labels,
            names=tuple(self.classes.names.values()),
            concepts=self.classes.concepts,
            unmatched=self.classes.unmatched,
            mode=self.mode,
            probabilities=probability_BK,
            scores=score_BK,
            prompts=self.prompts,
            ledger=ledger,
            _image_BD=image_BD,
            _present=tuple(self._present),
            _absent=tuple(self._absent),
            _concept_names=self._concept_names,
            _logits=logits,
        )


def zero_shot(
    model: Any, images: Any, classes: Sequence[str], graph: DiseaseGraph | str | Path | None = None, **options: Any
) -> Answer:
    """Ask a model which of some classes images show; ``answer.explain()`` says what carried each score.

    For several calls with the same classes build :class:`ZeroShot` once.

    Args:
        model: See :class:`ZeroShot`.
        images: One image or a list; see :meth:`ZeroShot.__call__`.
        classes: Concept ids, plain names, or both.
        graph: Source of names, definitions and hypernyms.
        options: Further options of :class:`ZeroShot`, and ``skip_unreadable``.

    Raises:
        DataError: For classes or images that cannot be used, naming them.
        GraphError: For an unknown id, with the nearest ones.
    """
    skip = bool(options.pop("skip_unreadable", False))
    return ZeroShot(model, classes, graph, **options)(images, skip_unreadable=skip)


def _opened_model(model: Any) -> Any:
    if isinstance(model, str | Path):
        from medvlp.loading import load

        return load(model)
    return model


def _opened_graph(graph: Any) -> DiseaseGraph | None:
    if isinstance(graph, str | Path):
        from medvlp.config import resolve_path
        from medvlp.knowledge.graph import DiseaseGraph

        return DiseaseGraph.load(resolve_path(str(graph)))
    return graph  # type: ignore[no-any-return]
