"""A page about a pairs store: counts, drops, balance, groups, near-duplicates, text lengths, random images.

One HTML file without scripts or outside requests. Report text is shown only if asked for.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_prep.pairs.groups import fingerprint, near_duplicate_images
from medvlp.data.pairs import SPLITS, PairsStore
from medvlp.io import read_json, write_text
from medvlp.zeroshot import count_plots
from medvlp.zeroshot.report import style, thumbnail

TEMPLATE = Path(__file__).with_name("preview.html.j2")
_SAMPLES = 24
_MAX_COMPARED = 1000
_MAX_CLUSTERS = 6
_MAX_IN_CLUSTER = 4
_SIDE = 150
_COSINE = 0.95


@dataclass(frozen=True)
class Sample:
    """One image of the page."""

    thumbnail: str
    key: str
    label: str | None
    split: str
    texts: tuple[tuple[str, str], ...]  # aspect, text
    num_texts: int


def write_preview(
    store: PairsStore, page: Path, *, show_texts: bool = False, dry_run: bool = False, seed: int = 0
) -> Path:
    """Write the page.

    Args:
        store: The store.
        page: The file to write; replaced if it is there.
        show_texts: Show the sample images' texts.
        dry_run: Say that the store is only a sample of a source.
        seed: Draws the sample images and, in a store of more than 1,000, those compared for near-duplicates.
    """
    from jinja2 import Environment, StrictUndefined

    manifest = store.manifest
    ledger = read_json(store.folder / "ledger.json")
    parts = {name: store.split(name) for name in SPLITS}
    texts = [text for part in parts.values() for row in part.column("texts") for text in row]
    words = [len(re.findall(r"\w+", text.text)) for text in texts]
    places = [(name, row) for name, part in parts.items() for row in range(len(part))]
    rng = np.random.default_rng([seed])
    compared = [places[i] for i in np.sort(rng.permutation(len(places))[:_MAX_COMPARED])]
    sizes, clusters = _looked_at(parts, compared)
    counts = manifest["num_rows_per_split_and_class"]
    group_sizes = Counter(np.concatenate([part.column("group") for part in parts.values()]).tolist())
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    write_text(
        page,
        environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
            style=style(),
            name=store.folder.name,
            dry_run=dry_run,
            manifest=manifest,
            ledger=ledger,
            splits=[(name, len(part), len(set(part.column("case")))) for name, part in parts.items()],
            classes=_classes(manifest, counts),
            bars=count_plots.bars_plot(counts),
            aspects=Counter(text.aspect for text in texts).most_common(),
            num_texts=len(texts),
            num_distinct=len({text.text for text in texts}),
            words=np.percentile(words, [0, 50, 95, 100]).round().astype(int).tolist() if words else [0] * 4,
            lengths=count_plots.histogram_plot(words, "words in a text") if words else None,
            num_groups=len(group_sizes),
            group_sizes=np.percentile(list(group_sizes.values()), [0, 50, 100]).round().astype(int).tolist(),
            num_compared=len(compared),
            sizes=sizes,
            clusters=[
                [_sample(parts, place, show_texts) for place in cluster[:_MAX_IN_CLUSTER]]
                for cluster in clusters[:_MAX_CLUSTERS]
            ],
            num_in_clusters=sum(len(cluster) for cluster in clusters),
            samples=[_sample(parts, place, show_texts) for place in _drawn(parts, places, rng)],
            show_texts=show_texts,
            seed=seed,
            cosine=_COSINE,
        ),
    )
    return page


def _classes(manifest: dict[str, Any], counts: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    total = {label: sum(by_class.get(label, 0) for by_class in counts.values()) for label in manifest["classes"]}
    return [
        {
            "label": label,
            "num": {name: counts[name].get(label, 0) for name in SPLITS},
            "total": total[label],
            "concepts": concepts,
        }
        for label, concepts in sorted(manifest["classes"].items(), key=lambda entry: (-total[entry[0]], entry[0]))
    ]


def _looked_at(
    parts: dict[str, Any], places: list[tuple[str, int]]
) -> tuple[list[tuple[str, int]], list[list[tuple[str, int]]]]:
    """Sizes of the stored images by how often they occur, and clusters of near-identical images, largest first."""
    sizes: Counter[str] = Counter()
    prints = []
    for name, row in places:
        with Image.open(io.BytesIO(parts[name].image_bytes(row)), formats=["JPEG", "PNG"]) as image:
            sizes[f"{image.width} × {image.height}"] += 1
            prints.append(fingerprint(image.convert("RGB")))
    cluster_N = near_duplicate_images(np.stack(prints).astype(np.float16), _COSINE)
    members: dict[int, list[tuple[str, int]]] = {}
    for place, cluster in zip(places, cluster_N.tolist(), strict=True):
        members.setdefault(cluster, []).append(place)
    several = sorted((found for found in members.values() if len(found) > 1), key=len, reverse=True)
    return sizes.most_common(6), several


def _drawn(parts: dict[str, Any], places: list[tuple[str, int]], rng: np.random.Generator) -> list[tuple[str, int]]:
    """Places drawn class by class in turn, so that rare classes are seen too."""
    queues: dict[str, list[tuple[str, int]]] = {}
    labels = {name: part.column("labels") for name, part in parts.items()}
    for index in rng.permutation(len(places)):
        name, row = places[index]
        queues.setdefault("|".join(labels[name][row][:1]), []).append(places[index])
    chosen: list[tuple[str, int]] = []
    while len(chosen) < _SAMPLES and any(queues.values()):
        for label in sorted(queues):
            if queues[label] and len(chosen) < _SAMPLES:
                chosen.append(queues[label].pop())
    return chosen


def _sample(parts: dict[str, Any], place: tuple[str, int], show_texts: bool) -> Sample:
    name, row = place
    pair = parts[name][row]
    labels = parts[name].column("labels")[row]
    texts = tuple((text.aspect, text.text) for text in pair.texts) if show_texts else ()
    return Sample(thumbnail(pair.image, _SIDE), pair.key, ", ".join(labels) or None, name, texts, len(pair.texts))
