"""Every error a user can cause, as one line: what is wrong, with which item, and the remedy.

``assert`` is for mistakes only a programmer can make; everything a file, a config or a flag can
cause is a :class:`MedvlpError`, which the command line prints without a traceback (exit code 2).
"""

from __future__ import annotations


class MedvlpError(ValueError):
    """A mistake in the user's input.

    Args:
        problem: What is wrong, in one sentence without a final full stop.
        item: The file, key, concept or step at fault; put in front of the message.
        remedy: What to do about it; put behind the message.
    """

    def __init__(self, problem: str, *, item: object = None, remedy: str | None = None) -> None:
        self.problem, self.item, self.remedy = problem, item, remedy
        message = problem if item is None else f"{item}: {problem}"
        super().__init__(message if remedy is None else f"{message}; {remedy}")


class ConfigError(MedvlpError):
    """A configuration file or override that cannot be used."""


class DataError(MedvlpError):
    """An image, text, table or store that cannot be used."""


class GraphError(MedvlpError):
    """An ontology or a graph store that cannot be used."""


class CheckpointError(MedvlpError):
    """A checkpoint or weight file that cannot be used."""


class ExportError(MedvlpError):
    """A model that cannot be written in, or read back from, the requested format."""


class TrainingError(MedvlpError):
    """A run that cannot start or go on (NaN loss, uneven ranks, wrong resume)."""


class MissingExtraError(MedvlpError, ImportError):
    """An optional dependency that is not installed; the message holds the install line."""
