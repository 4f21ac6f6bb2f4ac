"""Configuration: strict pydantic models read from YAML, with every mistake reported at once.

A file names its schema with ``kind:``, may start from others with ``extends:``, and is changed from the command
line with ``--set a.b=c``. Later files and overrides win key by key; a list is replaced as a whole, and so is a
mapping whose ``name:`` changes. YAML lists fill tuple fields, and whole numbers fill float fields.
"""

from __future__ import annotations

import difflib
import importlib
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from medvlp.errors import ConfigError, MissingExtraError

KINDS = {
    "graph": "data_prep.ontologies.config:GraphConfig",
    "umls": "data_prep.ontologies.umls.config:UmlsConfig",
    "linker": "data_prep.text.linking.config:LinkerConfig",
    "linker_fit": "data_prep.text.linking.config:Fitted",
    "pairs": "data_prep.pairs.config:PairsConfig",
    "reports": "data_prep.reports.config:ReportsConfig",
    "entities": "data_prep.entities.config:EntitiesConfig",
    "vectors": "data_prep.vectors.config:VectorsConfig",
    "simulation": "data_prep.simulation.config:SimulationConfig",
    "planted_slides": "data_prep.planted.config:PlantedSlidesConfig",
    "slides": "data_prep.slides.config:SlidesConfig",
    "knowledge": "medvlp.training.knowledge:KnowledgeConfig",
    "align": "medvlp.training.align:AlignConfig",
    "mstar": "medvlp.training.slide:MstarConfig",
    "finetune": "medvlp.finetune.config:FinetuneConfig",
    "survival": "medvlp.finetune.survival_config:SurvivalConfig",
    "evaluate": "medvlp.zeroshot.evaluate:EvaluateConfig",
    "retrieval": "medvlp.zeroshot.retrieval:RetrievalConfig",
    "quickstart": "benchmarks.quickstart.config:QuickstartConfig",
    "simulation_benchmark": "benchmarks.simulation.config:SimulationBenchmarkConfig",
    "slides_benchmark": "benchmarks.slides.config:SlidesBenchmarkConfig",
    "names": "benchmarks.names.config:NamesConfig",
    "linking": "benchmarks.linking.config:LinkingConfig",
    "finetune_table": "benchmarks.finetune.config:FinetuneTableConfig",
    "reports_benchmark": "benchmarks.reports.config:ReportsBenchmarkConfig",
    "survival_benchmark": "benchmarks.survival.config:SurvivalBenchmarkConfig",
    "mstar_benchmark": "benchmarks.mstar.config:MstarBenchmarkConfig",
    "task": "benchmarks.harness.task:TaskConfig",
    "benchmark": "benchmarks.harness.grid:BenchmarkConfig",
    "controlled": "benchmarks.controlled.config:ControlledConfig",
    "knowledge_benchmark": "benchmarks.knowledge.config:KnowledgeTableConfig",
    "objective_table": "benchmarks.objectives.config:ObjectiveTableConfig",
    "controlled_world": "benchmarks.controlled.world_config:WorldFile",
}

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


