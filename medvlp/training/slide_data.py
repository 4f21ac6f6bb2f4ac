"""Cases from a table: slides as feature files, a report, a row of a gene table, each of which may be missing.

Shape legend: B cases, M modalities (slide, report, genes), N tiles of one case, T tiles of a batch, I width of tile
features, X = 2 (x, y), R cases that have the modality, G genes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset

from medvlp.case_model import tile_centres
from medvlp.config import Config, resolve_path
from medvlp.data.genes import GeneTable, Rows, Scale, read_gene_table
from medvlp.data.tables import read_table
from medvlp.errors import DataError
from medvlp.io import sha256_file, sha256_json
from medvlp.ledger import Ledger

if TYPE_CHECKING:
    from medvlp.training.draws import Draw

SPLITS = ("train", "dev", "test")
GAP_UM = 5000.0
"""Between the slides of one case, which are laid side by side: farther than tiles of one slide commonly look."""
_DRAW = 5  # random stream of tiles, apart from the plan's
_WHOLE = 6  # the same for scoring


class CaseColumns(Config):
    """Which column of the case table holds what; null where there is none."""

    case: str = Field("case", description="Key of the case; several rows of one case are its slides.")
    split: str = Field("split", description="train, dev or test; one per case.")
    cancer: str | None = Field("cancer", description="Name of the cancer, empty if unknown.")
    slide: str | None = Field("slide", description="Name of a feature file inside the folder, empty for none.")
    report: str | None = Field("report", description="Text of the report, empty for none.")
    genes: str | None = Field("genes", description="Name of the row in the gene table, empty for none.")


class CaseData(Config):
    """Where cases come from."""

    table: str = Field(description="CSV, TSV or Parquet with a row per case, or per slide of a case.")
    columns: CaseColumns = Field(CaseColumns(), description="Which column holds what.")
    features: str | None = Field(None, description="Folder of the feature files that the table names.")
    patch_size_level0: int | None = Field(None, ge=1, description="Side of a tile where the files do not say it.")
    level0_mpp: float | None = Field(None, gt=0, description="Micrometres per level-0 pixel where files are silent.")
    genes: str | None = Field(None, description="Gene table.")
    gene_rows: Rows | None = Field(None, description="What the rows of the gene table are; null recognises it.")
    gene_scale: Scale | None = Field(None, description="Scale of its values; null recognises it.")
    gene_ids: Literal["as_is", "tcga_case"] = Field("as_is", description="Cut TCGA barcodes to the case, or not.")
    max_tiles: int = Field(1024, ge=1, description="Tiles of a case per step, drawn anew each time.")
    cache_mib: int = Field(1024, ge=0, description="Memory for feature files that have been read.")


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        key: Its name, the only thing about it that may reach a log.
        split: train, dev or test.
        cancer: Name of its cancer, or None.
        slides: Feature files.
        report: Text, or None.
        gene_row: Row of the gene table, or None.
    """

    key: str
    split: str
    cancer: str | None
    slides: tuple[Path, ...]
    report: str | None
    gene_row: int | None

    @property
    def present(self) -> tuple[bool, bool, bool]:
        """Which modalities it has."""
        return bool(self.slides), self.report is not None, self.gene_row is not None


@dataclass(frozen=True)
class Cases:
    """All cases of a table.

    Attributes:
        items: Cases that have something, in the order of the table.
        genes: The gene table, or None.
        ledger: What was left out, by reason.
        digest: Of the tables, and of names and sizes of the feature files.
    """

    items: list[Case]
    genes: GeneTable | None
    ledger: Ledger
    digest: str

    def split(self, name: str) -> list[Case]:
        """Return the cases of a split."""
        return [case for case in self.items if case.split == name]


def read_cases(data: CaseData, *, training: bool = True) -> Cases:
    """Read the tables and look for the files.

    Args:
        data: Settings.
        training: A gene table that no training case uses is left out, as a model could not learn to read it.

    Raises:
        DataError: If a column is missing, a split is unknown, or the rows of a case contradict one another.
    """
    path, columns = resolve_path(data.table), data.columns
    table = read_table(path)
    for column in (name for name in columns.model_dump().values() if name is not None):
        if column not in table.column_names:
            raise DataError(f'has no column "{column}"', item=path, remedy="name the columns under data.columns")
    genes = None
    if data.genes is not None:
        genes = read_gene_table(resolve_path(data.genes), rows=data.gene_rows, scale=data.gene_scale, ids=data.gene_ids)
    place = {} if genes is None else {name: row for row, name in enumerate(genes.cases)}
    folder = None if data.features is None else resolve_path(data.features)
    ledger, by_case = Ledger(), dict[str, list[dict[str, str | None]]]()
    for row in table.to_pylist():
        cells = {name: None if column is None else _cell(row[column]) for name, column in columns.model_dump().items()}
        if cells["case"] is None:
            ledger.drop(path.name, "row without a case")
        else:
            by_case.setdefault(cells["case"], []).append(cells)
    items = []
    for key, rows in by_case.items():
        case = _case(key, rows, folder, place, ledger, path)
        if any(case.present):
            items.append(case)
            ledger.keep()
        else:
            ledger.drop(key, "case without any modality")
    if training and genes is not None and not any(case.gene_row is not None for case in items if case.split == "train"):
        ledger.drop(data.genes, "gene table without a training case")
        genes, items = None, [replace(case, gene_row=None) for case in items]
    files = sorted((file.name, file.stat().st_size) for case in items for file in case.slides)
    tables = [sha256_file(path), None if data.genes is None else sha256_file(resolve_path(data.genes))]
    return Cases(items, genes, ledger, sha256_json([tables, files]))


