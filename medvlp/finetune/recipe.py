"""Fine-tuning by gradient steps, as a recipe for the training engine; see ``medvlp.training.recipe.Recipe``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from medvlp.data.plan import Plan
from medvlp.encoders.weights import load_named, read_state_dict, write_state_dict
from medvlp.finetune.config import FinetuneConfig, Full, Linear, Lora
from medvlp.finetune.data import Labelled, LabelledBatch, batches
from medvlp.finetune.depth import depths, layer_rates, part
from medvlp.finetune.lora import add_lora, trained_share
from medvlp.io import atomic_folder, read_json, write_json
from medvlp.loading import AVERAGE

if TYPE_CHECKING:
    from medvlp.data.batch import Batch
    from medvlp.objectives.base import Objective

WEIGHTS = "model.safetensors"
Score = Callable[[], dict[str, float]]
"""Scores the network on the development split: ``loss`` and more; empty if there is none."""


class _Step(nn.Module):
    """The network as one forward pass over a batch: logits, and no texts to compare them with."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_BCHW: Tensor | None, features_BI: Tensor | None) -> tuple[Tensor, Tensor, Tensor, None]:
        logits = self.network(image_BCHW) if features_BI is None else self.network(image_BCHW, features_BI)
        return logits, logits.new_zeros((0, 1)), logits.new_ones(()), None


@dataclass(frozen=True)
class Learning:
    """One network, one data set, one loss.

    Attributes:
        network: A classifier or segmenter; its part ``image`` is the tower, all else the head.
        data: Training images.
        plan: Their order.
        objective: The loss.
        score: Scores the network on the development split.
    """

    network: Any
    data: Dataset[Labelled]
    plan: Plan
    objective: Objective
    score: Score


class FinetuneRecipe:
    """A :class:`Learning` for the engine.

    Args:
        config: Settings; ``config.method`` may be few_shot, then ``method`` is the one inside.
        method: What learns.
        learning: Network, data and loss.
        identity: Facts that must be equal on resume.
        header: Facts for the manifests of checkpoints.
        best: Folder of the weights of lowest development loss.
    """

    name = "finetune"

    def __init__(
        self,
        config: FinetuneConfig,
        method: Linear | Full | Lora,
        learning: Learning,
        identity: Mapping[str, Any],
        header: Mapping[str, Any],
        best: Path,
    ) -> None:
        network = learning.network
        self.method, self.network, self.learning, self.best = method, network, learning, best
        self.objective = learning.objective
        if config.grad_checkpointing:
            network.image.set_grad_checkpointing()
        self.layers = [] if not isinstance(method, Lora) else add_lora(network.image, method)
        self._learning = {name for name, parameter in network.named_parameters() if self._learns(name)}
        self._depths = depths(network.image) if isinstance(method, Full) and method.layer_decay < 1 else None
        self.config = config.model_copy(update={"optimizer": self._optimizer(config)})
        self.module: nn.Module = _Step(network)
        self.identity: Mapping[str, Any] = identity
        self.set_learning(tower=True)
        self.share = trained_share(network)
        self.header: Mapping[str, Any] = {**header, "trained_share": self.share}

    def _learns(self, name: str) -> bool:
        if not name.startswith("image."):
            return True
        return isinstance(self.method, Full) or (isinstance(self.method, Lora) and "lora_" in name)

    def _optimizer(self, config: FinetuneConfig) -> Any:
        """Spell out the rate of every layer; one that the configuration names itself stays."""
        if self._depths is None or not isinstance(self.method, Full):
            return config.optimizer
        given = dict(config.optimizer.part_lr)
        tower = given.pop("tower", config.optimizer.lr)
        rates = layer_rates(max(self._depths.values()) + 1, self.method.layer_decay, tower)
        return config.optimizer.model_copy(update={"part_lr": {**rates, **given}})

    def set_learning(self, *, tower: bool) -> None:
        """Let learn what the method lets learn, of the tower only if ``tower``."""
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name in self._learning and (tower or not name.startswith("image.")))

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters by part: head, and the tower whole or layer by layer."""
        named = dict(self.network.image.named_parameters())
        head = [parameter for name, parameter in self.network.named_parameters() if not name.startswith("image.")]
        if self._depths is None:
            return {"head": head, "tower": list(named.values())}
        layers: dict[str, list[nn.Parameter]] = {part(depth): [] for depth in sorted(set(self._depths.values()))}
        for name, parameter in named.items():
            layers[part(self._depths[name])].append(parameter)
        return {"head": head, **layers}

    def inputs(self, batch: Batch) -> tuple[Tensor | None, ...]:
        """Return images or cached features."""
        return batch.image_BCHW, batch.image_features_BI

    def batches(self, start: int, rank: int, world: int) -> Iterator[LabelledBatch]:
        """Yield this rank's batches from micro-step ``start`` on."""
        pin = next(self.network.parameters()).is_cuda
        workers = self.config.num_workers
        return batches(self.learning.data, self.learning.plan, start, rank, world, workers, pin=pin)

    def begin_step(self, step: int) -> None:
        """Freeze what does not learn at this step; a frozen tower and fixed statistics stay in eval mode."""
        learns = step >= self.config.head_first and not isinstance(self.method, Linear)
        self.set_learning(tower=learns)
        self.module.train()
        if not learns:
            self.network.image.eval()
        if self.config.batch_norm == "fixed":
            for module in self.network.image.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def validate(self) -> dict[str, float]:
        """Score the development split, and keep the weights if its loss is the lowest so far."""
        values = self.learning.score()
        if self.config.select == "best" and values:
            kept = read_json(self.best / "best.json")["loss"] if (self.best / "best.json").is_file() else float("inf")
            if values["loss"] < kept:
                with atomic_folder(self.best, replace=True, own=True) as partial:
                    write_state_dict(partial / WEIGHTS, self.network.state_dict())
                    write_json(partial / "best.json", values)
        return values

    def report(self) -> dict[str, float]:
        """Nothing beside the losses."""
        return {}

    def save_model(self, folder: Path) -> None:
        """Write the network as it trains, additions included."""
        write_state_dict(folder / WEIGHTS, self.network.state_dict())

    def load_final(self, checkpoint: Path) -> None:
        """Take over the weights that a finished run is used with: the moving average where one is kept."""
        self.load_model(checkpoint if self.config.ema is None else checkpoint / AVERAGE)

    def load_model(self, folder: Path) -> None:
        """Read what :meth:`save_model` wrote."""
        load_named(self.network, read_state_dict(folder / WEIGHTS), folder / WEIGHTS)
