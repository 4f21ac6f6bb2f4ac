"""Whether an encoder is known to have learned from a data set, from what its authors state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from medvlp.config import Config, load_as
from medvlp.errors import ConfigError

TABLE = Path(__file__).with_name("contamination.yaml")
Answer = Literal["trained on it", "not listed", "unknown"]


class Encoder(Config):
    """Stated training sources of one encoder."""

    sources: list[str] = Field(min_length=1, description="Data sets or collections that were used.")
    not_used: list[str] = Field(default=[], description="Data sets the authors state they left out.")
    starts_from: list[str] = Field(default=[], description="Encoders whose weights it was initialised with.")
    closed: bool = Field(description="Whether all sources are named and none was gathered from public places.")
    source: str = Field(min_length=1, description="Where this is stated.")


class ContaminationTable(Config):
    """The whole table."""

    encoders: dict[str, Encoder] = Field(description="Encoders by name.")
    encoder_aliases: dict[str, str] = Field(default={}, description="Other names of encoders.")
    datasets: dict[str, str | None] = Field(description="Data sets, each with the larger set it is a part of.")


@dataclass(frozen=True)
class Contamination:
    """The answer for one encoder and one data set, with the source it rests on; never "clean"."""

    encoder: str
    dataset: str
    answer: Answer
    source: str


@cache
def read_table(path: Path = TABLE) -> ContaminationTable:
    """Read the table.

    Raises:
        ConfigError: If it is malformed or names an encoder or data set that it does not hold.
    """
    table = load_as(ContaminationTable, path)
    for name, encoder in table.encoders.items():
        for parent in encoder.starts_from:
            if parent not in table.encoders or table.encoders[parent].starts_from:
                raise ConfigError(f'starts from "{parent}", which is no encoder with weights of its own', item=name)
    aliased = [name for name in table.encoder_aliases.values() if name not in table.encoders]
    larger = [name for name in table.datasets.values() if name is not None and name not in table.datasets]
    for name in [*aliased, *larger]:
        raise ConfigError("is named but not in the table", item=name)
    return table


def contamination(encoder: str, dataset: str, table: ContaminationTable | None = None) -> Contamination:
    """Say whether an encoder is known to have been trained on a data set.

    Args:
        encoder: Name as published; case, a leading owner and the marks between words do not matter.
        dataset: Name of the data set.
        table: Instead of the one shipped.

    Returns:
        ``trained on it`` if a source of the encoder, or of one it starts from, is, holds or is part of the data set;
        ``not listed`` if its authors say it was left out, or name all their sources and it is none of them;
        ``unknown`` otherwise: the encoder or the data set is not in the table, or the sources are public places.
    """
    table = table if table is not None else read_table()
    name, wanted = _plain(encoder.rpartition("/")[2]), _plain(dataset)
    name = table.encoder_aliases.get(name, name)
    entry = table.encoders.get(name)
    if entry is None:
        return Contamination(encoder, dataset, "unknown", "the encoder is not in the table")
    line = [entry, *(table.encoders[parent] for parent in entry.starts_from)]
    larger = _holding(wanted, table)
    # Both ways: trained on the set this one is a part of, or on a part of this one.
    used = [one for one in line if any(larger & {s} or wanted in _holding(s, table) for s in one.sources)]
    if used:
        return Contamination(encoder, dataset, "trained on it", used[0].source)
    if wanted not in table.datasets:
        return Contamination(encoder, dataset, "unknown", "the data set is not in the table")
    in_doubt = [one for one in line if not one.closed and not larger & set(one.not_used)]
    if in_doubt:
        return Contamination(encoder, dataset, "unknown", in_doubt[0].source)
    return Contamination(encoder, dataset, "not listed", entry.source)


def _holding(dataset: str, table: ContaminationTable) -> set[str]:
    """The data set and every larger one that it is a part of."""
    found = set[str]()
    step: str | None = dataset
    while step is not None and step not in found:
        found.add(step)
        step = table.datasets.get(step)
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "-", name.casefold()).strip("-")
