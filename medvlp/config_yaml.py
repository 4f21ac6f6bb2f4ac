"""YAML read with a file and line behind every value, so that a mistake can be reported where it was made.

The dialect is the core schema of YAML 1.2: ``1e-5`` is a float, ``no`` and ``12:30`` are strings, keys are
always strings. Anchors are expanded under a size limit; tags and merge keys (``<<``) are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from medvlp.errors import ConfigError

_MAX_BYTES, _MAX_NODES, _MAX_DEPTH = 1_000_000, 100_000, 64
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


class _Loader(yaml.SafeLoader):
    """Composes nodes only; plain scalars are resolved by :func:`_scalar`, not by YAML 1.1 rules."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - pyyaml's own class attribute


@dataclass
class Tree:
    """A YAML value that knows where it stands.

    Attributes:
        value: A scalar, a list of trees, or a dict from key to tree.
        where: ``file:line`` of the key it belongs to, or ``--set a.b``.
    """

    value: Any
    where: str
    problems: list[str] = field(default_factory=list)

    def plain(self) -> Any:
        """Return the value as plain dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: tree.plain() for key, tree in self.value.items()}
        if isinstance(self.value, list):
            return [tree.plain() for tree in self.value]
        return self.value


def read_yaml(path: Path) -> Tree:
    """Read one YAML file whose top level is a mapping.

    Duplicate keys do not stop the reading; they are listed in ``problems`` of the result.

    Raises:
        ConfigError: If the file is missing, too large, not YAML, uses tags, or is no mapping.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"larger than {_MAX_BYTES} bytes, so not a configuration", item=path)
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", item=path, remedy="check the path") from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text", item=path, remedy="save it as UTF-8") from None
    tree = parse(text, str(path))
    if tree.value is None:
        tree.value = {}
    if not isinstance(tree.value, dict):
        raise ConfigError("the top level must be a mapping of keys to values", item=tree.where)
    return tree


def parse(text: str, name: str, where: str | None = None) -> Tree:
    """Parse YAML text; ``where`` overrides the ``name:line`` marks (used for ``--set``)."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"not valid YAML ({error.problem})", item=where or f"{name}:{line}") from None
    except (yaml.YAMLError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else "unprintable character"
        raise ConfigError(f"not valid YAML ({reason})", item=where or name) from None
    builder = _Builder(name, where)
    if node is None:
        return Tree(None, where or f"{name}:1")
    tree = builder.build(node, node.start_mark.line + 1, 0)
    tree.problems = builder.problems
    return tree


class _Builder:
    """Turns composed nodes into trees, counting them so that anchors cannot blow up."""

    def __init__(self, name: str, where: str | None) -> None:
        self.name, self.where = name, where
        self.num_nodes = 0
        self.problems: list[str] = []

    def at(self, line: int) -> str:
        return self.where or f"{self.name}:{line}"

    def build(self, node: Any, line: int, depth: int) -> Tree:
        self.num_nodes += 1
        if self.num_nodes > _MAX_NODES or depth > _MAX_DEPTH:
            raise ConfigError("nested or repeated too often (anchors?)", item=self.at(line), remedy="write it out")
        own = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode):
            return Tree(self._scalar(node, own), self.at(line))
        if node.tag not in {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
            raise ConfigError(f"the tag {node.tag} is not allowed", item=self.at(own), remedy="use plain values")
        if isinstance(node, yaml.SequenceNode):
            return Tree([self.build(item, item.start_mark.line + 1, depth + 1) for item in node.value], self.at(line))
        result: dict[str, Tree] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError("a key must be a word, not a list or mapping", item=self.at(key_line))
            key = key_node.value
            if key == "<<":
                raise ConfigError("merge keys (<<) are not supported", item=self.at(key_line), remedy="use `extends:`")
            if key in result:
                first = result[key].where.rsplit(":", 1)[-1]
                self.problems.append(f"{self.at(key_line)}: {key}: given twice (first on line {first}); remove one")
            result[key] = self.build(value_node, key_line, depth + 1)
        return Tree(result, self.at(line))

    def _scalar(self, node: yaml.ScalarNode, line: int) -> Any:
        tag = node.tag.removeprefix("tag:yaml.org,2002:")
        text = str(node.value)
        if tag not in {"str", "!"}:
            raise ConfigError(f"the tag {node.tag} is not allowed", item=self.at(line), remedy="use plain values")
        if node.style is not None:  # quoted or block text is never a number
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        return float(text) if _FLOAT.fullmatch(text) else text


def merge(base: Tree, over: Tree) -> Tree:
    """Return ``base`` with ``over`` laid on top: mappings merge key by key, all else is replaced.

    A mapping whose ``name:`` (the choice between alternatives) changes is replaced as a whole, because the
    fields of the other alternative would only be unknown keys.
    """
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    old, new = base.value.get("name"), over.value.get("name")
    if old is not None and new is not None and old.value != new.value:
        return over
    merged = dict(base.value)
    for key, tree in over.value.items():
        merged[key] = merge(merged[key], tree) if key in merged else tree
    return Tree(merged, over.where)


def override(text: str) -> Tree:
    """Turn ``a.b=c`` into the tree ``{a: {b: c}}``; ``c`` is read as YAML."""
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    where = f"--set {path.strip()}"
    if not equals or not all(keys):
        raise ConfigError("is not of the form a.b=value", item=f"--set {text}")
    tree = parse(value, where, where)
    for key in reversed(keys):
        tree = Tree({key: tree}, where, tree.problems)
    return tree


def walk(tree: Tree, location: tuple[int | str, ...]) -> tuple[Tree, list[str], list[str]]:
    """Follow a pydantic error location through a tree.

    Returns:
        The deepest tree reached, the keys that led to it, and the trailing parts of the location that name nothing
        in the tree (a missing key, the member of a union).
    """
    here = tree
    path: list[str] = []
    rest: list[str] = []
    for part in location:
        child = None
        if isinstance(here.value, dict) and isinstance(part, str):
            child = here.value.get(part)
        elif isinstance(here.value, list) and isinstance(part, int) and part < len(here.value):
            child = here.value[part]
        if child is None:  # the tag of a discriminated union stands in the location, not in the file
            rest.append(str(part))
            continue
        here = child
        path.append(str(part))
        rest.clear()
    return here, path, rest
