"""The torchvision guard acts once, only where it must, and can be turned off."""

import importlib.util
import os
import subprocess
import sys
import types

import pytest

from medvlp import torchvision_guard as guard


def run(code, **env):
    """Run code in a fresh process: imports of torchvision cannot be undone in this one."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, env={**os.environ, **env}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_install_makes_torchvision_importable_with_at_most_one_warning():
    code = (
        "from medvlp.torchvision_guard import install\n"
        "a = install(); b = install()\n"
        "import torchvision, timm\n"
        "print(a, b, torchvision.transforms.CenterCrop(2).size)\n"
    )
    (first, second, *_), errors = run(code)
    assert first == second
    assert first in {"native", "guarded"}
    assert errors.count("medvlp declared its operators") == (first == "guarded")


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_switch_off_leaves_torchvision_as_it_is():
    code = (
        "from medvlp.torchvision_guard import install\n"
        "state = install()\n"
        "try:\n    import torchvision\n    print(state, 'imported')\n"
        "except RuntimeError:\n    print(state, 'failed')\n"
    )
    (state, outcome), errors = run(code, MEDVLP_TORCHVISION_GUARD="0")
    assert (state, outcome) in {("native", "imported"), ("off", "failed")}
    assert "declared" not in errors


def test_importing_medvlp_changes_nothing():
    loaded, _ = run("import medvlp, sys\nprint('torch' in sys.modules, 'torchvision' in sys.modules)")
    assert loaded == ["False", "False"]


@pytest.fixture
def fresh(monkeypatch):
    monkeypatch.setattr(guard, "_state", None)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.delenv("MEDVLP_TORCHVISION_GUARD", raising=False)


def test_absent(fresh, monkeypatch):
    monkeypatch.setattr(guard.importlib.util, "find_spec", lambda name: None)
    assert guard.install() == "absent"


def test_a_mismatch_beside_gpu_torch_is_not_hidden(fresh, monkeypatch, tmp_path):
    import torch

    declared = []
    spec = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(guard.importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(torch, "ops", types.SimpleNamespace(torchvision=types.SimpleNamespace()))
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.library, "Library", lambda *args: declared.append(args))
    assert guard.install() == "broken"
    assert declared == []


def test_already_imported_is_left_alone(fresh, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    assert guard.install() == "native"
