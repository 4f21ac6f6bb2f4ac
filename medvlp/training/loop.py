"""The engine both recipes run on: devices, steps, accumulation, logging, validation, checkpoints, resume.

A recipe says what a batch is and what the model makes of it; the engine never looks inside. Every random choice of a
step comes from (seed, step, rank), so a run goes on exactly where it was cut.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medvlp import torchvision_guard
from medvlp.config import dump
from medvlp.data.batch import Batch
from medvlp.errors import TrainingError
from medvlp.io import full_disk_told, write_json, write_text
from medvlp.loading import AVERAGE
from medvlp.objectives.base import Losses, Outputs, check_needs
from medvlp.objectives.gather import DistributedGather, Gather, LocalGather
from medvlp.training.checkpoint import Checkpoints, State, latest_checkpoint
from medvlp.training.ema import Ema
from medvlp.training.log import RunLog
from medvlp.training.optim import build_optimizer, rate, set_rate
from medvlp.training.recipe import Recipe
from medvlp.training.resume import refuse_changes
from medvlp.training.settings import RunConfig


def make_fabric(config: RunConfig) -> Any:
    """Return a launched Lightning Fabric: one process, or data-parallel over those that ``torchrun`` started."""
    torchvision_guard.install()
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    world, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    # Frozen towers get no gradient, which plain data-parallel training would wait for.
    strategy = DDPStrategy(find_unused_parameters=True) if world > 1 else "auto"
    accelerator = "cuda" if config.accelerator == "auto" and torch.cuda.is_available() else _cpu(config.accelerator)
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=max(1, world // local),
        strategy=strategy,
        precision=resolve_precision(config.precision, accelerator),  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def resolve_precision(precision: str, accelerator: str) -> str:
    """Turn ``auto`` into ``bf16-mixed`` where the device computes in bf16 itself, else into ``32-true``.

    On CPUs without bf16 instructions mixed precision is slower than float32; with them it is two to three times faster.
    """
    if precision != "auto":
        return precision
    if accelerator == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if native else "32-true"


def _cpu(accelerator: str) -> str:
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise TrainingError("no CUDA device is usable", item="accelerator: cuda", remedy="set it to auto or cpu")
    return "cpu" if accelerator == "auto" else accelerator


class Engine:
    """Runs a recipe on this process's device.

    Args:
        recipe: The stage.
        fabric: A launched Fabric.
    """

    def __init__(self, recipe: Recipe, fabric: Any) -> None:
        self.recipe, self.fabric, self.config = recipe, fabric, recipe.config
        self.rank, self.world = int(fabric.global_rank), int(fabric.world_size)
        self.gather: Gather = DistributedGather() if self.world > 1 else LocalGather()
        self.ema: Ema | None = None
        self.done = 0

    def setup(self, checkpoint: Path | None, checkpoints: Checkpoints) -> None:
        """Move the model to its device, make the optimiser, and take over the state of a checkpoint.

        Raises:
            TrainingError: If a setting that changes what is learned differs from the checkpoint's.
            CheckpointError: If the checkpoint is damaged.
        """
        state = None
        if checkpoint is not None:
            state = checkpoints.load(checkpoint)
            refuse_changes(state.identity, self.recipe.identity, checkpoint)
            self.recipe.load_model(checkpoint)
        self.module = self.fabric.setup_module(self.recipe.module)
        self.optimizer = self.fabric.setup_optimizers(build_optimizer(self.recipe.parts(), self.config.optimizer))
        if self.config.ema is not None:
            self.ema = Ema(self.recipe.module, self.config.ema)
        if state is not None:
            if self.ema is not None and checkpoint is not None:
                self._load_average(self.ema, checkpoint, state)
            self.optimizer.load_state_dict(state.tensors["optimizer"])
            self._load_precision(state.tensors.get("precision", {}))
            self.done = state.step

    def run(self, out: Path, checkpoints: Checkpoints, start: Path | None) -> Path:
        """Train from the steps done (in ``start``) to the last one; return the last checkpoint."""
        config, recipe = self.config, self.recipe
        with (
            RunLog(out, recipe.name, self.done, config.steps, tensorboard=config.tensorboard)
            if self.rank == 0
            else _NoLog() as log
        ):
            batches = recipe.batches(self.done * config.accumulate, self.rank, self.world)
            saved = start
            while self.done < config.steps:
                values, num_samples = self.step(batches, out)
                log.advance(num_samples * self.world)
                last = self.done == config.steps
                if self.done % config.log_every == 0 or last:
                    log.train(self.done, {**self._mean(values), **recipe.report()})
                if last or _due(self.done, config.validate_every):
                    self._validate(log)
                if last or _due(self.done, config.checkpoint.every):
                    saved = self.save(checkpoints)
                    log.restart_clock()
        assert saved is not None  # the last step always saves
        return saved

    def step(self, batches: Iterator[Batch], out: Path) -> tuple[dict[str, Tensor], int]:
        """Do one optimiser step; return its scalars and the number of images this rank saw."""
        config, step = self.config, self.done
        self.recipe.begin_step(step)
        if hasattr(self.recipe.objective, "begin_step"):
            self.recipe.objective.begin_step(step)
        set_rate(self.optimizer, rate(step, config.steps, config.optimizer))
        seed_everything(config.seed, step, self.rank)
        values: dict[str, Tensor] = {}
        num_samples = 0
        for part in range(config.accumulate):
            batch = next(batches).to(self.fabric.device)
            if step == 0:
                check_needs(self.recipe.objective, batch)
            with self.fabric.no_backward_sync(self.module, enabled=part + 1 < config.accumulate and self.world > 1):
                losses, scale, total = self._losses(batch)
                self._refuse_nonfinite(losses, batch, out)
                self.fabric.backward(total / config.accumulate)
            num_samples += len(batch)
            parts = {"loss": losses.total, "scale": scale, **losses.terms, **losses.report}
            for name, value in parts.items():
                values[name] = values.get(name, 0.0) + value.detach().float() / config.accumulate
        norm = self._clip()
        if config.precision != "16-mixed" and not bool(torch.isfinite(norm)):
            self._stop("the gradient is not finite", batch, out, {"gradient_norm": float(norm)})
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(self.recipe.module)
        self.done += 1
        rates = {f"lr/{group['part']}": torch.tensor(group["lr"]) for group in self.optimizer.param_groups}
        return {**values, "gradient_norm": norm.detach(), **rates}, num_samples

    def save(self, checkpoints: Checkpoints) -> Path:
        """Write a checkpoint from rank 0 while the others wait; a failure stops all ranks."""
        target = checkpoints.folder / f"step-{self.done:08d}"
        if self.rank == 0:
            state = State(
                step=self.done,
                identity=dict(self.recipe.identity),
                tensors={
                    "optimizer": self.optimizer.state_dict(),
                    "precision": self._precision_state(),
                    "ema_updates": self.ema.num_updates if self.ema is not None else 0,
                },
                details={"world": self.world, "precision": self.config.precision},
            )

            def write(folder: Path) -> None:
                self.recipe.save_model(folder)
                if self.ema is not None:
                    (folder / AVERAGE).mkdir()
                    with self.ema.swapped(self.recipe.module):
                        self.recipe.save_model(folder / AVERAGE)
                write_text(folder / "config.yaml", dump(self.config))

            target = checkpoints.save(state, write, {"stage": self.recipe.name, **self.recipe.header})
        self.fabric.barrier()
        return target

    def _losses(self, batch: Batch) -> tuple[Losses, Tensor, Tensor]:
        made = self.module(*self.recipe.inputs(batch))
        out = getattr(self.recipe, "outputs", Outputs)(*made)
        losses = self.recipe.objective(out, batch, self.gather)
        # An output the loss does not use still takes part with gradient 0: every rank then reduces the same tensors.
        unused = [tensor.sum() for tensor in _tensors(made) if tensor.requires_grad]
        total = losses.total + 0.0 * torch.stack(unused).sum() if unused else losses.total
        return losses, torch.as_tensor(out.scale), total

    def _clip(self) -> Tensor:
        limit = self.config.clip_norm if self.config.clip_norm is not None else float("inf")
        norm = self.fabric.clip_gradients(self.module, self.optimizer, max_norm=limit, error_if_nonfinite=False)
        return torch.as_tensor(norm)

    def _refuse_nonfinite(self, losses: Losses, batch: Batch, out: Path) -> None:
        """Stop all ranks if the loss of any is NaN or infinite, before it reaches a weight."""
        bad = ~torch.isfinite(losses.total.detach())
        if self.world > 1:
            bad = self.fabric.all_reduce(bad.float(), reduce_op="sum") > 0
        if bool(bad):
            terms = {name: float(term.detach()) for name, term in losses.terms.items()}
            self._stop("the loss is not finite", batch, out, terms)

    def _stop(self, problem: str, batch: Batch, out: Path, values: dict[str, float]) -> None:
        path = out / f"not-finite-step-{self.done:08d}-rank-{self.rank}.json"
        shown = {name: str(value) for name, value in values.items()}
        write_json(path, {"step": self.done, "rank": self.rank, "keys": batch.keys, "values": shown})
        terms = ", ".join(f"{name} {value}" for name, value in shown.items())
        first = ", ".join(batch.keys[:3]) + (f" and {len(batch.keys) - 3} more" if len(batch.keys) > 3 else "")
        raise TrainingError(
            f"{problem} ({terms}) in the batch of {first}",
            item=f"step {self.done}",
            remedy=f"all keys are in {path}; check these items, lower the learning rate or use precision 32-true",
        )

    def _validate(self, log: RunLog | _NoLog) -> None:
        if self.rank == 0:
            averaged = self.ema is not None and self.ema.config.validation
            with self.ema.swapped(self.recipe.module) if self.ema is not None and averaged else nullcontext():
                values = self.recipe.validate()
            if values:
                log.validation(self.done, values)
        self.fabric.barrier()
        log.restart_clock()

    def _load_average(self, ema: Ema, checkpoint: Path, state: State) -> None:
        """Read the average as a model, take it over, and put the checkpoint's own weights back."""
        self.recipe.load_model(checkpoint / AVERAGE)
        average = Ema(self.recipe.module, ema.config).state_dict()
        ema.load_state_dict({**average, "num_updates": state.tensors["ema_updates"]})
        self.recipe.load_model(checkpoint)

    def _mean(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Mean over ranks, as numbers."""
        stacked = torch.stack([torch.as_tensor(value).float().to(self.fabric.device) for value in values.values()])
        if self.world > 1:
            stacked = self.fabric.all_reduce(stacked, reduce_op="mean")
        return dict(zip(values, stacked.tolist(), strict=True))

    def _precision_state(self) -> dict[str, Any]:
        return dict(self.fabric.strategy.precision.state_dict())

    def _load_precision(self, state: dict[str, Any]) -> None:
        if state:
            self.fabric.strategy.precision.load_state_dict(state)


def fit(recipe: Recipe, out: Path, resume: str, fabric: Any) -> Path:
    """Train a recipe in a run folder and return the last checkpoint.

    Args:
        recipe: The stage.
        out: Run folder.
        resume: ``auto``, ``never``, or the run or checkpoint to go on from.
        fabric: A launched Fabric.

    Raises:
        TrainingError: If the folder holds a run and ``resume`` is ``never``, settings changed, or a loss is not finite.
        CheckpointError: If a checkpoint is damaged or cannot be written.
    """
    checkpoints = Checkpoints(out, recipe.config.checkpoint)
    start = find_start(checkpoints, resume)
    if fabric.global_rank == 0:
        checkpoints.clean()
    fabric.barrier()
    engine = Engine(recipe, fabric)
    engine.setup(start, checkpoints)
    with full_disk_told(out, TrainingError):
        if fabric.global_rank == 0:
            write_text(out / "config.yaml", dump(recipe.config))
        return engine.run(out, checkpoints, start)


def find_start(checkpoints: Checkpoints, resume: str) -> Path | None:
    """Return the checkpoint to go on from, None for a fresh start."""
    if resume == "auto":
        return checkpoints.latest()
    if resume == "never":
        if checkpoints.latest() is not None:
            raise TrainingError(
                "already holds a run", item=checkpoints.run, remedy="use --resume auto or another --out"
            )
        return None
    chosen, newest = latest_checkpoint(resume), checkpoints.latest()
    if newest is not None and newest.name > chosen.name:
        raise TrainingError(
            f"already holds the later checkpoint {newest.name}",
            item=checkpoints.run,
            remedy=f"go on from it, remove it, or use another --out for the run from {chosen.name}",
        )
    return chosen


def seed_everything(seed: int, step: int, rank: int) -> None:
    """Make every random choice of a step (dropout, a user's own loss) a function of (seed, step, rank)."""
    first, second = np.random.SeedSequence([seed, step, rank]).generate_state(2).tolist()
    torch.manual_seed(first)
    random.seed(second)
    np.random.seed(second)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


class _NoLog:
    """What ranks other than 0 log to."""

    def __enter__(self) -> _NoLog:
        return self

    def __exit__(self, *error: object) -> None: ...

    def advance(self, num_samples: int) -> None:
        """Ignore."""

    def train(self, step: int, values: dict[str, float]) -> None:
        """Ignore."""

    def validation(self, step: int, values: dict[str, float]) -> None:
        """Ignore."""

    def restart_clock(self) -> None:
        """Ignore."""


def _tensors(made: tuple[Any, ...]) -> list[Tensor]:
    """Every tensor that a forward pass gave, those in mappings too."""
    flat = [value for part in made for value in (part.values() if isinstance(part, dict) else (part,))]
    return [value for value in flat if isinstance(value, Tensor)]
