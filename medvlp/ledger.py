"""What was dropped and why: nothing leaves a pipeline in silence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Ledger:
    """Counts of kept and dropped items with a bounded list of examples per reason.

    Example:
        >>> ledger = Ledger()
        >>> ledger.keep(); ledger.drop("a.png", "truncated image")
        >>> ledger.to_json()["dropped"]
        {'truncated image': 1}
    """

    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    max_examples: int = 20

    def keep(self, count: int = 1) -> None:
        """Count items that went through."""
        self.kept += count

    def drop(self, item: object, reason: str) -> None:
        """Count one dropped item; ``item`` must be a key or file name, never report text."""
        self.dropped[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < self.max_examples:
            examples.append(str(item))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready summary, reasons by falling count."""
        return {"kept": self.kept, "dropped": dict(self.dropped.most_common()), "examples": self.examples}

    def __str__(self) -> str:
        """One line: kept, then each reason with its count."""
        drops = ", ".join(f"{count} {reason}" for reason, count in self.dropped.most_common()) or "nothing"
        return f"kept {self.kept}, dropped {drops}"
