"""Which config each step of the quickstart runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medvlp.config import Config


class SimulationSteps(Config):
    """The second half: radiographs with planted findings, and the model judged on them beside two controls."""

    scenes: str = Field(description="Config of kind `simulation`: which scenes are rendered.")
    benchmark: str = Field(description="Config of kind `simulation_benchmark`: three short alignments and their page.")


class QuickstartConfig(Config):
    """The steps of ``medvlp quickstart``, each a config found by path or bare name."""

    kind: Literal["quickstart"] = "quickstart"
    graph: str = Field(description="Config of kind `graph`: which ontologies become the disease graph.")
    pairs: str = Field(description="Config of kind `pairs`, used when no DATA folder is given.")
    knowledge: str = Field(description="Config of kind `knowledge`: stage 1, the text tower learns the graph.")
    align: str = Field(description="Config of kind `align`: stage 2, images are aligned with the text tower.")
    evaluate: str = Field(description="Config of kind `evaluate`: zero-shot on the held-out part, with floors.")
    simulation: SimulationSteps | None = Field(
        None, description="The second half, run when no DATA folder is given; null leaves it out."
    )
