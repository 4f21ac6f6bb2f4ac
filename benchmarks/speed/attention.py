"""What attention without padding saves: seconds and memory of a pack of slides, forward and backward.

On the CPU: the packed path against a padded batch with a mask, each in a process of its own; and the peak memory of
the perceiver slide encoder by the number of tiles. On a GPU, if there is one: xformers against padding and against the
plain formula. Writes results.json, perceiver.png, and with --page the table between the marks of a page.

Example: python -m benchmarks.speed.attention --out runs/speed_attention
Example: python -m benchmarks.speed.attention --out runs/speed_attention --page docs/fusion.md
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.common.marks import put_between
from benchmarks.speed.attention_gpu import gpu_part, gpu_table
from medvlp.errors import DataError, MedvlpError
from medvlp.io import write_json, write_text

USER_ERROR = 2
MARKS = "attention speed"
SMALLEST = 2
HEADS, HEAD_WIDTH = 2, 32
WIDTH_IN, WIDTH, LATENTS = 512, 256, 64
WANTED_SPEED, WANTED_MEMORY = 2.0, 0.25


def pack_child(way: str, lengths: list[int], target: Path) -> dict[str, float]:
    """Measure one way on one pack in this process; leave output and gradients in a file."""
    import torch

    from benchmarks.speed.attention_ways import WAYS, cpu_cost, inputs

    few = inputs([2, 3], HEADS, HEAD_WIDTH, "cpu", torch.float32)
    WAYS[way](*few[:3], torch.tensor([2, 3])).backward(few[3])  # the first call loads the library's code
    q, k, v, upstream = inputs(lengths, HEADS, HEAD_WIDTH, "cpu", torch.float32)
    kept: list[Any] = []

    def work() -> None:
        kept.append(WAYS[way](q, k, v, torch.tensor(lengths)))
        kept[0].backward(upstream)

    cost = cpu_cost(work)
    np.save(target, np.stack([x.detach().numpy() for x in (kept[0], q.grad, k.grad, v.grad)]))
    return cost


def perceiver_child(tiles: int) -> dict[str, float]:
    """Measure forward and backward of the perceiver on one slide, its features counted."""
    import torch

    from benchmarks.speed.attention_ways import cpu_cost
    from medvlp.fusion.bag import TileBag
    from medvlp.fusion.slide import LatentQuery, build_slide_encoder

    encoder = build_slide_encoder(LatentQuery.Config(width=WIDTH, latents=LATENTS), WIDTH_IN)

    def work(tiles: int = tiles) -> None:
        bag = TileBag(torch.randn(tiles, WIDTH_IN), torch.tensor([tiles]))
        encoder(bag).slide_SD.square().sum().backward()

    work(10)
    return cpu_cost(work)


def in_process(*words: str) -> dict[str, float]:
    """Run one measurement in a process of its own.

    Raises:
        DataError: It failed; its last line is told.
    """
    command = [sys.executable, "-m", "benchmarks.speed.attention", "--child", *words]
    # freed blocks go back to the system at once, so that the peak is what is in use and not what malloc has kept
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"failed (exit code {done.returncode}): {last}", item=" ".join(words[:2]))
    return json.loads(done.stdout.strip().splitlines()[-1])


def pack_part(slides: int, largest: int) -> dict[str, Any]:
    """Compare both ways on one pack."""
    from benchmarks.speed.attention_ways import log_uniform

    lengths = log_uniform(slides, SMALLEST, largest)
    found: dict[str, Any] = {"lengths": lengths, "heads": HEADS, "head_width": HEAD_WIDTH}
    outputs = {}
    with tempfile.TemporaryDirectory() as folder:
        for way in ("packed", "padded"):
            target = Path(folder, f"{way}.npy")
            found[way] = in_process("pack", way, ",".join(map(str, lengths)), str(target))
            outputs[way] = np.load(target)
    difference = np.abs(outputs["packed"] - outputs["padded"]).reshape(4, -1).max(1)
    found["largest_difference"] = {"output": float(difference[0]), "gradients": float(difference[1:].max())}
    for kind in ("seconds", "cpu_seconds"):  # beside other work, only the second is of this process alone
        found[f"ratio_of_{kind}"] = found["padded"][kind] / found["packed"][kind]
    found["share_of_memory"] = found["packed"]["bytes"] / found["padded"]["bytes"]
    return found


def perceiver_part(sizes: list[int]) -> dict[str, Any]:
    """Measure the perceiver at several sizes and fit a line."""
    from medvlp.fusion.slide import LatentQuery

    peaks = [in_process("perceiver", str(tiles))["bytes"] for tiles in sizes]
    slope, start = np.polyfit(sizes, peaks, 1)
    left = np.asarray(peaks) - (start + slope * np.asarray(sizes))
    spread = float(((peaks - np.mean(peaks)) ** 2).sum())
    return {
        "width_in": WIDTH_IN,
        "width": WIDTH,
        "latents": LATENTS,
        "tiles_at_once": LatentQuery.Config().tiles_at_once,
        "tiles": sizes,
        "bytes": peaks,
        "bytes_per_tile": float(slope),
        "bytes_at_zero": float(start),
        "r_squared": 1.0 - float((left**2).sum()) / spread if spread else 1.0,  # equal peaks: a level line fits
        "feature_bytes_per_tile": WIDTH_IN * 4,
    }


def draw(found: dict[str, Any], target: Path) -> None:
    """Draw peak memory over tiles with the fitted line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    tiles = np.asarray(found["tiles"])
    axes.plot(tiles, np.asarray(found["bytes"]) / 1e6, "o", label="measured")
    line = found["bytes_at_zero"] + found["bytes_per_tile"] * tiles
    axes.plot(tiles, line / 1e6, label=f"{found['bytes_per_tile']:,.0f} bytes per tile")
    axes.plot(tiles, found["feature_bytes_per_tile"] * tiles / 1e6, ":", label="the features alone")
    axes.set(xlabel="tiles of one slide", ylabel="peak memory, forward and backward (MB)", ylim=(0, None))
    axes.legend()
    figure.savefig(target, dpi=120)


