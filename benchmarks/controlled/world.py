"""A made world: leaves of a real hierarchy, their looks, images, captions, and which of them training never meets.

Shape legend: L leaves, F factors, N images, H, W pixels.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.controlled import captions, tissue
from benchmarks.controlled.appearance import draw_factors, exchange, shown
from benchmarks.controlled.taxonomy import (
    RARE,
    SEEN,
    UNSEEN,
    Leaves,
    choose_leaves,
    draw_groups,
    is_opaque,
    shared_ancestors,
)
from benchmarks.controlled.world_config import NUM_FACTORS, WorldConfig
from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.errors import DataError
from medvlp.io import sha256_file, sha256_json, write_bytes
from medvlp.knowledge.graph import DiseaseGraph
from medvlp.knowledge.names import normalise

FORMAT = "medvlp-controlled-1"
SPLITS = ("train", "dev", "test")
_GROUPS, _LOOKS, _TWIN, _NAMED, _WORDS, _PICTURES = range(6)  # separate random streams of a seed
_JITTER = 0.30  # standard deviation of a factor among the images of a leaf, at nuisance 1
_REST = 0.5  # what a renderer is shown for factors the world does not use

Render = Callable[[NDArray[np.float64], np.random.Generator, int, float], NDArray[np.uint8]]


@dataclass(frozen=True)
class World:
    """One world.

    Attributes:
        config: What it was made from.
        seed: Decides looks, groups, images and captions.
        leaves: Concept ids (L).
        branch_L: Number of the branch (a shared parent) of each leaf.
        group_L: seen, rare or unseen.
        opaque_L: Whether the preferred name shares no content word with ancestors or with seen and rare leaves.
        factors_LF: Standardised visual factors of each leaf, after the exchange of a twin world.
        images_N: uint8 (N, H, W, 3).
        leaf_N: Row of the leaf that each image shows.
        split_N: train, dev or test. Unseen leaves have test images only.
        case_N: Every image is a case of its own.
        image_factors_NF: The factors each image was drawn with: those of its leaf and what varies within it.
        captions_N: Captions of each training and development image; empty lists for test images.
        named_N: Row of the leaf that the captions name, -1 where they name the root alone.
        noisy_N: Whether the captions name a wrong leaf.
        unseen_names: Normalised names of the unseen leaves, which no caption says.
        graph_digest: Digest of the graph it was made from.
    """

    config: WorldConfig
    seed: int
    leaves: tuple[str, ...]
    branch_L: NDArray[np.int64]
    group_L: NDArray[np.str_]
    opaque_L: NDArray[np.bool_]
    factors_LF: NDArray[np.float64]
    images_N: NDArray[np.uint8]
    leaf_N: NDArray[np.int64]
    split_N: NDArray[np.str_]
    case_N: NDArray[np.str_]
    image_factors_NF: NDArray[np.float64]
    captions_N: list[list[str]]
    named_N: NDArray[np.int64]
    noisy_N: NDArray[np.bool_]
    unseen_names: frozenset[str]
    graph_digest: str

    def rows(self, split: str, *groups: str) -> NDArray[np.int64]:
        """Return the images of a split whose leaf is in one of the groups; of any group if none is named."""
        wanted_L = np.isin(self.group_L, groups) if groups else np.ones(len(self.leaves), dtype=bool)
        return np.flatnonzero((self.split_N == split) & wanted_L[self.leaf_N])


def make_world(config: WorldConfig, graph: DiseaseGraph, seed: int, cache: Path | None = None) -> World:
    """Make a world; the same arguments always give the same one.

    Args:
        config: What to make.
        graph: The store of ``config.graph``.
        seed: Decides everything but the choice of leaves.
        cache: Folder of drawn images, shared by worlds that differ in captions or are twins; None draws them anew.

    Raises:
        ConfigError: If the graph or its branches are too small for the configuration.
        DataError: If a cached file is damaged.
    """
    leaves = choose_leaves(graph, config.root, config.num_leaves)
    group_L = draw_groups(leaves.branch_L, config.num_unseen, config.num_rare, _rng(seed, _GROUPS))
    above_LA = shared_ancestors(graph, config.root, leaves.ids)
    drawn_LF = draw_factors(above_LA, config.num_factors, config.inheritance, _rng(seed, _LOOKS))
    source_L = exchange(group_L, _rng(seed, _TWIN)) if config.twin else np.arange(len(group_L))
    look_N, split_N = _layout(config, group_L)
    images_N, image_factors_NF = _images(config, drawn_LF, look_N, split_N, seed, cache)
    shows_L = np.argsort(source_L)  # the leaf that was given the looks of a row
    leaf_N = shows_L[look_N]
    training_N = split_N == "train"
    named_N = captions.draw_named(leaf_N, training_N, config.caption_noise, config.missing_labels, _rng(seed, _NAMED))
    unseen = [concept for concept, group in zip(leaves.ids, group_L, strict=True) if group == UNSEEN]
    known = [concept for concept, group in zip(leaves.ids, group_L, strict=True) if group != UNSEEN]
    unspeakable = frozenset(normalise(text) for concept in unseen for text in graph.texts(concept))
    return World(
        config=config,
        seed=seed,
        leaves=leaves.ids,
        branch_L=leaves.branch_L,
        group_L=group_L,
        opaque_L=np.array([is_opaque(graph, config.root, concept, set(known) - {concept}) for concept in leaves.ids]),
        factors_LF=drawn_LF[source_L],
        images_N=images_N,
        leaf_N=leaf_N,
        split_N=split_N,
        case_N=np.array([f"case-{number:05d}" for number in range(len(leaf_N))]),
        image_factors_NF=image_factors_NF,
        captions_N=_captions(config, graph, leaves, named_N, split_N, unspeakable, seed),
        named_N=named_N,
        noisy_N=(named_N != leaf_N) & (named_N != captions.ROOT),
        unseen_names=unspeakable,
        graph_digest=graph.digest,
    )


def write_store(world: World, graph: DiseaseGraph, out: Path, *, replace: bool = False) -> PairsStore:
    """Write a world as a pairs store that every recipe and evaluation reads.

    Label and concepts of a training image are what its captions say, for that is all that training may know; an image
    whose captions name the root has no label. Test images carry their own leaf. The classes are all leaves.

    Args:
        world: The world.
        graph: The graph it was made from.
        out: Folder of the store.
        replace: Exchange an existing store.

    Raises:
        DataError: If ``out`` exists, or the graph is another.
    """
    if graph.digest != world.graph_digest:
        raise DataError("is not the graph this world was made from", item="graph", remedy="pass the same store")
    classes = {graph.name(concept): [concept] for concept in world.leaves}
    header = {
        "kind": "controlled_world",
        "already_deidentified": True,
        "config": world.config.model_dump(mode="json"),
        "seed": world.seed,
        "graph_digest": world.graph_digest,
        "groups": dict(zip(classes, world.group_L.tolist(), strict=True)),
    }
    return PairsStore.write(out, _rows(world, graph), header, classes=classes, replace=replace)


def _rows(world: World, graph: DiseaseGraph) -> Iterator[Row]:
    for number, named in enumerate(world.named_N.tolist()):
        concept = world.config.root if named == captions.ROOT else world.leaves[named]
        texts = [Text(text, "caption") for text in world.captions_N[number]]
        yield Row(
            key=str(world.case_N[number]),
            image=Image.fromarray(world.images_N[number]),
            texts=texts or [Text(graph.name(concept), "name")],
            split=str(world.split_N[number]),
            case=str(world.case_N[number]),
            group=named if named != captions.ROOT else len(world.leaves),
            label=None if named == captions.ROOT else graph.name(concept),
            concepts=[concept],
        )


def _rng(seed: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, stream])


def _layout(config: WorldConfig, group_L: NDArray[np.str_]) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Row of the looks and split of every image."""
    training = {SEEN: config.images_per_leaf, RARE: config.rare_images, UNSEEN: 0}
    look, split = [], []
    for row, group in enumerate(group_L.tolist()):
        dev = 0 if group == UNSEEN else config.dev_images
        for name, count in zip(SPLITS, (training[group], dev, config.test_images), strict=True):
            look += [row] * count
            split += [name] * count
    return np.array(look, dtype=np.int64), np.array(split)


