"""A slide with one tile unlike the others and a file full of identifiers, a model that sees it, and its answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

PINK, PURPLE, GLASS = (230, 150, 190), (120, 60, 150), 243
SIZE = (704, 576)
SIDE = 64
HOT = (256, 192)  # top left corner of the purple tile
CLASSES = ["carcinoma <b>", "normal tissue"]
IDENTIFIERS = ("DOE_JANE", "MRN-4711", "Accession-2024-77", "SCANNER-SN-9988", "Ward-Seven-Host")
"""What the file, its name and its folder say; nothing of it may reach a browser."""


class StainModel:
    """Tells purple from pink: cosine 1 with the one, -1 with the other."""

    def encode_image(self, images):
        mean = np.stack([np.asarray(image).reshape(-1, 3).mean(0) for image in images])
        middle = 0.5 * np.array(PINK) + 0.5 * np.array(PURPLE)
        return torch.nn.functional.normalize(torch.tensor(mean - middle, dtype=torch.float32), dim=1)

    def encode_text(self, texts):
        axis = np.array(PINK, dtype=float) - PURPLE
        rows = np.stack([axis if "normal" in text else -axis for text in texts])
        return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=1)

    def scale(self):
        return torch.tensor(20.0)


def write_slide(folder: Path) -> Path:
    """Glass with 8 x 6 tiles of pink tissue, one of them purple, in a file that names a patient."""
    import tifffile

    rgb = np.full((SIZE[1], SIZE[0], 3), GLASS, dtype=np.uint8)
    rgb[64:448, 128:640] = PINK
    rgb[HOT[1] : HOT[1] + SIDE, HOT[0] : HOT[0] + SIDE] = PURPLE
    path = folder / "MRN-4711" / "DOE_JANE.tif"
    path.parent.mkdir(parents=True)
    host = (316, "s", 0, "Ward-Seven-Host", True)
    tifffile.imwrite(
        path, rgb, tile=(128, 128), photometric="rgb", compression="deflate", metadata=None,
        resolution=(20000, 20000), resolutionunit="CENTIMETER", description="DOE_JANE|Accession-2024-77",
        software="SCANNER-SN-9988", extratags=[host],
    )  # fmt: skip
    return path


def write_answer(slide: Path, out: Path) -> Path:
    """Diagnose the slide."""
    import medvlp

    return medvlp.diagnose(slide, StainModel(), CLASSES, out=out, tile_size=SIDE, target_mpp=0.5)
