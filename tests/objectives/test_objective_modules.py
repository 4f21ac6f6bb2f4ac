"""The modules around the pure functions: order of ids, exclusion, checks, and their one-line messages."""

import pytest
import torch
from objective_cases import ChainGraph, make_batch, make_outputs
from pydantic import TypeAdapter, ValidationError

from medvlp.errors import ConfigError, TrainingError
from medvlp.objectives import ObjectiveConfig, build
from medvlp.objectives.base import Losses, Outputs, check_needs
from medvlp.objectives.clip import ClipObjective, group_info_nce, info_nce
from medvlp.objectives.gather import DistributedGather, Gather, LocalGather
from medvlp.objectives.knowledge_metric import KnowledgeMetricObjective, adasp_loss
from medvlp.objectives.semantic_groups import GroupObjective, group_metric_loss
from medvlp.objectives.siglip import SiglipObjective, sigmoid_loss

LOCAL = LocalGather()
SHUFFLED = torch.tensor([7, 2, 9, 2, 7, 9, 9, 7, 2])  # three groups of three
ORDER = SHUFFLED.argsort(stable=True)


@pytest.fixture
def chain_graph():
    return ChainGraph()


def group_value(out, exclude=None, **options):
    similarity = (out.image_BD @ out.text_MD.T)[ORDER][:, ORDER]
    return group_metric_loss(similarity, 3, out.scale, exclude=exclude, **options)


def pairs(*excluded):
    mask = torch.zeros(3, 3, dtype=torch.bool)
    for left, right in excluded:
        mask[left, right] = mask[right, left] = True
    return mask


def by_group(**value):
    return torch.tensor([value[f"g{int(group)}"] for group in SHUFFLED])


def test_groups_come_in_any_order_and_related_ones_are_excluded(chain_graph):
    out = make_outputs(9, 9)
    batch = make_batch(SHUFFLED, concept=by_group(g2=0, g7=5, g9=1))  # 0 and 1 are related in the chain graph
    losses = GroupObjective(graph=chain_graph)(out, batch, LOCAL)
    torch.testing.assert_close(losses.total, group_value(out, pairs((0, 2))))
    assert losses.report["excluded_share"].item() == pytest.approx(2 / 9)
    without = GroupObjective(graph=None)(out, batch, LOCAL)
    torch.testing.assert_close(without.total, group_value(out))
    off = GroupObjective(GroupObjective.Config(exclude="none"), chain_graph)(out, batch, LOCAL)
    torch.testing.assert_close(off.total, group_value(out))


def test_equal_label_without_concept_is_excluded_but_not_in_the_published_mode(chain_graph):
    out = make_outputs(9, 9)
    batch = make_batch(SHUFFLED, concept=by_group(g2=-1, g7=-1, g9=3), label=by_group(g2=4, g7=4, g9=1))
    losses = GroupObjective(graph=chain_graph)(out, batch, LOCAL)
    torch.testing.assert_close(losses.total, group_value(out, pairs((0, 1))))
    published = GroupObjective(GroupObjective.Config(compat="keep"), chain_graph)(out, batch, LOCAL)
    torch.testing.assert_close(published.total, group_value(out, compat="keep"))


def test_any_of_several_concepts_excludes_but_the_published_mode_reads_the_first(chain_graph):
    out = make_outputs(9, 9)
    batch = make_batch(SHUFFLED, concept=by_group(g2=0, g7=4, g9=8))
    batch.concepts[int(ORDER[2])] = (0, 5)  # the last member of group 2 also carries 5, related to 4
    losses = GroupObjective(graph=chain_graph)(out, batch, LOCAL)
    torch.testing.assert_close(losses.total, group_value(out, pairs((0, 1))))
    published = GroupObjective(GroupObjective.Config(compat="keep"), chain_graph)(out, batch, LOCAL)
    torch.testing.assert_close(published.total, group_value(out, compat="keep"))


