"""Zero-shot numbers and throughput beside CLIP_benchmark: the same open_clip model, images, class names and templates.

Both libraries run in processes of their own on the very files of two pairs stores: one with classes, one with notes.
First the numbers, which have to be the same; then images per second of the classification loop, in turns.

Example: python -m benchmarks.speed.clip_benchmark --peer-python peers/clip/bin/python --classes data/lc25000
    --notes data/cxr --out runs/clip_benchmark
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.marks import put_between
from benchmarks.harness.record import plain
from benchmarks.speed.clip_benchmark_model import SMALL, write_model, write_weights
from benchmarks.speed.clip_benchmark_ours import TIES, notes_of
from medvlp.config import resolve_path
from medvlp.data.pairs import PairsSplit, PairsStore
from medvlp.encoders.clip_towers import architecture_of
from medvlp.errors import ConfigError, DataError, MedvlpError
from medvlp.io import read_json, write_json, write_text

USER_ERROR = 2
MARKS = "clip_benchmark"
OURS, PEER = "medvlp", "CLIP_benchmark"
WAYS = (OURS, PEER)
TEMPLATES = ("an H&E image of {c}.", "a histology patch showing {c}.", "{c}, haematoxylin and eosin stain.")
_WORKERS = 4
"""What CLIP_benchmark's command line takes by default."""
_LIMIT = 1800


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Write what both need into a temporary folder (it holds notes), run them, and return the record.

    Raises:
        ConfigError: If there is no such Python, or templates or names are not CLIP_benchmark's.
        DataError: If a store has no classes or no notes, or a process fails.
    """
    if not options.peer_python.is_file():
        raise ConfigError("no such Python", item=options.peer_python, remedy="name bin/python of its environment")
    with tempfile.TemporaryDirectory(prefix="clip_benchmark-") as name:
        folder = Path(name)
        job = prepare(options, folder)
        said = {way: once(way, options.peer_python, {**job, "scores": True}, folder) for way in WAYS}
        arrays = {way: dict(np.load(folder / f"{way}.npz")) for way in WAYS}
        rounds: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        loads = [os.getloadavg()[0]]
        for number in range(options.repeats):
            for way in WAYS if number % 2 == 0 else WAYS[::-1]:
                rounds[way].append(once(way, options.peer_python, {**job, "scores": False}, folder))
            loads.append(os.getloadavg()[0])
    return {
        "model": options.model or f"{SMALL['vision_cfg']['layers']} layers of {SMALL['vision_cfg']['width']}",
        "classes": len(job["classnames"]),
        "templates": len(job["templates"]),
        "class_images": len(job["class_rows"]),
        "note_images": len(job["note_rows"]),
        "captions": sum(map(len, job["notes"])),
        "shared_captions": sum(map(len, job["notes"])) - len({text for texts in job["notes"] for text in texts}),
        "scores": compared(said),
        "arrays": differences(arrays),
        "ours_by_ties": said[OURS]["scores"],
        "harness": said[OURS]["harness"],
        "speed": speed(rounds, len(job["class_rows"])),
        "cores": len(os.sched_getaffinity(0)),
        "load": [min(loads), max(loads)],
    }


def prepare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write model and images, and return the job."""
    classes, notes = (_split(store, options.split) for store in (options.classes, options.notes))
    labels = classes.column("label")
    rows = [row for row, label in enumerate(labels) if label is not None][: options.images]
    names = sorted({labels[row] for row in rows})
    if len(names) < 2:
        raise DataError(f"split {options.split} has {len(names)} classes", item=options.classes, remedy="name another")
    note_rows, texts = notes_of(notes)
    model, weights, source = _model(options, folder)
    return {
        "model": model,
        "weights": weights,
        "source": source,
        "classes": {"store": str(resolve_path(options.classes)), "split": options.split},
        "notes": texts,
        "notes_store": {"store": str(resolve_path(options.notes)), "split": options.split},
        "class_rows": rows,
        "class_files": _files(classes, rows, folder / "classes"),
        "labels": [names.index(labels[row]) for row in rows],
        "classnames": [options.names.get(name, name) for name in names],
        "templates": options.templates,
        "note_rows": note_rows,
        "note_files": _files(notes, note_rows, folder / "notes"),
        "recall_at": options.recall_at,
        "batch_size": options.batch_size,
        "workers": _WORKERS,
        "width": int((SMALL if options.model is None else architecture_of(options.model))["embed_dim"]),
    }


