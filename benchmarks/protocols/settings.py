"""The settings of all protocols, as one union. A new protocol adds its file, and two lines here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from benchmarks.protocols import retrieval, zero_shot

ProtocolSettings = Annotated[
    zero_shot.Config
    | retrieval.Config,
    Field(discriminator="name"),
]  # fmt: skip

MODULES = {
    "zero_shot": zero_shot,
    "retrieval": retrieval,
}