def _case(
    key: str,
    rows: list[dict[str, str | None]],
    folder: Path | None,
    place: dict[str, int],
    ledger: Ledger,
    path: Path,
) -> Case:
    """Join the rows of a case; what it lacks is counted, what contradicts itself is refused."""
    one: dict[str, str | None] = {}
    for name in ("split", "cancer", "report", "genes"):
        said = list(dict.fromkeys(row[name] for row in rows if row[name] is not None))
        if len(said) > 1:
            shown = "" if name == "report" else f" ({', '.join(str(value) for value in said[:3])})"
            raise DataError(
                f"its rows name {len(said)} of {name}{shown}", item=f"{path.name}: case {key}", remedy="keep one"
            )
        one[name] = said[0] if said else None
    if one["split"] not in SPLITS:
        raise DataError(f"split is {one['split']}", item=f"{path.name}: case {key}", remedy=f"use {', '.join(SPLITS)}")
    slides = []
    for name in dict.fromkeys(row["slide"] for row in rows if row["slide"] is not None):
        if folder is not None and (folder / name).is_file():
            slides.append(folder / name)
        else:
            ledger.drop(name, "feature file missing")
    if not slides:
        ledger.drop(key, "case without slides")
    if one["report"] is None:
        ledger.drop(key, "case without a report")
    gene_row = None if one["genes"] is None else place.get(one["genes"])
    if gene_row is None:
        ledger.drop(key, "case without genes" if one["genes"] is None else "row missing from the gene table")
    return Case(key, one["split"], one["cancer"], tuple(slides), one["report"], gene_row)


def _cell(value: Any) -> str | None:
    text = "" if value is None or value != value else str(value).strip()
    return text or None


class Tiles:
    """Reads the tiles of a case; files stay in memory while there is room.

    Args:
        data: Settings.
        coordinates: Places are needed, so a file without them is refused.
        width: Width that the features of every file must have, None to accept any.
    """

    def __init__(self, data: CaseData, *, coordinates: bool, width: int | None = None) -> None:
        self.data, self.coordinates, self.width = data, coordinates, width
        self._kept: dict[Path, tuple[Tensor, Tensor | None]] = {}
        self._room = data.cache_mib << 20

    def slide(self, file: Path) -> tuple[Tensor, Tensor | None]:
        """Return features (N, I) and centres (N, X) in micrometres, None unless they are needed.

        Raises:
            DataError: Naming the file: damaged, of another width, or without places where they are needed.
        """
        if file in self._kept:
            return self._kept[file]
        from medvlp.slides.features import read_features

        found = read_features(
            file,
            dim=self.width,
            patch_size_level0=self.data.patch_size_level0,
            level0_mpp=self.data.level0_mpp,
        )
        centres_NX = None
        if self.coordinates:
            centres_NX = tile_centres(found.coords_NX, found.patch_size_level0, found.level0_mpp, file.name)
        size = found.features_ND.numel() * 4
        if size <= self._room:
            self._room -= size
            self._kept[file] = found.features_ND, centres_NX
        return found.features_ND, centres_NX

    def case(self, case: Case) -> tuple[Tensor, Tensor | None]:
        """Return the tiles of all slides of a case; several slides are laid side by side, a gap between them."""
        features, centres, start = list[Tensor](), list[Tensor](), 0.0
        for file in case.slides:
            features_NI, centres_NX = self.slide(file)
            features.append(features_NI)
            if centres_NX is not None:
                shift = torch.tensor([start - float(centres_NX[:, 0].min()) if centres else 0.0, 0.0])
                centres.append(centres_NX + shift)
                start = float(centres[-1][:, 0].max()) + GAP_UM
        return torch.cat(features), torch.cat(centres) if centres else None


@dataclass(frozen=True)
class CaseItem:
    """One case in one step: what was drawn of it."""

    row: int
    case: Case
    cancer: int
    features_NI: Tensor | None
    centres_NX: Tensor | None
    genes_G: Tensor | None
    tile_N: Tensor | None = None


