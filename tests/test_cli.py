"""The command line: errors are one line with exit code 2, and every verb reaches its Python call."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Literal

import pytest

import medvlp
from medvlp import config
from medvlp.cli import run
from medvlp.config import Config
from medvlp.errors import TrainingError
from medvlp.io import write_manifest

VERBS = [
    ["graph", "build"],
    ["graph", "stats"],
    ["graph", "export-keep"],
    ["prepare"],
    ["pairs", "export"],
    ["pairs", "show"],
    ["train"],
    ["evaluate"],
    ["predict"],
    ["diagnose"],
    ["link"],
    ["export", "checkpoint"],
    ["export", "verify"],
    ["export", "repoint"],
    ["quickstart"],
    ["doctor"],
    ["config", "list"],
    ["config", "show"],
    ["config", "schema"],
]


class Pairs(Config):
    kind: Literal["pairs"]
    size: int = 1


class Align(Config):
    kind: Literal["align"]
    steps: int = 1


class Graph(Config):
    kind: Literal["graph"]


class Quickstart(Config):
    kind: Literal["quickstart"]


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    for name, cls in (("pairs", Pairs), ("align", Align), ("graph", Graph), ("quickstart", Quickstart)):
        monkeypatch.setitem(config.KINDS, name, f"{__name__}:{cls.__name__}")
    monkeypatch.delenv("MEDVLP_TRACEBACK", raising=False)


@pytest.fixture
def calls(monkeypatch):
    """Replace a module by one whose functions note how they were called."""
    noted = []

    def fake(module, name, result=None):
        def function(*args, **kwargs):
            noted.append((args, kwargs))
            if isinstance(result, BaseException):
                raise result
            return result

        stand_in = types.ModuleType(module)
        setattr(stand_in, name, function)
        monkeypatch.setitem(sys.modules, module, stand_in)
        parent, _, leaf = module.rpartition(".")
        if parent in sys.modules:
            monkeypatch.setattr(sys.modules[parent], leaf, stand_in, raising=False)
        return noted

    return fake


@pytest.fixture
def write(tmp_path):
    def _write(text, name="mine.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return _write


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help_has_an_example(verb, capfd):
    assert run([*verb, "--help"]) == 0
    assert f"medvlp {' '.join(verb).replace(' checkpoint', '')}" in " ".join(
        capfd.readouterr().out.split("Example:")[1].split()
    )


def test_version_and_unknown_verb(capfd):
    assert run(["--version"]) == 0
    assert capfd.readouterr().out.strip() == medvlp.__version__
    assert run(["trian"]) == 2
    assert "trian" in capfd.readouterr().err


def test_help_loads_no_torch():
    code = "import sys\nfrom medvlp.cli import run\nrun(['--help'])\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"


def test_mistakes_are_listed_without_traceback(write, capfd):
    path = write("kind: pairs\nsise: 2\nsize: x\n")
    assert run(["prepare", path, "--out", "out"]) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: 2 mistakes in the configuration\n")
    assert f'{path}:2: sise: unknown key (nearest valid key "size"' in error
    assert f"{path}:3: size: expected a whole number, got text 'x'" in error
    assert "Traceback" not in error


def test_wrong_kind(write, capfd):
    assert run(["prepare", write("kind: align\n"), "--out", "out"]) == 2
    assert 'a configuration of kind "pairs" or "reports" is needed here' in capfd.readouterr().err
    assert run(["train", write("kind: pairs\n")]) == 2
    assert 'kind "pairs" is not trained; use kind knowledge or align' in capfd.readouterr().err


def test_prepare(write, calls, capfd, tmp_path):
    noted = calls("data_prep.pairs.prepare", "prepare", tmp_path / "store")
    path = write("kind: pairs\n")
    assert run(["prepare", path, "--out", "o", "--already-deidentified", "--set", "size=3"]) == 0
    (loaded, out), options = noted[0]
    assert (loaded.size, out) == (3, Path("o"))
    assert options == {
        "already_deidentified": True, "overwrite": False, "dry_run": False, "preview": None, "show_texts": False,
    }  # fmt: skip
    assert f"pairs store: {tmp_path / 'store'}" in capfd.readouterr().out


def test_prepare_recognises_a_folder(calls, capfd, tmp_path):
    noted = calls("data_prep.pairs.prepare", "prepare", tmp_path / "store")
    detected = calls("data_prep.pairs.layout", "detect_layout", "recognised")
    assert run(["prepare", str(tmp_path), "--out", "o"]) == 0
    assert noted[-1][0] == ("recognised", Path("o"))
    assert run(["prepare", str(tmp_path), "--out", "o", "--set", "size=1"]) == 0
    assert ((str(tmp_path),), {"overrides": ["size=1"]}) in detected


def test_quickstart(write, calls, capfd, tmp_path):
    noted = calls("benchmarks.quickstart.run", "run", tmp_path / "report.html")
    path = write("kind: pairs\n")
    assert run(["quickstart", "--config", path]) == 2
    assert 'kind "quickstart" is needed here' in capfd.readouterr().err
    path = write("kind: quickstart\n")
    assert run(["quickstart", "--config", path, "--data", "d", "--already-deidentified"]) == 0
    assert noted[0][0][1:] == (Path("runs/quickstart-d"),)
    assert noted[0][1] == {"data": Path("d"), "already_deidentified": True}
    assert "report: " in capfd.readouterr().out


def test_train(write, calls, capfd, tmp_path):
    noted = calls("medvlp.training.align", "train", tmp_path / "step")
    path = write("kind: align\n")
    assert run(["train", path, "--resume", "never", "--dry-run", "--set", "steps=0"]) == 0
    (loaded, out), options = noted[0]
    assert (loaded.steps, out) == (0, Path("runs/mine"))
    assert options == {"resume": "never", "dry_run": True}
    assert "dry run: passed" in capfd.readouterr().out
    assert medvlp.train(loaded, objective=len, out=tmp_path) == tmp_path / "step"
    assert noted[1][1] == {"resume": "auto", "dry_run": False, "objective": len}


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (TrainingError("loss is NaN", item="step 3", remedy="stop"), 2, "error: step 3: loss is NaN; stop"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (OSError(28, "No space left on device", "runs/x"), 2, "error: runs/x: No space left on device; check the path"),
    ],
)
def test_errors_become_exit_codes(write, calls, capfd, raised, code, message):
    calls("medvlp.training.align", "train", raised)
    assert run(["train", write("kind: align\n")]) == code
    error = capfd.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_traceback_on_request(write, calls, monkeypatch):
    calls("medvlp.training.align", "train", TrainingError("loss is NaN"))
    monkeypatch.setenv("MEDVLP_TRACEBACK", "0")
    with pytest.raises(TrainingError):
        run(["--traceback", "train", write("kind: align\n")])
    assert os.environ["MEDVLP_TRACEBACK"] == "1"


def test_graph_build_and_stats(write, calls, capfd, tmp_path):
    noted = calls("data_prep.ontologies.build", "build", tmp_path)
    assert run(["graph", "build", write("kind: graph\n"), "--out", "g", "--overwrite"]) == 0
    assert noted[0][1] == {"overwrite": True}
    store = tmp_path / "store"
    store.mkdir()
    (store / "a.txt").write_text("x")
    write_manifest(store, {"counts": {"concepts": 12345}, "dropped": []})
    capfd.readouterr()
    assert run(["graph", "stats", str(store)]) == 0
    assert "  concepts: 12,345" in capfd.readouterr().out
    (store / "a.txt").write_text("y")
    assert run(["graph", "stats", str(store)]) == 2
    assert "a.txt: differs from its sha256" in capfd.readouterr().err


def test_export_with_and_without_its_verb(calls, capfd, tmp_path):
    noted = calls("medvlp.export.run", "export", tmp_path)
    outcome = type("Outcome", (), {"ok": True, "__str__": lambda self: "largest difference 1e-6"})()
    compared = calls("medvlp.export.verify", "verify", outcome)
    assert run(["export", "runs/x", "--to", "safetensors", "--out", "e", "--verify"]) == 0
    assert run(["export", "checkpoint", "runs/x", "--out", "e"]) == 0
    assert noted[0] == (("runs/x", "safetensors", Path("e")), {"overwrite": False, "results": None, "ema": False})
    assert compared[1] == ((tmp_path, "runs/x"), {"ema": False})
    assert noted[2][0] == ("runs/x", "open_clip", Path("e"))
    said = capfd.readouterr().out
    assert "largest difference 1e-6" in said
    assert "export (verified): " in said
    assert run(["export", "runs/x", "--to", "tflite", "--out", "e"]) == 2
    assert "tflite" in capfd.readouterr().err


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_export_verify_exit_code(calls, capfd, ok, code):
    outcome = type("Outcome", (), {"ok": ok, "__str__": lambda self: "largest difference 1e-6"})()
    calls("medvlp.export.verify", "verify", outcome)
    assert run(["export", "verify", "e", "--against", "runs/x"]) == code
    assert "largest difference 1e-6" in capfd.readouterr().out


def test_config_verbs(write, monkeypatch, tmp_path, capfd):
    write("# What it is for. More words.\nkind: align\n", "one.yaml")
    monkeypatch.setattr("medvlp.config_files.config_roots", lambda: [tmp_path])
    assert run(["config", "list"]) == 0
    assert capfd.readouterr().out.split("  ") == ["one", "What it is for\n"]
    assert run(["config", "show", "one", "--set", "steps=7"]) == 0
    assert capfd.readouterr().out == "kind: align\nsteps: 7\n"
    assert run(["config", "schema", "align"]) == 0
    assert "steps" in json.loads(capfd.readouterr().out)["properties"]
    assert run(["config", "schema", "aling"]) == 2
    assert 'unknown kind "aling" (nearest "align"' in capfd.readouterr().err


def test_verbs_of_the_checkout_say_so_in_a_wheel(monkeypatch, capfd):
    class Blocked:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "benchmarks":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Blocked(), *sys.meta_path])
    assert run(["quickstart"]) == 2
    error = capfd.readouterr().err
    assert "the package benchmarks is not in the wheel: this needs the source checkout" in error
    assert len(error.strip().splitlines()) == 1


def test_module_entry_point():
    done = subprocess.run([sys.executable, "-m", "medvlp.cli", "train", "nope"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: nope: no such configuration file or name")
