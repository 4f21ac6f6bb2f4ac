"""docs/architecture.md is true: its how-tos work word for word, its rooms exist, its arrows hold.

What the words behind a fence mean is said in the page's last section and done by ``docs_pages.Checkout.follow``.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs_pages import ARCHITECTURE, ROOT, apply_edit, read_blocks, section

from medvlp.config import load, load_as
from medvlp.data.pairs import PairsStore
from medvlp.errors import ConfigError

BLOCKS = read_blocks(ARCHITECTURE)
HOW_TOS = ("Add an objective", "Add an encoder", "Add a dataset")
PACKAGES = ("medvlp", "data_prep", "benchmarks")
FOUNDATION = {
    "__init__",
    "errors",
    "io",
    "ledger",
    "memory",
    "config",
    "config_files",
    "config_mistakes",
    "config_yaml",
    "torchvision_guard",
}
MODEL = {"model", "case_model", "tile_encoder", "loading"}
A_PAGE = 100  # lines, code and blank lines included


def blocks_of(heading):
    return [block for block in BLOCKS if block.heading == heading]


def written(heading, path):
    (block,) = [block for block in blocks_of(heading) if block.path == path]
    return block.text


def test_add_an_objective(checkout, tmp_path):
    before = tmp_path / "before.yaml"
    before.write_text(written("Add an objective", "configs/margin.yaml"), encoding="utf-8")
    with pytest.raises(ConfigError, match="margin"):
        load(before)  # without the edits the union does not know it
    checkout.follow(blocks_of("Add an objective"))
    assert checkout.said.count("dry run of align: one step on 8 items") == 2
    assert not (checkout.folder / "runs").exists()
    check_code(checkout, blocks_of("Add an objective"))


def test_add_an_encoder(checkout, tmp_path):
    from medvlp.model import DualEncoder

    before = tmp_path / "before.yaml"
    before.write_text(written("Add an encoder", "conv.yaml"), encoding="utf-8")
    with pytest.raises(ConfigError, match="conv"):
        load_as(DualEncoder.Config, before)
    checkout.follow(blocks_of("Add an encoder"))
    assert (checkout.folder / "conv_saved" / "model.safetensors").is_file()
    check_code(checkout, blocks_of("Add an encoder"))


def test_add_a_dataset(checkout):
    checkout.follow(blocks_of("Add a dataset"))
    assert "dry run: nothing was written" in checkout.said
    store = PairsStore.load(checkout.folder / "data" / "cells")
    assert len(store) == 12
    assert store.classes == ["breast carcinoma", "lung adenocarcinoma"]
    assert {text.text for text in store.split("train")[0].texts} <= {
        wording.format(name)
        for wording in ("an H&E image of {}.", "{}, haematoxylin and eosin stain.")
        for name in ("lung adenocarcinoma", "adenocarcinoma of the lung", "adenocarcinoma of lung", "breast carcinoma")
    } | {"an H&E image of carcinoma of breast.", "carcinoma of breast, haematoxylin and eosin stain."}


def check_code(checkout, blocks):
    """What a reader has after a how-to keeps the arrows and, where ruff is installed, the house style."""
    assert wrong_arrows(checkout.folder) == []
    files = [block.path for block in blocks if block.path is not None and block.path.endswith(".py")]
    assert files
    ruff = shutil.which("ruff", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    for verb in (["check"], ["format", "--check"]) if ruff is not None else ():
        command = [ruff, *verb, "--no-cache", *files]
        done = subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_how_tos_are_under_a_page():
    lengths = {heading: len(section(ARCHITECTURE, heading).splitlines()) for heading in HOW_TOS}
    assert max(lengths.values()) <= A_PAGE, lengths


def named_rooms():
    table = section(ARCHITECTURE, "Rooms")
    return [name for row in re.findall(r"^\| (`[^|]*`) \|", table, re.M) for name in re.findall(r"`([^`]+)`", row)]


def rooms_of(root):
    """Packages below the top-level ones, as ``medvlp/data``."""
    return {
        f"{package}/{path.parent.name}"
        for package in PACKAGES
        for path in sorted((root / package).glob("*/__init__.py"))
    }


def test_every_room_named_exists():
    for name in named_rooms():
        assert sorted(ROOT.glob(name)), name


def test_every_room_is_named():
    named = {name.rstrip("/") for name in named_rooms()}
    assert rooms_of(ROOT) - named == set()
    top = {path.parent.name for path in ROOT.glob("[!.]*/__init__.py")} | {"configs", "docs", "tests"}
    assert top <= {name.partition("/")[0] for name in named}


def test_every_file_of_medvlp_has_a_room():
    cell = next(row for row in section(ARCHITECTURE, "Rooms").splitlines() if row.startswith("| `medvlp/*.py` |"))
    patterns = re.findall(r"`([\w*]+)`", cell.split("|")[2])
    files = {path.stem for path in (ROOT / "medvlp").glob("*.py")} - {"__init__"}
    matched = {stem for stem in files for pattern in patterns if re.fullmatch(pattern.replace("*", r"\w*"), stem)}
    assert files - matched == set()


def room(root, parts):
    """The room that a dotted name leads to; the files of ``medvlp`` itself are three rooms."""
    if parts[0] not in PACKAGES:
        return None
    if len(parts) > 1 and (root / parts[0] / parts[1]).is_dir():
        return f"{parts[0]}/{parts[1]}"
    if parts[0] != "medvlp":
        return parts[0]
    stem = parts[1] if len(parts) > 1 and (root / "medvlp" / f"{parts[1]}.py").is_file() else "__init__"
    return "foundation" if stem in FOUNDATION else "model" if stem in MODEL else "front"


def imports(tree, *, inside_functions, type_only=True):
    """Dotted names a file imports, one per imported name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}".split(".") for alias in node.names)
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not (function and not inside_functions) and not (for_types and not type_only):
            yield from imports(node, inside_functions=inside_functions, type_only=type_only)


