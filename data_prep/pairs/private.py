"""De-identification on the way into a pairs store: of free texts, and of keys that repeat a DICOM file's tags."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.deid.dicom import any_of, burned_in_warnings, identifiers
from data_prep.deid.quiet import quiet
from data_prep.deid.spans import PLACEHOLDER
from data_prep.deid.text import ENGINE, deidentify_text
from data_prep.pairs.items import Item, Listing
from data_prep.pairs.shards import MADE_HERE
from medvlp.data.image import is_dicom
from medvlp.data.pairs import Text
from medvlp.errors import DataError

_NOTHING_LEFT = "texts of nothing but identifiers"
_WORD = re.compile(r"[^\W_]")


@dataclass
class Privacy:
    """What was done about identifiers; goes into the manifest.

    Attributes:
        by: The rules that removed them, or the user whose word was taken.
        num_texts: Free texts read.
        removed: Places replaced, by kind.
        num_dicom: DICOM files whose tags were read.
        warnings: What a person has to look at, with the number of images.
    """

    by: str
    num_texts: int = 0
    removed: Counter[str] = field(default_factory=Counter)
    num_dicom: int = 0
    warnings: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Counts only: no text, no key."""
        return {
            "by": self.by,
            "num_texts": self.num_texts,
            "removed": dict(sorted(self.removed.items())),
            "num_dicom": self.num_dicom,
            "warnings": dict(sorted(self.warnings.items())),
        }

    def lines(self) -> list[str]:
        """What to tell the user."""
        counted = ", ".join(f"{count} {kind}" for kind, count in sorted(self.removed.items())) or "nothing"
        said = [f"de-identified {self.num_texts} texts: removed {counted}"] if self.num_texts else []
        return said + [f"{count} images: {warning}" for warning, count in sorted(self.warnings.items())]


def user_said_so() -> Privacy:
    """The record of ``--already-deidentified``."""
    return Privacy("the user's word")


def clean_texts(texts: Iterable[Text], privacy: Privacy) -> list[Text]:
    """De-identify free texts; captions made from class names pass. A text of which nothing is left is dropped."""
    kept: list[Text] = []
    for text in texts:
        if text.aspect in MADE_HERE:
            kept.append(text)
            continue
        done = deidentify_text(text.text)
        privacy.num_texts += 1
        privacy.removed.update(done.removed)
        if done.removed and not _WORD.search(PLACEHOLDER.sub("", done.text)):
            privacy.removed[_NOTHING_LEFT] += 1
            continue
        kept.append(Text(done.text, text.aspect))
    return list(dict.fromkeys(kept))


def deidentify_listing(listing: Listing) -> Privacy:
    """De-identify what a source listed, in place.

    Texts lose what identifies somebody. Of DICOM files no tag is stored; where a key or case repeats an identifier that
    the file's own tags hold, a number takes its place, the same for the same identifier.
    """
    from rich.console import Console
    from rich.progress import track

    privacy, numbers = Privacy(ENGINE), _Numbers()
    console = Console(stderr=True)
    shown = track(
        listing.items, "removing identifiers", console=console, transient=True, disable=not console.is_terminal
    )
    with quiet():
        for item in shown:
            item.texts = clean_texts(item.texts, privacy)
            source = _dicom_source(item)
            if source is not None:
                _clean_keys(item, source, privacy, numbers)
    return privacy


def unannounced(source: Any, item: Item) -> DataError | None:
    """The mistake of DICOM bytes under the name of another format: their tags were not looked at."""
    if not (isinstance(source, bytes) and not item.dicom and is_dicom(source)):
        return None
    return DataError(
        "a DICOM file under another name may identify patients", item=item.key, remedy="give it the ending .dcm"
    )


class _Numbers:
    """Numbers in place of identifiers, in the order in which these are met: the same source gives the same store."""

    def __init__(self) -> None:
        self.given: dict[str, str] = {}

    def __call__(self, match: re.Match[str]) -> str:
        return self.given.setdefault(match[0].casefold(), f"id-{len(self.given) + 1:05d}")


def _dicom_source(item: Item) -> Path | Callable[[], Any] | None:
    if item.dicom:
        return item.load
    return item.path if item.path is not None and is_dicom(item.path) else None


def _clean_keys(item: Item, source: Path | Callable[[], Any], privacy: Privacy, numbers: _Numbers) -> None:
    import io

    import pydicom

    try:
        stream: Any = source if isinstance(source, Path) else io.BytesIO(source())
        dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
        pattern = any_of(identifiers(dataset))
        privacy.warnings.update(burned_in_warnings(dataset))
    except Exception:  # a file too broken to be read is refused or counted when its pixels are
        return
    privacy.num_dicom += 1
    if pattern is None:
        return
    for name in ("key", "case"):
        value = getattr(item, name)
        if value is not None and (new := _masked(value, pattern, numbers)) != value:
            setattr(item, name, new)
            privacy.removed[f"identifier in a {name}"] += 1


def _masked(value: str, pattern: re.Pattern[str], numbers: _Numbers) -> str:
    """Replace identifiers, also where words are joined by underscores, as file names do."""
    spaced = re.sub(r"[_^]", " ", value)
    out, position = [], 0
    for match in pattern.finditer(spaced):
        out += [value[position : match.start()], numbers(match)]
        position = match.end()
    return "".join([*out, value[position:]])
