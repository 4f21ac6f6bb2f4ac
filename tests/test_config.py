"""A mistake in a configuration is reported where it was made, together with all the others."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from medvlp import config
from medvlp.config import Config, dump, load, load_as, resolve_path
from medvlp.errors import ConfigError, MissingExtraError


class Timm(Config):
    name: Literal["timm"]
    model: str = "resnet"
    width: float = 1.0


class Hf(Config):
    name: Literal["hf"]
    folder: str = "x"


class Demo(Config):
    kind: Literal["demo"]
    tower: Annotated[Timm | Hf, Field(discriminator="name")]
    steps: int = 3
    rate: float = 1e-3
    size: tuple[int, int] = (1, 2)
    limit: int | Literal["auto"] = 5
    mode: Literal["real", "none"] = "real"
    extra: list[Timm] = Field(default=[])
    weights: dict[str, float] = Field(default={})

    @model_validator(mode="after")
    def _check(self):
        if self.steps < 0:
            raise ValueError("steps must not be negative")
        return self


@pytest.fixture(autouse=True)
def demo_kind(monkeypatch):
    monkeypatch.setitem(config.KINDS, "demo", f"{__name__}:Demo")


@pytest.fixture
def write(tmp_path):
    def _write(text, name="a.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return _write


GOOD = "kind: demo\ntower:\n  name: timm\n"


def message(path, *overrides, **options):
    with pytest.raises(ConfigError) as caught:
        load(path, overrides, **options)
    return str(caught.value)


def test_yaml_1_2_scalars(write):
    loaded = load(write(GOOD + "rate: 1e-5\nsize: [3, 4]\nlimit: auto\nweights: {no: 1, 3: 0.5}\n"))
    assert loaded.rate == 1e-5
    assert loaded.size == (3, 4)
    assert loaded.weights == {"no": 1.0, "3": 0.5}
    loaded = load(write("kind: demo\ntower: {name: timm, model: 12:30}\n"))
    assert loaded.tower.model == "12:30"


def test_round_trip(write):
    first = load(write(GOOD + "rate: 1e-5\nweights: {a: 1e-7}\n"))
    assert load(write(dump(first), "b.yaml")) == first


def test_every_mistake_at_once(write):
    path = write(
        "kind: demo\ntower:\n  name: timm\n  widht: 2\nstepz: 4\nrate: fast\nlimit: [1]\nmode: rael\n"
        "extra:\n  - name: timm\n    width: wide\n"
    )
    lines = message(path).splitlines()
    assert len(lines) == 6
    text = "\n".join(lines)
    assert f'{path}:4: tower.widht: unknown key (nearest valid key "width"' in text
    assert f'{path}:5: stepz: unknown key (nearest valid key "steps"' in text
    assert f"{path}:6: rate: expected a number, got text 'fast'" in text
    assert f"{path}:7: limit: expected a whole number or one of 'auto', got a list" in text
    assert f"{path}:8: mode: expected one of 'real', 'none', got text 'rael'" in text
    assert f"{path}:11: extra.0.width: expected a number, got text 'wide'" in text


def test_duplicate_key_is_reported_with_the_rest(write):
    path = write(GOOD + "steps: 1\nsteps: 2\nrat: 1\n")
    text = message(path)
    assert f"{path}:5: steps: given twice (first on line 4)" in text
    assert f'{path}:6: rat: unknown key (nearest valid key "rate"' in text
    path = write(GOOD + "steps: 1\nsteps: 2\n")
    assert "given twice" in message(path)


def test_unknown_and_missing_alternative(write):
    path = write("kind: demo\ntower:\n  name: tim\n")
    assert f'{path}:3: tower.name: unknown name "tim" (nearest valid key "timm"; valid: hf, timm)' in message(path)
    path = write("kind: demo\ntower:\n  model: x\n")
    assert f"{path}:2: tower.name: required key is missing (valid: hf, timm)" in message(path)
    path = write("kind: demo\n")
    assert f"{path}:1: tower: required key is missing" in message(path)


def test_a_value_that_may_be_one_or_a_list_is_judged_as_what_it_is():
    with pytest.raises(ConfigError) as caught:
        load("keep", ["objective.nam=x"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 1
    assert 'objective.nam: unknown key (nearest valid key "name"' in lines[0]
    with pytest.raises(ConfigError, match=r"objective\.0\.pos: unknown key \(valid: chunk, .*positives"):
        load("keep", ["objective=[{name: clip, pos: 1}]"])
    with pytest.raises(ConfigError, match="objective: expected .*a list, got number 3"):
        load("keep", ["objective=3"])


def test_own_validator_and_float_for_int(write):
    assert "(top level): steps must not be negative" in message(write(GOOD + "steps: -1\n"))
    assert "steps: expected a whole number, got number 1.5" in message(write(GOOD + "steps: 1.5\n"))
    assert "steps: expected a whole number, got true" in message(write(GOOD + "steps: true\n"))
    assert "steps: expected a whole number, got null" in message(write(GOOD + "steps:\n"))


def test_overrides(write):
    path = write(GOOD)
    assert load(path, ["steps=0", "tower.width=2"]).tower.width == 2.0
    assert load(path, ["tower.name=hf", "tower.folder=y"]).tower == Hf(name="hf", folder="y")
    assert "--set tower.widht: tower.widht: unknown key" in message(path, "tower.widht=1")
    assert "--set steps: not of the form" not in message(path, "steps")
    assert "--set steps: is not of the form a.b=value" in message(path, "steps")
    assert "--set steps: not valid YAML" in message(path, "steps=[1")


def test_extends(write):
    write(GOOD + "steps: 7\nrate: 0.5\n", "base.yaml")
    write("steps: 8\nweights: {a: 1}\n", "second.yaml")
    child = write("extends: [base, second.yaml]\nrate: 0.25\nweights: {b: 2}\n", "child.yaml")
    loaded = load(child)
    assert (loaded.steps, loaded.rate, loaded.weights) == (8, 0.25, {"a": 1.0, "b": 2.0})
    swapped = write("extends: base\ntower: {name: hf}\n", "swapped.yaml")
    assert load(swapped).tower == Hf(name="hf")
    base = write(GOOD + "stepz: 1\n", "wrong.yaml")
    assert f"{base}:4: stepz" in message(write("extends: wrong\nsteps: 1\n"))


def test_extends_circle_and_missing_base(write):
    write("extends: b\n", "a.yaml")
    path = write("extends: a\n", "b.yaml")
    text = message(path)
    assert "in a circle (b.yaml -> a.yaml -> b.yaml)" in text
    assert len(text.splitlines()) == 1
    path = write("extends: nowhere\n", "c.yaml")
    assert f"{path}:1: extends: nowhere: no such configuration" in message(path)


def test_kind(write):
    path = write("kind: dmo\n")
    assert f'{path}:1: kind: unknown kind "dmo" (nearest "demo"; valid:' in message(path)
    path = write("steps: 1\n")
    assert f"{path}: kind: required key is missing" in message(path)
    path = write(GOOD)
    assert f'{path}:1: kind: is "demo", but a configuration of kind "align" is needed' in message(path, kind="align")


def test_missing_file_suggests_names(monkeypatch, tmp_path):
    (tmp_path / "configs" / "eval").mkdir(parents=True)
    for name in ("keep", "eval/nuclei", "eval/keep"):
        (tmp_path / "configs" / f"{name}.yaml").write_text("# What it is for.\nkind: demo\ntower: {name: hf}\n")
    monkeypatch.setattr("medvlp.config_files.config_roots", lambda: [tmp_path / "configs"])
    assert load("nuclei").tower == load("eval/nuclei.yaml").tower == Hf(name="hf")
    assert load("keep").kind == "demo"  # the whole name wins over the last part of another
    assert "no such configuration file or name; nearest: eval/nuclei" in message("nucleii")
    assert "medvlp config list" in message("zzz")


# Each line repeats the one above it ten times: a hundred million values once the anchors are written out.
BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{above}'] * 10)}]\n" for above, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: [demo\n", "not valid YAML"),
        ("- 1\n", "the top level must be a mapping"),
        ("kind: demo\nx: !!python/object:os.system 1\n", ":2: the tag"),
        ("kind: demo\nx: !!python/tuple [1]\n", ":2: the tag"),
        ("a: &a {}\nb:\n  <<: *a\n", ":3: merge keys"),
        ("? [1]\n: 2\n", "a key must be a word"),
        ("a: " + "[" * 80 + "]" * 80, "nested"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested"),
        (BOMB, "anchors"),
        ("a: &a [*a]\n", "nested"),
        ("a: \0", "not valid YAML"),
    ],
)
def test_hostile_yaml(write, text, expected):
    shown = message(write(text))
    assert expected in shown
    assert len(shown.splitlines()) == 1


def test_not_text(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xff\xfe\x00kind")
    assert "is not UTF-8 text" in message(path)
    path.write_text("# " + "x" * 1_100_000)
    assert "larger than" in message(path)
    assert "no such configuration" in message(tmp_path)


def test_load_as(write):
    assert load_as(Hf, write("name: hf\n")).folder == "x"
    with pytest.raises(ConfigError, match="foldr: unknown key"):
        load_as(Hf, write("name: hf\nfoldr: y\n"))


def test_resolve_path(monkeypatch, tmp_path):
    monkeypatch.setenv("SOME_DATA", str(tmp_path))
    monkeypatch.delenv("NO_DATA", raising=False)
    assert resolve_path("${SOME_DATA}/a") == tmp_path / "a"
    assert str(resolve_path("${NO_DATA:-b}/a")) == "b/a"
    assert resolve_path("~/a").is_absolute()
    assert resolve_path("pkg:pydantic/__init__.py").is_file()
    with pytest.raises(ConfigError, match="the environment variable NO_DATA is not set; export NO_DATA="):
        resolve_path("${NO_DATA}/a")
    with pytest.raises(MissingExtraError, match="no_such_package: the data package is not installed"):
        resolve_path("pkg:no_such_package/a")
    for bad in ("pkg:pydantic/../secret", "pkg:a b/c", "pkg:pydantic//etc/passwd", "", "${unclosed"):
        with pytest.raises(ConfigError, match="is not"):
            resolve_path(bad)


def test_wheel_only_install_says_so(monkeypatch, write):
    monkeypatch.setitem(config.KINDS, "graph", "no_such_checkout.config:X")
    with pytest.raises(MissingExtraError, match="no_such_checkout is not in the wheel: this needs the source checkout"):
        load(write("kind: graph\n"))
