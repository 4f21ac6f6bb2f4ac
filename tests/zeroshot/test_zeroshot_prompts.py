"""Prompts come from the graph, repeat with the seed, change the digest, and never blur two classes."""

import json
import os
from pathlib import Path

import pytest

from medvlp.errors import ConfigError, DataError, GraphError
from medvlp.zeroshot import prompt_files, templates
from medvlp.zeroshot.prompts import PromptConfig, build_prompts, from_config

CONCEPTS = {"adeno": ["T:4"], "squamous": ["T:5"], "wart": ["T:6"]}


def test_names_times_templates(graph):
    made = build_prompts(graph, CONCEPTS, ["{name}", "a picture of {name}"])
    assert made.texts[0] == (
        "adeno carcinoma", "a picture of adeno carcinoma", "glandular carcinoma", "a picture of glandular carcinoma",
    )  # fmt: skip
    assert made.fallback == ()


def test_a_name_of_two_classes_serves_neither(graph):
    made = build_prompts(graph, CONCEPTS, "plain")
    assert not any("malignant tumour" in text.lower() for texts in made.texts for text in texts)
    assert made.dropped == {"name shared by several classes": 1}


def test_digest_follows_texts_and_seed_repeats(graph):
    first, again = (build_prompts(graph, CONCEPTS, "general", 3, max_names=1, num_paths=2) for _ in range(2))
    assert first.digest == again.digest
    assert first.digest != build_prompts(graph, CONCEPTS, "general", 3, max_names=2, num_paths=2).digest
    assert first.subset(["wart", "adeno"]).digest != first.digest


def test_preferred_only_and_limit(graph):
    assert build_prompts(graph, CONCEPTS, "plain", names="preferred").texts[2] == ("wart",)
    assert build_prompts(graph, CONCEPTS, "plain", max_names=1).texts[2] == ("wart",)


def test_paths_and_definitions(graph):
    made = build_prompts(graph, CONCEPTS, "plain", num_paths=3, num_definitions=1)
    kinds = {prompt.text: prompt.kind for prompt in made.prompts[0]}
    assert kinds["cancer adeno carcinoma"] == "hypernym-path"  # without the root
    assert kinds["A cancer of adeno kind."] == "definition"


def test_class_without_concept_uses_display_name(graph):
    made = build_prompts(graph, {**CONCEPTS, "normal_skin": [], "n": []}, "plain", display_names={"n": "healthy"})
    assert made.texts[3:] == (("normal skin",), ("healthy",))
    assert made.fallback == ("normal_skin", "n")


def test_without_graph():
    assert build_prompts(None, CONCEPTS, "plain").texts == (("adeno",), ("squamous",), ("wart",))


def test_absent_prompts(graph):
    made = build_prompts(graph, {"wart": ["T:6"]}, "plain", absent_templates=["no {name}"])
    assert made.absent == (("no wart", "no verruca"),)


def test_bad_classes(graph):
    with pytest.raises(GraphError, match="T:77"):
        build_prompts(graph, {"a": ["T:77"], "b": ["T:5"]})
    with pytest.raises(DataError, match=r"the classes 'a b' and 'a_b' have the same prompts; give them other concepts"):
        build_prompts(None, {"a b": [], "a_b": []})
    with pytest.raises(DataError, match="no class to make prompts for"):
        build_prompts(graph, {})
    with pytest.raises(ConfigError, match=r"prompts.display_names.x: names no class of the data; use adeno"):
        from_config(PromptConfig(display_names={"x": "y"}), graph, CONCEPTS, 0)


def test_template_sets_are_sound():
    assert len(templates.PATHOLOGY) == 22
    for name, wordings in templates.SETS.items():
        assert len(set(wordings)) == len(wordings), name
        assert templates.checked(wordings, name) == wordings


