"""The small grid as shipped, from nothing, on real towers and the Disease Ontology: whole, and in five minutes."""

import os
import resource
import time

import pytest

from benchmarks.controlled.config import ControlledConfig
from benchmarks.controlled.grid import run
from benchmarks.controlled.table import build, markdown
from medvlp.config import load

MINUTES, CORES = 5, 2


def processor_seconds():
    """Of this process and of those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@pytest.mark.slow
@pytest.mark.extras
@pytest.mark.data
def test_the_small_grid_is_whole_and_takes_at_most_five_minutes_of_two_cores(tmp_path, capsys):
    """As ``benchmarks.controlled controlled/small`` runs it; processor seconds, which a busy machine changes little."""
    if not os.environ.get("MEDVLP_DATA"):
        pytest.skip("needs MEDVLP_DATA, the folder with the Disease Ontology")
    config = load("controlled/small", kind="controlled")
    assert isinstance(config, ControlledConfig)
    start, used = time.perf_counter(), processor_seconds()
    records = run(config, tmp_path, num_processes=CORES)
    used, wall = processor_seconds() - used, time.perf_counter() - start
    with capsys.disabled():
        print(f"\nsmall grid: {used:.0f} processor seconds, {wall:.0f} seconds in {CORES} processes")
    runs = [record for record in records if "scores" in record]
    assert len(runs) == 2 * 3 * 5
    table = build(config, records)
    assert len(table["primary"]) == 2 * 2
    assert all(len(row["by_seed"]) == 5 for row in table["primary"])
    assert all(row["p_holm"] is not None for row in table["primary"])
    assert "InfoNCE" in markdown(table)
    assert used < 60 * MINUTES * CORES
