"""NCBI-disease: everything fitted on the training part, all arms scored on the development part."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.records import console, once
from benchmarks.linking.config import LinkingConfig
from benchmarks.linking.corpora import read_ncbi
from benchmarks.linking.scores import Answers, cases, f1_scores, mean_difference, mean_interval, rights, span_counts
from benchmarks.linking.speed import measure
from data_prep.text.linking import Fitted, Linker, LinkerConfig
from data_prep.text.linking.config import Tier
from data_prep.text.linking.fit import Document, Truth, fit
from data_prep.text.linking.words import key
from medvlp import __version__
from medvlp.config import load, resolve_path
from medvlp.errors import ConfigError
from medvlp.io import sha256_file, sha256_json
from medvlp.knowledge.graph import DiseaseGraph

OURS = "ours"
PEERS = {"light": "scispacy", "own": "scispacy_own"}
PEER = PEERS["light"]
TITLES = {
    "equal": "floor: same name (`graph.find`)",
    "training": "floor: mentions of the training part by heart",
    "exact": "exact tier",
    PEER: "scispaCy's candidate generator, best candidate",
    f"{PEER}_threshold": "the same, its own threshold 0.7",
    PEERS["own"]: "the same with its own index, best candidate",
    f"{PEERS['own']}_threshold": "the same with its own index and threshold",
    "nearest": "fuzzy tier alone, no threshold (3-grams of normalised names, exact search)",
    "fuzzy": "exact + fuzzy",
    "rerank": "exact + fuzzy + re-rank",
    OURS: "ours: the three tiers and names learnt from the training part",
}
MENTION_TITLES = {
    "plain": "floor: every name of the graph (`link(text, graph)`)",
    "exact": "exact tier, diseases and findings alone",
    "dropped": "the same without names that mislead in the training part",
    OURS: "ours: and names learnt from the training part",
}


def run(config: LinkingConfig, out: Path) -> dict[str, Any]:
    """Fit, link and score; return the table as JSON values.

    Args:
        config: Corpus and linker.
        out: Folder of the fit and the timed arms.

    Raises:
        ConfigError: If the parts of the corpus are not named.
    """
    if config.train is None or config.development is None:
        raise ConfigError("task ncbi needs both parts", item="train, development", remedy="name the two files")
    settings = load(config.linker, config.set, kind="linker")
    assert isinstance(settings, LinkerConfig)
    train_file, development_file = resolve_path(config.train), resolve_path(config.development)
    train, development = read_ncbi(train_file), read_ncbi(development_file)
    graph = DiseaseGraph.load(resolve_path(settings.graph))
    identity = [__version__, graph.digest, settings.model_dump(mode="json"), sha256_file(train_file)]

    base = Linker(graph, settings.model_copy(update={"fitted": None}))

    def arm(tiers: Sequence[Tier], fitted: Fitted | None) -> Linker:
        return base.sibling(tiers=tiers, fitted=fitted)

    def learn(tiers: Sequence[Tier]) -> Fitted:
        found = once(out / f"fit-{tiers[-1]}.json", [identity, list(tiers)], lambda: _learn(arm(tiers, None), train))
        return Fitted.model_validate({**found["fitted"], "names": [tuple(pair) for pair in found["fitted"]["names"]]})

    fits = {tier: learn(settings.tiers[: number + 1]) for number, tier in enumerate(settings.tiers)}
    full = fits[settings.tiers[-1]]
    linkers: dict[str, Linker] = {
        tier: arm(settings.tiers[: number + 1], without_names(fits[tier])) for number, tier in enumerate(fits)
    }
    linkers[OURS] = arm(settings.tiers, full)
    truth = Truth.of(graph, [*train, *development])
    answers = {name: linked_rows(linker, development) for name, linker in linkers.items()}
    nearest = base.config.model_copy(update={"nil_threshold": 0.0, "lists": False, "tiers": ["fuzzy"]})
    answers["nearest"] = linked_rows(Linker(graph, nearest), development)
    answers["equal"] = equal_names(graph, linkers["exact"].rows, development)
    floor = by_heart(train, development)
    speeds: dict[str, Any] = {}
    exact = arm(["exact"], None)
    # a recogniser hands a linker all entities of a text, so both get every name of the graph, not diseases alone
    wide = Linker(graph, exact.config.model_copy(update={"semantic_types": []}))
    spanned = [(d.text, sorted({(link.start, link.end) for link in wide.link(d.text)})) for d in development]
    for name, linker in (("exact", wide), ("full", linkers[OURS])):
        console.print(f"speed: {name}")
        repeats = 1 if name == "full" else config.repeats  # it remembers the vectors of names it has met
        speeds[name] = measure(name, linker, spanned, repeats, out)
    indexes: dict[str, Any] = {}
    for kind in config.indexes if config.scispacy else ():
        index = out / f"scispacy-{kind}-{sha256_json([graph.digest, sorted(base.rows)])[:12]}.index"
        peer_answers, indexes[kind] = peer_rows(graph, exact, development, index, kind)
        answers |= peer_answers
        for name, recogniser in ((PEERS[kind], None), (f"{PEERS[kind]}_texts", config.recogniser)):
            if name == PEERS[kind] or recogniser is not None:
                console.print(f"speed: {name}")
                peer = {"index_file": str(index), "recogniser": recogniser, "index": kind}
                speeds[name] = measure(name, exact, spanned, config.repeats, out, peer)
    table = _table(
        config, development, truth, answers, floor, _mention_arms(graph, arm, linkers, full), speeds, full, train
    )
    return {**table, "indexes": indexes}


def _learn(linker: Linker, train: Sequence[Document]) -> dict[str, Any]:
    return {"fitted": fit(linker, train, split="train").model_dump(mode="json")}


def without_names(fitted: Fitted) -> Fitted:
    """A fit that has learnt thresholds but no names."""
    return fitted.model_copy(update={"names": []})


def _mention_arms(
    graph: DiseaseGraph,
    arm: Callable[[Sequence[Tier], Fitted | None], Linker],
    linkers: dict[str, Linker],
    full: Fitted,
) -> dict[str, Callable[[str], Any]]:
    from data_prep.text import link

    return {
        "plain": lambda text: link(text, graph),
        "exact": arm(["exact"], None).link,
        "dropped": arm(["exact"], without_names(full)).link,
        OURS: linkers[OURS].link,
    }


def linked_rows(linker: Linker, documents: Sequence[Document]) -> Answers:
    """Rows of the concepts that a linker gives each annotated mention."""
    answers: Answers = []
    for document in documents:
        spans = [(mention.start, mention.end) for mention in document.mentions]
        for links in linker.link_spans(document.text, spans):
            answers.append([linker.graph.index(link.concept) for link in links])
    return answers


def equal_names(graph: DiseaseGraph, rows: frozenset[int], documents: Sequence[Document]) -> Answers:
    """The first concept among ``rows`` that has a mention's words as a name."""
    answers: Answers = []
    for document in documents:
        for mention in document.mentions:
            found = [graph.index(concept) for concept in graph.find(document.text[mention.start : mention.end])]
            answers.append([row for row in found if row in rows][:1])
    return answers


