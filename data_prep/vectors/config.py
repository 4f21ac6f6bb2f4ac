"""What ``medvlp vectors`` reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medvlp.config import Config

ModelName = Literal["transe", "distmult", "complex", "rotate"]


class VectorsConfig(Config):
    """Vectors of a graph's concepts."""

    kind: Literal["vectors"] = Field("vectors", description="Which schema this file follows.")
    graph: str = Field(description="Folder of the graph store; may hold ${VAR}.")
    relations: list[str] | None = Field(None, min_length=1, description="Relations to learn from; all by default.")
    model: ModelName = Field("transe", description="How a triple is scored.")
    backend: Literal["torch", "pykeen"] = Field(
        "torch", description="Plain torch (transe alone), or PyKEEN in an environment of its own."
    )
    python: str | None = Field(None, description="Interpreter of that environment; may hold ${VAR}.")
    dim: int = Field(
        256, ge=2, description="Width; complex models have as many complex numbers, written as twice as many."
    )
    epochs: int = Field(1000, ge=1, description="Passes over the training triples.")
    batches: int = Field(100, ge=1, description="Batches per pass.")
    negatives: int = Field(25, ge=1, description="Corrupted triples per triple.")
    margin: float = Field(5.0, gt=0, description="Wanted lead of a triple over a corrupted one.")
    adversarial: float | None = Field(
        None, gt=0, description="Temperature of the self-adversarial loss in place of the margin's (pykeen)."
    )
    optimizer: Literal["sgd", "adam"] = Field("sgd", description="The optimiser; torch has sgd.")
    lr: float = Field(1.0, gt=0, description="Learning rate.")
    dev: float = Field(0.05, ge=0, lt=0.5, description="Share of triples to choose settings by.")
    test: float = Field(0.1, ge=0, lt=0.5, description="Share of triples to report on; nothing is chosen by them.")
    seed: int = Field(0, ge=0, description="Decides the split, first vectors, order and corruption.")
