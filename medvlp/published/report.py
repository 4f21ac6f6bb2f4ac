"""What loading published weights did with every tensor, for people and for a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

_SHOWN = 5


@dataclass(frozen=True)
class LoadReport:
    """The account of one load; each published tensor is in exactly one of ``renamed``, ``unexpected``, ``ignored``.

    Attributes:
        layout: Name of the layout.
        source: The file or folder, by its last name only.
        num_tensors: Tensors in the file.
        missing: Tensors of the model that the file does not give (with the published parts that are lacking).
        unexpected: Published tensors that the layout does not know.
        misshapen: Tensors of another shape than the model's, with both shapes.
        renamed: Published name to name here, of every tensor that was used.
        rules: How many tensors each renaming rule took.
        ignored: Tensors left out without loss, with the reason.
        verified: What this library's tests check about the layout.
        unverified: What could not be checked.
        cites: The public files that the names and the architecture were taken from.
        notes: What else the user should know.
    """

    layout: str
    source: str
    num_tensors: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    renamed: dict[str, str] = field(default_factory=dict)
    rules: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    verified: str = ""
    unverified: str = ""
    cites: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every tensor of the model was given, and none is left over."""
        return not (self.missing or self.unexpected or self.misshapen)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON."""
        return asdict(self)

    def lines(self, all_names: bool = False) -> list[str]:
        """Return the report as text; ``all_names`` lists each renamed tensor instead of counting them by rule."""
        out = [
            f"layout      {self.layout}",
            f"source      {self.source}, {self.num_tensors} tensors",
            f"renamed     {len(self.renamed)}",
        ]
        if all_names:
            out += [f"  {name} -> {target}" for name, target in self.renamed.items()]
        else:
            out += [f"  {count:>5}  {rule}" for rule, count in self.rules.items()]
        for title, names in (("missing", self.missing), ("unexpected", self.unexpected), ("misshapen", self.misshapen)):
            out += [f"{title:<11} {len(names)}", *[f"  {name}" for name in names]]
        out += [f"left out    {len(self.ignored)}", *[f"  {name}: {why}" for name, why in self.ignored.items()]]
        out += [f"note        {note}" for note in self.notes]
        out += [f"checked     {self.verified}", f"unverified  {self.unverified}"]
        return out + [f"source of names  {cite}" for cite in self.cites]

    def problem(self) -> str:
        """Return what is wrong in one sentence, with the first names."""
        parts = [
            f"{len(names)} tensors {what}: {_first(names)}"
            for what, names in (
                ("missing", self.missing),
                ("unexpected", self.unexpected),
                ("of another shape", self.misshapen),
            )
            if names
        ]
        return "; ".join(parts)


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
