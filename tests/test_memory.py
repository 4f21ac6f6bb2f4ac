"""Freed memory stays with the process: counted in page faults, in processes of their own."""

import os
import subprocess
import sys

import pytest

from medvlp.memory import keep_freed_memory

NAMES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
WORK = """
import resource, numpy as np
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    np.ones(8_000_000)  # 64 MB, freed at once
for _ in range(2):
    work()
before = faults()
for _ in range(10):
    work()
print(faults() - before)
"""
KEEP = "from medvlp.memory import keep_freed_memory\nprint(keep_freed_memory())\n"
CHILD = "import subprocess, sys\nprint(subprocess.check_output([sys.executable, '-c', WORK], text=True))\n"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")


def run(code, **variables):
    env = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**env, **variables}, text=True, capture_output=True, check=True
    )
    return done.stdout.split()


def test_pages_are_taken_once() -> None:
    without = int(run(WORK)[0])
    told, kept = run(KEEP + WORK)
    if told == "False":
        pytest.skip("another C library than glibc")
    assert without > 1_000  # 640 MB in pages, some of them huge
    assert int(kept) < without / 20


def test_processes_started_later_keep_theirs_too() -> None:
    told, kept = run(KEEP + f"WORK = {WORK!r}\n" + CHILD)
    if told == "False":
        pytest.skip("another C library than glibc")
    assert int(kept) < 5_000


def test_a_choice_of_the_user_stands() -> None:
    code = KEEP + f"import os\nprint(os.environ.get({NAMES[0]!r}))"
    assert run(code, MALLOC_TRIM_THRESHOLD_="4096") == ["False", "4096"]


def test_it_may_be_called_again() -> None:
    assert keep_freed_memory() == keep_freed_memory()
