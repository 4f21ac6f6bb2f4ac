"""What both protocols of annotated texts share: the two parts of NCBI-disease, and our linker fitted once on the first.

No model is scored here: the systems are our linker with its tiers. The rerank tier joins where an encoder is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from benchmarks.common.records import once
from benchmarks.linking.corpora import read_ncbi
from data_prep.slides.locks import Locks
from data_prep.text.linking import Fitted, Linker, LinkerConfig
from data_prep.text.linking.config import Tier
from data_prep.text.linking.fit import Document, fit
from medvlp import __version__
from medvlp.config import Config, load, resolve_path
from medvlp.errors import ConfigError, DataError
from medvlp.io import sha256_file, sha256_json
from medvlp.zeroshot.classifier import refuse_test

if TYPE_CHECKING:
    from benchmarks.harness.protocol import Context
    from benchmarks.harness.task import TaskConfig
    from medvlp.knowledge.graph import DiseaseGraph

Arm = Literal["exact", "fuzzy", "all"]


class LinkerSettings(Config):
    """Settings of every protocol that runs our linker."""

    linker: str = Field("linking/all_tiers", description="Config of kind `linker`; tiers and encoder are set here.")
    set: list[str] = Field([], description="Overrides `a.b=c` of it.")
    encoder: str | None = Field(None, description="Stage-1 run for the rerank tier; null leaves the tier out.")


@dataclass(frozen=True)
class Corpus:
    """The two parts, the graph, and the linker before any fit.

    Attributes:
        train: Documents that everything is fitted on.
        scored: Documents that are scored.
        graph: The graph whose concepts are linked.
        settings: The linker with all its tiers, unfitted.
        identity: Digest of all that a fit depends on.
        digest: The same and the scored documents.
        folder: Where fits are kept.
    """

    train: Sequence[Document]
    scored: Sequence[Document]
    graph: DiseaseGraph
    settings: LinkerConfig
    identity: str
    digest: str
    folder: Path

    @cached_property
    def base(self) -> Linker:
        """The unfitted linker; its siblings share its names."""
        return Linker(self.graph, self.settings)

    @property
    def num_mentions(self) -> int:
        """Annotated mentions of the scored part."""
        return sum(len(document.mentions) for document in self.scored)

    def tiers(self, arm: Arm) -> list[Tier]:
        """Tiers of a system; ``all`` has every tier of the configuration."""
        last = {"exact": 1, "fuzzy": 2, "all": len(self.settings.tiers)}[arm]
        return self.settings.tiers[:last]

    def fitted(self, arm: Arm) -> Fitted:
        """Return what is learnt from the training part for an arm's tiers; fitted once, kept on disk."""
        tiers = self.tiers(arm)
        file = self.folder / f"fit-{tiers[-1]}-{self.identity[:12]}.json"
        with Locks(self.folder / "locks").guard():  # cells of several processes want the same fit
            found = once(file, [self.identity, tiers], lambda: {"fitted": self._fit(tiers)})
        return Fitted.model_validate({**found["fitted"], "names": [tuple(pair) for pair in found["fitted"]["names"]]})

    def _fit(self, tiers: Sequence[Tier]) -> dict[str, object]:
        made = fit(self.base.sibling(tiers=tiers), self.train, split="train").model_dump(mode="json")
        assert isinstance(made, dict)
        return made


def open_corpus(task: TaskConfig, settings: LinkerSettings, context: Context) -> Corpus:
    """Read the parts that a task names.

    Raises:
        ConfigError: If the task names no files for its two splits, both are one, or there is no graph.
        DataError: If a file is missing, a text is in both parts, or the number of mentions is not the expected one.
    """
    refuse_test(task.fit_split)
    if task.data.form != "files" or not {task.fit_split, task.split} <= set(task.data.files):
        raise ConfigError(
            f"needs the files {task.fit_split} and {task.split}", item="data.files", remedy="name one file per split"
        )
    if task.fit_split == task.split:
        raise ConfigError("would be fitted on what is scored", item="fit_split", remedy="write fit_split: train")
    if context.graph is None:
        raise ConfigError("needs a graph", item=task.title, remedy="set `graph` in the task or the grid")
    paths = [resolve_path(task.data.files[split]) for split in (task.fit_split, task.split)]
    for path in paths:
        if not path.is_file():
            raise DataError("is not there", item=path, remedy="complete the copy of the corpus")
    train, scored = (read_ncbi(path) for path in paths)
    shared = sorted({one.key for one in train} & {one.key for one in scored})
    if shared:
        raise DataError("the text is in both parts", item=shared[0], remedy="use the published parts")
    tiers = "[exact, fuzzy]" if settings.encoder is None else "[exact, fuzzy, rerank]"
    encoder = "null" if settings.encoder is None else settings.encoder
    chosen = load(settings.linker, [*settings.set, f"tiers={tiers}", f"encoder={encoder}", "cache=null"], kind="linker")
    assert isinstance(chosen, LinkerConfig)
    plain = chosen.model_dump(mode="json", exclude={"graph", "cache"})
    identity = sha256_json([__version__, context.graph.digest, plain, sha256_file(paths[0])])
    digest = sha256_json([identity, sha256_file(paths[1]), settings.model_dump(mode="json"), context.num_draws])
    found = Corpus(train, scored, context.graph, chosen, identity, digest, context.folder / "linking")
    if (wanted := task.expect.num.get(task.split)) is not None and wanted != found.num_mentions:
        raise DataError(f"{found.num_mentions} mentions, expected {wanted}", item=task.title, remedy="check the file")
    return found
