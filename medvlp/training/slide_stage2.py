"""mSTAR's second stage: the tile encoder learns what the slide encoder of stage 1 makes of its tiles.

The frozen slide encoder reads the stored features of a case, the decoder of stage 1 turns its tiles back into tile
features, and those are the targets of the tile encoder; a moving average of the tile encoder itself, with weight 0.6,
keeps it from forgetting. Source: Xu et al. 2025 (mSTAR); distance, decoder and decay are ours ("mSTAR-like").
Shape legend: S cases, T tiles of all cases, N tiles with an image in the step, I width of tile features, X = 2 (x, y),
C channels, H, W pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.data import Dataset

from medvlp.case_model import CaseModel, load_case_model
from medvlp.config import Config
from medvlp.data.plan import PairPlan
from medvlp.encoders.weights import load_named, read_state_dict, write_state_dict
from medvlp.errors import ConfigError, DataError
from medvlp.fusion.bag import TileBag
from medvlp.io import sha256_file
from medvlp.loading import checkpoint_folder
from medvlp.model import DEFAULT_IMAGE, ImageConfig
from medvlp.objectives.base import Losses
from medvlp.objectives.mstar import self_taught_loss
from medvlp.tile_encoder import WEIGHTS, TileEncoder, save_tile_encoder
from medvlp.training.draws import Order, in_order
from medvlp.training.resume import identity
from medvlp.training.settings import HARMLESS
from medvlp.training.slide_data import Tiles, read_cases
from medvlp.training.tile_images import TileImages, TileSource, open_tile_images

if TYPE_CHECKING:
    from medvlp.objectives.gather import Gather
    from medvlp.training.draws import Draw
    from medvlp.training.slide import MstarConfig
    from medvlp.training.slide_data import Case

AVERAGE = "average.safetensors"
_DRAW = 7  # random stream of tiles, apart from the plan's
_FIXED = 8  # the same for scoring


class SelfTaught(Config):
    """Settings of stage 2."""

    stage1: str = Field(description="Run, or checkpoint, of stage 1.")
    tiles: TileSource = Field(description="Where the pixels of tiles come from.")
    encoder: ImageConfig = Field(DEFAULT_IMAGE, description="The tile encoder that made the features, to go on from.")
    tiles_per_case: int = Field(16, ge=1, description="Tiles of a case that are read as images in a step.")
    similarity: float = Field(0.6, ge=0.0, description="Weight of staying near the moving average; 0 for none.")
    decay: float = Field(0.999, ge=0.0, lt=1.0, description="Share of the moving average that stays at each step.")


@dataclass(frozen=True)
class TaughtOutputs:
    """What the three encoders made of the same tiles; only the first has a gradient."""

    student_NI: Tensor
    teacher_NI: Tensor
    average_NI: Tensor
    scale: float = 1.0


@dataclass(frozen=True)
class TileItem:
    """One case in one step: its stored features, and some of its tiles as images."""

    key: str
    features_TI: Tensor
    centres_TX: Tensor | None
    chosen_N: Tensor
    image_NCHW: Tensor


@dataclass(frozen=True)
class TileBatch:
    """Cases of one rank and step; ``chosen_N`` counts through the tiles of all of them."""

    keys: list[str]
    lengths: tuple[int, ...]
    features_TI: Tensor
    centres_TX: Tensor | None
    chosen_N: Tensor
    image_NCHW: Tensor = field(repr=False)

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.keys)

    def to(self, device: torch.device) -> TileBatch:
        """Return the batch with every tensor on a device."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def collate_tiles(items: Sequence[TileItem]) -> TileBatch:
    """Pack cases without padding."""
    lengths = [len(item.features_TI) for item in items]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).tolist()
    centres = [item.centres_TX for item in items if item.centres_TX is not None]
    return TileBatch(
        keys=[item.key for item in items],
        lengths=tuple(lengths),
        features_TI=torch.cat([item.features_TI for item in items]),
        centres_TX=torch.cat(centres) if centres else None,
        chosen_N=torch.cat([item.chosen_N + start for item, start in zip(items, starts, strict=True)]),
        image_NCHW=torch.cat([item.image_NCHW for item in items]),
    )


