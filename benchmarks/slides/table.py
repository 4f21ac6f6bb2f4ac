"""Scores with intervals over slides, paired differences, and the outlines' Dice, as JSON and Markdown.

A value is the mean over seeds. Shape legend: R seeds, N slides, S bootstrap draws, T thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.slides import arms
from benchmarks.slides.config import SlidesBenchmarkConfig
from benchmarks.slides.outlines import outlines
from benchmarks.slides.score import MEAN_EMBEDDING, SMOOTHINGS
from medvlp.metrics import bootstrap, classification, curves

MARK = "planted slides"
SMALL = 0.06
"""Slides with a smaller share of tumour are scored on their own too: where poolings differ most."""
NAMES = {
    "tumour_ratio": "tumour ratio",
    "ratio_with_normal": "ratio with normal",
    "top_k": "top-K",
    "mean": "mean cosine",
    "lse": "log-sum-exp",
    MEAN_EMBEDDING: "mean embedding",
}
REFERENCE = "tumour_ratio|none"
_FLOORS = ("tumour_ratio|none", "mean|none")
_RIVALS = ("mean|none", f"{MEAN_EMBEDDING}|none", "top_k|none", "lse|none", "tumour_ratio|centred")
Statistic = Callable[[Any], Any]
Record = Mapping[str, Any]


def build(
    config: SlidesBenchmarkConfig,
    described: Mapping[str, Mapping[str, Any]],
    records: Mapping[str, Mapping[str, Sequence[Record]]],
) -> dict[str, Any]:
    """Return every score of every set as JSON values.

    Args:
        config: What was run.
        described: Classes, slides and prompts of each set.
        records: Per set and arm, one record per seed.
    """
    return {
        "config": config.model_dump(mode="json"),
        "seconds": sum(one["seconds"] for found in records.values() for done in found.values() for one in done),
        "sets": {name: _set(config, described[name], records[name]) for name in records},
    }


def _set(config: SlidesBenchmarkConfig, about: Mapping[str, Any], records: Mapping[str, Sequence[Record]]) -> Any:
    slides = about["slides"]["test"]
    keys = [slide["key"] for slide in slides]
    target_N = np.array([slide["tumour"] is not None for slide in slides])
    ratio_N = np.array([slide["ratio"] for slide in slides])
    few_N = ~target_N | (ratio_N < SMALL)
    tumours = list(about["tumours"])

    def entry(statistic: Statistic) -> dict[str, float | None]:
        found = bootstrap.intervals({"value": statistic}, keys, config.num_draws)["value"]
        return {key: _plain(getattr(found, key)) for key in ("value", "low", "high")}

    def rows(arm: str, method: str) -> dict[str, Any]:
        done = [record["methods"][method] for record in records[arm]]
        statistics = _statistics(config, done, records[arm], target_N, few_N, tumours)
        return {
            "arm": arm,
            "title": arms.TITLES[arm],
            "method": method,
            "k": sorted({one["k"] for one in done}) if method.startswith("top_k") else None,
            "oracle_sensitivity": _plain(
                np.mean(
                    [curves.roc_point_sensitivity(target_N, one["test"]["score"], config.specificity) for one in done]
                )
            ),
            **{name: entry(statistic) for name, statistic in statistics.items()},
        }

    wanted = [(arms.TRAINED, method) for method in records[arms.TRAINED][0]["methods"]]
    wanted += [(arm, method) for arm in records if arm != arms.TRAINED for method in _FLOORS
               if method in records[arm][0]["methods"]]  # fmt: skip
    differences = []
    pairs = [(arms.TRAINED, method) for method in _RIVALS]
    pairs += [(arm, REFERENCE) for arm in (arms.PERMUTED, arms.COLOUR) if arm in records]
    own = _statistics(
        config,
        [r["methods"][REFERENCE] for r in records[arms.TRAINED]],
        records[arms.TRAINED],
        target_N,
        few_N,
        tumours,
    )
    for arm, method in pairs:
        other = _statistics(
            config, [r["methods"][method] for r in records[arm]], records[arm], target_N, few_N, tumours
        )
        lead = {name: entry(_difference(own[name], other[name])) for name in ("auroc", "auroc_few")}
        differences.append({"arm": arm, "title": arms.TITLES[arm], "method": method, **lead})
    return {
        **{name: about[name] for name in ("title", "tumours", "normals", "warning", "images", "prompts")},
        "num_slides": {
            part: {
                "positive": sum(slide["tumour"] is not None for slide in about["slides"][part]),
                "negative": sum(slide["tumour"] is None for slide in about["slides"][part]),
            }
            for part in ("dev", "test")
        },
        "num_few": int((target_N & few_N).sum()),
        "scales": {arm: [record["scale"] for record in done] for arm, done in records.items()},
        "rows": [rows(arm, method) for arm, method in wanted],
        "differences": differences,
        "outlines": outlines(config, records, keys),
    }


def _statistics(
    config: SlidesBenchmarkConfig,
    done: Sequence[Record],
    records: Sequence[Record],
    target_N: NDArray[np.bool_],
    few_N: NDArray[np.bool_],
    tumours: Sequence[str],
) -> dict[str, Statistic]:
    """Metric functions of weights: means over seeds, so that one bootstrap covers all of them."""
    few = np.flatnonzero(few_N)

    def over_seeds(metric: Callable[[Record, Any], Any]) -> Statistic:
        return lambda weight_SN: np.mean([metric(one, weight_SN) for one in done], axis=0)

    def at_cut(metric: Any) -> Callable[[Record, Any], Any]:
        def value(one: Record, weight_SN: Any) -> Any:
            cut = float("nan") if one["cut"] is None else one["cut"]
            return metric(target_N, one["test"]["score"], cut, weight_SN)

        return value

    found: dict[str, Statistic] = {
        "auroc": over_seeds(lambda one, w: curves.auroc(target_N, one["test"]["score"], w)),
        "auroc_few": over_seeds(
            lambda one, w: curves.auroc(
                target_N[few], np.asarray(one["test"]["score"])[few], None if w is None else w[:, few]
            )
        ),
        "sensitivity": over_seeds(at_cut(curves.sensitivity)),
        "specificity": over_seeds(at_cut(curves.specificity)),
    }
    if len(tumours) > 1:
        answer_N = np.asarray(records[0]["target"]["test"])
        positive = np.flatnonzero(target_N)
        count = len(tumours) + 1
        found["answer"] = over_seeds(
            lambda one, w: classification.balanced_accuracy(answer_N, one["test"]["answer"], count, w)
        )
        found["kind"] = over_seeds(
            lambda one, w: classification.balanced_accuracy(
                answer_N[positive],
                # -1 (no tile for any tumour) becomes the normal column, which is never right here
                np.where(np.asarray(one["test"]["kind"]) < 0, count - 1, one["test"]["kind"])[positive],
                count,
                None if w is None else w[:, positive],
            )
        )
    return found


def _difference(first: Statistic, second: Statistic) -> Statistic:
    return lambda weight_SN: np.asarray(first(weight_SN)) - np.asarray(second(weight_SN))


def _plain(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def markdown(table: Mapping[str, Any]) -> str:
    """Return the tables as Markdown, as printed and as kept in the docs."""
    config = table["config"]
    lines: list[str] = []
    for found in table["sets"].values():
        lines += _set_lines(found, config)
    lines.append(f"{table['seconds'] / 60:.0f} minutes of work in all; {len(config['seeds'])} seeds.")
    return "\n".join(lines) + "\n"


def _set_lines(found: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    subtypes = len(found["tumours"]) > 1
    slides, images = found["num_slides"], found["images"]
    at = f"{config['specificity']:.0%}".replace("%", " %")
    columns = ["model", "pooling", "smoothed", "AUROC", f"AUROC, tumour < {SMALL:.0%}".replace("%", " %"),
               f"sensitivity at the development cut ({at} specificity)", "specificity there",
               f"oracle: sensitivity at {at} on test"]  # fmt: skip
    columns += ["all classes and normal", "which tumour, told there is one"] if subtypes else []
    lines = [
        f"**{found['title']}.** {slides['test']['positive']} test slides with tumour ({found['num_few']} below "
        f"{SMALL:.0%}), {slides['test']['negative']} without; {slides['dev']['positive']} and "
        f"{slides['dev']['negative']} development slides; {sum(images['train'].values())} training images, "
        f"{sum(images['test'].values())} images behind the test slides. 95 % intervals over slides, means over seeds.",
        "",
        "| " + " | ".join(columns) + " |",
        "|---" * len(columns) + "|",
    ]
    names = ("auroc", "auroc_few", "sensitivity", "specificity")
    for row in found["rows"]:
        method, smoothing = row["method"].split("|")
        name = NAMES[method] + (f" (K = {', '.join(map(str, row['k']))})" if row["k"] else "")
        cells = [row["title"], name, "no" if smoothing == SMOOTHINGS[0] else "yes"]
        cells += [_range(row[key]) for key in names] + [_number(row["oracle_sensitivity"])]
        cells += [_range(row[key]) for key in ("answer", "kind")] if subtypes else []
        lines.append("| " + " | ".join(cells) + " |")
    prior = ["prior", "constant score", "no", "0.500", "0.500", "–", "–", "–"]
    chance = [f"{1 / (len(found['tumours']) + 1):.3f}", f"{1 / len(found['tumours']):.3f}"]
    lines.append("| " + " | ".join(prior + (chance if subtypes else [])) + " |")
    lines += [
        "",
        f"| tumour ratio of the trained model minus … | AUROC | AUROC, tumour < {SMALL:.0%} |",
        "|---|---|---|",
    ]
    for row in found["differences"]:
        method, smoothing = row["method"].split("|")
        smoothed = ", smoothed" if smoothing != SMOOTHINGS[0] else ""
        what = f"{NAMES[method]}{smoothed}" + ("" if row["arm"] == arms.TRAINED else f", {row['title']}")
        lines.append(f"| {what} | {_range(row['auroc'], '+.3f')} | {_range(row['auroc_few'], '+.3f')} |")
    preset = f"preset threshold {config['threshold']:g}"
    lines += ["", f"| mean Dice of tumour | smoothed | {preset} | development threshold | oracle threshold on test |"]
    lines.append("|---" * 5 + "|")
    for row in found["outlines"]:
        lines.append(
            f"| {row['title']} | {'yes' if row['smoothed'] else 'no'} | {_range(row['preset'])} "
            f"| {_range(row['development'])} | {_number(row['oracle'])} |"
        )
    return [*lines, ""]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _range(score: Mapping[str, float | None], form: str = ".3f") -> str:
    if score["value"] is None:
        return "–"
    if score["low"] is None or score["high"] is None:
        return f"{score['value']:{form}}"
    return f"{score['value']:{form}} [{score['low']:{form}}, {score['high']:{form}}]"
