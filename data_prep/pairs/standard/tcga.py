"""TCGA slides of several projects as a subtyping task, from a download of the GDC portal.

Homepage: https://portal.gdc.cancer.gov. Licence: open access under the GDC's terms of use.

Layout: the portal's sample sheet (tab-separated: File ID, File Name, Project ID, Case ID, in older sheets Sample Type)
and the download tool's folders, <File ID>/<File Name>; columns and folders were read in public pipelines. Which slides
there are grows with each data release, so the sheet, not a published count, is compared with the files.

Known defects: a case has several slides, so splits are drawn by case; colour and scanner give a case's hospital away;
frozen sections (TS, BS, MS in the name) are of poorer morphology than diagnostic ones (DX), which are the default.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from data_prep.pairs.config import SplitConfig
from data_prep.pairs.standard.checks import set_root
from data_prep.pairs.standard.slide_rows import WHOLE_SET, SlideListing, SlideRow, finish, keep_present
from data_prep.pairs.tables import Row, read_table, require_columns
from medvlp.config import Config, resolve_path
from medvlp.errors import DataError

_TITLE = "TCGA"
_DIAGNOSTIC = re.compile(r"TCGA-\w\w-\w{4}-.*-DX\w*\.", re.IGNORECASE)


class Tcga(Config):
    """Slides of TCGA projects, with classes from the projects or from a table by case."""

    name: Literal["tcga"] = Field(description="Kind of source.")
    root: str = Field(description="Folder of the download: <File ID>/<File Name>, or the files themselves.")
    sheet: str = Field(description="The GDC portal's sample sheet of the download.")
    projects: Annotated[dict[str, str], Field(min_length=1)] = Field(
        description="Class by project: {TCGA-LUAD: lung adenocarcinoma}; slides of other projects are left out."
    )
    case_labels: str | None = Field(
        default=None, description="Table with columns case,label that gives the class in place of the project."
    )
    slides: Literal["diagnostic", "all"] = Field(default="diagnostic", description="Only DX slides, or all.")
    split: SplitConfig = Field(default=WHOLE_SET, description="Shares to draw by case, as no split is published.")
    partial: bool = Field(default=False, description="Go on with a copy that lacks slides, and note what differs.")


def list_tcga(source: Tcga) -> SlideListing:
    """List the slides of the sample sheet; the case's barcode is the case.

    Raises:
        DataError: A missing sheet, column or slide, a project without slides, a row of several cases.
    """
    root, sheet = set_root(source.root, _TITLE), resolve_path(source.sheet)
    rows = read_table(sheet)
    require_columns(sheet, rows, ["File ID", "File Name", "Project ID", "Case ID"])
    labels = _case_labels(source)
    listing = SlideListing()
    for row in rows:
        key, project, case = row["File Name"].rsplit(".", 1)[0], _one(row, "Project ID"), _one(row, "Case ID")
        if project not in source.projects:
            listing.note("slides of other projects, left out")
            continue
        label = source.projects[project] if labels is None else labels.get(case)
        reason = _left_out(row, source.slides) or ("case without a label" if label is None else None)
        if reason is not None or label is None:
            listing.dropped.append((key, reason or ""))
            continue
        nested = root / row["File ID"] / row["File Name"]
        path = root / row["File Name"] if (root / row["File Name"]).exists() else nested
        listing.rows.append(SlideRow(key, path, label, case, None))
    keep_present(listing, _TITLE, partial=source.partial)
    found = {row.label for row in listing.rows}
    for label in [] if labels is not None else source.projects.values():
        if label not in found:
            raise DataError(f"no slide of {label!r}", item=sheet, remedy="check projects, and that the sheet is whole")
    if not found:
        raise DataError("no slide is left", item=sheet, remedy="check projects and case_labels")
    return finish(listing, {}, source.split)


def _one(row: Row, column: str) -> str:
    """The value of a cell that repeats it once per sample, as "A, A"."""
    values = {value.strip() for value in row[column].split(",")}
    if len(values) != 1:
        raise DataError(f"has several values of {column}", item=row["File Name"], remedy="leave the file out")
    return values.pop()


def _left_out(row: Row, slides: str) -> str | None:
    if slides == "diagnostic" and _DIAGNOSTIC.match(row["File Name"]) is None:
        return "no diagnostic slide"
    if "normal" in row.get("Sample Type", "").lower():
        return "normal tissue"
    return None


def _case_labels(source: Tcga) -> dict[str, str] | None:
    if source.case_labels is None:
        return None
    path = resolve_path(source.case_labels)
    rows = read_table(path)
    require_columns(path, rows, ["case", "label"])
    return {row["case"].strip(): row["label"].strip() for row in rows if row["label"].strip()}
