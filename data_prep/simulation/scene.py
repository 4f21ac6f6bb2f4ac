"""Which scene has which number: part, findings, pose, exposure; a pure function of (seed, number)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.simulation.anatomy import LOBES, SIDES, Side, side_of
from data_prep.simulation.config import PARTS, Part, SimulationConfig, Variation
from data_prep.simulation.findings import LOBAR, SIDED, Finding, Kind
from data_prep.simulation.projection import Exposure, Pose
from medvlp.errors import ConfigError

_FINDINGS, _VIEW = 1, 2  # separate random streams
_TRIES = 200


@dataclass(frozen=True)
class Scene:
    """A scene before it is rendered."""

    number: int
    part: Part
    findings: tuple[Finding, ...]
    pose: Pose
    exposure: Exposure

    @property
    def key(self) -> str:
        """Name of the scene, its row and its case."""
        return f"scene-{self.number:05d}"

    @property
    def split(self) -> str:
        """Split of the pairs store; all held-out parts are test."""
        return self.part if self.part in ("train", "dev") else "test"

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of its findings."""
        return tuple(finding.kind for finding in self.findings)


def num_scenes(config: SimulationConfig) -> int:
    """Scenes of all parts."""
    return sum(getattr(config.scenes, part) for part in PARTS)


def part_of(config: SimulationConfig, number: int) -> Part:
    """Part of a scene: the parts follow one another."""
    end = 0
    for part in PARTS:
        end += getattr(config.scenes, part)
        if number < end:
            return part  # type: ignore[return-value]
    raise IndexError(number)


def draw_scene(config: SimulationConfig, number: int) -> Scene:
    """Draw one scene.

    Raises:
        ConfigError: If the held-out rules leave no way to draw it.
    """
    part = part_of(config, number)
    rng = np.random.default_rng([config.seed, number, _FINDINGS])
    view = np.random.default_rng([config.seed, number, _VIEW])
    for _ in range(_TRIES):
        kinds = _kinds(config, part, rng)
        findings = _placed(config, part, kinds, rng)
        if findings is not None:
            return Scene(number, part, findings, _pose(config.vary, view), _exposure(config.vary, view))
    raise ConfigError(
        f"no scene of the part {part} keeps the rules", item="held_out", remedy="hold out fewer findings at once"
    )


def _kinds(config: SimulationConfig, part: Part, rng: np.random.Generator) -> list[Kind]:
    held = config.held_out
    forced: list[Kind] = []
    if part == "combination":
        forced = list(held.combination or [])
    elif part == "side" and held.side is not None:
        forced = [held.side.finding]
    elif part == "finding" and held.finding is not None:
        forced = [held.finding]
    count = int(rng.choice(len(config.num_findings), p=np.array(config.num_findings) / sum(config.num_findings)))
    others = [kind for kind in config.findings if kind != held.finding and kind not in forced]
    more = rng.permutation(len(others))[: max(0, count - len(forced))]
    return forced + [others[index] for index in sorted(more)]


def _placed(
    config: SimulationConfig, part: Part, kinds: list[Kind], rng: np.random.Generator
) -> tuple[Finding, ...] | None:
    """Give each finding side, lobe, severity; None if they break a rule or hide one another.

    Fluid and air of a pleural space take a side each, and findings of a lobe lie in the other lung.
    """
    held = config.held_out
    if held.combination is not None and part != "combination" and set(held.combination) <= set(kinds):
        return None
    free_sides: list[Side] = list(SIDES)
    free_lobes = list(LOBES)
    findings = []
    for kind in sorted(kinds, key=lambda kind: (kind in LOBAR, kind)):
        side: Side | None = None
        lobe: str | None = None
        if kind in SIDED:
            rule = held.side if held.side is not None and held.side.finding == kind else None
            allowed = [s for s in free_sides if rule is None or (s == rule.side) == (part == "side")]
            if not allowed:
                return None
            side = allowed[rng.integers(len(allowed))]
            free_sides.remove(side)
        elif kind in LOBAR:
            lobes = [name for name in free_lobes if side_of(name) in free_sides]
            if not lobes:
                return None
            lobe = lobes[rng.integers(len(lobes))]
            side = side_of(lobe)
            free_lobes.remove(lobe)
        findings.append(Finding(kind, round(float(rng.random()), 4), side, lobe, int(rng.integers(2**31))))
    return tuple(findings)


def _pose(vary: Variation, rng: np.random.Generator) -> Pose:
    turn, tilt, roll = (rng.uniform(*span) for span in (vary.turn, vary.tilt, vary.roll))
    shift_x, shift_z = rng.uniform(*vary.shift_mm, size=2)
    whole = rng.uniform(*vary.scale)
    scale = whole + (rng.uniform(*vary.scale, size=3) - whole) * 0.3  # bodies differ in size more than in proportion
    return Pose(*(round(float(value), 4) for value in (turn, tilt, roll, shift_x, shift_z, *scale)))


def _exposure(vary: Variation, rng: np.random.Generator) -> Exposure:
    spans = (vary.low, vary.high, vary.gamma, vary.scatter, vary.noise)
    return Exposure(*(round(float(rng.uniform(*span)), 4) for span in spans))
