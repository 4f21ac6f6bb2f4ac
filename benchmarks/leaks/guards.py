"""Guards a comparison calls before it scores anything: the rows are those it was made for, and nothing is shared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from medvlp.errors import DataError


def require_rows(
    keys: Sequence[str], labels: Sequence[str] | None = None, *, num: int | None = None, classes: Iterable[str] = ()
) -> None:
    """Stop unless a set of rows is what it should be.

    Args:
        keys: One key per row.
        labels: One label per row.
        num: How many rows there have to be.
        classes: Labels that each have to occur.

    Raises:
        DataError: For a key that occurs twice, another number of rows or labels, or a class without a row.
    """
    seen = set[str]()
    for key in keys:
        if key in seen:
            raise DataError("the key occurs twice", item=key, remedy="give every row its own key")
        seen.add(key)
    if num is not None and len(keys) != num:
        raise DataError(f"expected {num} rows, found {len(keys)}", item="n", remedy="score the rows the table is about")
    if labels is not None and len(labels) != len(keys):
        raise DataError(f"{len(labels)} labels for {len(keys)} rows", item="labels", remedy="give one label per row")
    present = set(labels or ())
    for name in classes:
        if name not in present:
            raise DataError("the class has no row", item=name, remedy="add rows of it or leave the class out")


def require_separate_cases(
    cases_by_split: Mapping[str, Sequence[str]], keys_by_split: Mapping[str, Sequence[str]]
) -> None:
    """Stop if a case is on two sides; the error names the keys of two rows, not the case.

    Args:
        cases_by_split: Case of each row, by split.
        keys_by_split: Key of each row, by split.

    Raises:
        DataError: For the first case on two sides.
    """
    first: dict[str, tuple[str, str]] = {}
    for split, cases in cases_by_split.items():
        for key, case in zip(keys_by_split[split], cases, strict=True):
            other_split, other = first.setdefault(case, (split, key))
            if other_split != split:
                raise DataError(
                    f"the patient of this row is in both {other_split} (as {other}) and {split}",
                    item=key,
                    remedy="split again by patient",
                )
