"""Both towers as ONNX graphs: pixels or token ids in, unit vectors out, for onnxruntime and everything that reads it.

Shape letters: B images · M texts · C channels · H, W pixels · L tokens · D embedding.
"""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medvlp.encoders.clip_towers import OpenClipText
from medvlp.errors import ExportError
from medvlp.export.onnx_tokenizer import write_tokenizer
from medvlp.io import require, write_json
from medvlp.model import DualEncoder

OPSET = 18
SINGLE_FILE_BYTES = 3 << 29  # protobuf ends at 2 GiB; weights of more than 1.5 GiB go into a file beside the graph
_TOLERANCE = 1e-4
_REMEDY = "export with `--to safetensors`, which holds any model"


class _Image(nn.Module):
    """The image side as one forward pass."""

    def __init__(self, model: DualEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return unit vectors (B, D) of normalised images."""
        return self.model.project_image(self.model.image_features(image_BCHW))


class _Text(nn.Module):
    """The text side as one forward pass."""

    def __init__(self, model: DualEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids_ML: Tensor, mask_ML: Tensor) -> Tensor:
        """Return unit vectors (M, D) of token ids under their mask."""
        return self.model.project_text(self.model.text_features(ids_ML, mask_ML))


class _TextOfIds(_Text):
    """The same for towers that find padding by themselves."""

    def forward(self, ids_ML: Tensor) -> Tensor:  # type: ignore[override]
        """Return unit vectors (M, D) of token ids of the full context length."""
        return self.model.project_text(self.model.text_features(ids_ML, torch.ones_like(ids_ML)))


def write_onnx(model: DualEncoder, folder: Path, target: Path) -> None:
    """Write ``image.onnx``, ``text.onnx``, ``tokenizer/tokenizer.json`` and ``preprocess.json``.

    Raises:
        ExportError: If a tower cannot be traced, or the graph gives other values than the tower.
        MissingExtraError: Without the extra ``onnx``.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        require(module, "onnx")
    text = write_tokenizer(model.tokenizer, folder / "tokenizer")
    plain = model if model.logit_scale.device.type == "cpu" else copy.deepcopy(model).cpu()
    size, length = model.preprocess.size, model.tokenizer.context_length
    pixels_BCHW = torch.linspace(-2, 2, 2 * 3 * size * size).reshape(2, 3, size, size)
    pixels = (pixels_BCHW,), (pixels_BCHW[:1].flip(3),)
    image_files = _write(_Image(plain), folder / "image.onnx", ["image_BCHW"], pixels, [{0: "B"}])
    ids_ML, mask_ML = plain.tokenize(["an image of the lung", "normal"])
    if isinstance(plain.text, OpenClipText):
        inputs = (ids_ML,), (ids_ML[1:],)
        text_files = _write(_TextOfIds(plain), folder / "text.onnx", ["ids_ML"], inputs, [{0: "M"}])
    else:
        other = plain.tokenize(["liver " * length])
        axes = [{0: "M", 1: "L"}] * 2
        inputs = (ids_ML, mask_ML), other  # type: ignore[assignment]
        text_files = _write(_Text(plain), folder / "text.onnx", ["ids_ML", "mask_ML"], inputs, axes)
    settings = {
        "format": 1,
        "opset": OPSET,
        "embed_dim": model.config.embed_dim,
        "logit_scale": model.scale().item(),
        "logit_bias": None if model.logit_bias is None else model.logit_bias.item(),
        "image": {**model.preprocess.to_json(), "weights": image_files},
        "text": {**text, "weights": text_files},
    }
    write_json(folder / "preprocess.json", settings)


def _write(
    module: nn.Module,
    path: Path,
    names: list[str],
    inputs: tuple[tuple[Tensor, ...], tuple[Tensor, ...]],
    axes: list[dict[int, str]],
) -> list[str]:
    """Trace with the first inputs, check with the second (another batch size and length); return the weight files."""
    module.eval()
    external = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                module,
                inputs[0],
                dynamo=True,
                verbose=False,
                input_names=names,
                output_names=["embedding_" + ("BD" if names[0].startswith("image") else "MD")],
                dynamic_shapes=tuple({axis: torch.export.Dim.DYNAMIC for axis in dynamic} for dynamic in axes),
                opset_version=OPSET,
            )
    except Exception as error:  # the exporter can fail in any way, and says why on many lines
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise ExportError(f"torch cannot trace this tower ({reason})", item=path.name, remedy=_REMEDY) from error
    _rename_axes(program.model, axes)
    _forget_sources(program.model)
    program.save(str(path), external_data=external > SINGLE_FILE_BYTES)
    _check(module, path, names, inputs[1])
    data = path.with_name(f"{path.name}.data")
    return [data.name] if data.exists() else []


def _rename_axes(model: Any, axes: list[dict[int, str]]) -> None:
    """Call the dynamic axes by their shape letters instead of the tracer's symbols."""
    symbols: dict[str, str] = {}
    for value, dynamic in zip(model.graph.inputs, axes, strict=True):
        for axis, letter in dynamic.items():
            size = value.shape[axis]
            symbols[str(getattr(size, "value", size))] = letter
    for value in [*model.graph.inputs, *model.graph.outputs]:
        value.shape = type(value.shape)(
            [size if isinstance(size, int) else symbols.get(str(size.value), size.value) for size in value.shape]
        )


def _forget_sources(model: Any) -> None:
    """Remove what the tracer noted of this machine's source files; it is no part of the model and names its folders."""
    for graph in (model.graph, *model.functions.values()):
        graph.metadata_props.clear()
        graph.doc_string = None
        for node in graph.all_nodes():
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
                value.doc_string = None
        for value in [*graph.inputs, *getattr(graph, "initializers", {}).values()]:
            value.metadata_props.clear()
            value.doc_string = None
    model.metadata_props.clear()
    model.doc_string = None


def _check(module: nn.Module, path: Path, names: list[str], inputs: tuple[Tensor, ...]) -> None:
    """Run the file with inputs of another size than it was traced with.

    Raises:
        ExportError: If the file is not valid ONNX, or gives other values than the module.
    """
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        wanted_BD = module(*inputs).numpy()
    given = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
    found_BD = session.run(None, given)[0]
    difference = float(np.abs(found_BD - wanted_BD).max())
    if not difference <= _TOLERANCE:
        raise ExportError(f"the graph differs from the tower by {difference:.1e}", item=path.name, remedy=_REMEDY)
