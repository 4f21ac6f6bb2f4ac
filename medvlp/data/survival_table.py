"""Times and events by case, and cross-validation splits as they are published.

Many public tables store censorship, which is 1 where an event would be 0; which of the two a column holds has to be
said, since the wrong way round turns every hazard around. Shape letters: C cases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from medvlp.config import Config
from medvlp.data.tables import read_table
from medvlp.errors import DataError
from medvlp.ledger import Ledger

_MONTHS = {"months": 1.0, "days": 12 / 365.25, "years": 12.0}
_TRUE, _FALSE = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no"}


class SurvivalColumns(Config):
    """Which columns of a table hold what; exactly one of ``event`` and ``censorship`` is named."""

    case: str = Field("case_id", description="Column of the case.")
    time: str = Field("survival_months", description="Column of the time to the event or to the end of observation.")
    event: str | None = Field(None, description="Column that is 1 where the event was seen.")
    censorship: str | None = Field(None, description="Column that is 1 where the event was not seen.")
    unit: Literal["months", "days", "years"] = Field("months", description="Unit of the time.")

    @model_validator(mode="after")
    def _one_of_two(self) -> SurvivalColumns:
        if (self.event is None) == (self.censorship is None):
            raise ValueError("name exactly one of event and censorship")
        return self


def tcga_endpoint(endpoint: Literal["os", "dss", "pfi"]) -> SurvivalColumns:
    """Return the columns of the public TCGA tables with censorship: overall, disease-specific, progression-free."""
    ending = "" if endpoint == "os" else f"_{endpoint}"
    return SurvivalColumns(time=f"survival_months{ending}", censorship=f"censorship{ending}")


@dataclass(frozen=True)
class SurvivalTable:
    """Outcomes, one row per case.

    Attributes:
        cases: Case keys, unique, in the order of the file.
        time_C: float64 months, above zero.
        event_C: True where the event was seen, False where the case was censored.
        ledger: Rows that were left out, by reason.
    """

    cases: list[str]
    time_C: NDArray[np.float64]
    event_C: NDArray[np.bool_]
    ledger: Ledger = field(default_factory=Ledger)

    def take(self, cases: Sequence[str]) -> SurvivalTable:
        """Return the rows of these cases, in this order.

        Raises:
            DataError: If a case has no outcome.
        """
        place = {case: row for row, case in enumerate(self.cases)}
        for case in cases:
            if case not in place:
                raise DataError("has no outcome in the table", item=case, remedy="leave it out")
        rows = [place[case] for case in cases]
        return SurvivalTable(list(cases), self.time_C[rows], self.event_C[rows], self.ledger)


def read_survival_table(path: str | Path, columns: SurvivalColumns) -> SurvivalTable:
    """Read outcomes; several rows of a case (one per slide) have to agree.

    Rows without a case, time or event, and rows whose time is not above zero, are left out and counted.

    Raises:
        DataError: If a column is missing, a cell is no number or no 0 or 1, the rows of a case differ, or nothing
            is left.
    """
    path = Path(path)
    table = read_table(path)
    status = columns.event if columns.event is not None else columns.censorship
    assert status is not None
    wanted = (columns.case, columns.time, status)
    for name in wanted:
        if name not in table.column_names:
            raise DataError(f'has no column "{name}"', item=path, remedy=f"it has: {', '.join(table.column_names)}")
    ledger = Ledger()
    found: dict[str, tuple[float, bool]] = {}
    rows = zip(*(table.column(name).to_pylist() for name in wanted), strict=True)
    for number, (case, time, flag) in enumerate(rows, 2):
        outcome = _outcome(f"{path}:{number}", case, time, flag, ledger)
        if outcome is None:
            continue
        months, set_flag = outcome[0] * _MONTHS[columns.unit], outcome[1]
        now = (months, set_flag == (columns.event is not None))
        if found.setdefault(str(case).strip(), now) != now:
            raise DataError("rows of one case differ in time or event", item=f"{path}:{number}", remedy="keep one")
    if not found:
        raise DataError("no row has a case, a time above zero and an event", item=path, remedy="check the columns")
    ledger.keep(len(found))
    time_C = np.array([months for months, _ in found.values()])
    return SurvivalTable(list(found), time_C, np.array([event for _, event in found.values()]), ledger)


def _outcome(where: str, case: object, time: object, flag: object, ledger: Ledger) -> tuple[float, bool] | None:
    """Return time and flag of one row, or None where it is counted out."""
    key = "" if case is None else str(case).strip()
    if not key:
        ledger.drop(where, "no case")
        return None
    try:
        months = float("nan") if time is None else float(str(time))
    except ValueError:
        raise DataError("the time is no number", item=where, remedy="repair the cell") from None
    text = "" if flag is None else str(flag).strip().lower()
    if np.isnan(months) or text in {"", "nan"}:
        ledger.drop(key, "no time" if np.isnan(months) else "no event")
        return None
    if text not in _TRUE | _FALSE:
        raise DataError("event or censorship is neither 0 nor 1", item=where, remedy="write 0 or 1")
    if not 0 < months < float("inf"):
        ledger.drop(key, "time not above zero" if months <= 0 else "time is infinite")
        return None
    return months, text in _TRUE


@dataclass(frozen=True)
class Fold:
    """One fold: cases to fit on and cases to score on, without a case in both."""

    name: str
    train: list[str]
    test: list[str]


def read_folds(folder: str | Path, *, train: str = "train", test: str = "val") -> list[Fold]:
    """Read ``splits_0.csv``, ``splits_1.csv``, ...: two columns of cases, the shorter one padded with blanks.

    The published 5-fold files call the held-out column ``val``. It is what is scored; whatever a model chooses
    (epochs, penalties, bins) has to come from the train column.

    Args:
        folder: The folder of the files.
        train: Column to fit on.
        test: Column to score on.

    Raises:
        DataError: If there are no such files, a column is missing or empty, a case is in both columns, twice in one,
            or scored in two folds.
    """
    folder = Path(folder)
    files = sorted(folder.glob("splits_*.csv"), key=lambda file: [int(x) for x in re.findall(r"\d+", file.stem)])
    if not files:
        raise DataError("holds no splits_*.csv", item=folder, remedy="name the folder of one cohort's split files")
    folds: list[Fold] = []
    scored: dict[str, str] = {}
    for file in files:
        table = read_table(file)
        parts = []
        for name in (train, test):
            if name not in table.column_names:
                raise DataError(f'has no column "{name}"', item=file, remedy=f"it has: {', '.join(table.column_names)}")
            parts.append([str(case).strip() for case in table.column(name).to_pylist() if case])
        check_fold(file, *parts)
        for case in parts[1]:
            if case in scored:
                raise DataError(f"{case} is scored in {scored[case]} too", item=file, remedy="repair the splits")
            scored[case] = file.stem
        folds.append(Fold(file.stem, *parts))
    return folds


def check_fold(item: object, train: Sequence[str], test: Sequence[str]) -> None:
    """Refuse a fold that leaks.

    Raises:
        DataError: If a part is empty, a case is twice in a part, or in both.
    """
    for name, part in (("train", train), ("test", test)):
        if not part or len(set(part)) != len(part):
            fault = "is empty" if not part else "holds a case twice"
            raise DataError(f"the {name} part {fault}", item=item, remedy="repair the split")
    both = sorted(set(train) & set(test))
    if both:
        raise DataError(f"{len(both)} cases are in train and test (first: {both[0]})", item=item, remedy="split anew")


def usable_folds(folds: Iterable[Fold], available: Iterable[str]) -> tuple[list[Fold], Ledger]:
    """Return the folds with the cases that have everything, and a ledger of cases that a fold lost.

    Raises:
        DataError: If a part of a fold is empty then.
    """
    known = set(available)
    ledger = Ledger()
    done = []
    for fold in folds:
        for part, cases in (("train", fold.train), ("test", fold.test)):
            for case in cases:
                if case not in known:
                    ledger.drop(case, f"no outcome or features, {part} of {fold.name}")
        kept = Fold(fold.name, [c for c in fold.train if c in known], [c for c in fold.test if c in known])
        check_fold(fold.name, kept.train, kept.test)
        ledger.keep(len(kept.test))
        done.append(kept)
    return done, ledger
