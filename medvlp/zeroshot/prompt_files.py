"""Prompt files: our own layout, and the published KEEP and KEP layout with its known faults caught.

The published layout is an object of numbered entries ``{"classnames": {class: name}, "templates": wording}`` whose
placeholder is ``CLASSNAME``. Pools of it hold names that were joined without a separator ("tissuenormal ..."):
such a name is left out and counted.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from medvlp.errors import DataError
from medvlp.io import read_json
from medvlp.zeroshot.prompts import FORMAT, Prompt, PromptSet
from medvlp.zeroshot.templates import checked, fill

FUSED = "name fused from two names"
_SHORTEST_WORD = 4
_MAX_BYTES = 64_000_000


def load(path: Path) -> PromptSet:
    """Read a prompt file of either layout.

    Raises:
        DataError: If the file is missing, too large, not JSON, or of neither layout; the message names the entry.
    """
    if path.is_file() and path.stat().st_size > _MAX_BYTES:
        raise DataError(f"larger than {_MAX_BYTES} bytes", item=path, remedy="split the prompt file")
    value = read_json(path)
    if not isinstance(value, dict) or not value:
        raise DataError("holds no prompts", item=path, remedy="see docs/results.md for the layout")
    if value.get("format") == FORMAT:
        return _own(value, path)
    return _published(value, path)


def fused_names(names: set[str]) -> set[str]:
    """Return names with a word that is the last word of one name and the first of another, run together."""
    first, last = set(), set()
    for name in names:
        found = re.findall(r"[\w-]+", name.lower())
        if found:
            first.add(found[0])
            last.add(found[-1])

    def is_joint(word: str) -> bool:
        cuts = range(_SHORTEST_WORD, len(word) - _SHORTEST_WORD + 1)
        return any(word[:cut] in last and word[cut:] in first for cut in cuts)

    return {name for name in names if any(is_joint(word) for word in re.findall(r"[\w-]+", name.lower()))}


def _own(value: dict[str, Any], path: Path) -> PromptSet:
    try:
        classes = {
            str(label): tuple(Prompt(str(p["text"]), str(p["kind"]), p.get("concept")) for p in prompts)
            for label, prompts in value["classes"].items()
        }
        absent = tuple(tuple(str(text) for text in texts) for texts in value.get("absent", []))
    except (KeyError, TypeError, AttributeError):
        raise DataError("is not of this version's prompt layout", item=path, remedy="write it again") from None
    empty = [label for label, prompts in classes.items() if not any(p.text.strip() for p in prompts)]
    if empty:
        raise DataError(f"the class {empty[0]!r} has no prompt", item=path)
    if absent and len(absent) != len(classes):
        raise DataError("absent prompts for another number of classes", item=path)
    made = PromptSet(tuple(classes), tuple(classes.values()), absent, source=path.name)
    if value.get("digest", made.digest) != made.digest:
        raise DataError("was edited after it was written (digest differs)", item=path, remedy="delete its digest line")
    return made


def _published(value: dict[str, Any], path: Path) -> PromptSet:
    texts: dict[str, dict[str, Prompt]] = {}
    names: set[str] = set()
    for number, entry in value.items():
        given = entry.get("classnames") if isinstance(entry, dict) else None
        if not isinstance(given, dict) or "templates" not in entry:
            raise DataError("has no classnames and templates", item=f"{path}, entry {number!r}")
        if not all(isinstance(name, str) and name.strip() for name in given.values()):
            raise DataError("has an empty class name", item=f"{path}, entry {number!r}")
        names.update(given.values())
    fused = fused_names(names)
    dropped: Counter[str] = Counter({FUSED: len(fused)} if fused else {})
    for number, entry in value.items():
        pool = entry["templates"]
        chosen = checked(pool if isinstance(pool, list) else [pool], f"{path}, entry {number!r}")
        for label, name in entry["classnames"].items():
            found = texts.setdefault(label, {})
            for wording in chosen if name not in fused else ():
                text = fill(wording, name.strip())
                found.setdefault(text, Prompt(text, "file"))
    empty = [label for label, found in texts.items() if not found]
    if empty:
        raise DataError(f"the class {empty[0]!r} has no usable prompt", item=path)
    return PromptSet(
        tuple(texts), tuple(tuple(found.values()) for found in texts.values()), dropped=dict(dropped), source=path.name
    )
