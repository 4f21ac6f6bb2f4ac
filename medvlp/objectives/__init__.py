"""Training losses: one file per method, a pure function of tensors plus a module with its ``Config``.

Lives here: losses, what they share (outputs, gather, who matches whom) and the union of their configs.
Not here: models, data order, optimisers. A new loss is one file, one name in the union, one line in ``_MODULES``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from medvlp.errors import ConfigError
from medvlp.objectives.arl import ArlObjective
from medvlp.objectives.base import Objective, ObjectiveSettings
from medvlp.objectives.clip import ClipObjective
from medvlp.objectives.devide import DevideObjective
from medvlp.objectives.ernie_vil import ErnieVilObjective
from medvlp.objectives.kad import KadObjective, KadPairObjective
from medvlp.objectives.kep import KepObjective
from medvlp.objectives.kinship import KinshipObjective
from medvlp.objectives.knowledge_metric import KnowledgeMetricObjective
from medvlp.objectives.local import LocalObjective
from medvlp.objectives.make import MakeObjective
from medvlp.objectives.medklip import MedklipObjective
from medvlp.objectives.semantic_groups import GroupObjective
from medvlp.objectives.siglip import SiglipObjective
from medvlp.objectives.structure_clip import StructureClipObjective
from medvlp.objectives.weighted import WeightedObjectives

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph

ObjectiveConfig = Annotated[
    ClipObjective.Config
    | SiglipObjective.Config
    | GroupObjective.Config
    | KnowledgeMetricObjective.Config
    | KepObjective.Config
    | KinshipObjective.Config
    | MedklipObjective.Config
    | KadObjective.Config
    | KadPairObjective.Config
    | MakeObjective.Config
    | LocalObjective.Config
    | ArlObjective.Config
    | DevideObjective.Config
    | StructureClipObjective.Config
    | ErnieVilObjective.Config,
    Field(discriminator="name"),
]

_MODULES = (
    ClipObjective,
    SiglipObjective,
    GroupObjective,
    KnowledgeMetricObjective,
    KepObjective,
    KinshipObjective,
    MedklipObjective,
    KadObjective,
    KadPairObjective,
    MakeObjective,
    LocalObjective,
    ArlObjective,
    DevideObjective,
    StructureClipObjective,
    ErnieVilObjective,
)


def build(config: ObjectiveSettings | Sequence[ObjectiveSettings], graph: DiseaseGraph | None = None) -> Objective:
    """Build the objective of a config, or the sum of several.

    Args:
        config: A member of :data:`ObjectiveConfig`, or a list of them with distinct names.
        graph: The hierarchy that decides false negatives: real, permuted, or None.

    Raises:
        ConfigError: If a list is empty or names one objective twice, or a config belongs to no objective.
    """
    if isinstance(config, Sequence):
        return WeightedObjectives([_one(part, graph) for part in config], [part.ramp for part in config])
    return ramped(_one(config, graph), config)


def ramped(objective: Objective, config: ObjectiveSettings) -> Objective:
    """Return the objective under the ramp of its config, itself if that has none."""
    return objective if config.ramp is None else WeightedObjectives([objective], [config.ramp])


def _one(config: ObjectiveSettings, graph: DiseaseGraph | None) -> Objective:
    for module in _MODULES:
        if isinstance(config, module.Config):
            return module(config, graph=graph)  # type: ignore[arg-type]
    raise ConfigError(
        "belongs to no objective", item=type(config).__name__, remedy="pass your own loss as train(..., objective=...)"
    )
