"""The comparison as JSON and as Markdown: the primary differences first, then what they are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.controlled.config import BASE, TWIN, ControlledConfig
from benchmarks.controlled.grid import FORMAT
from benchmarks.controlled.statistics import Mean, t_mean
from medvlp import __version__
from medvlp.metrics.paired import ALPHA, holm

PRIMARY = "unseen_alone.auroc"
METRICS = {
    PRIMARY: "unseen alone, AUROC",
    "unseen_alone.balanced_accuracy": "unseen alone, balanced accuracy",
    "unseen_alone.auroc_opaque": "opaque names, AUROC",
    "unseen_alone.auroc_transparent": "transparent names, AUROC",
    "unseen.auroc": "unseen among all, AUROC",
    "unseen.hierarchical_accuracy": "unseen among all, hierarchical accuracy",
    "unseen.climbs": "unseen among all, climbs of a mistake",
    "rare.auroc": "rare among all, AUROC",
    "rare.accuracy": "rare among all, accuracy",
    "rare.hierarchical_accuracy": "rare among all, hierarchical accuracy",
    "seen.auroc": "seen among all, AUROC",
    "seen.accuracy": "seen among all, accuracy",
    "seen.hierarchical_accuracy": "seen among all, hierarchical accuracy",
}
STEPS = {
    "text_after_stage_1": "text space after stage 1 (ρ)",
    "text_after_stage_2": "text space after stage 2 (ρ)",
    "ceiling_tower": "ceiling, frozen tower",
    "ceiling": "ceiling, image head",
    "prompts.names": "names",
    "prompts.synonyms": "all names",
    "prompts.definitions": "definitions",
    "prompts.paths": "paths",
}
CONTRASTS = (("real", "permuted"), ("real", "none"))
SECONDARY = (
    "unseen_alone.auroc_opaque",
    "unseen_alone.auroc_transparent",
    "unseen.auroc",
    "unseen.hierarchical_accuracy",
    "rare.auroc",
    "rare.hierarchical_accuracy",
    "seen.auroc",
    "seen.accuracy",
)
_SHOWN = (
    PRIMARY,
    "unseen_alone.balanced_accuracy",
    "unseen.auroc",
    "unseen.hierarchical_accuracy",
    "unseen.climbs",
    "rare.auroc",
    "seen.auroc",
    "seen.accuracy",
)


@dataclass(frozen=True)
class Runs:
    """Records by level, method, graph and seed."""

    of: Mapping[tuple[str, str, str], Mapping[int, Mapping[str, Any]]]
    floors: Mapping[str, Mapping[int, Mapping[str, Any]]]

    def values(self, arm: tuple[str, str, str], path: str, section: str = "scores") -> dict[int, float]:
        """Return one number per seed, NaN where a run does not have it."""
        return {seed: _number(record[section], path) for seed, record in self.of.get(arm, {}).items()}

    def difference(self, level: str, method: str, contrast: tuple[str, str], path: str) -> Mean | None:
        """Return first - second graph over the seeds that have both, None if there is none."""
        first, second = (self.values((level, method, kind), path) for kind in contrast)
        seeds = sorted(first.keys() & second.keys())
        return t_mean([first[seed] - second[seed] for seed in seeds]) if seeds else None


def collect(records: Sequence[Mapping[str, Any]], floors: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> Runs:
    """Sort records of runs by arm."""
    of: dict[tuple[str, str, str], dict[int, Mapping[str, Any]]] = {}
    for record in records:
        if "scores" in record:
            arm = record["level"], record["method"], record["knowledge"]
            of.setdefault(arm, {})[record["seed"]] = record
    return Runs(of, floors)


def build(config: ControlledConfig, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the whole comparison as JSON values; numbers that are not defined are null.

    Args:
        config: The grid.
        records: Records of runs and floors, any part of the grid.
    """
    floors: dict[str, dict[int, Mapping[str, Any]]] = {}
    for record in records:
        if "colour" in record:
            floors.setdefault(record["level"], {})[record["seed"]] = record["colour"]
    runs = collect(records, floors)
    levels = [level for level in config.level_names() if any(arm[0] == level for arm in runs.of)]
    primary = []
    for method in config.methods:
        for contrast in CONTRASTS:
            found = runs.difference(BASE, method, contrast, PRIMARY)
            if found is not None:
                primary.append({"method": method, "contrast": _title(contrast), "metric": PRIMARY, **_plain(found)})
    corrected = holm([_float(row["p_value"]) for row in primary])
    for row, p_holm in zip(primary, corrected, strict=True):
        row["p_holm"] = _null(p_holm)
        row["verdict"] = verdict(_float(row["value"]), p_holm)
    return {
        "format": FORMAT,
        "version": __version__,
        "config": config.model_dump(mode="json"),
        "levels": levels,
        "primary": primary,
        "rows": [_row(runs, arm) for level in levels for arm in _arms(config, runs, level)],
        "floors": [_floor(level, of_seed) for level, of_seed in floors.items()],
        "levels_differences": _differences(config, runs, levels, (PRIMARY,)),
        "secondary": _differences(config, runs, [BASE], SECONDARY),
        "twin": _twin(config, runs),
        "seconds": t_mean([float(record["seconds"]) for record in records if "scores" in record]).value,
    }


