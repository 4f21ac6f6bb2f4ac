"""Looks at a made world: a sheet of its images, and figures that say whether it can be learned from pixels.

The figures calibrate the world and compare nothing that knows the hierarchy: a linear probe of the frozen image tower,
one of colours alone, and how well the factors can be read from the features. A twin's seen leaves have the very same
images, so its figures are the same.

Example: python -m benchmarks.controlled.preview controlled/world --out runs/controlled/preview
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.common.command import run_command
from benchmarks.controlled.taxonomy import SEEN
from benchmarks.controlled.world import World, make_world
from benchmarks.controlled.world_config import WorldFile
from medvlp.config import load
from medvlp.io import write_bytes, write_json
from medvlp.knowledge.graph import DiseaseGraph

_INPUT = 128  # side to which images are enlarged for the tower
_CLIP = 4.0  # standard deviations
_SHOWN, _LEGEND, _GAP, _COLUMNS = 8, 12, 6, 2
_SHADES = {"seen": (255, 255, 255), "rare": (255, 200, 90), "unseen": (255, 120, 120)}
Features = NDArray[np.float32]


def main() -> int:
    """Print the figures, write them and the sheet; return the exit code."""
    out = "runs/controlled/preview"
    return run_command(
        "benchmarks.controlled.preview", __doc__, "controlled_world", "controlled/world", out, _work, _add
    )


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=100, help="which world; experiments use small numbers")


def _work(config: WorldFile, arguments: Any) -> str:
    graph = _graph(config.world.graph, arguments.out / "graph")
    world = make_world(config.world, graph, arguments.seed, arguments.out / "cache")
    write_bytes(arguments.out / f"sheet_{config.world.renderer}.png", png(contact_sheet(world, graph)))
    figures = calibrate(world)
    write_json(arguments.out / f"calibration_{config.world.renderer}.json", figures)
    return "\n".join(_lines(figures))


def _graph(name: str, folder: Path) -> DiseaseGraph:
    from data_prep.ontologies.build import build
    from data_prep.ontologies.config import GraphConfig

    if not folder.is_dir():
        settings = load(name, kind="graph")
        assert isinstance(settings, GraphConfig)
        build(settings, folder)
    return DiseaseGraph.load(folder)


def calibrate(world: World) -> dict[str, Any]:
    """Return how well seen leaves and factors can be told from frozen features and from colours.

    Everything is fitted on training images of seen leaves, with their true leaf, and judged on test images.
    """
    from medvlp.zeroshot.floors import colour_features

    train, test = world.rows("train", SEEN), world.rows("test", SEEN)
    tower = tower_features(world.images_N[np.concatenate([train, test])])
    colour = np.stack([colour_features(Image.fromarray(world.images_N[row])) for row in (*train, *test)])
    return {
        "leaves": len(np.unique(world.leaf_N[train])),
        "chance": 1 / len(np.unique(world.leaf_N[train])),
        "tower": _accuracy(tower, world.leaf_N[train], world.leaf_N[test]),
        "colour": _accuracy(colour, world.leaf_N[train], world.leaf_N[test]),
        "r2": _r2(tower, world.image_factors_NF[train], world.image_factors_NF[test]),
        "r2_colour": _r2(colour, world.image_factors_NF[train], world.image_factors_NF[test]),
    }


def tower_features(images_N: NDArray[np.uint8], batch: int = 64) -> Features:
    """Return features (N, I) of the default image tower, frozen."""
    import torch

    from medvlp.encoders.image import EFFICIENTNET_LITE0, TimmImage

    tower = TimmImage(
        TimmImage.Config(model="tf_efficientnet_lite0", weights=EFFICIENTNET_LITE0, image_size=_INPUT)
    ).eval()
    parts = []
    with torch.no_grad():
        for start in range(0, len(images_N), batch):
            inputs = [tower.preprocess(Image.fromarray(image)) for image in images_N[start : start + batch]]
            parts.append(tower(torch.stack(inputs)).numpy())
    return np.concatenate(parts)


def contact_sheet(world: World, graph: DiseaseGraph) -> Image.Image:
    """Show test images of every leaf, a row each, in the order of the branches; rare and unseen leaves in colour."""
    side = world.config.image_size
    width, height = _SHOWN * (side + 1) + _GAP, side + _LEGEND + 1
    order = np.argsort(world.branch_L, kind="stable").tolist()
    per_column = -(-len(order) // _COLUMNS)
    ends = int((np.diff(world.branch_L[order]) != 0).sum())
    sheet = Image.new("RGB", (_COLUMNS * width, per_column * height + (ends + 1) * _GAP), (40, 40, 40))
    draw = ImageDraw.Draw(sheet)
    test_N = world.rows("test")
    y, before = 0, -1
    for place, leaf in enumerate(order):
        column, row = divmod(place, per_column)
        y = 0 if row == 0 else y + (_GAP if world.branch_L[leaf] != before else 0)
        before = int(world.branch_L[leaf])
        group = str(world.group_L[leaf])
        draw.text((column * width + 2, y), f"{graph.name(world.leaves[leaf])} ({group})", fill=_SHADES[group])
        for number, image in enumerate(test_N[world.leaf_N[test_N] == leaf][:_SHOWN]):
            sheet.paste(Image.fromarray(world.images_N[image]), (column * width + number * (side + 1), y + _LEGEND))
        y += height
    return sheet


def png(image: Image.Image) -> bytes:
    """Encode as PNG."""
    from medvlp.data.image import encode_image

    return encode_image(image, "png")


def _accuracy(features: Features, leaf_train: NDArray[np.int64], leaf_test: NDArray[np.int64]) -> float:
    """Accuracy of a logistic regression; the first rows are the training images."""
    from sklearn.linear_model import LogisticRegression

    train, test = _standard(features, len(leaf_train))
    fitted = LogisticRegression(C=0.01, max_iter=200).fit(train, leaf_train)
    return float((fitted.predict(test) == leaf_test).mean())


def _r2(features: Features, train_NF: NDArray[np.float64], test_NF: NDArray[np.float64]) -> list[float]:
    """Share of the variance of each factor that a ridge regression explains."""
    from sklearn.linear_model import Ridge
    from sklearn.metrics import r2_score

    train, test = _standard(features, len(train_NF))
    found_NF = Ridge(alpha=300.0).fit(train, train_NF).predict(test)
    return [float(score) for score in np.asarray(r2_score(test_NF, found_NF, multioutput="raw_values"))]


def _standard(features: Features, num_train: int) -> tuple[Features, Features]:
    """Standardise by the training rows; clipped, since a feature that is silent in training may shout in a test."""
    train = features[:num_train]
    scaled = np.clip((features - train.mean(0)) / (train.std(0) + 1e-6), -_CLIP, _CLIP)
    return scaled[:num_train], scaled[num_train:]


def _lines(figures: dict[str, Any]) -> list[str]:
    factors = {key: " ".join(f"{value:.2f}" for value in figures[key]) for key in ("r2", "r2_colour")}
    return [
        f"{figures['leaves']} seen leaves; fitted on training images, judged on test images",
        f"chance                          {figures['chance']:.3f}",
        f"colours, accuracy               {figures['colour']:.3f}",
        f"frozen tower, accuracy          {figures['tower']:.3f}",
        f"frozen tower, R2 of the factors {factors['r2']}",
        f"colours, R2 of the factors      {factors['r2_colour']}",
    ]


if __name__ == "__main__":
    sys.exit(main())