def test_texts_find_their_group_through_their_owner():
    out = make_outputs(9, 9)
    shuffle = torch.tensor([4, 0, 8, 1, 3, 2, 6, 7, 5])
    moved = Outputs(out.image_BD, out.text_MD[shuffle], out.scale)
    batch, other = make_batch(SHUFFLED), make_batch(SHUFFLED, owner=shuffle)
    expected = GroupObjective()(out, batch, LOCAL).total
    torch.testing.assert_close(GroupObjective()(moved, other, LOCAL).total, expected)


@pytest.mark.parametrize("objective", [GroupObjective(), KnowledgeMetricObjective()])
def test_unequal_groups_are_named(objective):
    batch = make_batch([4, 4, 11, 11, 11, 6, 6])
    with pytest.raises(TrainingError, match=r"^group 11: has 3 \w+ in the batch where most groups have 2; draw every"):
        objective(make_outputs(7, 7), batch, LOCAL)


def test_group_without_text_is_named():
    batch = make_batch([4, 4, 6, 6], owner=[0, 1])
    with pytest.raises(TrainingError, match="group 6: has images but no text"):
        GroupObjective()(make_outputs(4, 2), batch, LOCAL)


class TwoRanks:
    """Gives back the rows of two ranks that hold the same tensor."""

    rank, world = 0, 2

    def __call__(self, tensor_B):
        return torch.cat([tensor_B, tensor_B])


def test_group_split_over_ranks_is_named():
    with pytest.raises(TrainingError, match="group 4: its images are split over ranks 0 and 1; give every rank whole"):
        GroupObjective()(make_outputs(4, 4), make_batch([4, 4, 6, 6]), TwoRanks())


def test_knowledge_metric_reads_texts_only(chain_graph):
    out = make_outputs(9, 9)
    texts = Outputs(None, out.text_MD, out.scale)
    batch = make_batch(SHUFFLED, concept=by_group(g2=0, g7=5, g9=1))
    config = KnowledgeMetricObjective.Config(temperature=0.1, weight=2.0)
    plain = KnowledgeMetricObjective(config)(texts, batch, LOCAL)
    torch.testing.assert_close(plain.total, 2 * adasp_loss(out.text_MD[ORDER], 3, 0.1))
    config = KnowledgeMetricObjective.Config(exclude_related=True)
    excluding = KnowledgeMetricObjective(config, chain_graph)(texts, batch, LOCAL)
    torch.testing.assert_close(excluding.total, adasp_loss(out.text_MD[ORDER], 3, exclude=pairs((0, 2))))


def test_clip_positives_own_text_group():
    owner = torch.tensor([0, 1, 2, 3, 0])
    out = make_outputs(4, 5)
    batch = make_batch([5, 8, 5, 6], owner, texts=["Lung", "skin", "liver ", "lung", "LIVER"])
    own = owner == torch.arange(4)[:, None]
    equal = torch.tensor([[1, 0, 1, 1, 1], [0, 1, 0, 0, 0], [0, 0, 1, 0, 1], [1, 0, 0, 1, 0]], dtype=torch.bool)
    group = torch.tensor([[1, 0, 1, 0, 1], [0, 1, 0, 0, 0], [1, 0, 1, 0, 1], [0, 0, 0, 1, 0]], dtype=torch.bool)
    for kind, positive in (("own", own), ("text", equal), ("group", group)):
        clip = ClipObjective(ClipObjective.Config(positives=kind, chunk=2))(out, batch, LOCAL)
        expected = info_nce(out.image_BD, out.text_MD, out.scale, positive_BM=positive)
        torch.testing.assert_close(clip.total, expected)
        siglip = SiglipObjective(SiglipObjective.Config(positives=kind, chunk=3))(out, batch, LOCAL)
        expected = sigmoid_loss(out.image_BD, out.text_MD, out.scale, out.bias, positive_BM=positive)
        torch.testing.assert_close(siglip.total, expected)