def markdown(record: dict[str, Any]) -> str:
    """Return the record as text and tables."""
    pack, perceiver = record["pack"], record["perceiver"]
    lengths, difference = pack["lengths"], pack["largest_difference"]
    lines = [
        f"One pack of {len(lengths)} slides of {min(lengths):,} to {max(lengths):,} tiles ({sum(lengths):,} in all),"
        f" {pack['heads']} heads of width {pack['head_width']}, float32, {record['threads']} thread(s) on"
        f" {record['cores']} cores{' shared with other work' if record['shared'] else ''}, torch {record['torch']};"
        " forward and backward, once.",
        "",
        "| way | seconds | processor seconds | memory above inputs (MB) |",
        "|---|---:|---:|---:|",
        *(
            f"| {way} | {one['seconds']:.1f} | {one['cpu_seconds']:.1f} | {one['bytes'] / 1e6:,.0f} |"
            for way, one in (("packed", pack["packed"]), ("padded", pack["padded"]))
        ),
        "",
        f"Packed is {pack['ratio_of_seconds']:.1f} times as fast by the clock, {pack['ratio_of_cpu_seconds']:.1f} times"
        f" by processor seconds (wanted: {WANTED_SPEED:g}), and takes {pack['share_of_memory']:.2f} of the memory"
        f" (wanted: at most {WANTED_MEMORY:g}); largest difference of outputs {difference['output']:.1e}, of gradients"
        f" {difference['gradients']:.1e}.",
        "",
        f"Perceiver ({perceiver['latents']} latents, width {perceiver['width']}, features of width"
        f" {perceiver['width_in']}, keys and values for {perceiver['tiles_at_once']:,} tiles at once), one slide,"
        " forward and backward:",
        "",
        "| tiles | peak memory, features counted (MB) |",
        "|---:|---:|",
        *(
            f"| {tiles:,} | {found / 1e6:,.0f} |"
            for tiles, found in zip(perceiver["tiles"], perceiver["bytes"], strict=True)
        ),
        "",
        f"A line fits with R² = {perceiver['r_squared']:.4f}: {perceiver['bytes_per_tile']:,.0f} bytes per tile,"
        f" of which the features are {perceiver['feature_bytes_per_tile']:,}.",
        "",
        gpu_table(record["gpu"]),
    ]
    return "\n".join(lines)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything and return the record."""
    import torch

    console = Console(stderr=True, highlight=False)
    console.print("packed against padded")
    pack = pack_part(arguments.slides, arguments.largest)
    console.print("perceiver by tiles")
    perceiver = perceiver_part([int(one) for one in arguments.tiles.split(",")])
    gpu = gpu_part()
    console.print(gpu.get("device", "no CUDA device here"))
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "shared": arguments.shared,
        "pack": pack,
        "perceiver": perceiver,
        "gpu": gpu,
    }


def child(words: list[str]) -> dict[str, float]:
    """Do what a parent process asked for."""
    if words[0] == "perceiver":
        return perceiver_child(int(words[1]))
    return pack_child(words[1], [int(one) for one in words[2].split(",")], Path(words[3]))


def main() -> int:
    """Measure as the command line says; return the exit code."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.attention", description=__doc__, formatter_class=raw
    )
    parser.add_argument("--out", type=Path, default=Path("runs/speed_attention"), help="folder of the results")
    parser.add_argument("--slides", type=int, default=12, help="slides of the pack")
    parser.add_argument("--largest", type=int, default=20_000, help="tiles of its largest slide")
    parser.add_argument("--tiles", default="1000,20000,50000,100000,150000,200000", help="sizes for the perceiver")
    parser.add_argument("--shared", action="store_true", help="say in the result that other work ran beside it")
    parser.add_argument("--page", type=Path, help=f'page whose marks "{MARKS}" take the table')
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        if arguments.child:
            print(json.dumps(child(arguments.child)))
            return 0
        record = run(arguments)
        write_json(arguments.out / "results.json", record)
        draw(record["perceiver"], arguments.out / "perceiver.png")
        write_text(arguments.out / "results.md", markdown(record) + "\n")
        if arguments.page is not None:
            put_between(arguments.page, MARKS, markdown(record))
    except MedvlpError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    print(markdown(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
