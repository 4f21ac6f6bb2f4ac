"""The command line that every comparison has: a config, an output folder, overrides; one line for a user's mistake."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medvlp.config import load
from medvlp.errors import MedvlpError
from medvlp.memory import keep_freed_memory

USER_ERROR = 2


def run_command(
    module: str,
    doc: str | None,
    kind: str,
    config: str,
    out: str,
    work: Callable[[Any, argparse.Namespace], str],
    add_options: Callable[[argparse.ArgumentParser], None] | None = None,
) -> int:
    """Read the command line, do the work, print the text it returns.

    Args:
        module: What stands behind ``python -m``.
        doc: The module's docstring, shown by ``--help``.
        kind: Kind of configuration that is needed.
        config: Its default.
        out: Default of the output folder.
        work: Called with the configuration and the parsed command line.
        add_options: Adds options of this command's own.

    Returns:
        The exit code: 0, or 2 after a mistake of the user.
    """
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=doc, formatter_class=raw)
    parser.add_argument("config", nargs="?", default=config, help=f"config of kind `{kind}` (path or name)")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder of all runs; resumes")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override a key of the config")
    if add_options is not None:
        add_options(parser)
    arguments = parser.parse_args()
    keep_freed_memory()
    try:
        print(work(load(arguments.config, arguments.set, kind=kind), arguments))
    except MedvlpError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    return 0
