"""Every layout there is, and which one a file is of."""

from __future__ import annotations

from medvlp.errors import CheckpointError
from medvlp.published.hf_clip import HfClip
from medvlp.published.keep import Keep
from medvlp.published.layout import Layout
from medvlp.published.open_clip import OpenClip
from medvlp.published.openai_clip import CheXzero, OpenAiClip
from medvlp.published.source import Source

LAYOUTS: dict[str, Layout] = {
    layout.name: layout for layout in (Keep(), OpenClip(), HfClip(), OpenAiClip(), CheXzero())
}
AUTO = "auto"
_ELSEWHERE = "make embeddings of it in its own environment (`medvlp weights request`)"


def choose(name: str, source: Source) -> Layout:
    """Return the layout of a source.

    Args:
        name: A layout's name, or ``auto``.
        source: The weights.

    Raises:
        CheckpointError: If there is no such layout, the file is of another, of none, or of several.
    """
    names = source.state.keys()
    fitting = [layout for layout in LAYOUTS.values() if layout.recognises(source, names)]
    kinds = ", ".join(layout.name for layout in fitting)
    if name == AUTO:
        if len(fitting) == 1:
            return fitting[0]
        if not fitting:
            first = ", ".join(list(names)[:3])
            raise CheckpointError(
                f"is of no layout known here (its tensors begin with {first})",
                item=source.path,
                remedy=f"known are {', '.join(LAYOUTS)}; otherwise {_ELSEWHERE}",
            )
        raise CheckpointError(
            f"fits {kinds}, which differ in how images are prepared", item=source.path, remedy="say which with --layout"
        )
    if name not in LAYOUTS:
        raise CheckpointError("no such layout", item=name, remedy=f"use {AUTO}, {', '.join(LAYOUTS)}")
    if LAYOUTS[name] not in fitting:
        raise CheckpointError(
            f"these are weights of {kinds or 'another architecture'}, not of {name}",
            item=source.path,
            remedy=f"use {fitting[0].name}:{source.path.name}" if fitting else _ELSEWHERE,
        )
    return LAYOUTS[name]
