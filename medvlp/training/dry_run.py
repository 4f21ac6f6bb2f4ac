"""``--dry-run``: one real step, a save, a load, and what the run would need in memory; nothing stays behind."""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from medvlp.errors import CheckpointError
from medvlp.training.checkpoint import Checkpoints
from medvlp.training.loop import Engine
from medvlp.training.recipe import Recipe

_MIB = 1 << 20


def rehearse(recipe: Recipe, fabric: Any) -> dict[str, float]:
    """Run one optimiser step, save a checkpoint to a temporary folder and read it back.

    Returns:
        MiB of parameters, gradients, optimiser state and checkpoint, and the measured peak.

    Raises:
        CheckpointError: If what was read back is not bit for bit what was written.
        TrainingError: If the step itself fails.
    """
    with tempfile.TemporaryDirectory(prefix="medvlp-dry-run-") as name:
        folder = Path(name)
        checkpoints = Checkpoints(folder)
        engine = Engine(recipe, fabric)
        engine.setup(None, checkpoints)
        batches = recipe.batches(0, engine.rank, engine.world)
        values, num_samples = engine.step(batches, folder)
        memory = _memory(recipe, engine)
        saved = engine.save(checkpoints)
        if engine.rank == 0:
            memory["checkpoint"] = sum(path.stat().st_size for path in saved.rglob("*") if path.is_file()) / _MIB
            before = {name: tensor.detach().cpu().clone() for name, tensor in recipe.module.state_dict().items()}
            state = checkpoints.load(saved)
            recipe.load_model(saved)
            after = recipe.module.state_dict()
            changed = [name for name, tensor in before.items() if not torch.equal(tensor, after[name].cpu())]
            if changed or state.step != 1:
                raise CheckpointError(f"{len(changed)} tensors changed by saving and loading", item=changed[:1])
            _print(recipe, memory, float(values["loss"]), num_samples * engine.world)
        engine.fabric.barrier()
    return memory


def _memory(recipe: Recipe, engine: Engine) -> dict[str, float]:
    parameters = [parameter for part in recipe.parts().values() for parameter in part]
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    moments = [
        value
        for state in engine.optimizer.state_dict()["state"].values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    ]
    if engine.fabric.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(engine.fabric.device) / _MIB
    else:
        unit = 1 if sys.platform == "darwin" else 1024  # kibibytes on Linux, bytes on macOS
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MIB
    return {
        "parameters": _mib(parameters),
        "gradients": _mib(trained),
        "optimizer": _mib(moments),
        "peak": peak,
    }


def _mib(tensors: list[Any]) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / _MIB


def _print(recipe: Recipe, memory: dict[str, float], loss: float, num_samples: int) -> None:
    console = Console(stderr=True)
    console.print(
        f"dry run of {recipe.name}: one step on {num_samples} items, loss {loss:.4f}; saved, read back, equal"
    )
    console.print(
        f"memory: parameters {memory['parameters']:.0f} MiB, gradients {memory['gradients']:.0f} MiB, "
        f"optimiser {memory['optimizer']:.0f} MiB, measured peak {memory['peak']:.0f} MiB; "
        f"checkpoint {memory['checkpoint']:.0f} MiB on disk",
        highlight=False,
        soft_wrap=True,
    )
