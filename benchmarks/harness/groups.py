"""Scores by age, sex, site or scanner, read from a table beside the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from medvlp.config import resolve_path
from medvlp.data.tables import read_table
from medvlp.errors import DataError
from medvlp.metrics.subgroups import age_bands, by_subgroup

if TYPE_CHECKING:
    from benchmarks.harness.task import Subgroups


def by_group(
    config: Subgroups,
    keys: Sequence[str],
    cases: Sequence[str],
    statistic: Callable[[Any], Any],
    num_draws: int,
    level: float,
    seed: int,
) -> dict[str, Any]:
    """Return one table per column of ``config``: each group's score, its lead over the rest, the gap and its p value.

    Args:
        config: Table and columns.
        keys: Key of each scored image.
        cases: Case of each scored image.
        statistic: The score as a function of weights.
        num_draws: Bootstrap draws, and fillings of the groups for the gap's p value.
        level: Coverage of intervals.
        seed: Seed of both.

    Raises:
        DataError: If the table lacks a column, or holds none of the images.
    """
    out = {}
    for column, group_N in read_groups(config, keys).items():
        found = by_subgroup(
            statistic, group_N, cases, num_draws=num_draws, num_permutations=num_draws, seed=seed, level=level
        )
        out[column] = {
            "rows": [
                {
                    "group": row.name,
                    "num": row.num_samples,
                    "num_cases": row.num_cases,
                    "value": row.value.value,
                    "low": row.value.low,
                    "high": row.value.high,
                    "against_rest": row.against_rest.value,
                    "p_holm": row.p_holm,
                    "in_gap": row.in_gap,
                }
                for row in found.rows
            ],
            "gap": {"value": found.gap.value, "low": found.gap.low, "high": found.gap.high, "p": found.gap_p_value},
        }
    return out


def read_groups(config: Subgroups, keys: Sequence[str]) -> dict[str, list[str | None]]:
    """Return the group of every key by column, None where the table says nothing (or two different things).

    Raises:
        DataError: If the table lacks a column, or holds none of the keys.
    """
    path = resolve_path(config.table)
    table = read_table(path)
    for column in (config.key, *config.columns):
        if column not in table.column_names:
            known = ", ".join(table.column_names)
            raise DataError("no such column", item=f"{path.name}: {column}", remedy=f"its columns are {known}")
    row_keys = [str(key) for key in table.column(config.key).to_pylist()]
    if not set(row_keys) & set(keys):
        raise DataError("names none of the images", item=f"{path.name}: {config.key}", remedy="name the key's column")
    out: dict[str, list[str | None]] = {}
    for column, how in config.columns.items():
        said: dict[str, set[str]] = {}
        for key, cell in zip(row_keys, table.column(column).to_pylist(), strict=True):
            if cell is not None and str(cell).strip():
                said.setdefault(key, set()).add(str(cell).strip())
        value_N = [next(iter(found)) if len(found := said.get(key, set())) == 1 else None for key in keys]
        out[column] = list(value_N) if how == "category" else _bands(value_N, how, f"{path.name}: {column}")
    return out


def _bands(value_N: Sequence[str | None], edges: Sequence[float], item: str) -> list[str | None]:
    try:
        number_N = [float("nan") if value is None else float(value) for value in value_N]
    except ValueError as error:
        raise DataError(f"is not a column of numbers ({error})", item=item, remedy="use `category`") from None
    return age_bands(number_N, edges)