def _captions(
    config: WorldConfig,
    graph: DiseaseGraph,
    leaves: Leaves,
    named_N: NDArray[np.int64],
    split_N: NDArray[np.str_],
    unspeakable: frozenset[str],
    seed: int,
) -> list[list[str]]:
    spoken = [captions.names_of(graph, concept, unspeakable) for concept in leaves.ids]
    root = captions.names_of(graph, config.root, unspeakable)
    names_N = [
        [] if split == "test" else (root if named == captions.ROOT else spoken[named])
        for named, split in zip(named_N.tolist(), split_N.tolist(), strict=True)
    ]
    templates = captions.TEMPLATES[config.renderer]
    written_N = captions.write_captions(names_N, templates, config.captions_per_image, _rng(seed, _WORDS))
    captions.check_unsaid(written_N, unspeakable)
    return written_N


def _renderer(config: WorldConfig) -> tuple[str, Callable[[Path | None], Render]]:
    """Return the digest of the code that draws, so that no old images are read after a change, and how to open it."""
    if config.renderer == "tissue":
        return sha256_file(Path(tissue.__file__)), lambda cache: tissue.render
    from benchmarks.controlled import radiograph  # opens a chest CT, which needs further packages

    size = config.image_size
    return sha256_file(Path(radiograph.__file__)), lambda cache: radiograph.renderer(radiograph.open_bank(size, cache))


