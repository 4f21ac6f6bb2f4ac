"""One slide, a model and classes in; a folder with the answer, its heat map and its reasons out.

Shape legend: N tiles, K classes, D embedding size.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from medvlp.errors import DataError
from medvlp.io import atomic_folder, full_disk_told, write_json, write_manifest, write_text
from medvlp.zeroshot import results, slide_report, slide_results
from medvlp.zeroshot import templates as wordings
from medvlp.zeroshot.classifier import Floats, mean_vectors, prompt_vectors, scale_of
from medvlp.zeroshot.slide import SlideRule, tile_values
from medvlp.zeroshot.slide_classes import Question, pool_of, question
from medvlp.zeroshot.slide_nearest import NEAREST, NearestPrompts, nearest_prompts, write_nearest
from medvlp.zeroshot.slide_pooling import tile_cosines
from medvlp.zeroshot.slide_prompts import names_of, screen
from medvlp.zeroshot.slide_tiles import SlideTiles, embedded, read
from medvlp.zeroshot.smoothing import cells

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.slides.reader import Slide

TITLE = "Zero-shot diagnosis of one slide"
Screening = Literal["none", "margin", "keep"]
_BEST_SHOWN = 10


def diagnose(
    slide_path: str | Path,
    model: Any,
    classes: Sequence[str],
    *,
    out: str | Path,
    graph: DiseaseGraph | str | Path | None = None,
    normal: str | None = None,
    rule: SlideRule | None = None,
    screening: Screening = "none",
    templates: str | Sequence[str] = "pathology",
    names: Literal["preferred", "synonyms"] = "synonyms",
    max_names: int = 8,
    num_paths: int = 0,
    num_definitions: int = 0,
    mpp: float | None = None,
    tile_size: int = 256,
    target_mpp: float = 0.5,
    overlap: int = 0,
    min_tissue: float = 0.25,
    features: str | Path | None = None,
    producer: str | None = None,
    patch_size_level0: int | None = None,
    projected: bool | None = None,
    batch_size: int = 64,
    workers: int = 0,
    device: str = "cpu",
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Answer which of some classes a slide shows, and write the answer with its reasons.

    The folder holds ``results.json``, ``tiles.parquet`` (x, y, one column per class), ``nearest_prompts.safetensors``,
    ``heatmap.png``, ``tiles.geojson`` and ``regions.geojson`` for QuPath, ``report.html`` and ``manifest.json``.

    Args:
        slide_path: The slide.
        model: What ``medvlp.load`` gives, or a path that it opens; or anything with ``encode_image``, ``encode_text``
            and ``scale()``.
        classes: Concept ids, plain names, or both; two at least.
        out: Folder to write; appears whole or not at all.
        graph: Source of names, or its folder; None asks with the classes' own words.
        normal: The class that means no disease; by default the one whose name says so.
        rule: How tiles become an answer; fixed defaults if None.
        screening: Choose prompts without labels on this slide: by margin, or as KEEP published it.
        templates: Wordings: pathology, general, plain, a file, or a list.
        names: Preferred names only, or exact synonyms too.
        max_names: Names per class.
        num_paths: Hypernym paths per concept, used like names.
        num_definitions: Definitions per concept.
        mpp: Micrometres per level-0 pixel, where the slide does not say.
        tile_size: Side of a tile as the encoder sees it, pixels.
        target_mpp: Micrometres per pixel of a tile.
        overlap: Pixels that neighbouring tiles share.
        min_tissue: Least share of a tile that is tissue.
        features: A feature file of this slide instead of embedding it; its vectors must be in the texts' space.
        producer: Who wrote that file, where the file does not tell.
        patch_size_level0: Side of its tiles, level-0 pixels, where the file does not tell.
        projected: Whether its vectors lie in the texts' space, where the file does not tell.
        batch_size: Tiles per forward pass.
        workers: Processes that read tiles ahead.
        device: Torch device to embed on.
        seed: Chooses names and, for a large pool, prompts.
        overwrite: Exchange an existing ``out``.

    Returns:
        ``out``.

    Raises:
        DataError: In one line, for a slide, classes or features that cannot be used, or an ``out`` that exists.
        GraphError: For an unknown id, with the nearest ones.
        CheckpointError: If there is no such model.
        MissingExtraError: Without the extra ``slides``.
    """
    from medvlp.slides.reader import open_slide

    out = Path(out)
    if out.exists() and not overwrite:
        raise DataError("already exists", item=out, remedy="remove it, choose another name, or pass --overwrite")
    rule = SlideRule() if rule is None else rule
    opened_graph = _graph(graph)
    asked = question(
        classes, opened_graph, normal=normal, templates=templates, names=names, max_names=max_names,
        num_paths=num_paths, num_definitions=num_definitions, seed=seed,
    )  # fmt: skip
    with ExitStack() as stack:
        slide = stack.enter_context(open_slide(slide_path, mpp=mpp))
        net, source = _model(model, device)
        if bool(getattr(net, "training", False)):
            net.eval()
            stack.callback(net.train)
        prompts_K = prompt_vectors(net, asked.prompts.texts)
        text_KD = mean_vectors(prompts_K)
        if features is None:
            tiles = embedded(slide, net, tile_size, target_mpp, overlap, min_tissue, batch_size, workers)
        else:
            tiles = read(slide, Path(features), text_KD.shape[1], mpp, producer, patch_size_level0, projected)
        class_KD, screened = _screened(net, asked, templates, screening, tiles, text_KD, seed)
        scale = scale_of(net)
        cosine_NK = tile_cosines(tiles.feature_ND, class_KD)
        where: dict[str, Any] = {"scale": scale, "coords_NX": tiles.place_NX, "step": tiles.step}
        shown_cosine_NK, probability_NK = tile_values(cosine_NK, rule, **where)
        methods, score = slide_results.method_entries(cosine_NK, rule, asked, **where)
        share = getattr(getattr(net, "tokenizer", None), "truncated_share", None)
        value: dict[str, Any] = {
            "format": slide_results.FORMAT,
            "title": TITLE,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "answer": slide_results.answer_entry(score, rule, asked),
            "methods": methods,
            "tiles": slide_results.tile_entry(probability_NK, shown_cosine_NK, asked),
            "slide": {
                "key": slide.key, "path": str(slide_path), "size": list(slide.size), "mpp": slide.mpp,
                "mpp_source": slide.mpp_source, "reader": slide.reader, "notes": list(slide.notes),
            },
            "tissue": tiles.tissue,
            "grid": tiles.grid,
            "features": tiles.features,
            "classes": [
                {"label": label, "name": asked.classes.names[label], "concepts": list(asked.classes.concepts[label]),
                 "is_normal": column == asked.normal}
                for column, label in enumerate(asked.classes.labels)
            ],
            "rule": rule.model_dump(mode="json"),
            "scale": scale if rule.scale is None else rule.scale,
            "model": {
                "source": source, "weights_sha256": results.weights_digest(net),
                "text_truncated_share": None if share is None else float(share),
            },
            "graph": None if opened_graph is None else {
                "source": str(graph) if isinstance(graph, str | Path) else "in memory", "sha256": opened_graph.digest,
            },
            "prompts": asked.prompts.to_json() | {
                "names": names_of(asked.prompts),
                "templates": list(wordings.load(templates) if isinstance(templates, str) else templates),
            },
            "screening": screened,
            "device": _device(device),
            "seed": seed,
            "versions": results.versions(),
            "command": results.command(),
        }  # fmt: skip
        value["limits"] = slide_results.limits(value, asked)
        slide_results.validate(value)
        nearest = nearest_prompts(tiles.feature_ND, prompts_K)
        _write(out, slide, tiles, value, asked, score.decision, probability_NK, nearest, rule, overwrite)
    return out


