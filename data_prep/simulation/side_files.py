"""Files beside the rows of a simulated store: truth of every scene, masks, the organ-mask images, a contact sheet."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_prep.simulation import wording
from data_prep.simulation.anatomy import Mask
from data_prep.simulation.config import SimulationConfig
from data_prep.simulation.findings import Kind
from data_prep.simulation.preview import contact_sheet
from data_prep.simulation.render import Rendered
from data_prep.simulation.scene import Scene, num_scenes
from medvlp.data.image import encode_image
from medvlp.errors import DataError
from medvlp.io import verify_manifest

SCENES, MASKS, ORGANS, PREVIEW = "scenes.parquet", "masks.parquet", "organs.parquet", "preview.png"


class SideFiles:
    """Collects what goes beside the rows while they are rendered; :meth:`write` puts it into the folder.

    Args:
        config: What is simulated.
        concepts: Concept id of every finding.
        preview_scenes: Scenes on the contact sheet, spread over the whole set.
    """

    def __init__(self, config: SimulationConfig, concepts: Mapping[Kind, str], preview_scenes: int) -> None:
        self.config, self.concepts = config, concepts
        self.scenes: list[dict[str, Any]] = []
        self.masks: list[dict[str, Any]] = []
        self.organs: list[dict[str, Any]] = []
        count = num_scenes(config)
        self.shown = set(np.linspace(0, count - 1, min(preview_scenes, count)).round().astype(int).tolist())
        self.tiles: list[tuple[str, NDArray[np.uint8], list[Mask]]] = []

    def add(self, scene: Scene, rendered: Rendered) -> None:
        """Take one rendered scene."""
        findings = []
        for finding, mask in zip(scene.findings, rendered.masks, strict=True):
            entry = {
                "kind": finding.kind,
                "label": self.config.findings[finding.kind].label,
                "concept": self.concepts[finding.kind],
                "side": finding.side,
                "lobe": finding.lobe,
                "severity": finding.severity,
                "grade": wording.grade(finding),
                "diameter_mm": finding.diameter_mm,
                "mask_pixels": int(mask.sum()),
            }
            findings.append(entry)
            self.masks.append({"scene": scene.key, "kind": finding.kind, "mask": _one_bit(Image.fromarray(mask))})
        self.scenes.append(
            {
                "scene": scene.key,
                "part": scene.part,
                "split": scene.split,
                "held_out": scene.part not in ("train", "dev", "test"),
                "findings": findings,
                "triplets": wording.triplets(scene, self.config),
                "pose": asdict(scene.pose),
                "exposure": asdict(scene.exposure),
            }
        )
        self.organs.append({"scene": scene.key, "image": encode_image(Image.fromarray(rendered.organs), "png")})
        if scene.number in self.shown:
            title = ", ".join(f"{wording.grade(f)} {f.kind} {f.lobe or f.side or ''}".strip() for f in scene.findings)
            self.tiles.append((title or "no finding", rendered.image, rendered.masks))

    def write(self, folder: Path) -> None:
        """Write the tables, and the contact sheet if it was asked for."""
        import pyarrow as pa
        from pyarrow import parquet

        text, real = pa.string(), pa.float64()
        finding = pa.struct(
            [("kind", text), ("label", text), ("concept", text), ("side", text), ("lobe", text), ("severity", real),
             ("grade", text), ("diameter_mm", real), ("mask_pixels", pa.int64())]
        )  # fmt: skip
        triplet = pa.struct([("entity", text), ("position", text), ("existence", text)])
        numbers = {
            name: pa.struct([(key, real) for key in self.scenes[0][name]]) if self.scenes else pa.struct([])
            for name in ("pose", "exposure")
        }
        schema = pa.schema(
            [("scene", text), ("part", text), ("split", text), ("held_out", pa.bool_()),
             ("findings", pa.list_(finding)), ("triplets", pa.list_(triplet)), *numbers.items()]
        )  # fmt: skip
        masks = pa.schema([("scene", text), ("kind", text), ("mask", pa.binary())])
        organs = pa.schema([("scene", text), ("image", pa.binary())])
        for name, rows, layout in (
            (SCENES, self.scenes, schema),
            (MASKS, self.masks, masks),
            (ORGANS, self.organs, organs),
        ):
            parquet.write_table(pa.Table.from_pylist(rows, schema=layout), folder / name)
        if self.tiles:
            contact_sheet(self.tiles).save(folder / PREVIEW)


def _one_bit(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def read_scenes(folder: str | Path) -> list[dict[str, Any]]:
    """Return the truth of every scene, in row order.

    Raises:
        DataError: If the folder is no finished simulated store.
    """
    return _table(Path(folder), SCENES)


def read_masks(folder: str | Path) -> dict[tuple[str, str], Mask]:
    """Return the mask (P, P) of every (scene, finding).

    Raises:
        DataError: As :func:`read_scenes`.
    """
    return {
        (row["scene"], row["kind"]): np.asarray(Image.open(io.BytesIO(row["mask"])).convert("1"))
        for row in _table(Path(folder), MASKS)
    }


def read_organs(folder: str | Path) -> dict[str, bytes]:
    """Return the PNG made from organ masks alone of every scene.

    Raises:
        DataError: As :func:`read_scenes`.
    """
    return {row["scene"]: row["image"] for row in _table(Path(folder), ORGANS)}


def _table(folder: Path, name: str) -> list[dict[str, Any]]:
    from pyarrow import parquet

    manifest = verify_manifest(folder)
    if manifest.get("kind") != "simulation" or name not in manifest["files"]:
        raise DataError("is no store of simulated scenes", item=folder, remedy="make it with `medvlp simulate`")
    rows: list[dict[str, Any]] = parquet.read_table(folder / name).to_pylist()
    return rows
