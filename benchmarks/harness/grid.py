"""Models × tasks × prompts × seeds from one configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medvlp.config import Config
from medvlp.zeroshot.prompts import PromptConfig


class BenchmarkConfig(Config):
    """The grid; see ``configs/eval/all_local.yaml``."""

    kind: Literal["benchmark"] = Field("benchmark", description="Which schema this file follows.")
    title: str = Field("Benchmark", description="Heading of the leaderboard.")
    tasks: list[str] = Field(min_length=1, description="Task files: names in benchmarks/tasks, or paths.")
    floors: list[str] = Field(description="Floors to score wherever a protocol has them.")
    prompts: dict[str, PromptConfig | None] = Field({"task": None}, description="Prompt variants; null is the task's.")
    seeds: list[int] = Field([0], min_length=1, description="Seeds of whatever a protocol draws.")
    graph: str | None = Field(None, description="Config of kind `graph`, or a built graph.")
    num_draws: int = Field(1000, ge=0, le=100_000, description="Bootstrap draws of cases.")
    level: float = Field(0.95, gt=0, lt=1, description="Coverage of intervals.")
    jobs: int = Field(1, ge=1, le=256, description="Processes.")