def _write(
    out: Path,
    slide: Slide,
    tiles: SlideTiles,
    value: dict[str, Any],
    asked: Question,
    decision: int,
    probability_NK: Floats,
    nearest: NearestPrompts,
    rule: SlideRule,
    overwrite: bool,
) -> None:
    from medvlp.slides import geojson
    from medvlp.slides.heatmap import heat_map, png

    labels = asked.classes.labels
    column = shown_column(decision, asked.normal, probability_NK)
    shown = f"probability of {asked.classes.names[labels[column]].replace('_', ' ')}"
    heat = png(
        heat_map(
            slide.thumbnail(1024), slide.size, tiles.place_NX, tiles.side, probability_NK[:, column],
            label=shown, level0_mpp=slide.mpp, title=TITLE,
        )
    )  # fmt: skip
    tops, unread = slide_report.top_tiles(slide, tiles.place_NX, tiles.side, probability_NK, labels)
    if unread.dropped:
        value["limits"].append(f"{unread.dropped.total()} of the tiles to show below could not be decoded.")
    page = slide_report.render(value, heat, shown, tops)
    one = geojson.tile_features(tiles.place_NX, tiles.side, probability_NK, labels)
    left_out = () if asked.normal is None else (labels[asked.normal],)
    # tiles that overlap are first made cells that do not, so that a place belongs to one class only
    whole = cells(probability_NK, tiles.place_NX, tiles.side, min(tiles.step, tiles.side))
    joined = geojson.region_features(whole.coords_MX, whole.side, whole.value_MK, labels, rule.threshold, left_out)
    with full_disk_told(out), atomic_folder(out, replace=overwrite) as partial:
        write_json(partial / "results.json", value)
        slide_results.write_tiles(partial / "tiles.parquet", tiles.place_NX, probability_NK, labels)
        write_nearest(partial / NEAREST, nearest)
        (partial / "heatmap.png").write_bytes(heat)
        geojson.write_geojson(partial / "tiles.geojson", one)
        geojson.write_geojson(partial / "regions.geojson", joined)
        write_text(partial / "report.html", page)
        write_manifest(partial, {"format": slide_results.FORMAT})


