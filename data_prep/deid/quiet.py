"""Silence of the DICOM reader, whose warnings quote what stands in a file."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_QUIET = threading.Lock()
_saved: list[Any] = []
_depth = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom from quoting values in warnings and log lines; safe from several threads at once."""
    global _depth
    from pydicom import config

    settings, logger = config.settings, logging.getLogger("pydicom")
    with _QUIET:
        if _depth == 0:
            _saved[:] = [settings.reading_validation_mode, settings.writing_validation_mode, logger.disabled]
            settings.reading_validation_mode = settings.writing_validation_mode = config.IGNORE
            logger.disabled = True
        _depth += 1
    try:
        yield
    finally:
        with _QUIET:
            _depth -= 1
            if _depth == 0:
                settings.reading_validation_mode, settings.writing_validation_mode, logger.disabled = _saved
