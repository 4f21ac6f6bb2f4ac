"""The model card: what was trained on what, what it scores, how to load it, and what it is not for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from medvlp import __version__
from medvlp.config import resolve_path
from medvlp.errors import MedvlpError
from medvlp.io import MANIFEST, read_json
from medvlp.model import PARTS, DualEncoder

_STORES = {"graph": "Knowledge graph", "data": "Image-text pairs", "pairs": "Image-text pairs"}
_SHOWN = ("title", "sources", "source", "licence", "licences", "license", "counts", "num_pairs", "splits", "classes")
_SHOWN_AS_IS = ("already_deidentified", "graph_digest", "digest", "source_sha256")
_MAX_ITEMS = 12


def write_card(
    model: DualEncoder, to: str, source: Path | None = None, results: Path | None = None, *, ema: bool = False
) -> str:
    """Return the card as Markdown; it holds no report text, no case and no path of this machine.

    Args:
        model: The exported model.
        to: The export's format.
        source: The checkpoint folder; its run's ``config.yaml`` tells which stores were used.
        results: A ``results.json`` to quote; the run's own is used if None and present.

    Raises:
        DataError: If ``results`` is given and cannot be read.
    """
    run = _run_folder(source)
    config = _run_config(run)
    found = results if results is not None else (run / "results.json" if run is not None else None)
    metrics = read_json(found) if found is not None and (results is not None or found.is_file()) else None
    sections = [
        "# Model card\n\nA medical vision-language dual encoder, written by medvlp " + __version__ + ".",
        _architecture(model),
        "## Training data and knowledge\n\n" + _stores(config),
        "## Scores\n\n" + _scores(metrics),
        _preprocessing(model),
        _loading(to),
        _LIMITS,
    ]
    return "\n\n".join(sections) + "\n"


def _architecture(model: DualEncoder) -> str:
    config = model.config
    num_parameters = {part: sum(p.numel() for p in parameters) for part, parameters in model.towers().items()}
    rows = [
        f"| image tower | {config.image.name}: {_name(config.image.model)} |",
        f"| text tower | {config.text.name}: {_name(config.text.model)} |",
        f"| heads | image {config.image_head}, text {config.text_head} |",
        f"| embedding | {config.embed_dim} values, L2-normalised |",
        f"| logit scale | {model.scale().item():.4f} |",
        f"| logit bias | {'none' if model.logit_bias is None else f'{model.logit_bias.item():.4f}'} |",
        *[f"| parameters, {part.replace('_', ' ')} | {num_parameters[part]:,} |" for part in PARTS],
    ]
    return "## Architecture\n\n| part | value |\n|---|---|\n" + "\n".join(rows)


def _name(value: str) -> str:
    """Show a packaged or hub name whole, a local path by its last part only."""
    if value.startswith(("pkg:", "hf-hub:")) or (value.count("/") <= 1 and not value.startswith(("/", "~"))):
        return value
    return Path(value).name


def _run_folder(source: Path | None) -> Path | None:
    if source is None:
        return None
    return source.parent.parent if source.parent.name == "checkpoints" else source


def _run_config(run: Path | None) -> dict[str, Any]:
    path = run / "config.yaml" if run is not None else None
    if path is None or not path.is_file():
        return {}
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return config if isinstance(config, dict) else {}


def _stores(config: dict[str, Any]) -> str:
    parts = []
    for key, title in _STORES.items():
        value = config.get(key)
        if not isinstance(value, str):
            continue
        try:
            folder = resolve_path(value)
            manifest = read_json(folder / MANIFEST)
        except MedvlpError:
            parts.append(f"### {title}\n\nStore `{_name(value)}`; its manifest was not there when this card was made.")
            continue
        lines = [f"- {name}: {text}" for name, text in _facts(manifest)]
        parts.append(f"### {title}\n\nStore `{_name(value)}`.\n\n" + "\n".join(lines))
    switches = [f"- {key}: {config[key]}" for key in ("kind", "knowledge", "seed", "sampling") if key in config]
    if switches:
        parts.append("### Recipe\n\n" + "\n".join(switches))
    return "\n\n".join(parts) if parts else "Not recorded: the model was exported without the run it comes from."


def _facts(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a manifest says about sources, licences and counts; nothing else of it goes into a card."""
    for key, value in manifest.items():
        if key in _SHOWN or key.startswith("num_"):
            yield key.replace("_", " "), _short(value)
        elif key in _SHOWN_AS_IS and isinstance(value, str | bool | int):
            yield key.replace("_", " "), str(value)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        shown = [
            f"{key} {_short(item)}" if not isinstance(item, dict) else f"{key} ({_short(item)})"
            for key, item in list(value.items())[:_MAX_ITEMS]
        ]
        return ", ".join(shown) + (f", and {len(value) - _MAX_ITEMS} more" if len(value) > _MAX_ITEMS else "")
    if isinstance(value, list):
        shown = [_short(item) for item in value[:_MAX_ITEMS]]
        return "; ".join(shown) + (f"; and {len(value) - _MAX_ITEMS} more" if len(value) > _MAX_ITEMS else "")
    return _name(value) if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else str(value)


