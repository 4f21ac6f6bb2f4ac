"""Command line of the simulation benchmark.

Example: python -m benchmarks.simulation simulation/benchmark --out runs/simulation
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.common.command import run_command


def main() -> int:
    """Run the benchmark, write ``results.json``, ``table.md`` and ``report.html``, print the table; the exit code."""
    kind = "simulation_benchmark"
    return run_command("benchmarks.simulation", __doc__, kind, "simulation/benchmark", "runs/simulation", _work)


def _work(config: Any, arguments: Any) -> str:
    from benchmarks.simulation.judge import judge
    from benchmarks.simulation.table import markdown

    return markdown(judge(config, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
