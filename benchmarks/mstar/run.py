"""Train every arm on every seed, embed the test cases, and keep ranks; finished ones are skipped.

Shape legend: C test cases, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.nn.functional import normalize

import medvlp
from benchmarks.common.records import once
from benchmarks.mstar import scores
from benchmarks.mstar.cases import Made
from benchmarks.mstar.config import MstarBenchmarkConfig
from benchmarks.mstar.relation import BANDS, MIXED
from medvlp import __version__
from medvlp.case_model import CaseModel
from medvlp.config import load, resolve_path
from medvlp.fusion.bag import TileBag
from medvlp.training.slide import MstarConfig, train
from medvlp.training.slide_data import Tiles, read_cases
from medvlp.training.slide_texts import report_features

ENCODERS = {
    "mean": "{name: mean, width: 128}",
    "abmil": "{name: abmil, width: 128, gate: 64, heads: 4, dropout: 0.1}",
    "transformer": "{name: transformer, width: 128, depth: 1, heads: 4, position: rotary}",
    "perceiver": "{name: perceiver, width: 128, latents: 16, depth: 1, heads: 4, position: rotary}",
}
"""Slide encoders of equal width, as overrides of the shared recipe."""
CONTROLS = {"shuffled pairs": "shuffled.csv", "shuffled places": "cases.csv"}
_AT_ONCE = 32


def arms(config: MstarBenchmarkConfig, made: Made, out: Path) -> dict[str, list[dict[str, Any]]]:
    """Return, per arm, one record per seed."""
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in config.arms}
    for seed in config.seeds:
        for arm in config.arms:
            recipe = recipe_of(config, made, out, arm, seed)
            made_from = [__version__, made.digest, arm, recipe.model_dump(mode="json", exclude={"data", "cache"})]
            name = f"{arm.replace(' ', '-')}-{seed}"
            work = _work(recipe, out / "runs" / name)
            found[arm].append(once(out / "records" / f"{name}.json", made_from, work))
    return found


def recipe_of(config: MstarBenchmarkConfig, made: Made, out: Path, arm: str, seed: int) -> MstarConfig:
    """Return the recipe of an arm: the shared one with its slide encoder, its table, its places."""
    encoder = arm if arm in ENCODERS else "transformer"
    table = CONTROLS.get(arm, "cases.csv")
    places = "scattered" if arm == "shuffled places" else "features"
    given = [
        f"data.table={made.folder / table}",
        f"data.features={made.folder / places}",
        f"data.genes={made.folder / 'genes.csv'}",
        f"seed={seed}",
        f"cache={out / 'features'}",
    ]
    overrides = [f"model.slide={ENCODERS[encoder]}", *config.set, *given]
    return cast(MstarConfig, load(config.align, overrides, kind="mstar"))


def _work(recipe: MstarConfig, run: Path) -> Callable[[], dict[str, Any]]:
    def work() -> dict[str, Any]:
        train(recipe, run)
        return test(recipe, run)

    return work


@torch.no_grad()
def test(recipe: MstarConfig, run: Path) -> dict[str, Any]:
    """Embed the test cases of a finished run; return ranks per direction and the score of bands per case."""
    model = cast(CaseModel, medvlp.load(run))
    cases = read_cases(recipe.data)
    chosen = cases.split("test")
    tiles = Tiles(recipe.data, coordinates=model.config.coordinates, width=model.config.tile_width)
    slides = []
    for start in range(0, len(chosen), _AT_ONCE):
        read = [tiles.case(case) for case in chosen[start : start + _AT_ONCE]]
        centres = [centres_NX for _, centres_NX in read if centres_NX is not None]
        slides.append(model.slides(TileBag.pack([features for features, _ in read], centres or None))[0])
    slide_CD = torch.cat(slides)
    assert cases.genes is not None
    texts = [str(case.report) for case in chosen]
    gene_rows = [case.gene_row for case in chosen if case.gene_row is not None]
    embedding = {
        "slide": slide_CD.numpy(),
        "report": model.project("text", report_features(model, texts, resolve_path(recipe.cache))).numpy(),
        "genes": model.encode_genes(cases.genes).numpy()[gene_rows],
    }
    bands_D, mixed_D = (normalize(model.encode_text(said).mean(0), dim=0) for said in (BANDS, MIXED))
    return {
        "cases": [case.key for case in chosen],
        "ranks": scores.ranks(embedding),
        "bands": np.asarray(slide_CD @ (bands_D - mixed_D)).tolist(),
    }
