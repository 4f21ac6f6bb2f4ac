"""The wordings that turn a class name into prompts, kept in one place because they decide scores.

A wording holds ``{name}`` once. Files may also use ``CLASSNAME`` (the placeholder of published pathology pools).
"""

from __future__ import annotations

from collections.abc import Sequence

from medvlp.config import resolve_path
from medvlp.errors import ConfigError, DataError
from medvlp.io import read_json

PLACEHOLDER = "{name}"
_OTHER_PLACEHOLDER = "CLASSNAME"

PATHOLOGY = (
    "{name}",
    "{name}, H&E stain",
    "{name} under the microscope",
    "an H&E-stained section with {name}",
    "a histology image of {name}",
    "a histology image with {name}",
    "histopathology of {name}",
    "a microscopic view of {name}",
    "a micrograph of {name}",
    "a micrograph in which {name} is seen",
    "a tissue section of {name}",
    "a tissue section that contains {name}",
    "a field of view with {name}",
    "a biopsy with {name}",
    "a slide of {name}",
    "a pathology slide that shows {name}",
    "hematoxylin and eosin staining of {name}",
    "a cropped patch of {name}",
    "the tissue is {name}",
    "the pathologist sees {name}",
    "findings consistent with {name}",
    "a typical case of {name}",
)
"""22 wordings for stained tissue."""

GENERAL = (
    "{name}",
    "an image of {name}",
    "a medical image of {name}",
    "a medical image that shows {name}",
    "a picture of {name}",
    "findings consistent with {name}",
    "a typical case of {name}",
    "a patient with {name}",
)
"""8 wordings that fit any kind of medical image."""

RADIOLOGY = (
    "{name}",
    "a radiograph with {name}",
    "a scan that shows {name}",
    "imaging findings of {name}",
    "findings consistent with {name}",
    "the image shows {name}",
    "there is {name}",
    "signs of {name} are present",
)
"""8 wordings for X-ray, CT and MR."""

ABSENT = (
    "no {name}",
    "no sign of {name}",
    "no evidence of {name}",
    "an image without {name}",
    "{name} is absent",
    "negative for {name}",
)
"""6 wordings for the absence of a finding, the counterpart in multi-label scoring."""

SETS = {"pathology": PATHOLOGY, "general": GENERAL, "radiology": RADIOLOGY, "plain": (PLACEHOLDER,)}


def load(name_or_path: str) -> tuple[str, ...]:
    """Return a named set, or the wordings of a file: a JSON list of strings, or text with one wording per line.

    Raises:
        ConfigError: If there is no such set or file.
        DataError: If a wording does not hold its placeholder exactly once.
    """
    if name_or_path in SETS:
        return SETS[name_or_path]
    path = resolve_path(name_or_path)
    if not path.is_file():
        raise ConfigError(
            "neither a template set nor a file", item=name_or_path, remedy=f"use {', '.join(SETS)} or a file's path"
        )
    if path.suffix == ".json":
        wordings = read_json(path)
    else:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise DataError("not UTF-8 text", item=path) from None
        wordings = [line.strip() for line in lines if line.strip()]
    if not isinstance(wordings, list) or not wordings:
        raise DataError("holds no list of templates", item=path, remedy="write a JSON list, or one template per line")
    return checked(wordings, str(path))


def checked(wordings: Sequence[object], item: str) -> tuple[str, ...]:
    """Return wordings with ``{name}`` as placeholder, each once.

    Raises:
        DataError: Naming the number of the first wording without exactly one placeholder.
    """
    out = []
    for number, wording in enumerate(wordings, 1):
        text = wording.replace(_OTHER_PLACEHOLDER, PLACEHOLDER) if isinstance(wording, str) else ""
        if text.count(PLACEHOLDER) != 1:
            raise DataError(f"template {number} does not hold {PLACEHOLDER} exactly once", item=item)
        out.append(text)
    return tuple(dict.fromkeys(out))


def fill(wording: str, name: str) -> str:
    """Put a name into a wording; plain replacement, so a wording from a file can do nothing else."""
    return wording.replace(PLACEHOLDER, name)
