"""How fast a UMLS release becomes a graph store: this project's builder against a straightforward pandas reader.

Both read the same synthetic release in processes of their own, one after the other, and must write equal tables.

Example: python -m benchmarks.speed.umls --fraction 0.1 --out runs/speed_umls
Example: python -m benchmarks.speed.umls --fraction 1 --only ours --out runs/speed_umls
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from medvlp.errors import DataError, MedvlpError
from medvlp.io import read_json, write_json, write_text

WAYS = ("ours", "pandas")
USER_ERROR = 2


def settings(release: Path) -> Any:
    """Return the configuration of the job: disorders and anatomy, English, one typed relation."""
    from data_prep.ontologies.umls.config import UmlsConfig

    groups = {"semantic_groups": ["DISO", "ANAT"], "exclude_types": ["T050"]}
    return UmlsConfig(rrf=str(release), relations=["has_finding_site"], **groups)


def child(way: str, release: Path, store: Path) -> None:
    """Do the job once in this process and print seconds and peak memory as JSON."""
    if way == "ours":
        from data_prep.ontologies.umls.build import build

        start = time.perf_counter()
        build(settings(release), store, overwrite=True)
    else:
        from benchmarks.speed.umls_pandas import build as straightforward

        store.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        straightforward(settings(release), store)
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_bytes": peak_bytes()}))


def peak_bytes() -> int:
    """Return the most memory this process has held (VmHWM, which a parent's memory cannot raise)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024


def measure(way: str, release: Path, store: Path) -> dict[str, Any]:
    """Run one way in a process of its own.

    Raises:
        DataError: It failed; its last line is told.
    """
    command = [sys.executable, "-m", "benchmarks.speed.umls", "--child", way, str(release), str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"failed (exit code {done.returncode}): {last}", item=way)
    return json.loads(done.stdout.strip().splitlines()[-1])


def differing(one: Path, two: Path) -> list[str]:
    """Return the names of tables in which two stores differ."""
    import pyarrow.parquet as pq

    from medvlp.knowledge.store import SCHEMAS

    return [
        name
        for name in SCHEMAS
        if not pq.read_table(one / f"{name}.parquet").equals(pq.read_table(two / f"{name}.parquet"))
    ]


def run(out: Path, fraction: float, only: str | None, keep: bool) -> dict[str, Any]:
    """Write the release if it is not there, measure, compare, and return the record.

    Raises:
        DataError: The two ways wrote different tables.
    """
    from data_prep.ontologies.umls.synthetic import write

    console = Console(stderr=True, highlight=False)
    release = out / f"release-{fraction:g}"
    if not release.is_dir():
        console.print(f"writing a synthetic release of size {fraction:g}")
        write(release, fraction, contexts=False)
    rows = {line.split("|")[0]: int(line.split("|")[4]) for line in (release / "MRFILES.RRF").read_text().splitlines()}
    found: dict[str, Any] = {}
    for way in WAYS if only is None else (only,):
        console.print(f"measuring {way}")
        found[way] = measure(way, release, out / f"store-{way}")
        found[way]["rows_per_second"] = sum(rows.values()) / found[way]["seconds"]
    if only is None:
        unequal = differing(*(out / f"store-{way}" for way in WAYS))
        if unequal:
            raise DataError("the two ways wrote different tables", item=", ".join(unequal), remedy="one of them errs")
        found["ratio"] = found["pandas"]["seconds"] / found["ours"]["seconds"]
    if not keep:
        import shutil

        shutil.rmtree(release)
    cores = len(os.sched_getaffinity(0))
    return {"fraction": fraction, "rows": rows, "cores": cores, **found}


def markdown(record: dict[str, Any]) -> str:
    """Return the record as a table."""
    rows = record["rows"]
    lines = [
        f"Synthetic release of size {record['fraction']:g}: {rows['MRCONSO.RRF']:,} rows of MRCONSO,"
        f" {rows['MRREL.RRF']:,} of MRREL, {sum(rows.values()):,} in all; {record['cores']} cores.",
        "",
        "| way | seconds | rows per second | peak memory (GB) |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {way} | {record[way]['seconds']:.1f} | {record[way]['rows_per_second']:,.0f} |"
        f" {record[way]['peak_bytes'] / 1e9:.2f} |"
        for way in WAYS
        if way in record
    ]
    if "ratio" in record:
        lines += ["", f"Equal tables; ours is {record['ratio']:.1f} times as fast."]
    return "\n".join(lines)


def main() -> int:
    """Measure as the command line says; return the exit code."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.umls", description=__doc__, formatter_class=raw)
    parser.add_argument("--fraction", type=float, default=0.1, help="size, 1 is that of a real release")
    parser.add_argument("--only", choices=WAYS, help="measure one way alone")
    parser.add_argument("--out", type=Path, default=Path("runs/speed_umls"), help="folder for release, stores, result")
    parser.add_argument("--keep", action="store_true", help="keep the synthetic release")
    parser.add_argument("--child", nargs=3, metavar=("WAY", "RELEASE", "STORE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        if arguments.child:
            child(arguments.child[0], Path(arguments.child[1]), Path(arguments.child[2]))
            return 0
        record = run(arguments.out, arguments.fraction, arguments.only, arguments.keep)
    except MedvlpError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    name = f"umls-{arguments.fraction:g}" + (f"-{arguments.only}" if arguments.only else "")
    write_json(arguments.out / f"{name}.json", record)
    write_text(arguments.out / f"{name}.md", markdown(record) + "\n")
    print(markdown(read_json(arguments.out / f"{name}.json")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
