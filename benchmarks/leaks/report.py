"""The leak report: every check between two sides, one line, JSON, and a piece of HTML that is red when violated.

It holds keys and counts only: no caption, no case name, no pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any, Literal

from benchmarks.leaks.contamination import Contamination
from benchmarks.leaks.images import MIN_SIMILARITY, Match, Prints, equal_images, near_images
from benchmarks.leaks.texts import MIN_JACCARD, MIN_WORDS, long_enough, shared_captions
from medvlp.errors import DataError

CHECKS = ("same image", "near duplicate", "case", "caption")
MAX_EXAMPLES = 20
Status = Literal["ok", "violated", "accepted", "not checked"]


@dataclass(frozen=True)
class Side:
    """One set of rows: what is known of its images, cases and captions (None where nothing is)."""

    name: str
    prints: Prints | None = None
    cases: Sequence[tuple[str, str]] | None = None
    captions: Sequence[tuple[str, str]] | None = None
    unreadable: int = 0


@dataclass(frozen=True)
class Check:
    """One comparison; ``count`` of ``num`` tested rows have a counterpart among those learned from."""

    name: str
    learned: str
    tested: str
    status: Status
    count: int
    num: int
    examples: tuple[Match, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        """In a few words, without keys."""
        if self.status == "not checked":
            return f"{self.name} {self.tested}/{self.learned} not checked ({self.reason})"
        accepted = " (accepted)" if self.status == "accepted" else ""
        return f"{self.name} {self.tested}/{self.learned} {self.count} of {self.num}{accepted}"


@dataclass(frozen=True)
class LeakReport:
    """All checks of a run."""

    checks: tuple[Check, ...]
    unreadable: dict[str, int] = field(default_factory=dict)
    contamination: Contamination | None = None

    @property
    def status(self) -> Literal["ok", "violated"]:
        """``violated`` if any check is, or the encoder is known to have been trained on the data set."""
        trained = self.contamination is not None and self.contamination.answer == "trained on it"
        return "violated" if trained or any(check.status == "violated" for check in self.checks) else "ok"

    @property
    def line(self) -> str:
        """One line for a report: the verdict, what was found, what was not checked."""
        shown = [str(check) for check in self.checks if check.status != "ok"]
        passed = sum(check.status == "ok" for check in self.checks)
        parts = [*shown, f"{passed} of {len(self.checks)} checks found nothing"]
        parts += [f"{count} unreadable images in {name}" for name, count in self.unreadable.items() if count > 0]
        if self.contamination is not None:
            known = self.contamination
            parts.append(f"encoder {known.encoder} and {known.dataset}: {known.answer}")
        return f"leaks: {self.status}; {'; '.join(parts)}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready summary."""
        return {
            "status": self.status,
            "line": self.line,
            "checks": [asdict(check) for check in self.checks],
            "unreadable": dict(self.unreadable),
            "contamination": None if self.contamination is None else asdict(self.contamination),
            "limits": {"min_similarity": MIN_SIMILARITY, "min_jaccard": MIN_JACCARD, "min_words": MIN_WORDS},
        }

    def for_page(self) -> dict[str, str]:
        """Return what :func:`medvlp.zeroshot.report.render` takes as ``leaks``."""
        return {"status": self.status, "line": self.line}

    def html(self) -> str:
        """Return a piece of HTML for a page with the project's style sheet; red when violated."""
        state = "worse" if self.status == "violated" else "better"
        rows = "".join(
            f"<tr><td>{escape(check.name)}</td><td>{escape(check.tested)}</td><td>{escape(check.learned)}</td>"
            f'<td class="n">{check.count} of {check.num}</td><td>{escape(_said(check))}</td></tr>'
            for check in self.checks
        )
        return (
            f'<div class="verdict {state}"><b>Leaks</b>{escape(self.line)}</div>\n<div class="scroll"><table><thead>'
            "<tr><th>Shared</th><th>Tested</th><th>Learned from</th>"
            f'<th class="n">Rows</th><th>Result</th></tr></thead><tbody>{rows}</tbody></table></div>\n'
        )

    def stop(self) -> None:
        """Stop a run that must not go on.

        Raises:
            DataError: If the report is violated; names the first row at fault.
        """
        for check in self.checks:
            if check.status == "violated":
                first = check.examples[0]
                raise DataError(
                    f"{check.name} in both {check.tested} and {check.learned} (as {first.other}), "
                    f"{check.count} of {check.num} rows",
                    item=first.key,
                    remedy="take these rows out of one side, or split again by case",
                )
        if self.status == "violated" and self.contamination is not None:
            raise DataError(
                f"was trained on {self.contamination.dataset}",
                item=self.contamination.encoder,
                remedy="score another encoder or another data set",
            )


def _said(check: Check) -> str:
    if check.status == "not checked":
        return f"not checked: {check.reason}"
    named = ", ".join(f"{match.key} = {match.other}" for match in check.examples[:3])
    return f"{check.status}: {named}" if named else check.status


def compare(learned: Side, tested: Side, accept: Iterable[str] = ()) -> list[Check]:
    """Run every check between a side that is learned from and one that is tested.

    Args:
        learned: For example the training split.
        tested: For example the test split.
        accept: Checks whose findings are known and stated instead of stopping the run.

    Returns:
        One check per name in :data:`CHECKS`, in that order.

    Raises:
        DataError: If ``accept`` names no check.
    """
    accepted = set(accept)
    for name in sorted(accepted - set(CHECKS)):
        raise DataError("no such check", item=name, remedy=f"choose from {', '.join(CHECKS)}")

    def check(name: str, found: list[Match], num: int) -> Check:
        status: Status = "ok" if not found else "accepted" if name in accepted else "violated"
        strongest = sorted(found, key=lambda match: (-match.similarity, match.key))[:MAX_EXAMPLES]
        return Check(name, learned.name, tested.name, status, len(found), num, tuple(strongest))

    def skip(name: str, reason: str) -> Check:
        return Check(name, learned.name, tested.name, "not checked", 0, 0, (), reason)

    checks = []
    if learned.prints is None or tested.prints is None:
        checks += [skip(name, "no images") for name in CHECKS[:2]]
    else:
        equal = equal_images(tested.prints, learned.prints)
        known = {match.key for match in equal}
        near = [match for match in near_images(tested.prints, learned.prints) if match.key not in known]
        checks += [check("same image", equal, len(tested.prints)), check("near duplicate", near, len(tested.prints))]
    if not learned.cases or not tested.cases:
        checks.append(skip("case", "no cases"))
    else:
        checks.append(check("case", shared_cases(learned.cases, tested.cases), len(tested.cases)))
    long_tested, long_learned = long_enough(tested.captions or ()), long_enough(learned.captions or ())
    if not long_tested or not long_learned:
        checks.append(skip("caption", f"no captions of {MIN_WORDS} words or more"))
    else:
        shared = shared_captions(long_tested, long_learned)
        checks.append(check("caption", shared, len({key for key, _ in long_tested})))
    return checks


def shared_cases(learned: Sequence[tuple[str, str]], tested: Sequence[tuple[str, str]]) -> list[Match]:
    """Return the tested rows whose case is also learned from, each beside a learned row of that case."""
    first: dict[str, str] = {}
    for key, case in learned:
        first.setdefault(case, key)
    return [Match(key, first[case], 1.0) for key, case in tested if case in first]
