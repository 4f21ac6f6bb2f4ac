"""What is installed is what is declared: imports, pins, and the content of the wheel."""

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import medvlp

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Where a module is called otherwise than its distribution.
DISTRIBUTION = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "lightning": "lightning-fabric",
    "open_clip": "open-clip-torch",
    "openslide": "openslide-python",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "numpy": "numpy",
}


def canonical(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~;\[ ]", requirement.strip())[0]).lower()


CORE = {canonical(item) for item in PROJECT["dependencies"]}
EXTRAS = {canonical(item) for items in PROJECT["optional-dependencies"].values() for item in items} - {"medvlp"}
PINS = {
    canonical(line)
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
}


def imports(tree, *, nested):
    """Yield imported top-level names; module level only unless ``nested``. Type-only imports never run."""
    todo = list(ast.iter_child_nodes(tree))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").partition(".")[0]
        elif nested or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            todo += ast.iter_child_nodes(node)


# Copied into an export and run there, by a process without the library.
STAND_ALONE = {*(ROOT / "medvlp" / "export" / "scripts").glob("*.py")}


def third_party(nested):
    for path in sorted({*(ROOT / "medvlp").rglob("*.py")} - STAND_ALONE):
        for name in imports(ast.parse(path.read_text(encoding="utf-8")), nested=nested):
            if name not in sys.stdlib_module_names and name != "medvlp":
                yield path.relative_to(ROOT).as_posix(), canonical(DISTRIBUTION.get(name, name))


def test_module_level_imports_are_core_requirements():
    assert {(path, name) for path, name in third_party(nested=False) if name not in CORE} == set()


def test_every_import_is_declared():
    lazy_only = {"data-prep", "benchmarks"}
    undeclared = {(p, n) for p, n in third_party(nested=True) if n not in CORE | EXTRAS | lazy_only}
    assert undeclared == set()


def test_every_requirement_is_pinned():
    data = (ROOT / "data-packages.txt").read_text(encoding="utf-8").splitlines()
    wanted = CORE | EXTRAS | {canonical(line) for line in data if line and not line.startswith("#")}
    assert wanted - PINS == set()


def test_lightweight_import():
    code = "import sys, medvlp\nprint(sorted({'torch', 'numpy', 'pydantic', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names():
    assert {"load", "train", "DiseaseGraph"} <= set(dir(medvlp))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        medvlp.nothing  # noqa: B018
    assert callable(medvlp.train)


@pytest.mark.extras
def test_wheel_ships_only_the_library(tmp_path):
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed (extra dev)")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", tmp_path, ROOT]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"medvlp", f"medvlp-{medvlp.__version__}.dist-info"}
    shipped = {name.removeprefix("medvlp/_configs/") for name in names if name.startswith("medvlp/_configs/")}
    configs = ROOT / "configs"
    assert shipped == {path.relative_to(configs).as_posix() for path in configs.rglob("*") if path.is_file()}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    viewer = {"openseadragon.min.js", "openseadragon.LICENSE.txt", "openseadragon.json", "viewer.js", "viewer.css"}
    assert {f"medvlp/viewer/static/{name}" for name in viewer} <= {*names}
    assert {"medvlp/viewer/page.html.j2", "medvlp/viewer/index.html.j2"} <= {*names}
    assert not any("__pycache__" in name or name.startswith("medvlp/tests") for name in names)