def by_heart(train: Sequence[Document], documents: Sequence[Document]) -> np.ndarray:
    """Tell of each gold mention whether the ids that its words have most often in the training part are its own."""
    meant: dict[str, Counter[frozenset[str]]] = defaultdict(Counter)
    for document in train:
        for mention in document.mentions:
            meant[key(document.text[mention.start : mention.end])][mention.ids] += 1
    answers = []
    for document in documents:
        for mention in document.mentions:
            seen = meant.get(key(document.text[mention.start : mention.end]))
            answers.append(seen is not None and seen.most_common(1)[0][0] == mention.ids)
    return np.array(answers, dtype=float)


def peer_rows(
    graph: DiseaseGraph, linker: Linker, documents: Sequence[Document], index_file: Path, kind: str
) -> tuple[dict[str, Answers], dict[str, Any]]:
    """Answers with and without its threshold, and what is known of its index."""
    from benchmarks.linking.peers import INDEXES, THRESHOLD, SciSpacy

    peer = SciSpacy(graph, linker.rows, str(index_file), index=kind)
    best: Answers = []
    above: Answers = []
    for document in documents:
        for found in peer.best(document.text, [(mention.start, mention.end) for mention in document.mentions]):
            best.append([graph.index(found[0])] if found else [])
            above.append([graph.index(found[0])] if found and found[1] > THRESHOLD else [])
    known = {**INDEXES[kind], **peer.built, "finds_itself": peer.finds_itself}
    return {PEERS[kind]: best, f"{PEERS[kind]}_threshold": above}, known


def _table(
    config: LinkingConfig,
    documents: Sequence[Document],
    truth: Truth,
    answers: dict[str, Answers],
    by_heart: np.ndarray,
    arms: dict[str, Callable[[str], Any]],
    speeds: dict[str, Any],
    fitted: Fitted,
    train: Sequence[Document],
) -> dict[str, Any]:
    case_N, draws = cases(documents), config.num_draws
    right = {name: rights(documents, found, truth) for name, found in answers.items()}
    linked = {name: np.array([bool(rows) for rows in found]) for name, found in answers.items()}
    lenient = truth.with_ancestors()
    near = {name: rights(documents, found, lenient) for name, found in answers.items()}
    ids = [mention.ids for document in documents for mention in document.mentions]
    links = {
        name: {
            "accuracy": mean_interval(value, case_N, draws),
            "precision": float(value.sum() / max(1, linked[name].sum())),
            "linked": float(linked[name].mean()),
            "accuracy_with_ancestors": mean_interval(near[name], case_N, draws),
        }
        for name, value in right.items()
    }
    links["training"] = {"accuracy": mean_interval(by_heart, case_N, draws)}
    mentions = {}
    for name, link in arms.items():
        found = [{(x.start, x.end) for x in link(document.text)} for document in documents]
        mentions[name] = {
            kind: f1_scores(span_counts(documents, found, kind == "strict"), [d.key for d in documents], draws)
            for kind in ("strict", "overlap")
        }
    right["training"] = by_heart
    others = [(one, peer) for peer in PEERS.values() for one in (OURS, "rerank")]
    pairs = (*others, (OURS, "exact"), (OURS, "training"))
    return {
        "task": "ncbi",
        "num_documents": len(documents),
        "num_mentions": len(ids),
        "num_training_documents": len(train),
        "ceiling": mean_interval(np.array([truth.reachable(i) for i in ids], dtype=float), case_N, draws),
        "links": {name: links[name] for name in TITLES if name in links},
        "differences": [
            {"first": one, "second": other, **mean_difference(right[one], right[other], case_N, draws)}
            for one, other in pairs
            if one in right and other in right
        ],
        "mentions": mentions,
        "speeds": speeds,
        "fitted": {
            "nil_threshold": fitted.nil_threshold,
            "proposal_threshold": fitted.proposal_threshold,
            "encoder_weight": fitted.encoder_weight,
            "dropped": len(fitted.dropped),
            "names": len(fitted.names),
            "prefer": fitted.prefer,
        },
    }