class CaseItems(Dataset[CaseItem]):
    """Makes the item of a draw; the same draw always gives the same item, in any process.

    Args:
        cases: Cases of one split.
        tiles: Reads their slides.
        values_CG: Values of the gene table in the order of the model, or None.
        cancers: Names of cancers; the code of one is its place here.
        seed: Decides which tiles are drawn.
    """

    def __init__(
        self, cases: Sequence[Case], tiles: Tiles, values_CG: Tensor | None, cancers: Sequence[str], seed: int
    ) -> None:
        self.cases, self.tiles, self.values_CG, self.seed = list(cases), tiles, values_CG, seed
        self.code = {cancer: code for code, cancer in enumerate(cancers)}

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.cases)

    def __getitem__(self, draw: Draw) -> CaseItem:
        """Return the item of a draw."""
        return self.item(draw.row, [self.seed, _DRAW, draw.step, draw.slot])

    def item(self, row: int, seed: Sequence[int] | None = None) -> CaseItem:
        """Return a case; without a seed the same tiles every time, for scoring."""
        case = self.cases[row]
        features_NI = centres_NX = tile_N = None
        if case.slides:
            features_NI, centres_NX = self.tiles.case(case)
            limit = self.tiles.data.max_tiles
            tile_N = torch.arange(len(features_NI))
            if len(features_NI) > limit:
                rng = np.random.default_rng([self.seed, _WHOLE, row] if seed is None else list(seed))
                tile_N = torch.from_numpy(np.sort(rng.choice(len(features_NI), limit, replace=False)))
                features_NI = features_NI[tile_N]
                centres_NX = None if centres_NX is None else centres_NX[tile_N]
        genes_G = None
        if case.gene_row is not None and self.values_CG is not None:
            genes_G = self.values_CG[case.gene_row]
        cancer = -1 if case.cancer is None else self.code.get(case.cancer, -1)
        return CaseItem(row, case, cancer, features_NI, centres_NX, genes_G, tile_N)


@dataclass(frozen=True)
class CaseBatch:
    """What one rank sees in one step; each modality holds only the cases that have it.

    Attributes:
        keys: Names of the cases.
        present_BM: True where a case has the modality.
        cancer_B: Code of the cancer, -1 if unknown.
        case_rows: Rows of the cases in their split.
        rows: Per modality, the places in the batch of the cases that have it, int64 (R,).
        lengths: Tiles of each case with slides.
        features_TI: Their tiles, one case after the other; (0, 0) if no case has any.
        centres_TX: Centres in micrometres, or None.
        token_ids_RL: Token ids of the reports, or None without any.
        token_mask_RL: 1 on real tokens.
        genes_RG: Expression, NaN where a gene is missing; None without any.
    """

    keys: list[str]
    present_BM: Tensor
    cancer_B: Tensor
    case_rows: list[int]
    rows: tuple[Tensor, Tensor, Tensor]
    lengths: tuple[int, ...]
    features_TI: Tensor
    centres_TX: Tensor | None
    token_ids_RL: Tensor | None
    token_mask_RL: Tensor | None
    genes_RG: Tensor | None

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.keys)

    def to(self, device: torch.device) -> CaseBatch:
        """Return the batch with every tensor on a device."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        slides, reports, genes = (rows.to(device) for rows in self.rows)
        return replace(self, **moved, rows=(slides, reports, genes))


def collate(items: Sequence[CaseItem], tokenize: Any, *, width: int, tokens: bool = True) -> CaseBatch:
    """Pack cases without padding.

    Args:
        items: Cases of one rank and step.
        tokenize: Texts to ids and mask.
        width: Width of tile features.
        tokens: Tokenise the reports; not needed where their features are kept.
    """
    present_BM = torch.tensor([item.case.present for item in items])
    slides, reports, genes = (present_BM[:, modality].nonzero().flatten() for modality in range(3))
    features = [item.features_NI for item in items if item.features_NI is not None]
    centres = [item.centres_NX for item in items if item.centres_NX is not None]
    texts = [item.case.report for item in items if item.case.report is not None]
    ids_RL, mask_RL = tokenize(texts) if texts and tokens else (None, None)
    values = [item.genes_G for item in items if item.genes_G is not None]
    return CaseBatch(
        keys=[item.case.key for item in items],
        present_BM=present_BM,
        cancer_B=torch.tensor([item.cancer for item in items]),
        case_rows=[item.row for item in items],
        rows=(slides, reports, genes),
        lengths=tuple(len(features_NI) for features_NI in features),
        features_TI=torch.cat(features) if features else torch.zeros(0, width),
        centres_TX=torch.cat(centres) if centres else None,
        token_ids_RL=ids_RL,
        token_mask_RL=mask_RL,
        genes_RG=torch.stack(values) if values else None,
    )
