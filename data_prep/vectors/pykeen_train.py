"""Stand-alone: train vectors with PyKEEN in an environment of its own; needs pykeen and safetensors alone.

Usage: ``python pykeen_train.py FOLDER``. FOLDER holds ``settings.json``, ``entities.txt``, ``relations.txt`` (one name
a line) and ``train.tsv``, ``dev.tsv``, ``test.tsv`` (head, relation, tail as names). ``vectors.safetensors``, and in
``pykeen.json`` PyKEEN's own scores of the test triples, are written into it.
"""

import csv
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import torch
from pykeen.evaluation import RankBasedEvaluator
from pykeen.pipeline import pipeline
from pykeen.triples import TriplesFactory
from safetensors.torch import save_file

MODELS = {"transe": "TransE", "distmult": "DistMult", "complex": "ComplEx", "rotate": "RotatE"}


def main(folder: Path) -> None:
    """Train, and write what was learned."""
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    names = {
        name: (folder / f"{name}.txt").read_text(encoding="utf-8").splitlines() for name in ("entities", "relations")
    }
    rows = {name: {text: row for row, text in enumerate(texts)} for name, texts in names.items()}
    parts = {name: factory(folder / f"{name}.tsv", rows) for name in ("train", "test")}
    num_train = parts["train"].num_triples
    model_kwargs: dict[str, Any] = {"embedding_dim": settings["dim"]}
    if settings["model"] == "transe":
        model_kwargs["scoring_fct_norm"] = 1
    loss, loss_kwargs = "marginranking", {"margin": settings["margin"]}
    if settings["adversarial"] is not None:
        loss = "nssa"
        loss_kwargs["adversarial_temperature"] = settings["adversarial"]
    result = pipeline(
        training=parts["train"],
        testing=parts["test"],
        model=MODELS[settings["model"]],
        model_kwargs=model_kwargs,
        loss=loss,
        loss_kwargs=loss_kwargs,
        optimizer=settings["optimizer"],
        optimizer_kwargs={"lr": settings["lr"]},
        training_loop="slcwa",
        negative_sampler="bernoulli",
        negative_sampler_kwargs={"num_negs_per_pos": settings["negatives"]},
        training_kwargs={
            "num_epochs": settings["epochs"],
            "batch_size": max(1, -(-num_train // settings["batches"])),
            "use_tqdm": False,
        },
        evaluation_kwargs={"use_tqdm": False},
        random_seed=settings["seed"],
        device=settings["device"],
    )
    model = result.model.eval()
    vectors = {
        "entity": numbers(model.entity_representations[0]()),
        "relation": numbers(model.relation_representations[0]()),
    }
    known = torch.tensor([row for path in ("train", "dev", "test") for row in triples(folder / f"{path}.tsv", rows)])
    scores = RankBasedEvaluator(filtered=True).evaluate(
        model=model,
        mapped_triples=parts["test"].mapped_triples,
        additional_filter_triples=[known],
        use_tqdm=False,
    )
    said = {
        "version": importlib.metadata.version("pykeen"),
        "losses": [float(loss) for loss in result.losses],
        "test": {
            "mrr": float(scores.get_metric("both.realistic.inverse_harmonic_mean_rank")),
            **{f"hits@{most}": float(scores.get_metric(f"both.realistic.hits_at_{most}")) for most in (1, 3, 10)},
        },
    }
    save_file(vectors, folder / "vectors.safetensors")
    (folder / "pykeen.json").write_text(json.dumps(said), encoding="utf-8")


def triples(path: Path, rows: dict[str, dict[str, int]]) -> list[tuple[int, int, int]]:
    """Read triples as rows."""
    with path.open(encoding="utf-8", newline="") as file:
        read = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [(rows["entities"][head], rows["relations"][said], rows["entities"][tail]) for head, said, tail in read]


def factory(path: Path, rows: dict[str, dict[str, int]]) -> TriplesFactory:
    """Read triples for PyKEEN, with our rows."""
    mapped = torch.tensor(triples(path, rows), dtype=torch.long).view(-1, 3)
    return TriplesFactory(mapped, entity_to_id=rows["entities"], relation_to_id=rows["relations"])


def numbers(vectors: torch.Tensor) -> torch.Tensor:
    """Return float32; of complex numbers the real parts first, then the imaginary ones."""
    vectors = vectors.detach().cpu()
    if vectors.is_complex():
        vectors = torch.cat([vectors.real, vectors.imag], 1)
    return vectors.float().contiguous()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