def shown_column(decision: int, normal: int | None, probability_NK: Floats) -> int:
    """The class of the heat map: the answer, or the most probable other class where the answer is normal."""
    if decision != normal:
        return decision
    mean_K = probability_NK.mean(0)
    mean_K[normal] = -1
    return int(mean_K.argmax())


def _screened(
    model: Any,
    asked: Question,
    templates: str | Sequence[str],
    screening: Screening,
    tiles: SlideTiles,
    text_KD: Floats,
    seed: int,
) -> tuple[Floats, dict[str, Any] | None]:
    """The class vectors of the prompts that screening kept, or ``text_KD`` of all of them."""
    if screening == "none":
        return text_KD, None
    pool, text_PD = pool_of(model, asked, templates, seed=seed)
    found = screen(tiles.feature_ND, text_PD, pool, compat="keep" if screening == "keep" else None)
    best = [dict(zip(pool.classes, pool.classifier(number), strict=True)) for number in found.kept[:_BEST_SHOWN]]
    return found.class_KD, {
        "score": screening,
        "num_classifiers": len(pool),
        "num_left_out": pool.num_left_out,
        "num_kept": len(found.kept),
        "num_tiles": found.num_tiles,
        "best": best,
    }


def _graph(graph: DiseaseGraph | str | Path | None) -> DiseaseGraph | None:
    if isinstance(graph, str | Path):
        from medvlp.config import resolve_path
        from medvlp.knowledge.graph import DiseaseGraph

        return DiseaseGraph.load(resolve_path(str(graph)))
    return graph


def _model(model: Any, device: str) -> tuple[Any, str]:
    if isinstance(model, str | Path):
        from medvlp.zeroshot.evaluate import open_model

        return open_model(str(model), device), str(model)
    return model, type(model).__name__


def _device(device: str) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") and torch.cuda.is_available() else None
    return {"device": device, "gpu": gpu, "attention": "not used: tiles are pooled without a slide encoder"}
