"""What is said about each entity: definitions of the graph, how it looks, what it is a kind of, its name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from medvlp.config import Config, resolve_path
from medvlp.data.entities import Entity
from medvlp.errors import ConfigError
from medvlp.knowledge.names import normalise

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.ledger import Ledger

SHIPPED = Path(__file__).with_name("appearance.yaml")


class Appearance(Config):
    """How something looks."""

    names: list[str] = Field(min_length=1, description="Names or concept ids it belongs to.")
    texts: list[str] = Field(min_length=1, description="Sentences.")


class Describer:
    """Writes the descriptions of entities, in the order definition, appearance, kind, name.

    Args:
        graph: Source of definitions and parents, or None.
        appearance: Table of looks: ``shipped``, a file, or None.
        definitions: Most definitions per entity.
        hidden: Names that no description may spell out, held out for evaluation.
        ledger: Counts descriptions left out for that.

    Raises:
        ConfigError: If the table is none.
    """

    def __init__(
        self,
        graph: DiseaseGraph | None,
        appearance: str | None,
        definitions: int,
        hidden: Iterable[str],
        ledger: Ledger,
    ) -> None:
        self.graph, self.definitions, self.ledger = graph, definitions, ledger
        self.hidden = [normalise(name) for name in hidden]
        self.looks = {} if appearance is None else _looks(appearance)

    def entity(self, name: str, concepts: Sequence[str] = (), *, look_up: bool = True) -> Entity:
        """Return an entity with its descriptions.

        Without concepts those of the graph that carry exactly this name are taken, if it may be looked up.
        """
        shown = name.replace("_", " ")
        known = [concept for concept in concepts if self.graph is not None and concept in self.graph]
        if not known and look_up and self.graph is not None:
            known = self.graph.find(shown)
        found = [("definition", text) for text in self._definitions(known)]
        keys = (normalise(shown), *known, *concepts)
        found += [("appearance", text) for text in dict.fromkeys(t for key in keys for t in self.looks.get(key, ()))]
        if self.graph is not None:
            above = dict.fromkeys(
                self.graph.name(parent) for concept in known for parent in self.graph.parents(concept)
            )
            found += [("ontology-path", f"{shown}, a kind of {parent}") for parent in list(above)[:1]]
        kept = [(aspect, text) for aspect, text in found if not self._spells_out(name, text)]
        return Entity(name, tuple(concepts or known), (*kept, ("name", shown)))

    def _definitions(self, concepts: Sequence[str]) -> list[str]:
        if self.graph is None:
            return []
        texts = [text for concept in concepts for text in self.graph.definitions(concept)]
        return list(dict.fromkeys(texts))[: self.definitions]

    def _spells_out(self, name: str, text: str) -> bool:
        inside = f" {normalise(text)} "
        if any(f" {hidden} " in inside for hidden in self.hidden):
            self.ledger.drop(name, "description spells out a name that is held out")
            return True
        return False


def _looks(table: str) -> dict[str, list[str]]:
    path = SHIPPED if table == "shipped" else resolve_path(table)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        entries = TypeAdapter(list[Appearance]).validate_python(content)
    except FileNotFoundError:
        raise ConfigError("no such file", item=f"appearance: {path}", remedy="name a YAML file, or `shipped`") from None
    except (yaml.YAMLError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        remedy = "write a list of entries with names and texts"
        raise ConfigError(f"is no table of appearances ({reason})", item=path, remedy=remedy) from None
    looks: dict[str, list[str]] = {}
    for entry in entries:
        for name in entry.names:
            looks.setdefault(name if ":" in name else normalise(name), []).extend(entry.texts)
    return looks
