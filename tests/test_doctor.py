"""The doctor really uses each part, and one broken part does not hide the others."""

import json
import sys

import pytest

from medvlp import doctor, doctor_checks
from medvlp.cli import run


@pytest.fixture(scope="module")
def checks():
    return {check.name: check for check in doctor.run_checks()}


def test_every_check_reports(checks):
    assert list(checks) == list(doctor_checks.CHECKS)
    for check in checks.values():
        assert check.status in {"PASS", "WARN", "FAIL", "SKIP"}
        assert "\n" not in check.detail + check.remedy
        assert check.status == "PASS" or check.remedy


def test_the_core_passes_here(checks):
    for name in ("python", "torch", "numpy", "attention: sdpa"):
        assert checks[name].status == "PASS", checks[name]
    assert checks["torchvision"].status in {"PASS", "WARN"}


def test_the_attention_in_use_is_named(checks):
    check = checks["attention: in use"]
    assert check.status == "PASS"
    if "on cpu" in check.detail:
        assert "slide encoders on cpu use sdpa for float32 (not run: xformers: its kernels are for CUDA" in check.detail


@pytest.mark.extras
def test_optional_parts_are_called_or_skipped_by_name(checks):
    for name in ("slide reading", "concept linker", "open_clip", "albumentations"):
        assert checks[name].status in {"PASS", "SKIP"}, checks[name]
    xformers = checks["attention: xformers"]
    if xformers.status == "WARN":
        assert "was called and has no CPU operator" in xformers.detail


def test_a_raising_check_is_a_failure_of_its_own():
    def broken():
        print("noise on stdout")
        raise RuntimeError("first line\nsecond line")

    check = doctor.run_check("x", broken)
    assert (check.status, check.detail) == ("FAIL", "RuntimeError: first line")
    assert check.remedy


def test_a_wrong_answer_is_noticed(monkeypatch):
    import torch

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", lambda q, k, v: v)
    check = doctor.run_check("sdpa", doctor_checks.attention_sdpa)
    assert check.status == "FAIL"
    assert "is off by" in check.detail


def test_absent_extras_are_skipped_with_the_install_line(monkeypatch):
    monkeypatch.setattr(doctor_checks, "_version", lambda package: None)
    for function, extra in (
        (doctor_checks.attention_xformers, "xformers"),
        (doctor_checks.slide, "slides"),
        (doctor_checks.linker, "nlp"),
        (doctor_checks.open_clip, "clip"),
        (doctor_checks.albumentations, "aug"),
    ):
        status, _, remedy = function()
        assert status == "SKIP"
        assert f"medvlp[{extra}]" in remedy


def test_data_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("MEDVLP_DATA", raising=False)
    assert doctor_checks.data_folder()[0] == "SKIP"
    monkeypatch.setenv("MEDVLP_DATA", str(tmp_path / "nowhere"))
    assert doctor_checks.data_folder()[0] == "FAIL"
    monkeypatch.setenv("MEDVLP_DATA", str(tmp_path))
    assert doctor_checks.data_folder()[0] == "PASS"


def test_command_json_and_exit_code(monkeypatch, capfd):
    outcomes = {
        "good": lambda: ("PASS", "fine", ""),
        "bad": lambda: sys.stdout.write("noise") and ("FAIL", "no", "mend"),
    }
    monkeypatch.setattr(doctor_checks, "CHECKS", outcomes)
    assert run(["doctor", "--json"]) == 1
    report = json.loads(capfd.readouterr().out)
    assert report["ok"] is False
    assert [check["status"] for check in report["checks"]] == ["PASS", "FAIL"]
    monkeypatch.setattr(doctor_checks, "CHECKS", {"good": outcomes["good"]})
    assert run(["doctor"]) == 0
    assert "1 PASS, 0 WARN, 0 FAIL, 0 SKIP" in capfd.readouterr().out
