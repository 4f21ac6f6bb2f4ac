"""README and docs/ say what is so: commands parse, configurations and links exist, marked examples run."""

import ast
import pkgutil
import re
import shlex

import pytest
import typer.main
from docs_pages import ARCHITECTURE, PAGES, ROOT, read_blocks

from medvlp.cli import app
from medvlp.config import KINDS, load
from medvlp.config_files import find_config
from medvlp.errors import ConfigError

COMMANDS = typer.main.get_command(app)
KIND_OF_VERB = {
    "build": ("graph", "umls"),
    "prepare": ("pairs", "reports", "slides"),
    "simulate": ("simulation", "planted_slides"),
    "train": None,  # either stage
    "evaluate": ("evaluate", "retrieval"),
    "finetune": "finetune",
    "survival": "survival",
    "benchmark": "benchmark",
    "quickstart": "quickstart",
    "show": None,
}
STAND_INS = re.compile(r"[A-Z_]+|\.\.\.|my_\w+(\.yaml)?")  # CONFIG, "...", my_pairs.yaml: the reader's own
ACTIONS = re.compile(r"|run|file=\S+|edit=\S+|arrows")
BY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def without_fences(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def spans(page):
    """What stands between backquotes outside code blocks, line ends turned into blanks."""
    return [
        " ".join(span.split()) for span in re.findall(r"`([^`]+)`", without_fences(page.read_text(encoding="utf-8")))
    ]


def command_lines(page):
    """``(words, whole)`` of every ``medvlp`` command: whole lines of code, and those between backquotes."""
    text = page.read_text(encoding="utf-8")
    fenced = [block.text for block in read_blocks(page)]
    indented = re.findall(r"^ {4}.*$", without_fences(text).replace("\\\n", " "), re.M)
    code = "\n".join([*fenced, *indented]).replace("\\\n", " ")
    found = [(match[1], True) for match in re.finditer(r"^ *(?:torchrun .* -m )?medvlp(?:\.cli)? (.+)$", code, re.M)]
    return found + [(span.removeprefix("medvlp "), False) for span in spans(page) if span.startswith("medvlp ")]


def parse(line):
    """Walk the command tree as the command line would, without running anything; returns the last context."""
    words = []
    for word in shlex.split(line, comments=True):
        if word in {">", "|", "&&"}:
            break
        words.append(word)
    name, command, context = "medvlp", COMMANDS, None
    while True:
        context = command.make_context(name, words, parent=context)
        if not hasattr(command, "commands"):
            return context
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])


def problem_of(line, whole, own=()):
    """Say what is wrong with a command, None if nothing is; ``own`` are configurations the page itself writes."""
    try:
        context = parse(line)
    except Exception as error:
        if type(error).__name__ == "MissingParameter" and not whole:
            return None  # `medvlp prepare` in a sentence names the verb
        return f"{line}: {error}"
    params, verb = context.params, context.info_name
    if verb == "schema":
        return None if params["kind"] in KINDS or STAND_INS.fullmatch(params["kind"]) else f"{line}: no such kind"
    if verb not in KIND_OF_VERB or params.get("config") is None:  # `medvlp prepare --dataset` names no configuration
        return None
    if STAND_INS.fullmatch(params["config"]) or params["config"] in own:
        return None
    try:
        find_config(params["config"])
        load(params["config"], params.get("overrides") or (), kind=KIND_OF_VERB[verb])
    except ConfigError as error:
        return f"{line}: {error}"
    return None


def written_configs(page):
    paths = [block.path for block in read_blocks(page) if block.action.startswith("file=")]
    return {path.rsplit("/", 1)[-1].removesuffix(".yaml") for path in paths if path.endswith(".yaml")}


@BY_PAGE
def test_commands_parse(page):
    problems = [problem_of(line, whole, written_configs(page)) for line, whole in command_lines(page)]
    assert [problem for problem in problems if problem is not None] == []


def test_commands_are_found():
    found = [line for page in PAGES for line, _ in command_lines(page)]
    assert len(found) > 20
    for verb in ("doctor", "graph build", "prepare", "train", "evaluate", "export", "config list"):
        assert any(line.startswith(verb) for line in found), verb
    assert "train keep --out /shared/runs/keep" in found  # behind torchrun, on a line of its own


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("trian keep", "No such command"),
        ("graph build doid", "Missing parameter: out"),
        ("graph build doid --out x --overwrit", "No such option"),
        ("export runs/keep --to tflite --out x", "tflite"),
        ("graph build diod --out x", "doid"),
        ("prepare doid --out x", "kind"),
        ("graph build doid --out x --set soucres=1", "sources"),
        ("config schema grahp", "no such kind"),
    ],
)
def test_a_wrong_command_is_found(line, said):
    assert said in problem_of(line, True)


def test_a_right_command_passes():
    assert problem_of("graph build doid --out x --set hierarchy=first  # a comment", True) is None
    assert problem_of("doctor --json > doctor.json", True) is None
    assert problem_of("prepare", False) is None


def test_examples_of_the_command_line_parse():
    def leaves(command, words):
        for name, child in getattr(command, "commands", {}).items():
            yield from leaves(child, [*words, name])
        if not hasattr(command, "commands"):
            yield words, command

    for words, command in leaves(COMMANDS, []):
        (example,) = re.findall(r"Example: medvlp (.*)", command.help)
        assert problem_of(example, True) is None
        assert parse(example).info_name == words[-1]


def slug(heading):
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@BY_PAGE
def test_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_fences(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", without_fences(file.read_text(encoding="utf-8")), re.M)
            assert anchor in {slug(heading) for heading in headings}, target


@BY_PAGE
def test_paths_names_and_targets_exist(page):
    own = {block.path for block in read_blocks(page) if block.action.startswith("file=")}
    configs = {path.name for path in (ROOT / "configs").iterdir() if path.is_dir()}
    for span in spans(page):
        if re.fullmatch(r"(medvlp|data_prep|benchmarks|configs|docs|tests)/[\w./*-]*", span) and span not in own:
            assert sorted(ROOT.glob(span)), span
        elif re.fullmatch(r"(medvlp|data_prep|benchmarks)(\.\w+)+(\(.*\))?", span):
            assert pkgutil.resolve_name(span.partition("(")[0]) is not None
        elif re.fullmatch(rf"({'|'.join(sorted(configs))})/\w+", span):
            assert (ROOT / "configs" / f"{span}.yaml").is_file(), span
    targets = set(re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"(?:^ {4}|`)make ([a-z][\w-]*)", text, re.M)) <= targets


@BY_PAGE
def test_fences_are_of_a_known_kind(page):
    for block in read_blocks(page):
        assert ACTIONS.fullmatch(block.action), f"line {block.line}: {block.action}"
        if block.language == "python":
            ast.parse(block.text)


RUNNABLE = [
    page for page in PAGES if page != ARCHITECTURE and any(block.action == "run" for block in read_blocks(page))
]


def test_some_examples_run():
    assert {page.name for page in RUNNABLE} >= {"graph.md", "data_layout.md"}


NEED_EXTRAS = {"own_data.md", "slide_features.md", "slide_zero_shot.md", "slides.md", "viewer.md"}


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, id=p.name, marks=[pytest.mark.extras] if p.name in NEED_EXTRAS else []) for p in RUNNABLE],
)
def test_marked_examples_run(page, checkout):
    checkout.follow(read_blocks(page))


def test_an_example_that_fails_is_found(tmp_path, checkout):
    page = tmp_path / "page.md"
    page.write_text("```python run\nimport medvlp\n\nassert medvlp.nothing\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="no attribute 'nothing'"):
        checkout.follow(read_blocks(page))
