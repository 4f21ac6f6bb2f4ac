"""Command line of the simulation benchmark.

Example: python -m benchmarks.simulation simulation/benchmark --out runs/simulation
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from medvlp.config import load
from medvlp.errors import MedvlpError


def main() -> int:
    """Run the benchmark, write ``results.json``, ``table.md`` and ``report.html``, print the table; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description=__doc__)
    parser.add_argument("config", nargs="?", default="simulation/benchmark", help="kind `simulation_benchmark`")
    parser.add_argument("--out", type=Path, default=Path("runs/simulation"), help="folder of all runs; resumes")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override a key of the config")
    arguments = parser.parse_args()
    try:
        from benchmarks.simulation.config import SimulationBenchmarkConfig
        from benchmarks.simulation.judge import judge
        from benchmarks.simulation.table import markdown

        config = load(arguments.config, arguments.set, kind="simulation_benchmark")
        assert isinstance(config, SimulationBenchmarkConfig)
        print(markdown(judge(config, arguments.out)))
    except MedvlpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
