"""Does an export say what the checkpoint says? Asked in another process, on the same image files and strings.

Shape letters: B images · M texts · D embedding.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from medvlp.data.image import read_image
from medvlp.errors import ExportError
from medvlp.export.formats import FORMATS, copy_scripts, format_of
from medvlp.io import verify_manifest
from medvlp.loading import load
from medvlp.model import DualEncoder

TOLERANCE = 1e-4
_TIE = 1e-6
_TEXTS = (
    "an H&E image of invasive ductal carcinoma",
    "a chest radiograph with a small left pleural effusion",
    "normal colon mucosa",
    "a dermoscopic image of a melanocytic nevus",
    "Sjögren’s syndrome of the salivary gland",
    "  white   space,\n a line break and an &amp; sign ",
    "Grade 3; Ki-67 > 20 %; ER+/PR+/HER2-",
    "squamous cell carcinoma " * 60,
    "x",
)


@dataclass(frozen=True)
class Verification:
    """What came out of the comparison.

    Attributes:
        max_abs_diff: Largest absolute difference of any embedding value.
        same_ranking: Whether each image orders the texts, and each text the images, alike.
        num_images: Images compared.
        num_texts: Texts compared.
        scale_diff: Absolute difference of the logit scales.
        format: The export's format.
    """

    max_abs_diff: float
    same_ranking: bool
    num_images: int
    num_texts: int
    scale_diff: float
    format: str = ""

    @property
    def ok(self) -> bool:
        """Within 1e-4, ranked alike, and with the same logit scale (to one part in ten thousand of 100)."""
        return self.max_abs_diff <= TOLERANCE and self.same_ranking and self.scale_diff <= 1e-2

    def __str__(self) -> str:
        """One line for people."""
        ranking = "same ranking" if self.same_ranking else "DIFFERENT ranking"
        verdict = "verified" if self.ok else "NOT the same model"
        own_texts = not self.format or FORMATS[self.format].texts
        texts = f"{self.num_texts} texts" + ("" if own_texts else " (the checkpoint's: this format has no text side)")
        reader = f", read by {FORMATS[self.format].reader}" if self.format else ""
        return (
            f"{verdict}: largest difference {self.max_abs_diff:.2e} (allowed {TOLERANCE:.0e}), {ranking}, "
            f"{self.num_images} images, {texts}{reader}"
        )


def verify(
    folder: Path | str,
    against: Path | str | DualEncoder,
    images: Sequence[Path | str] | None = None,
    texts: Sequence[str] | None = None,
    *,
    ema: bool = False,
) -> Verification:
    """Compare an exported folder with the checkpoint it came from.

    The export is opened by a new process through the format's own software, preprocessing and tokenizer; this library
    is not imported there, and no code from the folder is run.

    Args:
        folder: The export.
        against: Anything ``medvlp.load`` opens, or a model in memory.
        images: Image files; 8 synthetic PNG files if None.
        texts: Strings; 9 fixed ones if None (accents, HTML signs and over-long text among them).
        ema: Compare with the averaged weights of the checkpoint.

    Returns:
        The comparison; see :attr:`Verification.ok`.

    Raises:
        ExportError: If a file of the export is altered, or the other process fails.
    """
    place = Path(folder).resolve()
    verify_manifest(place, ExportError)
    name = format_of(place)
    model = against if isinstance(against, DualEncoder) else load(against, ema=ema)
    training = model.training
    model.eval()
    strings = list(_TEXTS if texts is None else texts)
    with tempfile.TemporaryDirectory(prefix="medvlp-verify-") as scratch:
        paths = _synthetic_images(Path(scratch)) if images is None else [Path(path).resolve() for path in images]
        theirs = _embed_elsewhere(name, place, Path(scratch), paths, strings)
        image_BD = model.encode_image([read_image(path) for path in paths]).cpu()
    text_MD = model.encode_text(strings).cpu()
    model.train(training)
    outcome = compare(
        image_BD,
        text_MD,
        theirs["image"],
        theirs.get("text", text_MD),  # timm has no text side: its images are ranked against the checkpoint's texts
        abs(float(theirs["scale"]) - model.scale().item()) if "scale" in theirs else 0.0,
    )
    return replace(outcome, format=name)


def compare(image_BD: Tensor, text_MD: Tensor, image2_BD: Tensor, text2_MD: Tensor, scale_diff: float) -> Verification:
    """Compare two sets of unit vectors.

    Raises:
        ExportError: If their shapes differ.
    """
    for mine, other, what in ((image_BD, image2_BD, "image"), (text_MD, text2_MD, "text")):
        if mine.shape != other.shape:
            raise ExportError(f"{tuple(other.shape)} instead of {tuple(mine.shape)}", item=f"{what} embeddings")
    diff = max(float((image_BD - image2_BD).abs().max()), float((text_MD - text2_MD).abs().max()))
    mine_BM, other_BM = (image_BD @ text_MD.T).double(), (image2_BD @ text2_MD.T).double()
    same = _same_order(mine_BM, other_BM) and _same_order(mine_BM.T, other_BM.T)
    if not np.isfinite(diff):
        diff, same = float("inf"), False
    return Verification(diff, same, image_BD.shape[0], text_MD.shape[0], scale_diff)


def _same_order(mine: Tensor, other: Tensor) -> bool:
    """Whether each row has one order in both; scores that one side holds equal within 1e-6 may come either way."""
    order = mine.argsort(dim=1, descending=True, stable=True)
    drop = other.gather(1, order).diff(dim=1)
    gap = mine.gather(1, order).diff(dim=1).abs()
    return not bool(((drop > 0) & (gap > _TIE)).any())


def _synthetic_images(folder: Path) -> list[Path]:
    """Write 8 PNG files of several shapes: colour, grey, smooth and noisy."""
    rng = np.random.default_rng(0)
    paths = []
    for index, (height, width) in enumerate([(224, 224), (512, 300), (97, 640), (64, 64)] * 2):
        coarse = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        if index >= 4:
            noise = rng.integers(-40, 40, (height, width, 3))
            image = Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
        path = folder / f"{index}.png"
        (image.convert("L") if index == 3 else image).save(path)
        paths.append(path)
    return paths


def _embed_elsewhere(name: str, place: Path, scratch: Path, images: list[Path], texts: list[str]) -> dict[str, Tensor]:
    """Run the format's own script, as this library ships it (never a copy from the export), in another process."""
    request, out, own = scratch / "request.json", scratch / "out.npz", scratch / "script"
    request.write_text(json.dumps({"images": [str(path) for path in images], "texts": texts}), encoding="utf-8")
    own.mkdir()
    command = [sys.executable, str(copy_scripts(name, own)), str(request), str(out), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=scratch)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        reason = lines[-1].removeprefix("error: ") if lines else f"exit code {done.returncode}"
        remedy = None if FORMATS[name].movable else f"if the folder was moved, run `medvlp export repoint {place}`"
        raise ExportError(f"the other process could not use it ({reason})", item=place, remedy=remedy)
    with np.load(out, allow_pickle=False) as arrays:
        if bool(arrays["imported_medvlp"]):
            raise ExportError("the other process imported this library, which proves nothing", item=place)
        return {key: torch.from_numpy(arrays[key]) for key in ("image", "text", "scale") if key in arrays}