class TileItems(Dataset[TileItem]):
    """Makes the item of a draw; the same draw always gives the same item.

    Args:
        cases: Cases with tiles that have images.
        tiles: Reads stored features.
        images: Reads pixels.
        preprocess: Image to input tensor.
        count: Images per case.
        seed: Decides every draw.
    """

    def __init__(
        self, cases: Sequence[Case], tiles: Tiles, images: TileImages, preprocess: Any, count: int, seed: int
    ) -> None:
        self.cases, self.tiles, self.images = list(cases), tiles, images
        self.preprocess, self.count, self.seed = preprocess, count, seed

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.cases)

    def __getitem__(self, draw: Draw) -> TileItem:
        """Return the item of a draw."""
        return self.item(draw.row, [self.seed, _DRAW, draw.step, draw.slot])

    def item(self, row: int, seed: Sequence[int] | None = None) -> TileItem:
        """Return a case; without a seed the same tiles every time.

        The tiles read as images are drawn first, so that a cap on tiles never leaves one of them out.
        """
        case = self.cases[row]
        rng = np.random.default_rng([self.seed, _FIXED, row] if seed is None else list(seed))
        features_TI, centres_TX = self.tiles.case(case)
        known_K = np.flatnonzero(self.images.known(case))
        chosen_N = rng.choice(known_K, self.count, replace=len(known_K) < self.count)
        limit = max(self.tiles.data.max_tiles, len(np.unique(chosen_N)))
        if len(features_TI) > limit:
            others_K = np.setdiff1d(np.arange(len(features_TI)), chosen_N)
            more = rng.choice(others_K, limit - len(np.unique(chosen_N)), replace=False)
            kept_K = np.union1d(chosen_N, more)
        else:
            kept_K = np.arange(len(features_TI))
        pixels = [self.preprocess(self.images.read(case, int(tile))) for tile in chosen_N]
        return TileItem(
            case.key,
            features_TI[kept_K],
            None if centres_TX is None else centres_TX[kept_K],
            torch.from_numpy(np.searchsorted(kept_K, chosen_N)),
            torch.stack(pixels),
        )


