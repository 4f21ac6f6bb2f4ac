"""Turns pydantic's errors into one line each: where, which key, what is wrong, what was probably meant."""

from __future__ import annotations

import difflib
import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from medvlp.config_yaml import Tree, walk

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "none_required": "null",
}


def describe(error: ValidationError, cls: type[BaseModel], tree: Tree) -> list[str]:
    """List the mistakes, one line each; what the members of a union expected is joined into one line."""
    wanted: dict[str, list[str]] = {}
    position: dict[str, int] = {}
    lines: list[str] = []
    for item in error.errors(include_url=False):
        here, path, rest = walk(tree, item["loc"])
        kind = item["type"]
        if kind == "missing":
            lines.append(f"{here.where}: {'.'.join([*path, str(item['loc'][-1])])}: required key is missing")
            continue
        start = f"{here.where}: {'.'.join(path) or '(top level)'}"
        if kind == "extra_forbidden":
            lines.append(f"{start}: unknown key ({_nearest(path[-1], _fields(cls, tree, path[:-1]))})")
        elif kind == "union_tag_not_found":
            lines.append(f"{start}.name: required key is missing ({_tags(cls, tree, path)})")
        elif kind == "union_tag_invalid":
            tag, discriminator = item["ctx"]["tag"], item["ctx"]["discriminator"].strip("'")
            valid = [word.strip(" '") for word in item["ctx"]["expected_tags"].split(",")]
            start = f"{here.value[discriminator].where}: {'.'.join([*path, discriminator])}"
            lines.append(f'{start}: unknown name "{tag}" ({_nearest(tag, valid)})')
        elif kind in _EXPECTED and rest and _errs_inside(error, tree, path):
            continue
        elif kind in _EXPECTED or kind in {"literal_error", "enum"}:
            members = wanted.setdefault(start, [])
            members.append(_EXPECTED.get(kind) or f"one of {item['ctx']['expected'].replace(' or ', ', ')}")
            line = f"{start}: expected {' or '.join(dict.fromkeys(members))}, got {_show(here.value)}"
            if start in position:  # another member of the same union
                lines[position[start]] = line
            else:
                position[start] = len(lines)
                lines.append(line)
        else:
            message = item["msg"].removeprefix("Value error, ")
            message = "i" + message[1:] if message.startswith("Input") else message
            got = f", got {_show(here.value)}" if path and not rest and kind != "value_error" else ""
            lines.append(f"{start}: {message}{got}")
    return lines


def _errs_inside(error: ValidationError, tree: Tree, path: list[str]) -> bool:
    """Say whether a mistake lies deeper than ``path``, so that the value is of the right type for a union's member."""
    for item in error.errors(include_url=False):
        inner = walk(tree, item["loc"])[1]
        if inner[: len(path)] == path and (len(inner) > len(path) or item["type"].startswith("union_tag")):
            return True
    return False


def _show(value: Any) -> str:
    """Name the type of a value, with the value itself where it is short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    kind = "text" if isinstance(value, str) else "number"
    return f"{kind} {text if len(text) <= 60 else text[:57] + '...'}"


def _nearest(word: str, valid: list[str]) -> str:
    near = difflib.get_close_matches(word, valid, 1)
    hint = f'nearest valid key "{near[0]}"; ' if near else ""
    return f"{hint}valid: {', '.join(sorted(valid)) or 'none here'}"


def _tags(cls: type[BaseModel], tree: Tree, path: list[str]) -> str:
    tags = [str(tag) for model in _models(cls, tree, path) for tag in _name_tags(model)]
    return f"valid: {', '.join(sorted(tags))}"


def _fields(cls: type[BaseModel], tree: Tree, path: list[str]) -> list[str]:
    return [name for model in _models(cls, tree, path) for name in model.model_fields]


def _models(cls: type[BaseModel], tree: Tree, path: list[str]) -> list[type[BaseModel]]:
    """Return the configuration classes that may stand at a path, the one chosen by ``name:`` where there is one."""
    candidates: list[Any] = [cls]
    here = tree
    for part in [*path, None]:
        models = [item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)]
        models = [] if isinstance(here.value, list) else models  # a list is no model, even where one could stand
        chosen = here.value.get("name") if isinstance(here.value, dict) else None
        if chosen is not None:
            models = [m for m in models if chosen.value in _name_tags(m)] or models
        if part is None:
            return models
        inner = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        if not models:  # a list or mapping: its element type stands at every index or key
            inner = [argument for item in candidates for argument in typing.get_args(item)]
        candidates = [option for item in inner for option in _options(item)]
        here = here.value[int(part)] if isinstance(here.value, list) else here.value[part]
    return []


def _options(annotation: Any) -> list[Any]:
    """Flatten unions and ``Annotated`` into their members."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _options(typing.get_args(annotation)[0])
    if origin in {typing.Union, types.UnionType}:
        return [option for member in typing.get_args(annotation) for option in _options(member)]
    return [annotation]


def _name_tags(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("name")
    return typing.get_args(field.annotation) if field is not None else ()
