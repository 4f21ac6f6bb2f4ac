"""The cases on disk: tiles embedded once, one feature file per case, gene table and case tables.

Shape legend: C cases, K kinds of tiles, T tiles of a slide, I width of tile features, X = 2 (x, y).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.mstar.config import MstarBenchmarkConfig
from benchmarks.mstar.relation import Truth, layout, report, truth
from medvlp import __version__
from medvlp.config import resolve_path
from medvlp.data.gene_sets import read_gene_sets
from medvlp.data.genes import read_gene_table
from medvlp.errors import DataError
from medvlp.io import MANIFEST, atomic_folder, read_json, sha256_json, write_json, write_manifest
from medvlp.slides.features import write_features
from medvlp.slides.types import SlideFeatures
from medvlp.tile_encoder import TileEncoder
from medvlp.training.slide_data import SPLITS

SIDE_PX, MPP = 512, 0.25
HEAD = ["case", "split", "cancer", "slide", "report", "genes"]


@dataclass(frozen=True)
class Made:
    """The folder of cases and what is known about them.

    Attributes:
        folder: Holds ``cases.csv``, ``complete.csv`` (the same without gaps, to embed every case), ``shuffled.csv``,
            ``genes.csv``, ``tiles.csv``, ``features/`` and ``scattered/``.
        cases: Facts by case: split, cancer, bands, share of each kind.
        images: Facts by image: file, kind, part (train or test).
        digest: Of everything.
    """

    folder: Path
    cases: dict[str, dict[str, Any]]
    images: list[dict[str, Any]]
    digest: str


def make(config: MstarBenchmarkConfig, folder: Path) -> Made:
    """Write the cases unless they stand already.

    Raises:
        DataError: If the gene tables differ in genes, or a kind of tile has too few images.
    """
    keys = {"genes", "cancers", "gene_sets", "images", "relation", "encoder", "cases", "split", "data_seed"}
    digest = sha256_json([__version__, {name: config.model_dump(mode="json")[name] for name in sorted(keys)}])
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    if manifest.get("made_from") != digest or "complete.csv" not in manifest.get("files", {}):
        with atomic_folder(folder, replace=folder.exists()) as partial:
            _write(config, partial)
            write_manifest(partial, {"format": "medvlp-mstar-cases-1", "made_from": digest})
    facts = read_json(folder / "truth.json")
    return Made(folder, facts["cases"], facts["images"], digest)


def _write(config: MstarBenchmarkConfig, folder: Path) -> None:
    tables = [read_gene_table(resolve_path(path), ids="tcga_case") for path in config.genes]
    if any(table.genes != tables[0].genes for table in tables):
        raise DataError("the gene tables hold different genes", item="genes", remedy="align them first")
    keys = [key for table in tables for key in table.cases]
    cancers = [name for name, table in zip(config.cancers, tables, strict=True) for _ in table.cases]
    values_CG = np.concatenate([table.values_CG for table in tables])
    rng = np.random.default_rng([config.data_seed, 1])
    order = rng.permutation(len(keys))[: config.cases]
    keys, cancers, values_CG = [keys[row] for row in order], [cancers[row] for row in order], values_CG[order]
    ends = np.cumsum(np.array(config.split) / sum(config.split) * len(keys)).round().astype(int)
    split_C = np.array([SPLITS[int(np.searchsorted(ends, row, side="right"))] for row in range(len(keys))])
    sets = read_gene_sets(resolve_path(config.gene_sets))
    found = truth(values_CG, tables[0].genes, sets, split_C == "train", config.relation)
    images = _images(config)
    features_NI = _embedded(config, [str(image["file"]) for image in images])
    drawn = _slides(config, folder, keys, split_C, found, images, features_NI)
    complete, rows = _rows(config, keys, cancers, split_C, found)
    _table(folder / "complete.csv", HEAD, complete)
    _table(folder / "cases.csv", HEAD, rows)
    _table(folder / "shuffled.csv", HEAD, shuffled(rows, config.data_seed))
    _table(folder / "tiles.csv", ["slide", "tile", "image"], drawn)
    _table(
        folder / "genes.csv",
        ["case", *tables[0].genes],
        [
            dict(zip(["case", *tables[0].genes], [key, *values], strict=True))
            for key, values in zip(keys, values_CG.tolist(), strict=True)
        ],
    )
    facts = {
        key: {
            "split": str(split_C[row]),
            "cancer": cancers[row],
            "bands": bool(found.bands_C[row]),
            "share": found.share_CK[row].round(4).tolist(),
        }
        for row, key in enumerate(keys)
    }
    np.save(folder / "images.npy", features_NI)
    write_json(folder / "truth.json", {"cases": facts, "images": images})


def _images(config: MstarBenchmarkConfig) -> list[dict[str, Any]]:
    """List the images of each kind, the first half (of a drawn order) for training cases."""
    base, found = resolve_path(config.images), []
    for number, (name, kind) in enumerate(config.relation.kinds.items()):
        files = sorted(path.relative_to(base).as_posix() for path in base.glob(kind.files))
        if len(files) < 4:
            raise DataError(f"{len(files)} images match {kind.files}", item=f"kinds.{name}", remedy="check the pattern")
        chosen = np.random.default_rng([config.data_seed, 2, number]).permutation(len(files))[: kind.limit]
        for place, row in enumerate(chosen.tolist()):
            found.append({"file": files[row], "kind": number, "part": "train" if place < len(chosen) // 2 else "test"})
    return found


def _embedded(config: MstarBenchmarkConfig, files: list[str]) -> NDArray[np.float32]:
    base = resolve_path(config.images)
    torch.manual_seed(0)
    encoder = TileEncoder(TileEncoder.Config(image=config.encoder)).eval()
    parts = []
    for start in range(0, len(files), 32):
        parts.append(encoder.encode_image([Image.open(base / file) for file in files[start : start + 32]]))
    return torch.cat(parts).float().numpy()


def _slides(
    config: MstarBenchmarkConfig,
    folder: Path,
    keys: list[str],
    split_C: NDArray[Any],
    found: Truth,
    images: list[dict[str, Any]],
    features_NI: NDArray[np.float32],
) -> list[dict[str, Any]]:
    """Write each case's feature file twice: as laid out, and with the places of its tiles shuffled."""
    (folder / "features").mkdir()
    (folder / "scattered").mkdir()
    grid, tiles = config.relation.grid, []
    pool = {
        (part, kind): [row for row, image in enumerate(images) if image["part"] == part and image["kind"] == kind]
        for part in ("train", "test")
        for kind in range(len(config.relation.kinds))
    }
    for number, key in enumerate(keys):
        rng = np.random.default_rng([config.data_seed, 3, number])
        kind_T = np.repeat(np.arange(found.share_CK.shape[1]), rng.multinomial(grid * grid, found.share_CK[number]))
        part = "train" if split_C[number] == "train" else "test"
        rows = [int(rng.choice(pool[part, int(kind)])) for kind in kind_T]
        place_TX = layout(kind_T, bool(found.bands_C[number]), grid, rng) * SIDE_PX
        order = np.lexsort((place_TX[:, 0], place_TX[:, 1]))
        for name, coords_TX in (("features", place_TX[order]), ("scattered", place_TX[rng.permutation(len(order))])):
            _feature_file(folder / name / f"{key}.h5", features_NI[[rows[tile] for tile in order]], coords_TX)
        tiles += [
            {"slide": f"{key}.h5", "tile": place, "image": images[rows[tile]]["file"]}
            for place, tile in enumerate(order)
        ]
    return tiles