class Config(BaseModel):
    """Base of every configuration class: strict types, frozen, unknown keys refused.

    A component owns its configuration as a nested class named ``Config``; alternatives are a
    union discriminated by a literal field ``name``. Give each field a one-sentence ``description``.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", validate_default=True)


ConfigT = TypeVar("ConfigT", bound=Config)


def resolve_path(value: str) -> Path:
    """Turn a path from a configuration into a real one.

    Args:
        value: A path that may hold ``${VAR}`` or ``${VAR:-default}``, start with ``~``, or be
            ``pkg:<package>/<path inside>`` for a file of an installed data package (found without importing it).

    Returns:
        The path; only a ``pkg:`` path is checked to exist.

    Raises:
        ConfigError: If a variable is not set and has no default, or the text is malformed.
        MissingExtraError: If a data package is not installed.
    """

    def expand(match: re.Match[str]) -> str:
        found = os.environ.get(match[1]) or match[2]
        if found is None:
            raise ConfigError(
                f"the environment variable {match[1]} is not set", item=value, remedy=f"export {match[1]}=<folder>"
            )
        return found

    text = _VARIABLE.sub(expand, value)
    if not text or "${" in text or "\0" in text:
        raise ConfigError("is not a usable path", item=repr(value), remedy="write a path, ${VAR}/path or pkg:name/path")
    if text.startswith("pkg:"):
        from medvlp.io import package_file

        package, _, inside = text.removeprefix("pkg:").partition("/")
        parts = Path(inside).parts
        if not package.isidentifier() or ".." in parts or Path(inside).is_absolute():
            raise ConfigError("is not of the form pkg:<package>/<path inside>", item=repr(value))
        return package_file(package, *parts)
    return Path(text).expanduser()


def config_class(kind: str) -> type[Config]:
    """Import the configuration class of a ``kind:``.

    Raises:
        ConfigError: If there is no such kind, or it belongs to the checkout and only the wheel is installed.
    """
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, 1)
        hint = f'nearest "{near[0]}"; ' if near else ""
        raise ConfigError(f'unknown kind "{kind}" ({hint}valid: {", ".join(KINDS)})')
    module, _, name = KINDS[kind].partition(":")
    return getattr(import_from_checkout(module), name)  # type: ignore[no-any-return]


def import_from_checkout(module: str) -> Any:
    """Import a module of the project; ``data_prep`` and ``benchmarks`` exist only in a checkout.

    The checkout goes to the front of the path: an installed package may hold a folder of the same name (pysbd ships
    a ``benchmarks``).
    """
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file() and sys.path[:1] != [str(checkout)]:
        sys.path.insert(0, str(checkout))
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if package == "medvlp" or (error.name or "").partition(".")[0] != package:
            raise
        raise MissingExtraError(
            f"the package {package} is not in the wheel: this needs the source checkout",
            remedy="clone the repository and `pip install -e .` in it",
        ) from error


def load(path_or_name: str | Path, overrides: Sequence[str] = (), kind: str | tuple[str, ...] | None = None) -> Config:
    """Read a configuration file, its bases and overrides into its strict configuration class.

    Args:
        path_or_name: A path, or the bare name of a shipped configuration (``keep`` or ``keep.yaml``).
        overrides: Texts of the form ``a.b=c``; ``c`` is read as YAML.
        kind: The kind (or kinds) the caller can use; any other is refused.

    Returns:
        An instance of the class that :data:`KINDS` lists for the file's ``kind:``.

    Raises:
        ConfigError: One message that lists every mistake on its own line, as ``file:line: key: problem``.
    """
    from medvlp.config_files import read_with_bases
    from medvlp.config_yaml import merge, override

    tree = read_with_bases(path_or_name)
    problems = list(tree.problems)
    for text in overrides:
        try:
            extra = override(text)
        except ConfigError as error:
            problems.append(str(error))
            continue
        problems += extra.problems
        tree = merge(tree, extra)
    found = tree.value.get("kind")
    where = found.where if found else tree.where.rsplit(":", 1)[0]
    if found is None:
        problems.append(f"{where}: kind: required key is missing (valid: {', '.join(KINDS)})")
        raise ConfigError("\n".join(problems))
    wanted = (kind,) if isinstance(kind, str) else kind
    if wanted is not None and found.value in KINDS and found.value not in wanted:
        needed = " or ".join(f'"{name}"' for name in wanted)
        problems.append(f'{where}: kind: is "{found.value}", but a configuration of kind {needed} is needed here')
        raise ConfigError("\n".join(problems))
    try:
        cls = config_class(str(found.value))
    except ConfigError as error:
        raise ConfigError("\n".join([*problems, f"{where}: kind: {error}"])) from None
    return _validate(cls, tree, problems)


def load_as(cls: type[ConfigT], path: str | Path, overrides: Sequence[str] = ()) -> ConfigT:
    """Read a file into a given configuration class, without looking at ``kind:``; errors as in :func:`load`."""
    from medvlp.config_files import read_with_bases
    from medvlp.config_yaml import merge, override

    tree = read_with_bases(path)
    problems = list(tree.problems)
    for text in overrides:
        tree = merge(tree, override(text))
    return _validate(cls, tree, problems)


def _validate(cls: type[ConfigT], tree: Any, problems: list[str]) -> ConfigT:
    from medvlp.config_mistakes import describe

    try:
        config = cls.model_validate_json(json.dumps(tree.plain()))
    except ValidationError as error:
        problems = problems + describe(error, cls, tree)
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def dump(config: Config) -> str:
    """Return a configuration as YAML, every default written out; :func:`load` reads it back to an equal object."""
    import yaml

    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
