"""Breaks the product's own source one operator at a time, to prove that the comparison with the loops would notice.

Only syntax is looked at: the function under test, and every function or class of the product it names, are parsed; each
minus becomes a plus, each plus a minus, each product a quotient and back, in a copy of its module, which is imported
from a temporary file and swapped in.
"""

import ast
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType

SWAPS: dict[type, type] = {ast.Sub: ast.Add, ast.Add: ast.Sub, ast.USub: ast.UAdd, ast.Mult: ast.Div, ast.Div: ast.Mult}
VALUE_TAKERS = ("where", "masked_fill", "masked_fill_", "full", "full_like", "clamp", "maximum", "minimum")


@dataclass(frozen=True)
class Mutant:
    """One flipped operator: `owner` is the function or class it lies in, `place` its number in the module or None."""

    owner: FunctionType | type
    place: int | None
    text: str


def reached(function: Callable, package: str) -> list[FunctionType | type]:
    """`function` and every function and class of `package` that its code names, directly or not."""
    queue, found = [function], []
    while queue:
        item = queue.pop()
        if item in found:
            continue
        found.append(item)
        namespace = vars(sys.modules[item.__module__])
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(item)))
        for node in ast.walk(tree):
            target = namespace.get(node.id) if isinstance(node, ast.Name) else None
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                holder = namespace.get(node.value.id)
                target = getattr(holder, node.attr, None) if isinstance(holder, ModuleType) else None
            if isinstance(target, FunctionType | type) and target.__module__.startswith(package):
                queue.append(target)
    return found


def _is_position(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Whether a minus only counts an axis or an index from the end (`dim=-1`, `x[-1]`, `view(-1, n)`)."""
    if not (isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)):
        return False
    if not isinstance(node.operand.value, int):
        return False
    parent = parents[node]
    while isinstance(parent, ast.Tuple | ast.Slice):
        parent = parents[parent]
    if isinstance(parent, ast.keyword):
        return parent.arg in ("dim", "axis")
    if isinstance(parent, ast.Call):
        return not (isinstance(parent.func, ast.Attribute) and parent.func.attr in VALUE_TAKERS)
    return isinstance(parent, ast.Subscript)


def _operators(tree: ast.Module) -> list[tuple[ast.AST, bool]]:
    """Every + - * / of a module in a fixed order, each with whether its flip changes a value."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp | ast.UnaryOp | ast.AugAssign) and type(node.op) in SWAPS:
            above, in_error = node, False
            while above in parents:
                above = parents[above]
                in_error = in_error or isinstance(above, ast.Raise)
            found.append((node, not in_error and not _is_position(node, parents)))
    return found


def mutants(function: Callable, package: str) -> list[Mutant]:
    """Every operator that can be flipped in what `function` runs."""
    found = []
    for owner in reached(function, package):
        module = sys.modules[owner.__module__]
        lines, first = inspect.getsourcelines(owner)
        for place, (node, counts) in enumerate(_operators(ast.parse(inspect.getsource(module)))):
            if counts and first <= node.lineno < first + len(lines):
                text = ast.unparse(node)
                found.append(Mutant(owner, place, f"{owner.__name__}:{node.lineno}: {text}"))
    return found


def copies(function: Callable, package: str) -> list[Mutant]:
    """For control: everything `function` runs with nothing flipped."""
    return [Mutant(owner, None, owner.__name__) for owner in reached(function, package)]


def _flipped(mutant: Mutant, folder: Path) -> FunctionType | type:
    """The owner with one operator flipped, imported from a temporary file."""
    source = inspect.getsource(sys.modules[mutant.owner.__module__])
    tree = ast.parse(source)
    if mutant.place is not None:
        node = _operators(tree)[mutant.place][0]
        node.op = SWAPS[type(node.op)]()
    name = f"mutant_{mutant.owner.__module__.rsplit('.', 1)[-1]}_{mutant.place}"
    path = folder / f"{name}.py"
    path.write_text(ast.unparse(tree))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        return getattr(module, mutant.owner.__name__)
    finally:
        del sys.modules[name]


@contextmanager
def swapped_in(mutant: Mutant, function: Callable, package: str, folder: Path) -> Iterator[Callable]:
    """`function` as it behaves with one flipped operator, wherever in the package that operator is used."""
    replacement = _flipped(mutant, folder)
    changed = [
        (module, key)
        for name, module in list(sys.modules.items())
        if name.startswith(package)
        for key, value in list(vars(module).items())
        if value is mutant.owner
    ]
    for module, key in changed:
        setattr(module, key, replacement)
    try:
        yield replacement if mutant.owner is function else function
    finally:
        for module, key in changed:
            setattr(module, key, mutant.owner)


def fails(check: Callable[[Callable], None], function: Callable) -> bool:
    """Whether a mutant gives another answer, or none: an exception is as loud as a wrong number."""
    try:
        check(function)
    except Exception:
        return True
    return False


def survivors(
    checks: dict[str, Callable[[Callable], None]], load: Callable[[str], Callable], package: str, folder: Path
) -> tuple[list[str], int]:
    """Return the mutants that no check noticed of those that run them, and how many mutants there are."""
    runs: dict[Mutant, list[str]] = {}
    for name in checks:
        for mutant in mutants(load(name), package):
            runs.setdefault(mutant, []).append(name)
    left = []
    for mutant, names in runs.items():
        for name in names:
            with swapped_in(mutant, load(name), package, folder) as broken:
                if fails(checks[name], broken):
                    break
        else:
            left.append(mutant.text)
    return left, len(runs)
