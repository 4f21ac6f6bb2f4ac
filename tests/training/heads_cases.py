"""An objective with learned parts of its own that reads places, words, entities and swapped captions."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from medvlp.objectives.base import Losses


class AskerHeads(nn.Module):
    """Asks learned queries of the places, and maps words and places to numbers."""

    def __init__(self, num_entities: int = 3, width: int = 32, image_width: int = 64) -> None:
        super().__init__()
        self.query_QI = nn.Parameter(torch.randn(num_entities, width, generator=torch.Generator().manual_seed(1)))
        self.word, self.place = nn.Linear(width, 1), nn.Linear(image_width, 1)

    def forward(self, seen):
        mask_ML1 = seen.word_mask_ML.unsqueeze(-1)
        word_M = self.word((seen.words_MLI * mask_ML1).sum(1)).squeeze(-1)
        place_B = self.place(seen.tokens_BNI.mean(1)).squeeze(-1)
        exists_BQ2 = seen.decode(self.query_QI).exists_BQ2
        assert set(seen.batch) == {"entity_label_BQ"}
        return {"asker.exists": exists_BQ2, "asker.word": word_M, "asker.place": place_B}


class Asker(nn.Module):
    """Existence of each entity, and places that agree with words."""

    reads = frozenset({"tokens", "patches", "words", "valid"})
    needs = frozenset({"entity_label_BQ"})

    def __init__(self, image_width: int = 64) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.heads = AskerHeads(image_width=image_width)

    def __call__(self, out, batch, gather):
        exists = cross_entropy(
            out.extra["asker.exists"].flatten(0, 1), batch.entity_label_BQ.flatten(), ignore_index=-100
        )
        owner_M = batch.text_owner_M
        gap = (out.extra["asker.word"] - out.extra["asker.place"][owner_M]).square().mean()
        near_ML = torch.einsum("mnd,mld->mnl", out.patch_BND[owner_M], out.word_MLD).mean(1)
        mask_ML = batch.token_mask_ML.float()
        near = 1 - ((near_ML * mask_ML).sum(1) / mask_ML.sum(1)).mean()  # padding differs between processes
        terms = {"exists": exists, "gap": gap, "near": near}
        if out.swap_KD is not None:
            counted_K = batch.swap_of_K >= 0
            image_KD = out.image_BD[owner_M[batch.swap_of_K.clamp(min=0)]]
            terms["swap"] = ((out.swap_KD * image_KD).sum(1) * counted_K).sum() / len(counted_K)
        return Losses(terms, {})


def write_entities(folder, store):
    """Three entities: two classes present or absent, one that nobody knows of."""
    from medvlp.data.entities import Entities, Entity, Position
    from medvlp.data.pairs import PairsStore

    store = PairsStore.load(store)
    keys = [key for name in ("train", "dev", "test") for key in store.split(name).keys]
    states = np.array([[[key.startswith("lung")], [key.startswith("colon")], [-100]] for key in keys]).astype(int)
    names = [Entity("lung", (), (("definition", "an organ"),)), Entity("colon"), Entity("unknown")]
    return Entities(names, [Position("anywhere")], keys, states).save(folder)
