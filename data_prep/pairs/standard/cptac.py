"""CPTAC slides of the Cancer Imaging Archive: subtypes of several collections, or tumor against normal tissue.

Homepage: https://www.cancerimagingarchive.net/collection/cptac-luad/ and those of the other collections. Licence: the
archive's data usage policy.

Layout: each collection has a table of its specimens (cohort.csv of the archive's pathology portal: Case_ID, Slide_ID,
Specimen_Type with tumor_tissue or normal_tissue, Tumor_Segment_Acceptable with Yes or No) and files <Slide_ID>.svs;
columns and values were read in public pipelines that use it. The archive's collections grow and its table has other
totals than its page (lung: 2,138 slides of 441 cases against 2,218 of 455), so the table is compared with the files.

Known defects: a case has about five slides, cut above and below the block that was sequenced, so splits are drawn by
case; tumor segments that failed the review are left out; a few files of an earlier phase have other names than their
Slide_ID.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from data_prep.pairs.config import SplitConfig
from data_prep.pairs.standard.checks import set_root
from data_prep.pairs.standard.slide_rows import WHOLE_SET, SlideListing, SlideRow, finish, keep_present
from data_prep.pairs.tables import Row, read_table, require_columns
from medvlp.config import Config, resolve_path
from medvlp.errors import DataError

_TITLE = "CPTAC"


class CptacCollection(Config):
    """One collection of the archive."""

    slides: str = Field(description="Folder of <Slide_ID>.svs, at any depth.")
    table: str = Field(description="The collection's cohort.csv.")
    label: str = Field(description="Class of its tumors: lung adenocarcinoma.")


class Cptac(Config):
    """Slides of CPTAC collections; the case is the case."""

    name: Literal["cptac"] = Field(description="Kind of source.")
    collections: Annotated[list[CptacCollection], Field(min_length=1)] = Field(description="Which collections.")
    normal: str | None = Field(
        default=None, description="Class of normal tissue, for detection; none: only tumors, for subtyping."
    )
    split: SplitConfig = Field(default=WHOLE_SET, description="Shares to draw by case, as no split is published.")
    partial: bool = Field(default=False, description="Go on with a copy that lacks slides, and note what differs.")


def list_cptac(source: Cptac) -> SlideListing:
    """List the slides of the tables.

    Raises:
        DataError: A missing folder, table, column or slide; a specimen of another type; a collection without slides.
    """
    listing = SlideListing()
    for collection in source.collections:
        root, table = set_root(collection.slides, _TITLE), resolve_path(collection.table)
        files = {path.stem: path for path in sorted(root.rglob("*.svs"))}
        rows = read_table(table)
        require_columns(table, rows, ["Case_ID", "Slide_ID", "Specimen_Type", "Tumor_Segment_Acceptable"])
        before = len(listing.rows)
        for row in rows:
            key = row["Slide_ID"].strip()
            label, reason = _class_of(row, collection.label, source.normal)
            if label is None:
                listing.dropped.append((key, reason))
                continue
            path = files.get(key, root / f"{key}.svs")
            listing.rows.append(SlideRow(key, path, label, row["Case_ID"].strip(), None))
        if len(listing.rows) == before:
            raise DataError("no slide is left", item=table, remedy="get the collection's own table")
    keep_present(listing, _TITLE, partial=source.partial)
    return finish(listing, {}, source.split)


def _class_of(row: Row, tumor: str, normal: str | None) -> tuple[str | None, str]:
    """Class of a specimen, or None and why it is left out."""
    kind = row["Specimen_Type"].strip()
    if kind == "normal_tissue":
        return normal, "normal tissue"
    if kind != "tumor_tissue":
        raise DataError(f"unknown Specimen_Type {kind!r}", item=row["Slide_ID"], remedy="use the archive's table")
    return (tumor, "") if row["Tumor_Segment_Acceptable"].strip() == "Yes" else (None, "segment failed the review")
