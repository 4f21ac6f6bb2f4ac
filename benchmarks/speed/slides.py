"""Tissue and tiles of a large slide: this project against lazyslide, histolab and tiatoolbox.

Writes a slide of 32,000 x 32,000 px whose tissue is known, lets each tool find tissue and tiles of 256 px at 0.5 um
per pixel in processes of its own, in turns, and compares seconds, memory, masks and tiles. Each peer is run by the
Python of its own environment. Then the embedding job: how busy it keeps the encoder, against a plain loop.

Example: python -m benchmarks.speed.slides --peer lazyslide=peers/lazyslide/bin/python --out runs/speed_slides
Example: python -m benchmarks.speed.slides --embed --out runs/speed_slides --page docs/slides_speed.md
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.common.marks import put_between
from benchmarks.speed.slides_pyramid import CELL, TILE, field, write_slide
from medvlp.errors import ConfigError, DataError, MedvlpError
from medvlp.io import write_json, write_text

USER_ERROR = 2
MARKS, EMBED_MARKS = "slides speed", "slides embedding"
OURS = "medvlp"
WANTED = 1.5
PEERS = {
    "lazyslide": ("run_lazyslide.py", []),
    "lazyslide, level=-1": ("run_lazyslide.py", ["--level=-1"]),
    "histolab": ("run_histolab.py", []),
    "tiatoolbox": ("run_tiatoolbox.py", []),
    "tiatoolbox, morphological": ("run_tiatoolbox.py", ["--morphological"]),
}
"""Scripts by name; lazyslide runs again on the smallest level, where it is fastest, tiatoolbox with a cleaned mask."""
_SCRIPTS = Path(__file__).parent / "slides_peers"
_LIMIT = 3600


def once(way: str, python: str, slide: Path, result: Path, tiles: int) -> dict[str, Any]:
    """Run one tool in a new process.

    Raises:
        DataError: It failed; its last line is told.
    """
    script, words = ("run_ours.py", []) if way == OURS else PEERS[way]
    command = [python, "-W", "ignore", str(_SCRIPTS / script), str(slide), str(result), str(tiles), *words]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if way == OURS:
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=_LIMIT)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"failed (exit code {done.returncode}): {last}", item=way)
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return {**said, "process_seconds": time.perf_counter() - start}


def best(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the least of each figure over the rounds."""
    return {key: min(one[key] for one in rounds if key in one) for key in rounds[-1]}