def _scores(results: Any) -> str:
    entries = results.get("metrics") if isinstance(results, dict) else None
    if isinstance(entries, dict):
        entries = [
            {"name": name, **(entry if isinstance(entry, dict) else {"value": entry})}
            for name, entry in entries.items()
        ]
    if not isinstance(entries, list) or not entries:
        return "None recorded. Run `medvlp evaluate` and export again with its results.json."
    rows = []
    for entry in entries:
        interval = f"{_number(entry.get('low'))} to {_number(entry.get('high'))}"
        n = entry.get("n", "")
        rows.append(f"| {entry.get('name')} | {_number(entry.get('value'))} | {interval} | {n} |")
    return "| metric | value | 95 % interval | n |\n|---|---|---|---|\n" + "\n".join(rows)


def _number(value: Any) -> str:
    return "not defined" if not isinstance(value, int | float) else f"{value:.4f}"


def _preprocessing(model: DualEncoder) -> str:
    values = model.preprocess
    return (
        "## Preprocessing\n\n"
        f"Images: RGB, {values.resize_mode} to {values.size} pixels ({values.interpolation}), scaled to 0-1, "
        f"mean {', '.join(f'{value:g}' for value in values.mean)}, deviation "
        f"{', '.join(f'{value:g}' for value in values.std)}. Texts: at most {model.tokenizer.context_length} tokens; "
        "what is longer is cut. Open images as RGB without transparency, turned as their EXIF tag says."
    )


_LOADING = {
    "safetensors": """## Loading

```python
import medvlp

model = medvlp.load("THIS_FOLDER")
image_BD = model.encode_image(images)  # PIL images; unit vectors
text_MD = model.encode_text(["an H&E image of ..."])
```

`model.safetensors` holds the weights, `model.json` the architecture, `preprocess.json` the image settings, and
`manifest.json` the sha256 of every file, which is checked on loading.""",
    "open_clip": """## Loading

With stock open_clip (3.x), in a process that needs nothing else:

```python
import sys

sys.path.insert(0, "/path/of/this/folder")
import torchvision_guard

torchvision_guard.install()  # only matters beside a CPU build of torch whose torchvision does not load

import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:/path/of/this/folder")
tokenizer = open_clip.get_tokenizer("local-dir:/path/of/this/folder")
model.eval()
```

`python embed.py REQUEST.json OUT.safetensors` does the same for a list of image files and strings.

**After moving or copying the folder** run `medvlp export repoint FOLDER`. open_clip finds a Hugging Face text tower's
configuration through an absolute path in `open_clip_config.json`; that command writes the new one (without medvlp:
set `hf_model_name` and `hf_tokenizer_name` under `text_cfg` to the folder's absolute path).""",
}


def _loading(to: str) -> str:
    return _LOADING.get(to, "")


_LIMITS = """## Limits

For research. Not a medical device, not validated for diagnosis or for any decision about a patient. Scores hold for
the data they were measured on; other scanners, stains, populations and wordings can change them. The licences of the
training data, of the knowledge sources and of the published weights the towers started from stay in force."""
