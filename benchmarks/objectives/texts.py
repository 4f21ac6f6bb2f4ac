"""Reports without images: a set of them, one cell's training, what its floors say, and the scores it has.

The same shapes as for images (``sets``, ``train``, ``floors``, ``measure``), with an encoder of texts in place of a
model. Shape legend: N coded reports, K headings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.common.records import once
from benchmarks.objectives.config import Knowledge, ObjectiveTableConfig, TextSet
from benchmarks.objectives.sets import missing
from benchmarks.objectives.texts_ask import Asked, answer, asked_of, read_codes
from benchmarks.objectives.train import timed_steps
from data_prep.reports.config import ReportsConfig, TableSource
from data_prep.reports.prepare import prepare
from data_prep.reports.sources import open_source
from medvlp import __version__
from medvlp.config import load, resolve_path
from medvlp.encoders.text import TextEncoder
from medvlp.errors import ConfigError
from medvlp.io import sha256_json
from medvlp.training.knowledge import KnowledgeConfig, KnowledgeRecipe
from medvlp.training.loop import make_fabric
from medvlp.training.name_retrieval import embed_texts
from medvlp.training.report_pairs import Reports, read_reports

TFIDF, START = "TF-IDF, character 3-grams", "start encoder"


@dataclass(frozen=True)
class PreparedTexts:
    """A set of reports.

    Attributes:
        name: Short name.
        settings: Its section of the configuration.
        folders: ``graph`` and ``reports`` on disk.
        reports: Split and cut in sentences.
        codes_of: What people found in each, by key.
        graph_digest: Sha256 of the graph.
    """

    name: str
    settings: TextSet
    folders: Mapping[str, Path]
    reports: Reports
    codes_of: dict[str, list[str]]
    graph_digest: str

    @cached_property
    def asked(self) -> Asked:
        """Everything that is asked."""
        return asked_of(self.reports, self.codes_of, self.settings.codes)

    @cached_property
    def digest(self) -> str:
        """Sha256 over everything that is asked and shown."""
        asked = self.asked
        coded = [list(asked.headings), list(asked.coded), asked.truth_NK.tolist()]
        return sha256_json([self.reports.digest, self.graph_digest, coded, [one.swapped for one in asked.swaps]])

    def start(self) -> TextEncoder.Config:
        """Return the encoder that the first recipe starts from, which is a floor."""
        method = next(iter(self.settings.methods.values()))
        return _recipe(method.knowledge, method.set).text


def prepare_texts(
    config: ObjectiveTableConfig, name: str, graph_folder: Path, graph_digest: str, out: Path
) -> PreparedTexts:
    """Make a set of reports below ``out``, or open what is there.

    Raises:
        ConfigError: If its source is no table, which alone has codes.
        DataError: If its source is not there, or too few reports are held out.
    """
    settings = config.texts[name]
    made = load(settings.reports, settings.set, kind="reports")
    assert isinstance(made, ReportsConfig)
    if not isinstance(made.source, TableSource) or made.source.key is None:
        raise ConfigError("has no table with a key and codes", item=f"texts.{name}.reports", remedy="name another")
    folder = out / name / "reports"
    plain = made.model_dump(mode="json", exclude={"shard_size"})
    identity = [__version__, plain, open_source(made).digest, settings.already_deidentified]

    def work() -> dict[str, Any]:
        prepare(made, folder, already_deidentified=settings.already_deidentified, overwrite=True)
        return {}

    once(missing(folder), identity, work)
    codes_of = read_codes(resolve_path(made.source.file), made.source.key, settings.codes.column)
    folders = {"reports": folder, "graph": graph_folder}
    return PreparedTexts(name, settings, folders, read_reports(folder, settings.holdout), codes_of, graph_digest)


def text_settings(prepared: PreparedTexts, method: str, arm: Knowledge, seed: int) -> KnowledgeConfig:
    """Return the recipe of one cell."""
    chosen, holdout = prepared.settings.methods[method], prepared.settings.holdout
    overrides = [
        *chosen.set,
        f"graph={prepared.folders['graph']}",
        f"reports={prepared.folders['reports']}",
        f"reports_holdout.fraction={holdout.fraction}",
        f"reports_holdout.seed={holdout.seed}",
        f"knowledge={arm}",
        f"seed={seed}",
    ]
    return _recipe(chosen.knowledge, overrides)


def _recipe(name: str, overrides: list[str]) -> KnowledgeConfig:
    found = load(name, overrides, kind="knowledge")
    assert isinstance(found, KnowledgeConfig)
    return found


def text_record(prepared: PreparedTexts, settings: KnowledgeConfig, run: Path) -> dict[str, Any]:
    """Train one cell and ask its encoder; return its record."""
    recipe = KnowledgeRecipe(settings)
    cost = timed_steps(recipe, make_fabric(settings), run)
    return {"cost": cost, **answer(partial(embed_texts, recipe.encoder), prepared.asked)}


def text_floors(prepared: PreparedTexts) -> dict[str, Any]:
    """Return what the floors say, by title: words weighted by training sentences; the untrained encoder."""
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), lowercase=True)
    vectorizer.fit(sorted({one.text for sentences in prepared.reports.training for one in sentences}))
    start = TextEncoder(prepared.start())
    embeds = {TFIDF: vectorizer.transform, START: partial(embed_texts, start)}
    return {title: answer(embed, prepared.asked) for title, embed in embeds.items()}


def text_facts(prepared: PreparedTexts) -> dict[str, Any]:
    """Return what the table says of a set besides scores."""
    counts = prepared.reports.counts
    both = counts["held_out_sentences_also_in_training"]
    notes = [
        f"{counts['held_out_reports']:,} reports are held out, and none is on another side than one of equal sentences "
        f"({counts['reports_equal_to_another']:,} equal another).",
        f"{both:,} of {counts['held_out_sentences']:,} held-out sentences that say something also stand in training "
        "reports and do not ask.",
        f"AUROC: {len(prepared.asked.headings)} findings coded by people, each asked by its name or by a statement. "
        "Statements are made by rules alone, the codes are not.",
        f"A control may also do harm, so real is compared with the {START} too.",
    ]
    return {
        "warning": None,
        "notes": notes,
        "data_sha256": prepared.reports.digest,
        "entities_sha256": None,
        "num_train": counts["training_reports"],
        "unit": "reports",
        "classes": list(prepared.asked.headings),
        "counts": dict(counts),
    }


def own_cases(prepared: PreparedTexts) -> dict[str, list[str]]:
    """Return the report of each sample, by what is asked: the draws are over reports."""
    asked = prepared.asked
    return {
        "codes": list(asked.coded),
        "sentence": [one.report for one in asked.queries],
        "impression": [one[0] for one in asked.sections],
        "swaps": [asked.queries[one.row].report for one in asked.swaps],
    }


def right_answers(prepared: PreparedTexts) -> dict[str, tuple[Any, int]]:
    """Return how many right answers each query has, and among how many, by what is retrieved."""
    found = {"sentence": prepared.asked.own_RG, "impression": prepared.asked.own_impression_RG}
    return {name: (np.asarray(own.sum(1)), own.shape[1]) for name, own in found.items()}
