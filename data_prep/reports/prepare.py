"""The job behind ``medvlp prepare`` for reports: read, de-identify, annotate, write; resumable, every drop counted."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from data_prep.deid.text import ENGINE, deidentify_text
from data_prep.reports.config import DependencyRelationConfig, ReportsConfig
from data_prep.reports.preview import Example, read_examples, write_preview
from data_prep.reports.sources import Listing, Report, open_source
from data_prep.reports.tables import join_tables, mention_row, triplet_row, write_matrix, write_tables
from data_prep.text.mentions import GraphLinker, Mention, annotate
from data_prep.text.relation import DependencyRelation, Relation, window_relation
from data_prep.text.sections import SectionKind, split_sections
from data_prep.text.sentences import sentences
from data_prep.text.triplets import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN
from data_prep.text.triplets.extract import Triplet, triplets
from data_prep.text.triplets.radgraph import radgraph_triplets
from data_prep.text.triplets.vocabulary import Vocabulary, load_vocabulary
from medvlp import __version__
from medvlp.config import resolve_path
from medvlp.errors import DataError
from medvlp.io import atomic_folder, full_disk_told, read_json, sha256_json, write_json, write_manifest
from medvlp.ledger import Ledger

DRY_RUN_REPORTS = 20


@dataclass
class Counts:
    """What was kept, dropped, noticed, and taken out by de-identification."""

    ledger: Ledger = field(default_factory=Ledger)
    notes: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    assertions: Counter[str] = field(default_factory=Counter)
    num_linked: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready form that :meth:`add` takes back."""
        return {
            "ledger": self.ledger.to_json(),
            "notes": dict(self.notes),
            "removed": dict(self.removed),
            "assertions": dict(self.assertions),
            "num_linked": self.num_linked,
        }

    def add(self, counts: dict[str, Any]) -> None:
        """Add what :meth:`to_json` returned for a shard."""
        self.ledger.keep(counts["ledger"]["kept"])
        self.ledger.dropped.update(counts["ledger"]["dropped"])
        for reason, keys in counts["ledger"]["examples"].items():
            room = self.ledger.max_examples - len(self.ledger.examples.setdefault(reason, []))
            self.ledger.examples[reason] += keys[:room]
        self.notes.update(counts["notes"])
        self.removed.update(counts["removed"])
        self.assertions.update(counts["assertions"])
        self.num_linked += counts["num_linked"]


@dataclass(frozen=True)
class Done:
    """A report that was read: its text as it is stored, and what was found in it."""

    key: str
    text: str
    mentions: list[Mention]
    triplets: list[Triplet]


class Reader:
    """Turns one report into mentions and triplets; built once, then called for each report.

    Args:
        config: What to find and where.
        already_deidentified: Leave the texts as they are.
    """

    def __init__(self, config: ReportsConfig, already_deidentified: bool) -> None:
        self.config, self.already_deidentified = config, already_deidentified
        self.vocabulary: Vocabulary = load_vocabulary(config.vocabulary)
        self.sections = [SectionKind(name) for name in config.sections]
        self.linker = None if config.graph is None else _graph_linker(config.graph, config.exclude)
        self.relation: Relation = window_relation
        if isinstance(config.relation, DependencyRelationConfig):
            self.relation = DependencyRelation(config.relation.model)

    def read(self, report: Report, counts: Counts) -> Done | None:
        """Return what a report says; None, with the reason in the ledger, if it cannot be used."""
        counts.notes.update(report.notes)
        problem = report.problem or self._problem(report.text)
        if problem is not None:
            counts.ledger.drop(report.key, problem)
            return None
        if report.annotation is not None:
            return self._annotated(report, counts)
        text = report.text.replace("\x00", " ")
        if not self.already_deidentified:
            clean = deidentify_text(text)
            text = clean.text
            counts.removed.update({str(kind): count for kind, count in clean.removed.items()})
        mentions = annotate(text, self.linker, vocabulary=self.vocabulary, relation=self.relation)
        found = triplets(mentions, self.vocabulary, self.sections)
        if not mentions:
            counts.notes["reports in which nothing was found"] += 1
        if not any(section.heading for section in split_sections(text)):
            counts.notes["reports without a heading"] += 1
        counts.assertions.update(mention.assertion.value for mention in mentions)
        counts.num_linked += sum(mention.concept is not None for mention in mentions)
        counts.ledger.keep()
        return Done(report.key, text, mentions, found)

    def _problem(self, text: str) -> str | None:
        if not any(letter.isalnum() for letter in text):
            return "empty"
        return f"longer than {self.config.max_chars:,} characters" if len(text) > self.config.max_chars else None

    def _annotated(self, report: Report, counts: Counts) -> Done:
        """Triplets of a RadGraph record; its text stays out of the store unless it is known to be de-identified."""
        assert report.annotation is not None
        found, unknown = radgraph_triplets(report.annotation, self.vocabulary)
        counts.notes["observations that the vocabulary has no word for"] += unknown
        counts.assertions.update(triplet.existence.value for triplet in found)
        counts.ledger.keep()
        return Done(report.key, report.text if self.already_deidentified else "", [], found)


