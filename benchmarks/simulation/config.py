"""What the simulation benchmark trains on which scenes, and how it scores."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medvlp.config import Config


class SimulationBenchmarkConfig(Config):
    """Three arms that differ in their training pairs alone, at equal steps, batches and seeds."""

    kind: Literal["simulation_benchmark"] = Field("simulation_benchmark", description="Which schema this file follows.")
    scenes: str = Field(description="Folder written by `medvlp simulate`.")
    graph: str = Field(description="Folder of the graph store the scenes were made with.")
    align: str = Field(description="Config of kind `align` that every arm trains with.")
    set: list[str] = Field([], description="Overrides `a.b=c` of that config, for every arm.")
    seeds: list[int] = Field([0], min_length=1, description="Seeds of training; scores are means over them.")
    templates: str = Field("radiology", description="Wordings of prompts for presence: a named set or a file.")
    absent: str | None = Field(None, description="File of wordings for absence; the library's own by default.")
    multi_score: Literal["sigmoid", "pairs"] = Field(
        "pairs", description="Score of a finding: presence against absence prompts, or presence alone."
    )
    num_draws: int = Field(1000, ge=100, le=100_000, description="Bootstrap draws of scenes.")
    num_examples: int = Field(8, ge=0, le=60, description="Scenes shown on the page.")