def test_template_files(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("{name}\n\nthe CLASSNAME\n")
    assert templates.load(str(path)) == ("{name}", "the {name}")
    (tmp_path / "t.json").write_text('["{name} here"]')
    assert templates.load(str(tmp_path / "t.json")) == ("{name} here",)
    path.write_text("no placeholder\n")
    with pytest.raises(DataError, match=r"t.txt: template 1 does not hold \{name\} exactly once"):
        templates.load(str(path))
    with pytest.raises(ConfigError, match="pathologie: neither a template set nor a file; use pathology"):
        templates.load("pathologie")


def test_template_cannot_reach_attributes():
    assert templates.fill("{name} {name.__class__}", "x") == "x {name.__class__}"


def test_own_file_round_trip(graph, tmp_path):
    made = build_prompts(graph, CONCEPTS, "general", num_paths=1, absent_templates=["no {name}"])
    made.save(tmp_path / "p.json")
    read = prompt_files.load(tmp_path / "p.json")
    assert (read.digest, read.texts, read.absent) == (made.digest, made.texts, made.absent)
    assert from_config(PromptConfig(file=str(tmp_path / "p.json")), None, {"wart": []}, 0).classes == ("wart",)
    with pytest.raises(DataError, match=r"no prompts for the class 'nevus'; it has adeno, squamous, wart"):
        read.subset(["nevus"])
    edited = json.loads((tmp_path / "p.json").read_text())
    edited["classes"]["wart"][0]["text"] = "other"
    (tmp_path / "p.json").write_text(json.dumps(edited))
    with pytest.raises(DataError, match="was edited after it was written"):
        prompt_files.load(tmp_path / "p.json")


def test_published_layout_and_fused_names(tmp_path):
    entries = [
        ("normal tissue", "cancer tissue"),
        ("healthy tissuenormal skin", "epidermis"),
        ("dermis", "skin tumour"),
    ]
    value = {
        str(n): {"classnames": {"N": normal, "T": tumour}, "templates": "CLASSNAME."}
        for n, (normal, tumour) in enumerate(entries)
    }
    (tmp_path / "k.json").write_text(json.dumps(value))
    read = prompt_files.load(tmp_path / "k.json")
    assert read.texts == (("normal tissue.", "dermis."), ("cancer tissue.", "epidermis.", "skin tumour."))
    assert read.dropped == {prompt_files.FUSED: 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "holds no prompts"),
        ("[", "not valid JSON"),
        ('{"0": {"classnames": {}}}', "entry '0': has no classnames and templates"),
        ('{"0": {"classnames": {"a": " "}, "templates": "CLASSNAME"}}', "entry '0': has an empty class name"),
        ('{"0": {"classnames": {"a": "b"}, "templates": "x"}}', "template 1 does not hold"),
        ('{"format": "medvlp-prompts-1", "classes": {"a": []}}', "the class 'a' has no prompt"),
        ('{"format": "medvlp-prompts-1", "classes": [1]}', "is not of this version's prompt layout"),
    ],
)
def test_bad_prompt_files(tmp_path, text, message):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(DataError) as caught:
        prompt_files.load(tmp_path / "bad.json")
    assert message in str(caught.value)
    assert "bad.json" in str(caught.value)


def test_published_pools():
    root = os.environ.get("MEDVLP_DATA")
    if root is None:
        pytest.skip("MEDVLP_DATA is not set: the published prompt pools are not here")
    read = {p.name: prompt_files.load(p) for p in Path(root, "knowledge_files").rglob("*prompt*.json")}
    assert len(read) == 11
    assert read["cptac_cm_prompts.json"].dropped == {prompt_files.FUSED: 1}
    assert read["other_camelyon_tumor_prompts.json"].dropped == {prompt_files.FUSED: 1}
    assert read["tcga_rcc_prompts.json"].dropped == {}
    assert [len(texts) for texts in read["tcga_rcc_prompts.json"].texts] == [66] * 4
    assert not any(prompts.dropped for name, prompts in read.items() if name.endswith("_100.json"))