def _graph_linker(folder: str, exclude: list[str]) -> GraphLinker:
    from medvlp.knowledge.graph import DiseaseGraph

    return GraphLinker(DiseaseGraph.load(resolve_path(folder)), exclude)


def prepare(
    config: ReportsConfig,
    out: str | Path,
    *,
    already_deidentified: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    preview: Path | None = None,
    show_texts: bool = False,
) -> Path:
    """Build a report store: tables of reports, mentions and triplets, the matrix, a ledger and a manifest.

    An interrupted job goes on from its last finished shard when it is started again with the same configuration,
    source, vocabulary and graph; its shards wait in a hidden folder beside ``out``.

    Args:
        config: What to read, find and keep.
        out: Folder of the store.
        already_deidentified: The user's word that the texts carry no identifiers; without it they are taken out first.
        overwrite: Exchange an existing store.
        dry_run: Read 20 reports from all over the source, print what would happen, write nothing.
        preview: HTML page to write, with some of the reports.
        show_texts: Show the reports' texts on that page.

    Returns:
        The folder, or where it would have been.

    Raises:
        DataError: On the first problem no ledger can excuse, naming the item and the remedy; never the text.
    """
    out = Path(out)
    if out.exists() and not overwrite and not dry_run:
        raise DataError("already exists", item=out, remedy="choose another name, or pass --overwrite")
    listing = open_source(config)
    reader = Reader(config, already_deidentified)
    if dry_run:
        step = max(1, listing.total // DRY_RUN_REPORTS)
        counts = Counts()
        sample = islice(islice(listing.read(), 0, None, step), DRY_RUN_REPORTS)
        done = [found for report in sample if (found := reader.read(report, counts)) is not None]
        _tell(counts, f"dry run on {len(done)} of {listing.total:,} reports")
        examples = [Example(one.text, one.mentions) for one in done]
    else:
        with full_disk_told(out):
            counts = _run(config, listing, reader, out, overwrite)
        _tell(counts, "reports")
        examples = read_examples(out) if preview is not None else []
    if preview is not None:
        graph = None if reader.linker is None else reader.linker.graph
        write_preview(preview, examples, counts.to_json(), graph, show_texts=show_texts, dry_run=dry_run)
    return out


def _run(config: ReportsConfig, listing: Listing, reader: Reader, out: Path, overwrite: bool) -> Counts:
    graph_digest = None if reader.linker is None else reader.linker.graph.digest
    identity = {
        "version": __version__,
        "config": config.model_dump(mode="json"),
        "source": listing.digest,
        "vocabulary": reader.vocabulary.digest,
        "graph": graph_digest,
        "already_deidentified": reader.already_deidentified,
        "deidentified_by": None if reader.already_deidentified else ENGINE,
    }
    work = out.with_name(f".{out.name}.shards")
    _open_work(work, identity)
    counts = Counts()
    parts = []
    for number, reports in enumerate(_shards(listing, config.shard_size)):
        part = work / f"{number:06d}"
        parts.append(part)
        if not part.is_dir():
            _write_shard(part, reports, reader)
        counts.add(read_json(part / "counts.json"))
    if counts.ledger.kept == 0:
        raise DataError("no report could be used", item=out, remedy=f"see the reasons: {counts.ledger}")
    with atomic_folder(out, replace=overwrite) as folder:
        num_rows = join_tables(parts, folder)
        write_matrix(parts, folder / "matrix.npy", num_rows["reports"], reader.vocabulary)
        write_json(folder / "vocabulary.json", _described(reader.vocabulary))
        write_json(folder / "ledger.json", counts.ledger.to_json())
        header = {
            "kind": "reports",
            **{name: identity[name] for name in ("version", "config", "already_deidentified", "deidentified_by")},
            "source": {**listing.origin, "sha256": listing.digest},
            "graph_digest": graph_digest,
            "num_rows": num_rows,
            "num_linked_mentions": counts.num_linked,
            "assertions": dict(counts.assertions),
            "removed_identifiers": dict(counts.removed),
            "notes": dict(counts.notes),
        }
        write_manifest(folder, header)
    shutil.rmtree(work)
    return counts


def _open_work(work: Path, identity: dict[str, Any]) -> None:
    """Keep the shards of an interrupted job of the same making; those of another go."""
    digest = {"identity": sha256_json(identity)}
    if (work / "identity.json").is_file() and read_json(work / "identity.json") == digest:
        return
    shutil.rmtree(work, ignore_errors=True)
    write_json(work / "identity.json", digest)


def _shards(listing: Listing, size: int) -> Iterator[list[Report]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("reading reports"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    seen: set[str] = set()

    def unique(reports: Iterable[Report]) -> Iterator[Report]:
        for report in reports:
            again = report.key in seen
            seen.add(report.key)
            yield Report(report.key, problem="key occurs twice") if again else report

    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=listing.total)
        reports = unique(listing.read())
        while shard := list(islice(reports, size)):
            yield shard
            progress.advance(task, len(shard))


def _write_shard(part: Path, reports: list[Report], reader: Reader) -> None:
    counts = Counts()
    rows: dict[str, list[dict[str, Any]]] = {"reports": [], "mentions": [], "triplets": []}
    for report in reports:
        done = reader.read(report, counts)
        if done is None:
            continue
        sections = split_sections(done.text)
        rows["reports"].append(
            {
                "report": done.key,
                "text": done.text,
                "sections": [{"kind": s.kind.value, "start": s.start, "end": s.end} for s in sections],
                "sentences": [
                    {"section": section.kind.value, "start": start, "end": end}
                    for section in sections
                    for start, end in sentences(done.text, section.start, section.end)
                ],
                "num_mentions": len(done.mentions),
                "num_triplets": len(done.triplets),
            }
        )
        rows["mentions"] += [mention_row(done.key, mention) for mention in done.mentions]
        rows["triplets"] += [triplet_row(done.key, triplet) for triplet in done.triplets]
    with atomic_folder(part, own=True) as folder:
        write_tables(folder, rows)
        write_json(folder / "counts.json", counts.to_json())


def _described(vocabulary: Vocabulary) -> dict[str, Any]:
    names = vocabulary.positions
    above = {name: [names[j] for j in vocabulary.ancestor_PP[i].nonzero()[0]] for i, name in enumerate(names)}
    return {
        "name": vocabulary.name,
        "positions": list(names),
        "entities": list(vocabulary.entities),
        "ancestors": above,
        "entity_of_finding": vocabulary.entity_of,
        "values": {
            "not_mentioned": NOT_MENTIONED,
            "absent": ABSENT,
            "present": PRESENT,
            "uncertain": UNCERTAIN,
        },
    }


def _tell(counts: Counts, what: str) -> None:
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    console.print(f"{what}: {counts.ledger}", markup=False, soft_wrap=True)
    for note, count in counts.notes.items():
        console.print(f"  {count:,} {note}", markup=False, soft_wrap=True)
    if counts.removed:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.removed.most_common())
        console.print(f"  identifiers taken out: {kinds}", markup=False, soft_wrap=True)
