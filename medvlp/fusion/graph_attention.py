"""Vectors of a graph's nodes that take in those of their neighbours: graph attention over an edge list.

Source: Velickovic et al. 2018 (GAT), equations 1 to 6; sizes as in Chen et al. 2022 (ARL).
Shape letters: N nodes · E edges · H heads · C width of a head · X width in · G width out.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import elu, leaky_relu

from medvlp.config import Config as BaseConfig
from medvlp.fusion.parts import segment_softmax, segment_sum


class GraphAttentionLayer(nn.Module):
    """Each node's mean over its neighbours and itself, weighted by attention; heads are concatenated.

    Args:
        width_in: X.
        width: C, of each head.
        heads: H.
        dropout: Of the nodes coming in and of the attention.
    """

    def __init__(self, width_in: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width_in, heads * width, bias=False)
        self.from_HC, self.to_HC = (nn.Parameter(torch.empty(heads, width)) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(heads * width))
        self.drop = nn.Dropout(dropout)
        for weight in (self.project.weight, self.from_HC, self.to_HC):
            nn.init.xavier_uniform_(weight)

    def forward(self, node_NX: Tensor, edge_2E: Tensor) -> Tensor:
        """Return (N, H * C).

        Args:
            node_NX: Nodes.
            edge_2E: Rows of the node that gives and of the one that takes, int64; a node also takes from itself.
        """
        count = len(node_NX)
        own_N = torch.arange(count, device=edge_2E.device)
        giver_E, taker_E = torch.cat([edge_2E, own_N.expand(2, -1)], 1)
        node_NHC = self.project(self.drop(node_NX)).unflatten(1, (self.heads, -1))
        giving_NH, taking_NH = ((node_NHC * part_HC).sum(-1) for part_HC in (self.from_HC, self.to_HC))
        score_EH = leaky_relu(giving_NH[giver_E] + taking_NH[taker_E], 0.2)
        weight_EH = self.drop(segment_softmax(score_EH, taker_E, count))
        mixed_NHC = segment_sum(weight_EH[:, :, None] * node_NHC[giver_E].to(weight_EH.dtype), taker_E, count)
        return mixed_NHC.flatten(1) + self.bias


class GraphAttention(nn.Module):
    """Two layers of graph attention over learned vectors of the nodes, and a layer norm.

    Args:
        config: Sizes.
        start_NX: First values of the nodes' vectors, which learn too.
        edge_2E: Rows of the node that gives and of the one that takes, int64.
    """

    class Config(BaseConfig):
        """What builds a :class:`GraphAttention`."""

        width: int = Field(256, ge=4, description="Width G of the vectors that come out.")
        hidden: int = Field(64, ge=1, description="Width of each head of the first layer.")
        heads: int = Field(8, ge=1, description="Heads of the first layer.")
        dropout: float = Field(0.2, ge=0, lt=1, description="Dropout of nodes and of attention.")

    def __init__(self, config: GraphAttention.Config, start_NX: Tensor, edge_2E: Tensor) -> None:
        super().__init__()
        self.edge_2E: Tensor
        self.node_NX = nn.Parameter(start_NX.clone())
        self.register_buffer("edge_2E", edge_2E, persistent=False)
        self.first = GraphAttentionLayer(start_NX.shape[1], config.hidden, config.heads, config.dropout)
        self.second = GraphAttentionLayer(config.heads * config.hidden, config.width, 1, config.dropout)
        self.norm = nn.LayerNorm(config.width)

    def forward(self) -> Tensor:
        """Return the nodes (N, G)."""
        hidden_NX = elu(self.first(self.node_NX, self.edge_2E))
        nodes_NG: Tensor = self.norm(self.second(hidden_NX, self.edge_2E))
        return nodes_NG