def once(way: str, peer: Path, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run one library in a new process.

    Raises:
        DataError: It failed; its last line is told.
    """
    path, root = folder / "job.json", Path(__file__).parents[2]
    path.write_text(json.dumps(job), encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if way == OURS:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.speed.clip_benchmark_ours"]
        environment["PYTHONPATH"] = str(root)
    else:
        # Isolated, so that this folder's own clip_benchmark.py cannot stand in for the package.
        command = [str(peer), "-I", "-W", "ignore", str(Path(__file__).with_name("clip_benchmark_peer.py"))]
    command += [str(path), str(folder / f"{way}.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=_LIMIT)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"failed (exit code {done.returncode}): {last}", item=way)
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return said


def compared(said: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Put each number of theirs beside ours; the same means the same float32."""
    ours = said[OURS]["scores"]["topk"]
    theirs = {**said[PEER]["classification"], **said[PEER]["retrieval"]}
    same = {key: bool(np.array_equal(np.float32(ours[key]), np.float32(theirs[key]), equal_nan=True)) for key in theirs}
    return [{"name": key, OURS: ours[key], PEER: theirs[key], "same": same[key]} for key in theirs]


def differences(arrays: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Compare class vectors and logits: values that differ in any bit, and by how much."""
    told: dict[str, Any] = {}
    for key in ("class_DK", "logit_NK"):
        first, second = arrays[OURS][key], arrays[PEER][key]
        told[key] = {"values": first.size, "unequal": int((first != second).sum()), "largest": _largest(first, second)}
    told["harness"] = {"largest": _largest(arrays[OURS]["harness_NK"], arrays[PEER]["logit_NK"])}
    return told


def speed(rounds: dict[str, list[dict[str, float]]], images: int) -> dict[str, Any]:
    """Return the median of each library's images per second, and of the ratio within each round."""
    told: dict[str, Any] = {"repeats": len(rounds[OURS])}
    for key, name in (("seconds", "clock"), ("cpu_seconds", "processor")):
        each = {way: [images / one[key] for one in rounds[way]] for way in WAYS}
        ratios = [ours / theirs for ours, theirs in zip(each[OURS], each[PEER], strict=True)]
        told[name] = {way: statistics.median(each[way]) for way in WAYS}
        told[name] |= {"ratio": statistics.median(ratios), "ratios": ratios}
    return told


def markdown(record: dict[str, Any]) -> str:
    """Return the record as text and tables."""
    arrays, by_ties = record["arrays"], record["ours_by_ties"]
    clock, processor = record["speed"]["clock"], record["speed"]["processor"]
    logits, matrix = arrays["logit_NK"], arrays["class_DK"]
    return "\n".join(
        [
            f"{record['model']}, random weights; {record['class_images']} images of {record['classes']} classes with"
            f" {record['templates']} templates; {record['note_images']} images with {record['captions']} captions, of"
            f" which {record['shared_captions']} repeat another's words.",
            "",
            f"| number | {PEER} | {OURS} | same float32 | ties optimistic | ties pessimistic | ties realistic |",
            "|---|---:|---:|---|---:|---:|---:|",
            *(
                f"| {one['name']} | {one[PEER]:.6f} | {one[OURS]:.6f} | {'yes' if one['same'] else '**no**'} | "
                + " | ".join(f"{by_ties[rule][one['name']]:.6f}" for rule in TIES[1:])
                + " |"
                for one in record["scores"]
            ),
            "",
            f"Class vectors: {matrix['unequal']} of {matrix['values']:,} float32 values differ in any bit (by at most"
            f" {matrix['largest']:.1g}); logits: {logits['unequal']} of {logits['values']:,} (at most"
            f" {logits['largest']:.1g}). The harness's own way, in float64, is within"
            f" {arrays['harness']['largest']:.1g} of their logits, with acc1 {record['harness']['acc1']:.6f}.",
            "",
            f"{record['cores']} cores with a load of {record['load'][0]:.1f} to {record['load'][1]:.1f} by all work on"
            f" them; {record['speed']['repeats']} rounds in turns, medians:",
            "",
            f"| | {PEER} | {OURS} | ratio |",
            "|---|---:|---:|---:|",
            f"| images per second | {clock[PEER]:.1f} | {clock[OURS]:.1f} | {clock['ratio']:.2f} |",
            f"| images per processor second | {processor[PEER]:.1f} | {processor[OURS]:.1f}"
            f" | {processor['ratio']:.2f} |",
        ]
    )


def _largest(first: Any, second: Any) -> float:
    return float(np.abs(np.asarray(first, dtype=np.float64) - second).max())


def _split(store: str, split: str) -> PairsSplit:
    return PairsStore.load(resolve_path(store)).split(split)


def _files(split: PairsSplit, rows: list[int], folder: Path) -> list[str]:
    """Write the encoded images as they are in the store."""
    folder.mkdir()
    out = []
    for row in rows:
        path = folder / f"{row:06d}"
        path.write_bytes(split.image_bytes(row))
        out.append(str(path))
    return out


def _model(options: argparse.Namespace, folder: Path) -> tuple[str, str | None, str]:
    """Return what open_clip and what this library call the model, with weights of the seed in a file."""
    if options.model is None:
        place = write_model(folder / "model", SMALL, options.seed)
        return f"local-dir:{place}", None, f"open_clip:{place}"
    weights = folder / "weights.safetensors"
    write_weights(weights, options.model, options.seed)
    return options.model, str(weights), f"open_clip:{options.model}/{weights}"


def _json_file(path: Path | None, kind: type, otherwise: Any) -> Any:
    """Read a list of templates, or an object of class names, as CLIP_benchmark's files hold them for one set."""
    if path is None:
        return otherwise
    value = read_json(path)
    if not isinstance(value, kind):
        raise ConfigError(
            f"holds no JSON {kind.__name__}", item=path, remedy="cut one set out of CLIP_benchmark's file"
        )
    return value


def main() -> int:
    """Compare as the command line says; return the exit code."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.clip_benchmark", description=__doc__, formatter_class=raw
    )
    parser.add_argument("--peer-python", type=Path, required=True, help="Python of an environment with clip-benchmark")
    parser.add_argument("--classes", required=True, help="pairs store with class labels")
    parser.add_argument("--notes", required=True, help="pairs store with notes")
    parser.add_argument("--split", default="train", help="split of both; nothing is fitted")
    parser.add_argument("--model", help="name of an open_clip architecture; a small one by default")
    parser.add_argument("--templates", type=Path, help="JSON list of templates with {c}")
    parser.add_argument("--names", type=Path, help="JSON object: class of the store to class name")
    parser.add_argument("--images", type=int, help="most images of classes")
    parser.add_argument("--batch-size", type=int, default=64, help="images per forward pass")
    parser.add_argument("--recall-at", type=int, nargs="+", default=[1, 5, 10], help="the k of retrieval")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of the timing")
    parser.add_argument("--out", type=Path, default=Path("runs/clip_benchmark"), help="folder of the results")
    parser.add_argument("--page", type=Path, help=f'page whose marks "{MARKS}" take the tables')
    options = parser.parse_args()
    # A request to stop ends as an interruption does, so that the temporary folder, which holds notes, goes too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        options.templates = _json_file(options.templates, list, list(TEMPLATES))
        options.names = _json_file(options.names, dict, {})
        record = run(options)
        write_json(options.out / "results.json", plain(record))  # acc5 of two classes is no number
        text = markdown(record)
        write_text(options.out / "results.md", text + "\n")
        if options.page is not None:
            put_between(options.page, MARKS, text)
    except MedvlpError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    print(text)
    return 0 if all(one["same"] for one in record["scores"]) else 1


if __name__ == "__main__":
    sys.exit(main())
