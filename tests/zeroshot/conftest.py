"""A small world whose answers are known: coloured squares, a graph with their names, an encoder that sees colour."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from medvlp.data.pairs import PairsStore, Row, Text
from medvlp.knowledge.graph import DiseaseGraph

COLOURS = {"adeno": (200, 40, 40), "squamous": (40, 160, 60), "wart": (50, 60, 190)}
CONCEPTS = {"adeno": ["T:4"], "squamous": ["T:5"], "wart": ["T:6"]}
WORDS = {"adeno": 0, "glandular": 0, "squamous": 1, "epidermoid": 1, "wart": 2, "verruca": 2}


@pytest.fixture(scope="session")
def graph():
    return DiseaseGraph.from_dict(
        {
            "T:1": {"name": "disease", "parents": []},
            "T:2": {"name": "cancer", "parents": ["T:1"]},
            "T:3": {"name": "infection", "parents": ["T:1"]},
            "T:4": {"name": "adeno carcinoma", "parents": ["T:2"],
                    "synonyms": ["glandular carcinoma", "malignant tumour"],
                    "definitions": ["A cancer of adeno kind."]},
            "T:5": {"name": "squamous carcinoma", "parents": ["T:2"],
                    "synonyms": ["epidermoid carcinoma", "Malignant Tumour"], "definitions": []},
            "T:6": {"name": "wart", "parents": ["T:3", "T:1"], "synonyms": ["verruca"], "definitions": []},
        }
    )  # fmt: skip


class ColourEncoder(nn.Module):
    """Embeds an image by its mean colour and a text by the first class word it holds, through trained weights."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Identity())
        self.text = nn.Embedding(4, 3)
        self.register_buffer("noise", torch.tensor(noise))
        self.logit_scale = nn.Parameter(torch.tensor(2.3))
        self.num_images = 0
        colours = torch.tensor(list(COLOURS.values()), dtype=torch.float32) / 255
        with torch.no_grad():
            self.image[0].weight.copy_(torch.eye(3))
            self.text.weight[:3] = colours
            self.text.weight[3] = colours.mean(0)

    def encode_image(self, images):
        self.num_images += len(images)
        mean = torch.tensor(np.stack([np.asarray(image).reshape(-1, 3).mean(0) for image in images])) / 255
        out = self.image(mean.float())
        generator = torch.Generator().manual_seed(len(images))
        out = out + self.noise * torch.randn(out.shape, generator=generator)
        return nn.functional.normalize(out, dim=-1).detach()

    def encode_text(self, texts):
        rows = [next((n for word, n in WORDS.items() if word in text and "no " not in text), 3) for text in texts]
        return nn.functional.normalize(self.text(torch.tensor(rows)), dim=-1).detach()

    def scale(self):
        return self.logit_scale.exp().clamp(1, 100)


@pytest.fixture(scope="session")
def make_encoder():
    return ColourEncoder


@pytest.fixture
def encoder():
    return ColourEncoder(noise=0.12)


@pytest.fixture(scope="session")
def make_store(tmp_path_factory):
    def make(per_class=12, splits=("train", "dev", "test"), labels=tuple(COLOURS), unlabelled=0, seed=0):
        rng = np.random.default_rng(seed)
        rows = []
        for split in splits:
            for label in labels:
                for i in range(per_class):
                    colour = np.array(COLOURS[label]) + rng.normal(0, 12, 3)
                    pixels = np.clip(colour + rng.normal(0, 20, (20, 20, 3)), 0, 255).astype(np.uint8)
                    name = f"{split}-{label}-{i}"
                    text = [Text(f"secret note {name}", "report")]
                    concepts = CONCEPTS[label]
                    rows.append(Row(name, Image.fromarray(pixels), text, split, f"case-{split}-{i // 2}", len(rows),
                                    label, concepts))  # fmt: skip
            for i in range(unlabelled):
                image = Image.new("RGB", (20, 20), (9, 9, 9))
                rows.append(Row(f"{split}-none-{i}", image, [Text("x")], split, f"case-{split}-none", len(rows)))
        folder = tmp_path_factory.mktemp("store") / "pairs"
        return PairsStore.write(folder, rows, classes={label: CONCEPTS[label] for label in labels})

    return make


@pytest.fixture(scope="session")
def store(make_store):
    return make_store(unlabelled=3)


@pytest.fixture(scope="session")
def graph_folder(graph, tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph") / "graph"
    graph.save(folder)
    return folder
