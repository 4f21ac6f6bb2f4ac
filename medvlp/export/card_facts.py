"""What a model card quotes of stores and scores: named fields only, so that no text, case or path slips in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from medvlp.config import resolve_path
from medvlp.errors import MedvlpError
from medvlp.io import MANIFEST, read_json

_MAX_ITEMS = 12
_RECIPE = ("kind", "knowledge", "seed", "steps", "sampling")


def read_run_config(run: Path | None) -> dict[str, Any]:
    """Return the configuration a run was started with, empty if there is none."""
    path = run / "config.yaml" if run is not None else None
    if path is None or not path.is_file():
        return {}
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return config if isinstance(config, dict) else {}


def short_name(value: str) -> str:
    """Show a packaged or hub name whole, a local path by its last part only."""
    if value.startswith(("pkg:", "hf-hub:")) or (value.count("/") <= 1 and not value.startswith(("/", "~"))):
        return value
    return Path(value).name


def describe_stores(config: Mapping[str, Any]) -> str:
    """Return the section on training data, knowledge sources with their licences, and the recipe."""
    parts = []
    for key, title, describe in (("data", "Image-text pairs", _pairs), ("graph", "Knowledge graph", _graph)):
        value = config.get(key)
        if not isinstance(value, str):
            continue
        try:
            manifest = read_json(resolve_path(value) / MANIFEST)
        except MedvlpError:
            manifest = None
        if isinstance(manifest, dict):
            text = "\n".join(describe(manifest))
        else:
            text = "Its manifest was not there when this card was made."
        parts.append(f"### {title}\n\nStore `{short_name(value)}`.\n\n{text}")
    recipe = [f"- {key}: {config[key]}" for key in _RECIPE if key in config]
    if recipe:
        parts.append("### Recipe\n\n" + "\n".join(recipe))
    return "\n\n".join(parts) if parts else "Not recorded: the model was exported without the run it comes from."


def _graph(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield "| source | version | licence | terms |"
    yield "|---|---|---|---|"
    for source in _records(manifest.get("sources")):
        terms = source.get("terms")
        kept = terms.get("kept") if isinstance(terms, dict) else None
        name = source.get("id", source.get("name", source.get("file", "?")))
        cells = (name, source.get("version"), _licence(source), kept)
        yield "| " + " | ".join(_cell(cell) for cell in cells) + " |"
    yield ""
    counts = manifest.get("counts")
    if isinstance(counts, dict):
        yield f"- counts: {_listed(counts)}"
    if isinstance(manifest.get("digest"), str):
        yield f"- digest: `{manifest['digest']}`"


def _pairs(manifest: Mapping[str, Any]) -> Iterator[str]:
    sources = _records(manifest.get("sources"))
    for source in sources:
        name = next((source[key] for key in ("id", "title", "name", "table", "images", "file") if source.get(key)), "?")
        yield f"- source: {_cell(short_name(str(name)))}, licence {_licence(source)}"
    if not sources or isinstance(manifest.get("licence"), str):
        yield f"- licence: {_licence(manifest)}"
    for key in ("num_rows", "num_cases", "num_groups", "already_deidentified"):
        if isinstance(manifest.get(key), int | bool):
            yield f"- {key.removeprefix('num_').replace('_', ' ')}: {_cell(manifest[key])}"
    per_split = manifest.get("num_rows_per_split")
    if isinstance(per_split, dict):
        yield f"- rows per split: {_listed(per_split)}"
    classes = manifest.get("classes")
    if isinstance(classes, dict) and classes:
        yield f"- classes: {_listed(dict.fromkeys(classes))}"


def describe_scores(results: Any) -> str:
    """Return the section on scores: each with its interval and n, and each floor with the model's lead over it."""
    entries = results.get("metrics") if isinstance(results, dict) else None
    if isinstance(entries, dict):
        entries = [
            {"name": name, **(entry if isinstance(entry, dict) else {"value": entry})}
            for name, entry in entries.items()
        ]
    if not isinstance(entries, list) or not entries:
        return "None recorded. Run `medvlp evaluate` and export again with its results.json."
    lines = ["| metric | value | 95 % interval | n |", "|---|---|---|---|"]
    for entry in _records(entries):
        lines.append(
            f"| {entry.get('name')} | {_number(entry.get('value'))} | {_interval(entry)} | {entry.get('n', '')} |"
        )
    floors = list(_floors(results.get("floors")))
    if floors:
        lines += [
            "",
            "| floor | metric | value | lead of the model | 95 % interval |",
            "|---|---|---|---|---|",
            *floors,
        ]
    data, prompts = results.get("data"), results.get("prompts")
    facts = []
    if isinstance(data, dict):
        facts += [f"{key} `{data[key]}`" for key in ("split_sha256", "sha256") if isinstance(data.get(key), str)]
    if isinstance(prompts, dict) and isinstance(prompts.get("digest"), str):
        facts.append(f"prompts `{prompts['digest']}`")
    if isinstance(results.get("seed"), int):
        facts.append(f"seed {results['seed']}")
    return "\n".join(lines) + ("\n\nMeasured on: " + ", ".join(facts) + "." if facts else "")


def _floors(floors: Any) -> Iterator[str]:
    for floor in _records(floors):
        name = floor.get("name")
        if isinstance(floor.get("skipped"), str):
            yield f"| {name} | not computed: {_cell(floor['skipped'])} | | | |"
        for entry in _records(floor.get("metrics")):
            found = entry.get("lead")
            lead: dict[str, Any] = found if isinstance(found, dict) else {}
            yield (
                f"| {name} | {entry.get('name')} | {_number(entry.get('value'))} | {_number(lead.get('value'))} | "
                f"{_interval(lead)} |"
            )


def _records(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _licence(record: Mapping[str, Any]) -> str:
    found = next((record[key] for key in ("licence", "license", "licences") if record.get(key)), None)
    return _cell(found) if found is not None else "not recorded"


def _cell(value: Any) -> str:
    if value is None:
        return "not recorded"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = str(value)
    return (short_name(text) if text.startswith(("/", "~")) else text).replace("|", "/").replace("\n", " ")


def _listed(values: Mapping[str, Any]) -> str:
    shown = [
        _cell(key) if value is None else f"{_cell(key)} {_cell(value)}"
        for key, value in list(values.items())[:_MAX_ITEMS]
        if not isinstance(value, dict | list)
    ]
    return ", ".join(shown) + (f", and {len(values) - _MAX_ITEMS} more" if len(values) > _MAX_ITEMS else "")


def _interval(record: Mapping[str, Any]) -> str:
    return f"{_number(record.get('low'))} to {_number(record.get('high'))}"


def _number(value: Any) -> str:
    return "not defined" if not isinstance(value, int | float) else f"{value:.4f}"
