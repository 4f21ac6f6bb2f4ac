"""Rules for every source file: nothing that runs what a user's file says, one import direction, small files."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("medvlp", "data_prep", "benchmarks", "tests")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
HARMLESS = {"UnpicklingError"}  # raised by torch.load(weights_only=True), so it has to be caught
MAX_LINES = 400


def problems(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [f"imports {a.name} as {a.asname}" for a in node.names if a.asname and a.name in UNSAFE_MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module in UNSAFE_MODULES:
            found += [f"uses {node.module}.{a.name}" for a in node.names if a.name not in HARMLESS]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in UNSAFE_MODULES:
            found += [f"uses {node.value.id}.{node.attr}"] if node.attr not in HARMLESS else []
        elif isinstance(node, ast.Call):
            found += call_problems(node)
        elif isinstance(node, ast.ExceptHandler) and len(node.body) == 1 and isinstance(node.body[0], ast.Pass):
            found.append(f"line {node.lineno}: an error is passed over in silence")
    return found


def call_problems(node: ast.Call) -> list[str]:
    name = ast.unparse(node.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    found = []
    if name in {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}:
        found.append(f"line {node.lineno}: calls {name}")
    if name == "torch.load" and given.get("weights_only") != "True":
        found.append(f"line {node.lineno}: torch.load without weights_only=True")
    if given.get("trust_remote_code", "False") != "False":
        found.append(f"line {node.lineno}: trust_remote_code")
    if given.get("shell", "False") != "False":
        found.append(f"line {node.lineno}: a shell string")
    if name in {"np.load", "numpy.load"} and given.get("allow_pickle", "False") != "False":
        found.append(f"line {node.lineno}: allow_pickle")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_file(path):
    text = path.read_text(encoding="utf-8")
    found = problems(ast.parse(text))
    if path.is_relative_to(ROOT / "tests"):  # a test may check that an object survives pickling
        found = [problem for problem in found if not problem.startswith("uses pickle.")]
    assert found == []
    assert len(text.splitlines()) <= MAX_LINES


@pytest.mark.parametrize(
    "line",
    [
        "import pickle\npickle.load(stream)",
        "import pickle as p",
        "from joblib import load",
        "eval('1')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "AutoModel.from_pretrained(x, trust_remote_code=True)",
        "subprocess.run(text, shell=True)",
        "np.load(path, allow_pickle=True)",
        "try:\n    f()\nexcept OSError:\n    pass",
        "yaml.load(text)",
    ],
)
def test_the_rules_catch(line):
    assert problems(ast.parse(line))


def test_the_rules_allow():
    allowed = (
        "model.eval()\ntorch.load(p, weights_only=True)\nyaml.safe_load(t)\nre.compile('x')\nsubprocess.run(['a'])\n"
        "import pickle\npickle.UnpicklingError"
    )
    assert problems(ast.parse(allowed)) == []


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("medvlp", {"data_prep", "benchmarks", "tests"}),
        ("data_prep", {"benchmarks", "tests"}),
        ("benchmarks", {"tests"}),
    ],
)
def test_imports_go_one_way(package, forbidden):
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            assert not {name.partition(".")[0] for name in names} & forbidden, path


def test_every_file_says_why_it_exists():
    missing = [
        path.relative_to(ROOT).as_posix()
        for path in FILES
        if path.name != "conftest.py" and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert missing == []