def arrows():
    (block,) = [block for block in BLOCKS if (block.language, block.action) == ("text", "arrows")]
    named = {}
    for line in block.text.splitlines():
        name, targets = line.split("<-")
        named[name.strip()] = {target.strip() for target in targets.split(",")} - {""}
    rooms = {"medvlp": {"foundation", "model", "front"}, "data_prep": set()}
    for name in named:
        rooms.setdefault(name.partition("/")[0], set()).add(name)
    return {
        name: {room for target in targets for room in (rooms[target] if target in PACKAGES else {target})}
        for name, targets in named.items()
    }


def wrong_arrows(root):
    """Imports at the top of a file that the page does not name, and any import of the other packages by medvlp."""
    allowed, found = arrows(), []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            file = path.relative_to(root)
            tree, here = ast.parse(path.read_text(encoding="utf-8")), room(root, list(file.with_suffix("").parts))
            names_only = file.as_posix() == "medvlp/__init__.py"  # its type-only imports are the lazy public names
            top = imports(tree, inside_functions=False, type_only=not names_only)
            targets = {room(root, parts) for parts in top} - {None, here}
            targets -= allowed.get(here, set())
            if package == "medvlp":
                anywhere = imports(tree, inside_functions=True)
                targets |= {parts[0] for parts in anywhere if parts[0] in PACKAGES and parts[0] != "medvlp"}
            found += [f"{file.as_posix()} ({here}) imports {target}" for target in sorted(targets)]
    return found


def test_arrows_hold():
    assert wrong_arrows(ROOT) == []


def test_arrows_name_every_room_and_go_down():
    named = list(arrows())
    assert {"foundation", "model", "front"} | rooms_of(ROOT) == set(named)
    for number, (name, targets) in enumerate(arrows().items()):
        assert targets <= set(named[:number]), name


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("medvlp/metrics/bad.py", "import medvlp.training.loop", "imports medvlp/training"),
        ("medvlp/data/bad.py", "from medvlp import model", "imports model"),
        ("medvlp/knowledge/bad.py", "def f():\n    from data_prep import pairs", "imports data_prep"),
        ("data_prep/text/bad.py", "from benchmarks.quickstart import run", "imports benchmarks/quickstart"),
    ],
)
def test_a_wrong_arrow_is_found(checkout, file, line, said):
    before = wrong_arrows(checkout.folder)
    (checkout.folder / file).write_text(f"{line}\n", encoding="utf-8")
    (problem,) = set(wrong_arrows(checkout.folder)) - set(before)
    assert problem.startswith(file)
    assert problem.endswith(said)


def test_edits_are_exact():
    assert apply_edit("a\nb\nc\n", " a\n-b\n+x\n+y\n") == "a\nx\ny\nc\n"
    assert apply_edit("a\nb\nc\n", "-a\n@@\n c\n+d\n") == "b\nc\nd\n"
    for text in ("a\n", "b\nb\n", " b\n"):
        with pytest.raises(AssertionError, match="exactly once"):
            apply_edit(text, "-b\n+c\n")


def test_a_failing_block_fails(checkout):
    (block,) = [block for block in blocks_of("Add a dataset") if "Image.fromarray" in block.text]
    with pytest.raises(AssertionError, match="my_cells"):
        checkout.follow([block])  # the folder it writes into was not made
