"""Puts what a command printed between the two marks of a page, so that a table in the docs is never typed."""

from __future__ import annotations

from pathlib import Path

from medvlp.errors import DataError
from medvlp.io import write_text


def put_between(page: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``.

    Args:
        page: A Markdown page.
        name: Name of the marks.
        text: What the command printed.

    Raises:
        DataError: If the page is missing or does not hold both marks once, in order.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if not page.is_file():
        raise DataError("no such page", item=page, remedy="name a Markdown page that holds the marks")
    old = page.read_text(encoding="utf-8")
    before, _, rest = old.partition(begin)
    after = rest.partition(end)[2]
    if old.count(begin) != 1 or old.count(end) != 1 or end not in rest:
        raise DataError(f"does not hold {begin} and {end} once, in order", item=page, remedy="add the two marks")
    write_text(page, f"{before}{begin}\n{text.strip()}\n{end}{after}")
