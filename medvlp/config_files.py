"""Where configuration files are found: a path, the checkout's ``configs/``, or the copy inside the wheel."""

from __future__ import annotations

import difflib
from pathlib import Path

from medvlp.config_yaml import Tree, merge, read_yaml
from medvlp.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent


def config_roots() -> list[Path]:
    """Return the folders searched for bare names: those of the checkout and of the wheel that exist."""
    checkout = _PACKAGE.parent
    roots = [checkout / "configs"] if (checkout / "pyproject.toml").is_file() else []
    return [root for root in (*roots, _PACKAGE / "_configs") if root.is_dir()]


def shipped_configs() -> dict[str, Path]:
    """Return every shipped configuration by its name: the path below ``configs/`` without ``.yaml``."""
    found: dict[str, Path] = {}
    for root in config_roots():
        for path in sorted(root.rglob("*.yaml")):
            found.setdefault(path.relative_to(root).with_suffix("").as_posix(), path)
    return found


def first_comment(path: Path) -> str:
    """Return the first sentence of the comment a file begins with: what the configuration is for."""
    words: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        words += line.lstrip("# ").split()
        if words and words[-1].endswith("."):
            break
    return " ".join(words).partition(". ")[0].removesuffix(".")


def find_config(name: str | Path, beside: Path | None = None) -> Path:
    """Find a configuration by path or by bare name.

    Args:
        name: A path, or a name such as ``keep``, ``keep.yaml`` or ``eval/nuclei``.
        beside: A folder in which a relative path is looked up first (the folder of the file that extends it).

    Raises:
        ConfigError: If nothing or more than one file matches; the message names the nearest.
    """
    text = str(name)
    for candidate in ([beside / text, beside / f"{text}.yaml"] if beside else []) + [Path(text).expanduser()]:
        if candidate.is_file():
            return candidate
    shipped = shipped_configs()
    bare = text.removesuffix(".yaml").removesuffix(".yml")
    if bare in shipped:
        return shipped[bare]
    matches = [key for key in shipped if key.rsplit("/", 1)[-1] == bare]
    if len(matches) == 1:
        return shipped[matches[0]]
    if matches:
        raise ConfigError(
            f"names several configurations ({', '.join(matches)})", item=text, remedy="write the longer name"
        )
    short = {key.rsplit("/", 1)[-1]: key for key in shipped}
    near = [short.get(key, key) for key in difflib.get_close_matches(Path(bare).name, [*short, *shipped], 3)]
    hint = f"nearest: {', '.join(dict.fromkeys(near))}" if near else "`medvlp config list` shows the shipped ones"
    raise ConfigError("no such configuration file or name", item=text, remedy=hint)


def read_with_bases(name: str | Path, beside: Path | None = None, above: tuple[Path, ...] = ()) -> Tree:
    """Read a configuration and lay it over the files it ``extends:`` (one name or a list, later ones win).

    Raises:
        ConfigError: For a file that cannot be found or read, and for files that extend each other in a circle.
    """
    path = find_config(name, beside)
    resolved = path.resolve()
    if resolved in above:
        chain = " -> ".join(p.name for p in (*above[above.index(resolved) :], resolved))
        raise ConfigError(f"the configurations extend each other in a circle ({chain})", item=path)
    tree = read_yaml(path)
    extends = tree.value.pop("extends", None)
    if extends is None:
        return tree
    bases = extends.value if isinstance(extends.value, list) else [extends]
    result = Tree({}, tree.where)
    problems = []
    for base in bases:
        if not isinstance(base.value, str):
            raise ConfigError("extends must be a file name or a list of file names", item=base.where)
        try:
            lower = read_with_bases(base.value, path.parent, (*above, resolved))
        except ConfigError as error:
            if above or str(error).startswith(extends.where):
                raise
            raise ConfigError(str(error), item=f"{base.where}: extends") from None
        problems += lower.problems
        result = merge(result, lower)
    merged = merge(result, tree)
    return Tree(merged.value, tree.where, [*problems, *tree.problems])