def _feature_file(path: Path, features_TI: NDArray[np.float32], coords_TX: NDArray[np.int64]) -> None:
    found = SlideFeatures(
        path.stem,
        torch.from_numpy(features_TI),
        torch.from_numpy(np.ascontiguousarray(coords_TX)),
        patch_size_level0=SIDE_PX,
        step_level0=SIDE_PX,
        mpp=2 * MPP,
        level0_mpp=MPP,
        encoder="tiles",
        projected=False,
    )
    write_features(path, found, tile_size=SIDE_PX // 2)


def _rows(
    config: MstarBenchmarkConfig, keys: list[str], cancers: list[str], split_C: NDArray[Any], found: Truth
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows as they would be complete, and as they are, with gaps in training cases."""
    complete, rows = [], []
    for number, key in enumerate(keys):
        rng = np.random.default_rng([config.data_seed, 4, number])
        text = report(found.share_CK[number], bool(found.bands_C[number]), config.relation, rng)
        row = {
            "case": key,
            "split": split_C[number],
            "cancer": cancers[number],
            "slide": f"{key}.h5",
            "report": text,
            "genes": key,
        }
        complete.append(dict(row))
        if split_C[number] == "train":
            for name in ("slide", "report", "genes"):
                if rng.random() < config.relation.missing:
                    row[name] = ""
        rows.append(row)
    return complete, rows


def shuffled(rows: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Give each training case the report and, apart from it, the genes of others; gaps move with them."""
    training = [place for place, row in enumerate(rows) if row["split"] == "train"]
    out = [dict(row) for row in rows]
    for stream, name in enumerate(("report", "genes")):
        order = np.random.default_rng([seed, 5, stream]).permutation(len(training))
        for one, other in zip(order, np.roll(order, 1), strict=True):
            out[training[one]][name] = rows[training[other]][name]
    return out


def _table(path: Path, head: list[str], rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, head)
        writer.writeheader()
        writer.writerows(rows)
