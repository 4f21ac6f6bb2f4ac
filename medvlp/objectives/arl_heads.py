"""The learned parts of ARL: entity vectors, fusion with a knowledge stream, and what guesses words, places and pairs.

Shapes: B images and M texts of this rank, Q entities, G width of their vectors, L tokens, N places of an image, R rows
of the fusion, V vocabulary, K masked tokens.
"""

from __future__ import annotations

import logging
from math import isqrt
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from medvlp.config import resolve_path
from medvlp.errors import ConfigError
from medvlp.fusion.graph_attention import GraphAttention
from medvlp.fusion.knowledge_stream import KnowledgeFusion
from medvlp.fusion.place_decoder import PlaceDecoder, blank_places, hide_places, pixels_of_places
from medvlp.knowledge.vectors import EntityVectors
from medvlp.objectives.entity_graph import entity_graph, mention_names
from medvlp.objectives.mentions import NO_TARGET, MentionFinder, Mentions, mask_whole

if TYPE_CHECKING:
    from medvlp.knowledge.graph import DiseaseGraph
    from medvlp.objectives.arl import ArlObjective
    from medvlp.objectives.base import Seen
    from medvlp.objectives.context import Context

_log = logging.getLogger(__name__)


class _Rows(NamedTuple):
    """Texts, each with an image, for the fusion."""

    word_RLT: Tensor
    image_R: Tensor
    entity_RL: Tensor


