"""Reading weight files safely, and loading them so that nothing is missing or left over in silence."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medvlp.config import ConfigT
from medvlp.errors import CheckpointError
from medvlp.io import is_disk_full, read_json

_MAX_NAMED = 3


def read_saved_config(kind: type[ConfigT], path: Path, written_as: int | str) -> ConfigT:
    """Read the configuration of a saved model from its ``model.json``.

    Args:
        kind: The configuration's class.
        path: The file.
        written_as: What its ``format`` must be.

    Raises:
        CheckpointError: If it has another format or is not valid.
    """
    saved = read_json(path)
    if not isinstance(saved, dict) or saved.get("format") != written_as:
        raise CheckpointError(
            f"unknown format of {path.name}", item=path.parent, remedy="use the version that wrote it"
        )
    try:
        return kind.model_validate_json(json.dumps(saved["config"]))
    except (ValidationError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"the saved configuration is not valid ({reason})", item=path) from None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read ``.safetensors``, or a PyTorch file in its data-only mode (no code is ever run).

    Raises:
        CheckpointError: If the file is missing, damaged, or holds anything but named tensors.
    """
    if not path.is_file():
        raise CheckpointError("weight file not found", item=path, remedy="check the path")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's own message advises to load it all the same
        raise CheckpointError(
            "not a readable weight file (damaged, or holds more than tensors)",
            item=path,
            remedy="restore it, or save it as .safetensors",
        ) from None
    except Exception as error:  # a damaged or hostile file can fail in any way
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"not a readable weight file ({reason})", item=path, remedy="restore it") from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError("holds something other than named tensors", item=path, remedy="save the state dict alone")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def write_state_dict(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors; a full disk or an unwritable folder is one line, and leaves no file.

    Raises:
        CheckpointError: Naming the file and the reason.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except (OSError, SafetensorError) as error:
        path.unlink(missing_ok=True)
        full = is_disk_full(error)
        raise CheckpointError(
            "no space left on the disk" if full else f"could not be written ({str(error).splitlines()[0]})",
            item=path,
            remedy="free some space and run again" if full else "check the folder's permissions and free space",
        ) from error


def load_named(module: nn.Module, state: Mapping[str, Tensor], item: object) -> None:
    """Load by name, strictly.

    Raises:
        CheckpointError: Naming the first missing, unexpected or misshapen tensors.
    """
    expected = module.state_dict()
    problems = _listed("missing", [name for name in expected if name not in state])
    problems += _listed("unexpected", [name for name in state if name not in expected])
    problems += _listed(
        "of another shape",
        [
            f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in state and state[name].shape != tensor.shape
        ],
    )
    if problems:
        raise CheckpointError("; ".join(problems), item=item, remedy="use the weights of this architecture")
    module.load_state_dict(dict(state), strict=True)


def renamed_in_order(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor] | None:
    """Give ``state`` the module's names where it matches one for one in order, else return None.

    A match needs equal counts, equal shapes and equal last name parts (``weight``, ``running_mean`` ...): the same
    network written by another library, whose layers come in the same order under other names.
    """
    expected = module.state_dict()
    if len(expected) != len(state):
        return None
    for (name, tensor), (other, value) in zip(expected.items(), state.items(), strict=True):
        if tensor.shape != value.shape or name.rsplit(".", 1)[-1] != other.rsplit(".", 1)[-1]:
            return None
    return dict(zip(expected, state.values(), strict=True))


def _listed(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return [f"{len(names)} tensors {what}: {', '.join(names[:_MAX_NAMED])}{more}"]