def _images(
    config: WorldConfig,
    drawn_LF: NDArray[np.float64],
    look_N: NDArray[np.int64],
    split_N: NDArray[np.str_],
    seed: int,
    cache: Path | None,
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Draw all images, or read them: a function of looks, counts, renderer and seed, not of captions or the twin."""
    drawn_by, opened = _renderer(config)
    identity = {
        "format": FORMAT,
        "drawn_by": drawn_by,
        "renderer": config.renderer,
        "size": config.image_size,
        "nuisance": config.nuisance,
        "seed": seed,
        "factors": drawn_LF.tolist(),
        "looks": look_N.tolist(),
        "splits": split_N.tolist(),
    }
    digest = sha256_json(identity)
    file = None if cache is None else cache / f"world-{config.renderer}-{seed}-{digest[:20]}.npz"
    if file is not None and file.is_file():
        return _read(file, digest)
    images_N, factors_NF = _drawn(config, opened(cache), drawn_LF, look_N, split_N, seed)
    if file is not None:
        stream = io.BytesIO()
        np.savez(stream, digest=np.array(digest), images=images_N, factors=factors_NF)
        write_bytes(file, stream.getvalue())
    return images_N, factors_NF


def _read(file: Path, digest: str) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    try:
        with np.load(file, allow_pickle=False) as held:  # a zip: a changed byte fails its checksum
            if str(held["digest"]) != digest:
                raise DataError("holds other images", item=file, remedy="remove the file")
            return held["images"], held["factors"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise DataError("is damaged", item=file, remedy="remove the file") from None


def _drawn(
    config: WorldConfig,
    render: Render,
    drawn_LF: NDArray[np.float64],
    look_N: NDArray[np.int64],
    split_N: NDArray[np.str_],
    seed: int,
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Draw every image by its place among those of the same looks and split, so that more images keep the first."""
    images_N = np.empty((len(look_N), config.image_size, config.image_size, 3), dtype=np.uint8)
    factors_NF = np.empty((len(look_N), config.num_factors))
    given_F = np.full(NUM_FACTORS, _REST)
    counted: dict[Any, int] = {}
    for number, (look, split) in enumerate(zip(look_N.tolist(), split_N.tolist(), strict=True)):
        place = counted[look, split] = counted.get((look, split), -1) + 1
        rng = np.random.default_rng([seed, _PICTURES, look, SPLITS.index(split), place])
        jitter_F = rng.standard_normal(config.num_factors) * _JITTER * config.nuisance
        factors_NF[number] = drawn_LF[look] + jitter_F
        given_F[: config.num_factors] = shown(factors_NF[number])
        images_N[number] = render(given_F, rng, config.image_size, config.nuisance)
    return images_N, factors_NF
