"""From published tensor names to this library's: ordered rules, each applied to whole names.

The rules do not know the model, so they can be read as a table. What they leave over is reported, never dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

How = Literal["same", "transpose", "stack"]
_STACKED = 3


@dataclass(frozen=True)
class Rule:
    r"""One line of the table; the first rule whose pattern is the whole name counts.

    Attributes:
        pattern: Regular expression of the published name.
        target: Name here, with ``\1`` for groups; None leaves the tensor out, for ``reason``.
        how: ``same``; ``transpose`` of a matrix (published as a linear layer, used as a matrix, or the reverse);
            ``stack`` of query, key and value, whose letter is the group called ``part``.
        reason: Why a tensor may be left out without any loss.
    """

    pattern: str
    target: str | None
    how: How = "same"
    reason: str = ""

    def label(self) -> str:
        """Return the rule as people read it."""
        readable = re.sub(r"\(\?P?<part>\[qkv\]\)", "{q,k,v}", self.pattern)
        readable = re.sub(r"\([^()]*\)", "*", readable).replace(r"\d+", "*").replace("\\", "")
        target = "left out" if self.target is None else re.sub(r"\\\d|\\g<\w+>", "*", self.target)
        return f"{readable} -> {target}" + ("" if self.how == "same" else f" ({self.how})")


@dataclass
class Renamed:
    """What the rules made of a file.

    Attributes:
        state: Tensors under this library's names, float32 where they were floating point.
        names: Published name to name here.
        rules: Rule label to how many tensors it took.
        unexpected: Published names that no rule knows.
        ignored: Published name to the reason it is not needed.
        incomplete: Name here to the published parts it lacks.
        num_half: Tensors that came in half precision.
    """

    state: dict[str, Tensor] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    rules: dict[str, int] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    ignored: dict[str, str] = field(default_factory=dict)
    incomplete: dict[str, list[str]] = field(default_factory=dict)
    num_half: int = 0


def rename(state: Mapping[str, Tensor], rules: Sequence[Rule]) -> Renamed:
    """Apply the rules to every tensor; two tensors for one name count as unexpected."""
    done = Renamed()
    stacks: dict[str, dict[str, str]] = {}
    for name, tensor in state.items():
        rule, match = _first(name, rules)
        if rule is None or match is None:
            done.unexpected.append(name)
            continue
        if rule.target is None:
            done.ignored[name] = rule.reason
            continue
        target = match.expand(rule.target)
        if rule.how == "stack":
            stacks.setdefault(target, {})[match["part"]] = name
        elif target in done.state:
            done.unexpected.append(name)
            continue
        else:
            done.num_half += tensor.dtype in (torch.float16, torch.bfloat16)
            value = _float(tensor)
            done.state[target] = value.T if rule.how == "transpose" and value.ndim == 2 else value
        done.names[name] = target
        done.rules[rule.label()] = done.rules.get(rule.label(), 0) + 1
    for target, parts in stacks.items():
        if len(parts) < _STACKED:
            some = next(iter(parts.items()))
            done.incomplete[target] = [_sibling(some, part) for part in "qkv" if part not in parts]
        else:
            done.num_half += sum(state[parts[part]].dtype in (torch.float16, torch.bfloat16) for part in "qkv")
            done.state[target] = torch.cat([_float(state[parts[part]]) for part in "qkv"])
    return done


def _first(name: str, rules: Sequence[Rule]) -> tuple[Rule | None, re.Match[str] | None]:
    for rule in rules:
        match = re.fullmatch(rule.pattern, name)
        if match is not None:
            return rule, match
    return None, None


def _float(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _sibling(known: tuple[str, str], part: str) -> str:
    letter, name = known
    return name.replace(f".{letter}_proj.", f".{part}_proj.")
