"""Gene encoders: statistics of the training part, genes by name, missing ones, bins, packing, what is refused."""

import numpy as np
import pytest
import torch

from medvlp.data.genes import GeneTable
from medvlp.encoders.genes import GeneMlp, GeneTokens, build_gene_encoder, read_genes
from medvlp.errors import CheckpointError, ConfigError, DataError

GENES = [f"G{number}" for number in range(12)]
CONFIGS = [GeneMlp.Config(width=8, hidden=16), GeneTokens.Config(width=8, token_width=8, heads=2, queries=3, bins=5)]


def table(cases=6, genes=GENES, seed=0, scale="log"):
    values = np.random.default_rng(seed).normal(2, 3, (cases, len(genes))).astype(np.float32)
    values = np.abs(values) if scale == "linear" else values
    return GeneTable([f"c{number}" for number in range(cases)], list(genes), values, scale=scale)


def encoder_of(config, fitted=True):
    torch.manual_seed(0)
    encoder = build_gene_encoder(config, GENES, "log")
    if fitted:
        encoder.fit(table())
    return encoder.eval()


@pytest.mark.parametrize("config", CONFIGS, ids=["mlp", "tokens"])
def test_order_unknown_and_missing_genes(config):
    encoder, source = encoder_of(config), table(seed=1)
    plain = encoder(encoder.align(source))
    assert plain.shape == (6, 8)
    turned = source.align(GENES[::-1])
    assert torch.equal(encoder(encoder.align(turned)), plain)
    more = GeneTable(source.cases, [*GENES, "X"], np.concatenate([source.values_CG, np.ones((6, 1), np.float32)], 1))
    assert torch.equal(encoder(encoder.align(more)), plain)
    assert encoder.ledger.dropped == {"gene unknown to the model": 1}
    fewer = encoder.align(source.align(GENES[:9]))
    assert encoder.ledger.dropped == {"gene missing from the table": 3}
    assert torch.isnan(fewer[:, 9:]).all()
    assert not torch.allclose(encoder(fewer), plain)
    assert torch.isfinite(encoder(fewer)).all()


@pytest.mark.parametrize("config", CONFIGS, ids=["mlp", "tokens"])
def test_a_case_does_not_depend_on_its_neighbours(config):
    encoder = encoder_of(config)
    values_CG = encoder.align(table(seed=2))
    values_CG[1, 3:] = float("nan")
    together = encoder(values_CG)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert torch.allclose(encoder(values_CG[order]), together[order], atol=1e-6)
    for row in range(6):
        assert torch.allclose(encoder(values_CG[[row]]), together[[row]], atol=1e-6)


def test_a_missing_gene_counts_as_its_mean_in_the_perceptron_and_not_at_all_among_tokens():
    mlp, tokens = (encoder_of(config) for config in CONFIGS)
    values_CG = mlp.align(table(seed=3))
    absent_CG, mean_CG = values_CG.clone(), values_CG.clone()
    absent_CG[:, 4], mean_CG[:, 4] = float("nan"), mlp.mean_G[4]
    assert torch.equal(mlp(absent_CG), mlp(mean_CG))
    before = tokens(absent_CG)
    with torch.no_grad():
        tokens.gene.weight[4] += 10
    assert torch.equal(tokens(absent_CG), before)
    assert not torch.allclose(tokens(mean_CG), before)


def test_statistics_are_those_of_the_training_part():
    encoder, source = encoder_of(CONFIGS[0]), table()
    assert encoder.mean_G.numpy() == pytest.approx(source.values_CG.mean(0), abs=1e-5)
    assert encoder.deviation_G.numpy() == pytest.approx(source.values_CG.std(0, ddof=1), abs=1e-5)
    deviations, present = encoder.standardise(encoder.align(source))
    assert deviations.mean(0).abs().max() < 1e-5
    assert bool(present.all())
    constant = table()
    constant.values_CG[:, 2] = 7.0
    encoder.fit(constant)
    assert encoder.deviation_G[2] == 1
    assert encoder.standardise(encoder.align(constant))[0][:, 2].tolist() == [0.0] * 6


def test_bins_are_equal_steps_with_open_ends():
    tokens = encoder_of(CONFIGS[1])
    given = torch.tensor([-99.0, -3.1, -2.0, -0.5, 0.5, 2.9, 3.1, 99.0])
    assert tokens.bins(given).tolist() == [0, 0, 1, 2, 2, 3, 4, 4]


def test_genes_are_taken_away_in_training_only():
    encoder = encoder_of(GeneMlp.Config(width=8, hidden=16, dropout=0.0, drop_genes=0.5))
    values_CG = encoder.align(table(40, seed=4))
    assert bool(encoder.standardise(values_CG)[1].all())
    encoder.train()
    torch.manual_seed(1)
    present = encoder.standardise(values_CG)[1]
    assert 0.4 < float(present.float().mean()) < 0.6
    assert bool(present.any(1).all())


@pytest.mark.parametrize("config", CONFIGS, ids=["mlp", "tokens"])
def test_gradients_reach_every_weight(config):
    encoder = encoder_of(config).train()
    encoder(encoder.align(table())).square().sum().backward()
    assert [name for name, weight in encoder.named_parameters() if weight.grad is None] == []


def test_what_cannot_be_used_is_refused(tmp_path):
    encoder = encoder_of(CONFIGS[0])
    with pytest.raises(DataError, match="holds 5 of the model's 12 genes, 41.7%"):
        encoder.align(table().align(GENES[:5]))
    with pytest.raises(DataError, match="on a linear scale, the model was trained on a log one"):
        encoder.align(table(scale="linear"))
    with pytest.raises(DataError, match="a case has no gene at all"):
        encoder(torch.full((1, 12), float("nan")))
    with pytest.raises(DataError, match="1 case gives no deviation"):
        encoder.fit(table(1))
    with pytest.raises(DataError, match="1 of 12 genes are not in the table"):
        encoder.fit(table().align(GENES[1:]))
    with pytest.raises(DataError, match="distinct gene names"):
        build_gene_encoder(CONFIGS[0], ["A", "A"], "log")
    with pytest.raises(ConfigError, match="no multiple of 3 heads"):
        build_gene_encoder(GeneTokens.Config(token_width=8, heads=3), GENES, "log")
    encoder.save_architecture(tmp_path)
    assert read_genes(tmp_path) == (GENES, "log")
    (tmp_path / "genes.json").write_text('{"genes": [1]}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="no list of genes"):
        read_genes(tmp_path)
