"""Vectors by case from a trained model of cases: one ``.npy`` file each, as survival models read them.

Shape legend: D embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from medvlp.case_model import CaseModel
from medvlp.config import load as load_config
from medvlp.errors import CheckpointError, DataError
from medvlp.fusion.bag import TileBag
from medvlp.io import atomic_folder, full_disk_told, sha256_file, write_manifest
from medvlp.ledger import Ledger
from medvlp.loading import checkpoint_folder, load
from medvlp.training.slide import MstarConfig
from medvlp.training.slide_data import Case, CaseData, Cases, Tiles, read_cases

FORMAT = "medvlp-case-vectors-1"
What = Literal["slide", "report", "genes"]
_PLACE: dict[What, int] = {"slide": 0, "report": 1, "genes": 2}
_LACKS = {"slide": "case without slides", "report": "case without a report", "genes": "case without genes"}
_AT_ONCE = 32


def embed_cases(
    run: Path, out: Path, what: What, overrides: Sequence[str] = (), *, overwrite: bool = False
) -> tuple[Path, Ledger]:
    """Write the unit vector (D,) float32 of every case that has a modality, as ``CASE.npy``.

    All tiles of a case are used, however many a training step drew. Cases of every split are embedded.

    Args:
        run: A finished first stage of kind ``mstar``, or one of its checkpoints.
        out: The folder to create; its manifest counts what was left out.
        what: Modality.
        overrides: Changes of the run's configuration, such as ``data.table=other.csv``.
        overwrite: Replace the folder.

    Returns:
        The folder, and the cases with and without a vector.

    Raises:
        CheckpointError: If the run cannot be opened, or is no first stage.
        DataError: If the table cannot be used, no case has the modality, or a case's name is none for a file.
    """
    checkpoint = checkpoint_folder(run)
    if not (checkpoint / "config.yaml").is_file():
        raise CheckpointError("has no config.yaml", item=run, remedy="give the folder of a run of kind mstar")
    config = cast(MstarConfig, load_config(checkpoint / "config.yaml", overrides, kind="mstar"))
    model: Any = load(checkpoint)
    if not isinstance(model, CaseModel):
        raise CheckpointError("is no model of cases", item=run, remedy="give a run of stage 1")
    cases = read_cases(config.data, training=False)
    ledger, chosen = Ledger(), list[Case]()
    for case in cases.items:
        if not case.present[_PLACE[what]]:
            ledger.drop(case.key, _LACKS[what])
            continue
        if Path(case.key).name != case.key or case.key.startswith("."):
            raise DataError("is no name for a file", item=f"case {case.key}", remedy="rename it in the table")
        chosen.append(case)
    if not chosen:
        raise DataError(f"no case has {what}", item=config.data.table, remedy="check data.table and its columns")
    with atomic_folder(out, replace=overwrite) as partial, full_disk_told(out):
        for key, vector_D in _vectors(model, cases, chosen, config.data, what):
            np.save(partial / f"{key}.npy", vector_D.float().numpy())
            ledger.keep()
        header = {
            "format": FORMAT,
            "what": what,
            "model": sha256_file(checkpoint / "model.safetensors"),
            "cases": ledger.to_json(),
            "table": cases.ledger.to_json(),
        }
        write_manifest(partial, header)
    return out, ledger


@torch.no_grad()
def _vectors(
    model: CaseModel, cases: Cases, chosen: Sequence[Case], data: CaseData, what: What
) -> Iterator[tuple[str, Tensor]]:
    """Yield key and vector (D,) of each case."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    tiles = Tiles(data, coordinates=model.config.coordinates, width=model.config.tile_width)
    starts = range(0, len(chosen), 1 if what == "slide" else _AT_ONCE)
    for start in track(starts, f"embedding {what}", console=console, transient=True, disable=not console.is_terminal):
        group = chosen[start : start + starts.step]
        if what == "slide":  # one at a time: a slide can have any number of tiles
            features_NI, centres_NX = tiles.case(group[0])
            found = model.slides(TileBag.pack([features_NI], None if centres_NX is None else [centres_NX]))[0]
        elif what == "report":
            found = model.encode_text([str(case.report) for case in group])
        else:
            assert cases.genes is not None  # else no case would have genes
            names = [cases.genes.cases[case.gene_row] for case in group if case.gene_row is not None]
            found = model.encode_genes(cases.genes.take(names))
        yield from zip((case.key for case in group), found, strict=True)
