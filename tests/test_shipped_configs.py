"""Every shipped configuration loads, says what it is for, and explains each of its keys in the schema."""

import pytest

from medvlp.config import KINDS, Config, config_class, dump, load, load_as
from medvlp.config_files import first_comment, shipped_configs

SHIPPED = shipped_configs()


@pytest.mark.parametrize("name", SHIPPED)
def test_loads_and_round_trips(name, tmp_path):
    loaded = load(SHIPPED[name])
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump(loaded), encoding="utf-8")
    assert load(copy) == loaded
    assert load_as(type(loaded), copy) == loaded
    assert first_comment(SHIPPED[name])


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described(kind):
    cls = config_class(kind)
    assert issubclass(cls, Config)
    schema = cls.model_json_schema()
    parts = schema.get("$defs", {})
    missing = [
        f"{name}.{field}"
        for name, model in {kind: schema, **parts}.items()
        for field, entry in model.get("properties", {}).items()
        # a description equal to that of the part it refers to is left out by pydantic
        if field not in {"kind", "name"}
        and not (entry.get("description") or parts.get(entry.get("$ref", "").rpartition("/")[2], {}).get("description"))
    ]
    assert missing == []