def test_clip_and_siglip_leave_out_related_negatives(chain_graph):
    out, batch = make_outputs(4, 4), make_batch([0, 1, 2, 3], concept=[0, 1, 6, -1])
    logits = out.scale * out.image_BD @ out.text_MD.T
    dropped = logits.clone()
    dropped[0, 1] = dropped[1, 0] = float("-inf")
    diagonal = torch.arange(4)
    expected = (
        torch.nn.functional.cross_entropy(dropped, diagonal) + torch.nn.functional.cross_entropy(dropped.T, diagonal)
    ) / 2
    config = ClipObjective.Config(exclude_related=True)
    torch.testing.assert_close(ClipObjective(config, chain_graph)(out, batch, LOCAL).total, expected)
    shifted = dropped + out.bias
    expected = -torch.nn.functional.logsigmoid(torch.where(torch.eye(4, dtype=torch.bool), shifted, -shifted)).sum() / 4
    config = SiglipObjective.Config(exclude_related=True)
    torch.testing.assert_close(SiglipObjective(config, chain_graph)(out, batch, LOCAL).total, expected)


def test_clip_without_images_contrasts_texts_of_groups():
    out, batch = make_outputs(9, 9), make_batch(SHUFFLED)
    losses = ClipObjective()(Outputs(None, out.text_MD, out.scale), batch, LOCAL)
    torch.testing.assert_close(losses.total, group_info_nce(out.text_MD, SHUFFLED, out.scale))


def test_messages_for_a_model_or_data_that_does_not_fit():
    out, batch = make_outputs(4, 4), make_batch([0, 0, 1, 1])
    with pytest.raises(TrainingError, match=r"objective siglip: needs a logit bias.*model\.logit_bias"):
        SiglipObjective()(Outputs(out.image_BD, out.text_MD, out.scale), batch, LOCAL)
    with pytest.raises(TrainingError, match="objective semantic_groups: needs image embeddings"):
        GroupObjective()(Outputs(None, out.text_MD, out.scale), batch, LOCAL)
    with pytest.raises(TrainingError, match="text_owner_M: a text is owned by a row outside the 4"):
        ClipObjective()(out, make_batch([0, 0, 1, 1], owner=[0, 1, 2, 4]), LOCAL)
    batch.group_B = None
    with pytest.raises(TrainingError, match="GroupObjective: needs the batch field 'group_B'"):
        check_needs(GroupObjective(), batch)
    with pytest.raises(TrainingError, match="no process group is initialised; start the run with torchrun"):
        DistributedGather()
    assert isinstance(LOCAL, Gather)


def test_build_by_name_and_several_at_once():
    adapter = TypeAdapter(ObjectiveConfig)
    for name, module in {
        "clip": ClipObjective,
        "siglip": SiglipObjective,
        "semantic_groups": GroupObjective,
        "knowledge_metric": KnowledgeMetricObjective,
    }.items():
        assert isinstance(build(adapter.validate_python({"name": name})), module)
    with pytest.raises(ValidationError, match="temprature"):
        adapter.validate_python({"name": "knowledge_metric", "temprature": 0.1})
    both = build([GroupObjective.Config(weight=0.5), SiglipObjective.Config()])
    out, batch = make_outputs(9, 9), make_batch(SHUFFLED)
    losses = both(out, batch, LOCAL)
    assert set(losses.terms) == {"semantic_groups", "siglip"}
    assert "semantic_groups/excluded_share" in losses.report
    torch.testing.assert_close(losses.terms["semantic_groups"], 0.5 * group_value(out))
    torch.testing.assert_close(losses.total, losses.terms["semantic_groups"] + losses.terms["siglip"])
    assert both.needs == frozenset({"text_owner_M", "group_B", "concept_B"})
    with pytest.raises(ConfigError, match="ClipObjective: occurs twice"):
        build([ClipObjective.Config(), ClipObjective.Config()])
    with pytest.raises(ConfigError, match="objective: the list is empty"):
        build([])


def test_losses_total_needs_no_trainer():
    assert Losses({"a": torch.tensor(1.0), "b": torch.tensor(2.0)}, {}).total.item() == 3.0