class TaughtStep(nn.Module):
    """Student, its moving average and the frozen teacher as one forward pass over a batch."""

    def __init__(self, student: TileEncoder, teacher: CaseModel) -> None:
        super().__init__()
        self.student, self.average = student, copy.deepcopy(student).requires_grad_(False)
        self.teacher = teacher.requires_grad_(False)

    def train(self, mode: bool = True) -> TaughtStep:
        """Only the student trains, and its batch statistics stay those of its weights."""
        super().train(mode)
        self.teacher.eval()
        self.average.eval()
        for module in self.student.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(
        self,
        lengths: tuple[int, ...],
        features_TI: Tensor,
        centres_TX: Tensor | None,
        chosen_N: Tensor,
        image_NCHW: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the fields of :class:`TaughtOutputs`."""
        with torch.no_grad():
            bag = TileBag(features_TI, torch.tensor(lengths, dtype=torch.int64), centres_TX)
            tile_TW = self.teacher.slides(bag)[1]
            decoder = self.teacher.decoder
            assert decoder is not None
            assert tile_TW is not None
            teacher_NI = decoder(tile_TW[chosen_N])
            average_NI = self.average(image_NCHW)
        return self.student(image_NCHW), teacher_NI, average_NI

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Let the average follow the student by one step."""
        for slow, fast in zip(self.average.parameters(), self.student.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)


class SelfTaughtObjective(nn.Module):
    """:func:`self_taught_loss` as an objective."""

    def __init__(self, similarity: float) -> None:
        super().__init__()
        self.similarity = similarity

    def forward(self, out: TaughtOutputs, batch: TileBatch, gather: Gather) -> Losses:
        """Return ``{"taught": ..., "kept": ...}``, the second weighted."""
        taught, kept = self_taught_loss(out.student_NI, out.teacher_NI, out.average_NI, self.similarity)
        return Losses({"taught": taught, "kept": kept}, {})


class SelfTaughtRecipe:
    """Stage 2 for the engine; see :class:`medvlp.training.recipe.Recipe`."""

    name = "mstar"
    outputs = TaughtOutputs

    def __init__(self, config: MstarConfig, fabric: Any) -> None:
        settings = config.self_taught
        assert settings is not None  # the configuration checks it
        self.config, self.settings, self.device = config, settings, fabric.device
        folder = checkpoint_folder(settings.stage1)
        teacher = load_case_model(folder)
        if teacher.decoder is None:
            raise ConfigError(
                f"its slide encoder ({teacher.config.slide.name}) keeps no tiles that could teach",
                item=settings.stage1,
                remedy="train stage 1 with transformer, abmil or mean",
            )
        torch.manual_seed(config.seed)
        student = TileEncoder(TileEncoder.Config(image=settings.encoder))
        if student.width != teacher.config.tile_width:
            raise ConfigError(
                f"gives {student.width} features, those of stage 1 have {teacher.config.tile_width}",
                item="self_taught.encoder",
                remedy="name the encoder that made the features",
            )
        if config.grad_checkpointing:
            student.image.set_grad_checkpointing()
        self.step = TaughtStep(student, teacher)
        self.module: nn.Module = self.step
        self.objective: Any = SelfTaughtObjective(settings.similarity)
        cases = read_cases(config.data)
        tiles = Tiles(config.data, coordinates=teacher.config.coordinates, width=student.width)
        images = open_tile_images(settings.tiles, tiles)
        found = {name: [case for case in cases.split(name) if images.known(case).any()] for name in ("train", "dev")}
        if not found["train"]:
            raise DataError(
                "no training case has a tile with an image", item=config.data.table, remedy="check self_taught.tiles"
            )
        make = student.preprocess
        self.data = TileItems(found["train"], tiles, images, make, settings.tiles_per_case, config.seed)
        self.development = TileItems(found["dev"], tiles, images, make, settings.tiles_per_case, config.seed)
        self.plan = PairPlan(len(self.data), config.batch_size, config.seed)
        digests = {"data.table": cases.digest, "self_taught.stage1": sha256_file(folder / WEIGHTS)}
        self.header: dict[str, Any] = {
            "data_digest": cases.digest,
            "stage1_digest": digests["self_taught.stage1"],
            "cases_with_images": {name: len(split) for name, split in found.items()},
            "ledger": cases.ledger.to_json(),
        }
        harmless = HARMLESS | {"cache", "data.cache_mib", "data.features", "data.genes"}
        self.identity: dict[str, Any] = identity(config, harmless, {**digests})

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the student's parameters."""
        return {"student": list(self.step.student.parameters())}

    def batches(self, start: int, rank: int, world: int) -> Iterator[TileBatch]:
        """Yield this rank's batches from micro-step ``start`` on."""
        yield from in_order(self.data, Order(self.plan, start, rank, world), self.config.num_workers, collate_tiles)

    def inputs(self, batch: TileBatch) -> tuple[Any, ...]:
        """Return what :class:`TaughtStep` takes."""
        return batch.lengths, batch.features_TI, batch.centres_TX, batch.chosen_N, batch.image_NCHW

    def begin_step(self, step: int) -> None:
        """Let the average follow the step before; at the first one both are equal."""
        self.step.follow(self.settings.decay)
        self.module.train()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return both distances on fixed tiles of the development cases; empty without any."""
        if len(self.development) == 0:
            return {}
        training = self.module.training
        self.module.eval()
        taught, kept = [], []
        for row in range(len(self.development)):
            batch = collate_tiles([self.development.item(row)]).to(self.device)
            student_NI, teacher_NI, average_NI = self.step(*self.inputs(batch))
            terms = self_taught_loss(student_NI, teacher_NI, average_NI, 1.0)
            taught.append(float(terms[0]))
            kept.append(float(terms[1]))
        self.module.train(training)
        return {"distance_to_teacher": float(np.mean(taught)), "distance_to_average": float(np.mean(kept))}

    def report(self) -> dict[str, float]:
        """Nothing beside the losses."""
        return {}

    def save_model(self, folder: Path) -> None:
        """Write the student as a tile encoder, and its moving average beside it."""
        save_tile_encoder(self.step.student, folder)
        write_state_dict(folder / AVERAGE, self.step.average.state_dict())

    def load_model(self, folder: Path) -> None:
        """Read both."""
        for encoder, name in ((self.step.student, WEIGHTS), (self.step.average, AVERAGE)):
            load_named(cast(nn.Module, encoder), read_state_dict(folder / name), folder / name)