def fitted(mask_hw: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Return a mask with ``side`` rows and columns, each the nearest of the mask's own."""
    rows, columns = (((np.arange(side) + 0.5) * length / side).astype(int) for length in mask_hw.shape)
    return mask_hw[np.ix_(rows, columns)]


def covered(coords_NX: NDArray[np.int64], cells: int) -> NDArray[np.bool_]:
    """Return which cells lie in tiles."""
    area = np.zeros((cells, cells), dtype=bool)
    for x, y in np.round(coords_NX / CELL).astype(int):
        area[max(y, 0) : y + TILE // CELL, max(x, 0) : x + TILE // CELL] = True
    return area


def overlap(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> float:
    """Return intersection over union."""
    return float((one & two).sum() / max((one | two).sum(), 1))


def compared(results: dict[str, Path], side: int) -> dict[str, dict[str, Any]]:
    """Compare masks and tiles with the known outline and with ours."""
    cells = side // CELL
    truth = field(side)[0] > 0
    found = {}
    for way, path in results.items():
        with np.load(path) as arrays:
            found[way] = (fitted(arrays["mask"], cells), arrays["coords"])
    ours = found[OURS]
    our_area, our_set = covered(ours[1], cells), {tuple(corner) for corner in ours[1].tolist()}
    told = {}
    for way, (mask, coords) in found.items():
        own = {tuple(corner) for corner in coords.tolist()}
        told[way] = {
            "tiles": len(coords),
            "iou_outline": overlap(mask, truth),
            "iou_ours": overlap(mask, ours[0]),
            "tile_area_iou_ours": overlap(covered(coords, cells), our_area),
            "tile_jaccard_ours": len(own & our_set) / max(len(own | our_set), 1),
        }
    return told


def run(out: Path, peers: dict[str, str], side: int, repeats: int, tiles: int) -> dict[str, Any]:
    """Write the slide if it is not there, measure all tools in turns, and return the record."""
    console = Console(stderr=True, highlight=False)
    slide = out / f"slide-{side}.tif"
    if not slide.is_file():
        console.print(f"writing a slide of {side:,} x {side:,} px")
        write_slide(slide, side)
    ways = {OURS: sys.executable} | {
        way: peers[way.partition(",")[0]] for way in PEERS if way.partition(",")[0] in peers
    }
    rounds: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    results = {way: out / f"found-{number}.npz" for number, way in enumerate(ways)}
    loads = [os.getloadavg()[0]]
    for number in range(repeats):
        for way, python in ways.items():
            read = tiles if number == repeats - 1 else 0
            rounds[way].append(once(way, python, slide, results[way], read))
            console.print(f"{way}: {rounds[way][-1]['seconds']:.2f} s", markup=False)
        loads.append(os.getloadavg()[0])
    told = compared(results, side)
    tools = {way: {**best(rounds[way]), **told[way]} for way in ways}
    record: dict[str, Any] = {
        "side": side,
        "bytes": slide.stat().st_size,
        "repeats": repeats,
        "tiles_read": tiles,
        "cores": len(os.sched_getaffinity(0)),
        "load": [min(loads), max(loads)],
        "tools": tools,
    }
    for one in tools.values() if tiles else ():
        for key in ("seconds", "cpu_seconds"):
            one[f"all_{key}"] = one[key] + one["tiles"] * one[f"tile_{key}"]
    for key in ("seconds", "cpu_seconds", "all_seconds", "all_cpu_seconds"):
        others = {way: one[key] for way, one in tools.items() if way != OURS and key in one}
        if others:
            fastest = min(others, key=lambda way: others[way])
            record[f"ratio_{key}"] = {"fastest": fastest, "ratio": others[fastest] / tools[OURS][key]}
    return record


def markdown(record: dict[str, Any]) -> str:
    """Return the record as text and tables."""
    tools = record["tools"]
    lines = [
        f"Slide of {record['side']:,} x {record['side']:,} px ({record['bytes'] / 1e9:.2f} GB), {record['cores']} cores"
        f" with a load of {record['load'][0]:.1f} to {record['load'][1]:.1f} by all work on them; new processes in"
        f" turns, the best of {record['repeats']} after imports. Tissue and list of tiles, no tile read:",
        "",
        "| tool | seconds | processor seconds | peak memory (GB) | process with imports (s) |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {way} ({one['version']}) | {one['seconds']:.2f} | {one['cpu_seconds']:.2f} |"
            f" {one['peak_bytes'] / 1e9:.2f} | {one['process_seconds']:.1f} |"
            for way, one in tools.items()
        ),
        "",
        *_ratios(record, "", "Tissue and tiles"),
        "",
        "| tool | tiles | mask, IoU with the known outline | mask, IoU with ours | tiles' area, IoU with ours"
        " | same corners, Jaccard with ours |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {way} | {one['tiles']:,} | {one['iou_outline']:.3f} | {one['iou_ours']:.3f} |"
            f" {one['tile_area_iou_ours']:.3f} | {one['tile_jaccard_ours']:.3f} |"
            for way, one in tools.items()
        ),
    ]
    if record["tiles_read"]:
        lines += [
            "",
            f"And with the pixels of the tiles, one after the other in one process: the first {record['tiles_read']:,}"
            " were read once, and a tile's share of that time is multiplied by the number of tiles:",
            "",
            "| tool | milliseconds per tile | processor milliseconds per tile | seconds in all"
            " | processor seconds in all | peak memory (GB) |",
            "|---|---:|---:|---:|---:|---:|",
            *(
                f"| {way} | {1000 * one['tile_seconds']:.1f} | {1000 * one['tile_cpu_seconds']:.1f} |"
                f" {one['all_seconds']:.1f} | {one['all_cpu_seconds']:.1f} | {one['read_peak_bytes'] / 1e9:.2f} |"
                for way, one in tools.items()
            ),
            "",
            *_ratios(record, "all_", "With all pixels"),
        ]
    return "\n".join(lines)


def _ratios(record: dict[str, Any], prefix: str, what: str) -> list[str]:
    clock, processor = (record.get(f"ratio_{prefix}{key}") for key in ("seconds", "cpu_seconds"))
    if clock is None or processor is None:
        return []
    wanted = f" (wanted: {WANTED:g})" if not prefix else ""
    ours, each = record["tools"][OURS], []
    for way, one in record["tools"].items():
        if way != OURS:
            ratios = (one[f"{prefix}{key}"] / ours[f"{prefix}{key}"] for key in ("seconds", "cpu_seconds"))
            each.append(f"{way} " + " / ".join(f"{ratio:.2f}" for ratio in ratios))
    return [
        f"{what}: {clock['ratio']:.2f} times as fast by the clock as the fastest peer ({clock['fastest']}),"
        f" {processor['ratio']:.2f} times by processor seconds ({processor['fastest']}){wanted}."
        f" Clock / processor against each: {'; '.join(each)}."
    ]


def _peers(words: list[str]) -> dict[str, str]:
    """Read NAME=PYTHON.

    Raises:
        ConfigError: For an unknown tool, or a Python that is not there.
    """
    peers = {}
    for word in words:
        name, _, python = word.partition("=")
        if name not in PEERS or "," in name:
            raise ConfigError("is no known peer", item=word, remedy="lazyslide=, histolab= or tiatoolbox=PYTHON")
        if not Path(python).is_file():
            raise ConfigError("no such Python", item=word, remedy="give the path of the environment's bin/python")
        peers[name] = python
    return peers


def main() -> int:
    """Measure as the command line says; return the exit code."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.slides", description=__doc__, formatter_class=raw)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help="a tool and its Python")
    parser.add_argument("--out", type=Path, default=Path("runs/speed_slides"), help="folder of slide and results")
    parser.add_argument("--side", type=int, default=32_000, help="side of the slide, pixels")
    parser.add_argument("--repeats", type=int, default=3, help="rounds; the best counts")
    parser.add_argument("--read", type=int, default=500, help="tiles of which pixels are read in the last round")
    parser.add_argument("--embed", action="store_true", help="measure the embedding job instead")
    parser.add_argument("--embed-side", type=int, default=20_480, help="side of the slide that is embedded")
    parser.add_argument("--page", type=Path, help=f'page whose marks "{MARKS}" or "{EMBED_MARKS}" take the tables')
    arguments = parser.parse_args()
    try:
        if arguments.embed:
            from benchmarks.speed import slides_embed

            record = slides_embed.run(arguments.out, arguments.embed_side)
            name, marks, text = "embedding", EMBED_MARKS, slides_embed.markdown(record)
        else:
            peers = _peers(arguments.peer)
            record = run(arguments.out, peers, arguments.side, arguments.repeats, arguments.read)
            name, marks, text = "results", MARKS, markdown(record)
        write_json(arguments.out / f"{name}.json", record)
        write_text(arguments.out / f"{name}.md", text + "\n")
        if arguments.page is not None:
            put_between(arguments.page, marks, text)
    except MedvlpError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