class ArlHeads(nn.Module):
    """Everything of ARL that learns beside the towers; none of it is needed to use the model.

    Args:
        config: Settings.
        context: The run.
        graph: The hierarchy the run may use, or None.

    Raises:
        ConfigError: If the run has no entities, a width does not fit, the tokeniser has no mask, or an image's places
            form no grid of whole pixels.
        DataError: If the vectors cannot be read.
    """

    def __init__(self, config: ArlObjective.Config, context: Context, graph: DiseaseGraph | None) -> None:
        super().__init__()
        self.config = config
        entities = context.known_entities("arl")
        self.num_entities, self.share = len(entities), 0.0
        names = [mention_names(entity, graph) for entity in entities]
        self.find = MentionFinder(names, context.tokenize, context.unknown_id)
        width = config.attention.width
        if config.align > 0 or config.fusion.stream:
            vectors = None if config.vectors is None else EntityVectors.load(resolve_path(config.vectors))
            if vectors is None:
                _log.warning("objective arl: no folder of vectors is named, so entity vectors start at random")
            nodes = entity_graph(
                entities, graph, vectors,
                knowledge=context.knowledge, hops=config.hops, width=width, seed=context.seed,
            )  # fmt: skip
            self.share = nodes.share
            self.nodes = GraphAttention(config.attention, nodes.start_NX, nodes.edge_2E)
        self.image = self.text = None
        if config.align > 0 and config.projection == "own":
            self.image, self.text = _two_layers(context.place_width, width), _two_layers(context.text_width, width)
        elif config.align > 0 and width != context.embed_dim:
            raise ConfigError(
                f"entity vectors of width {width} cannot be compared with embeddings of {context.embed_dim}",
                item="objective.attention.width",
                remedy=f"set it to {context.embed_dim}, or projection: own",
            )
        self.fusion = None
        if config.tokens > 0 or config.matching > 0:
            self.fusion = KnowledgeFusion(config.fusion, context.text_width, context.place_width, width)
        self.word = _word_head(context) if config.tokens > 0 else None
        self.mask_id, self.num_tokens = context.mask_id, context.num_tokens
        self.match = nn.Linear(context.text_width, 2) if config.matching > 0 else None
        self.places = self._place_decoder(context) if config.places > 0 else None

    def _place_decoder(self, context: Context) -> PlaceDecoder:
        config, count = self.config, context.num_places()
        if config.reconstruct == "places":
            return PlaceDecoder(config.decoder, context.place_width, context.place_width, count, hides=True)
        grid = isqrt(count)
        if grid * grid != count or context.image_size % grid:
            raise ConfigError(
                f"{count} places of an image of {context.image_size} pixels are no grid of whole pixels",
                item="objective.reconstruct",
                remedy="set it to places, or choose another image_size",
            )
        self.side = context.image_size // grid
        return PlaceDecoder(config.decoder, context.place_width, 3 * self.side**2, count, hides=False)

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Return what the losses of :class:`medvlp.objectives.arl.ArlObjective` compare."""
        mentions = self.find(seen.batch["token_ids_ML"])
        told_ML = (mentions.entity_ML >= 0).float()
        made = {
            "arl.mention_share": told_ML.amax(1).mean() if told_ML.numel() else told_ML.sum(),
            "arl.vectors_share": told_ML.new_tensor(self.share),
        }
        entity_QG = told_ML.new_zeros(self.num_entities, self.config.attention.width)
        if self.config.align > 0 or self.config.fusion.stream:
            entity_QG = self.nodes()[: self.num_entities]
        if self.config.align > 0:
            made["arl.entity_QG"] = entity_QG
        if self.image is not None and self.text is not None:
            made |= {"arl.image_BG": self.image(seen.image_BI), "arl.text_MG": self.text(seen.text_MI)}
        if self.fusion is not None:
            made |= self._fused(seen, self.fusion, entity_QG, mentions)
        if self.places is not None:
            made |= self._guessed(seen, self.places)
        return made

    def _fused(self, seen: Seen, fusion: KnowledgeFusion, entity_QG: Tensor, mentions: Mentions) -> dict[str, Tensor]:
        """Guess masked words beside their image; tell true pairs from false ones: one pass of the fusion for both."""
        assert seen.tokens_BNI is not None, "the objective reads tokens"
        ids_ML, owner_M, mask_ML = seen.batch["token_ids_ML"], seen.batch["text_owner_M"], seen.word_mask_ML
        rows, target_ML, match_R = [], ids_ML, owner_M
        if self.word is not None:
            may_ML = mask_ML.bool() & ~self.find.special(ids_ML)
            assert self.mask_id is not None, "checked by the word head"
            masked = mask_whole(
                ids_ML, may_ML, mentions, self.num_entities, self.mask_id, self.num_tokens, self.config.mask_tokens
            )
            target_ML = masked.target_ML
            rows.append(_Rows(seen.encode_words(masked.ids_ML, mask_ML), owner_M, masked.entity_ML))
        if self.match is not None:
            assert seen.words_MLI is not None, "the objective reads words"
            wrong_M, counts_M = _false_images(seen)
            rows += [_Rows(seen.words_MLI, image_M, mentions.entity_ML) for image_M in (owner_M, wrong_M)]
            match_R = torch.cat([torch.ones_like(owner_M), torch.zeros_like(owner_M)])
            match_R = torch.where(counts_M.repeat(2), match_R, NO_TARGET)
        mask_RL = mask_ML.repeat(len(rows), 1)
        word_RLT, image_R, entity_RL = (torch.cat(parts) for parts in zip(*rows, strict=True))
        fused_RLT = fusion(word_RLT, mask_RL, seen.tokens_BNI, image_R, entity_QG, entity_RL)
        made = {}
        if self.word is not None:
            chosen_ML = target_ML != NO_TARGET
            made["arl.token_KV"] = self.word(fused_RLT[: len(ids_ML)][chosen_ML])
            made["arl.token_K"] = target_ML[chosen_ML]
        if self.match is not None:
            paired_RLT, real_RL1 = fused_RLT[-len(match_R) :], mask_RL[-len(match_R) :, :, None]
            pooled_RT = (paired_RLT * real_RL1).sum(1) / real_RL1.sum(1).clamp(min=1)
            made |= {"arl.match_R2": self.match(pooled_RT), "arl.match_R": match_R}
        return made

    def _guessed(self, seen: Seen, decoder: PlaceDecoder) -> dict[str, Tensor]:
        """Hide places and guess what they hold."""
        share = self.config.mask_places
        if self.config.reconstruct == "places":
            assert seen.tokens_BNI is not None, "the objective reads tokens"
            held_BNC, token_BNI = seen.tokens_BNI.detach(), seen.tokens_BNI
            hidden_BN = hide_places(held_BNC, share)
        else:
            image_BCHW = seen.batch["image_BCHW"]
            held_BNC = pixels_of_places(image_BCHW, self.side)
            hidden_BN = hide_places(held_BNC, share)
            token_BNI = seen.look(blank_places(image_BCHW, hidden_BN, self.side))
        guess_BNC = decoder(token_BNI, hidden_BN)
        return {"arl.place_BNC": guess_BNC, "arl.held_BNC": held_BNC, "arl.hidden_BN": hidden_BN.long()}


def _two_layers(width_in: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width_in, width_out), nn.ReLU(), nn.Linear(width_out, width_out))


def _word_head(context: Context) -> nn.Sequential:
    """BERT's head: a layer with GELU and layer norm, then the vocabulary."""
    width = context.text_width
    if context.mask_id is None:
        raise ConfigError(
            "the tokeniser has no token for a mask",
            item="objective.tokens",
            remedy="set it to 0, or use text: {name: hf}",
        )
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, context.num_tokens))


def _false_images(seen: Seen) -> tuple[Tensor, Tensor]:
    """Draw for each text an image of which other entities are present, and tell which texts count and have one."""
    owner_M, label_BQ = seen.batch["text_owner_M"], seen.batch["entity_label_BQ"]
    differs_BB = (label_BQ[:, None] != label_BQ).any(-1)
    chance_MB = torch.rand(len(owner_M), len(label_BQ), device=owner_M.device)
    chance_MB = torch.where(differs_BB[owner_M], chance_MB, -1.0)
    counts_M = differs_BB.any(1)[owner_M]
    if "text_valid_M" in seen.batch:
        counts_M = counts_M & seen.batch["text_valid_M"]
    return chance_MB.argmax(1), counts_M