def verdict(value: float, p_holm: float) -> str:
    """Say in words what a primary difference shows."""
    if math.isnan(p_holm):
        return "cannot be told: fewer than two seeds"
    if p_holm > ALPHA:
        return "no difference shown"
    return "gain" if value > 0 else "loss"


def _arms(config: ControlledConfig, runs: Runs, level: str) -> list[tuple[str, str, str]]:
    arms = [(level, method, kind) for method in config.methods for kind in config.graphs]
    return [arm for arm in arms if arm in runs.of]


def _row(runs: Runs, arm: tuple[str, str, str]) -> dict[str, Any]:
    level, method, knowledge = arm
    return {
        "level": level,
        "method": method,
        "knowledge": knowledge,
        "seeds": sorted(runs.of[arm]),
        "metrics": {path: _plain(t_mean(list(runs.values(arm, path).values()))) for path in METRICS},
        "steps": {path: _plain(t_mean(list(runs.values(arm, path, "steps").values()))) for path in STEPS},
        "cost": next(iter(runs.of[arm].values()))["cost"],
    }


def _floor(level: str, of_seed: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    paths = [f"{group}.{metric}" for group in ("rare", "seen") for metric in ("auroc", "accuracy")]
    found = {path: t_mean([_number(record, path) for record in of_seed.values()]) for path in paths}
    return {"level": level, "name": "colour histogram", "metrics": {path: _plain(mean) for path, mean in found.items()}}


def _differences(
    config: ControlledConfig, runs: Runs, levels: Sequence[str], paths: Sequence[str]
) -> list[dict[str, Any]]:
    out = []
    for level in levels:
        for method in config.methods:
            for contrast in CONTRASTS:
                for path in paths:
                    found = runs.difference(level, method, contrast, path)
                    if found is not None:
                        row = {"level": level, "method": method, "contrast": _title(contrast), "metric": path}
                        out.append({**row, **_plain(found)})
    return out


def _twin(config: ControlledConfig, runs: Runs) -> list[dict[str, Any]]:
    """Gain of the base world over the twin's: (real - other) there minus (real - other) here, paired by seed."""
    out = []
    for method in config.methods:
        for contrast in CONTRASTS:
            gains = []
            for level in (BASE, TWIN):
                first, second = (runs.values((level, method, kind), PRIMARY) for kind in contrast)
                gains.append({seed: first[seed] - second[seed] for seed in first.keys() & second.keys()})
            seeds = sorted(gains[0].keys() & gains[1].keys())
            if seeds:
                found = t_mean([gains[0][seed] - gains[1][seed] for seed in seeds])
                out.append({"method": method, "contrast": _title(contrast), "metric": PRIMARY, **_plain(found)})
    return out


def markdown(table: Mapping[str, Any]) -> str:
    """Return the comparison as Markdown."""
    config = table["config"]
    title = {name: method["title"] for name, method in config["methods"].items()}
    level_title = {BASE: "base world", **{name: level["title"] for name, level in config["levels"].items()}}
    chosen = [row for row in table["rows"] if row["level"] == BASE]
    lines = [
        f"Primary: difference of {METRICS[PRIMARY]}, base world, mean over seeds [95 % t interval], Holm over the "
        f"{len(table['primary'])} rows.",
        "",
        "| method | graph | difference | by seed | p | p, Holm | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table["primary"]:
        seeds = " ".join(f"{value:+.3f}" for value in row["by_seed"])
        p, p_holm = (_p(row[key]) for key in ("p_value", "p_holm"))
        lines.append(
            f"| {title[row['method']]} | {row['contrast']} | {_range(row, '+.3f')} | {seeds} | {p} | {p_holm} "
            f"| {row['verdict']} |"
        )
    lines += ["", "Scores in the base world, mean over seeds [95 % t interval]; chance is .500 for AUROC.", ""]
    lines += [
        f"| method | graph | {' | '.join(METRICS[path] for path in _SHOWN)} |",
        "|---|---|" + "---|" * len(_SHOWN),
    ]
    lines += [
        f"| {title[row['method']]} | {row['knowledge']} | {' | '.join(_range(row['metrics'][p]) for p in _SHOWN)} |"
        for row in chosen
    ]
    for floor in table["floors"]:
        if floor["level"] == BASE:
            cells = [_range(floor["metrics"][path]) if path in floor["metrics"] else "–" for path in _SHOWN]
            lines.append(f"| {floor['name']} | – | {' | '.join(cells)} |")
    lines += ["", f"Differences of {METRICS[PRIMARY]} at every level of the world.", ""]
    lines += _pivot(table["levels_differences"], "level", level_title, title)
    if table["twin"]:
        lines += ["", "Gain in the base world minus gain in the twin, where kinship says nothing about looks.", ""]
        lines += ["| method | graph | difference of gains |", "|---|---|---|"]
        lines += [f"| {title[row['method']]} | {row['contrast']} | {_range(row, '+.3f')} |" for row in table["twin"]]
    lines += ["", "Secondary differences in the base world.", ""]
    lines += _pivot(table["secondary"], "metric", METRICS, title)
    lines += [
        "",
        "Where a gain is lost, base world: agreement of text space and true looks (Spearman, unseen × other leaves), "
        "AUROC of unseen leaves with perfect class vectors, AUROC by kind of prompt.",
        "",
        f"| method | graph | {' | '.join(STEPS.values())} |",
        "|---|---|" + "---|" * len(STEPS),
    ]
    lines += [
        f"| {title[row['method']]} | {row['knowledge']} | {' | '.join(_short(row['steps'][p]) for p in STEPS)} |"
        for row in chosen
    ]
    return "\n".join(lines) + "\n"


def _pivot(
    rows: Sequence[Mapping[str, Any]], key: str, row_title: Mapping[str, str], method_title: Mapping[str, str]
) -> list[str]:
    """One line per level or metric and kind of graph, one column per method."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    found = {(row[key], row["contrast"], row["method"]): row for row in rows}
    names = list(dict.fromkeys(row[key] for row in rows))
    lines = [f"| | graph | {' | '.join(method_title[name] for name in methods)} |", "|---|---|" + "---|" * len(methods)]
    for name in names:
        for contrast in dict.fromkeys(row["contrast"] for row in rows):
            cells = [
                _range(found[name, contrast, method], "+.3f") if (name, contrast, method) in found else "–"
                for method in methods
            ]
            lines.append(f"| {row_title[name]} | {contrast} | {' | '.join(cells)} |")
    return lines


def _number(section: Mapping[str, Any], path: str) -> float:
    value: Any = section
    for key in path.split("."):
        value = None if value is None else value.get(key)
    return math.nan if value is None else float(value)


def _plain(mean: Mean) -> dict[str, Any]:
    ends = {name: _null(getattr(mean, name)) for name in ("value", "low", "high", "p_value")}
    return {**ends, "by_seed": [_null(value) for value in mean.by_seed_R]}


def _title(contrast: tuple[str, str]) -> str:
    return f"{contrast[0]} − {contrast[1]}"


def _null(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _float(value: float | None) -> float:
    return math.nan if value is None else value


def _range(found: Mapping[str, Any], form: str = ".3f") -> str:
    if found["value"] is None:
        return "n/a"
    if found["low"] is None:
        return f"{found['value']:{form}}"
    return f"{found['value']:{form}} [{found['low']:{form}}, {found['high']:{form}}]"


def _short(found: Mapping[str, Any]) -> str:
    return "–" if found["value"] is None else f"{found['value']:.3f}"


def _p(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}" if value >= 0.001 else "< .001"
