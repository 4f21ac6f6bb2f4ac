"""EBRAINS Digital Brain Tumour Atlas: slides of brain tumours with their diagnoses, and of controls.

Citation: Roetzer-Pejrimovsky et al., "The Digital Brain Tumour Atlas, an open histopathology resource", Scientific
Data 9:55, 2022. Homepage: https://doi.org/10.25493/WQ48-ZGX. Licence: the atlas's terms of use.

Layout (v1.0/annotation.csv with uuid, pat_id, diagnosis and control; v1.0/<diagnosis>/<uuid>.ndpi, where a folder has
"-" for "/" and "rosette" for "rosettes") was read in a public loader of the atlas. No count by class was found in a
source opened: the table is compared with the files.

Known defects: a patient may have several slides, so splits, of which none is published, are drawn by patient; published
scores on "EBRAINS-30" differ in their subset and prompts and do not compare.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field

from data_prep.pairs.config import SplitConfig
from data_prep.pairs.standard.checks import require_files, set_root
from data_prep.pairs.standard.slide_rows import WHOLE_SET, SlideListing, SlideRow, finish, keep_present
from data_prep.pairs.tables import read_table, require_columns
from medvlp.config import Config
from medvlp.errors import DataError

CONTROL = "control brain tissue"
_TITLE = "EBRAINS"
_RENAMED = {
    "Embryonal tumour with multilayered rosettes, C19MC-altered": (
        "Embryonal tumour with multilayered rosette, C19MC-altered"
    )
}


class Ebrains(Config):
    """Slides of the Digital Brain Tumour Atlas by diagnosis; the patient is the case."""

    name: Literal["ebrains"] = Field(description="Kind of source.")
    root: str = Field(description="Folder v1.0, which holds annotation.csv and one folder per diagnosis.")
    min_slides: Annotated[int, Field(ge=1)] = Field(
        default=30, description="Leave out diagnoses with fewer slides than this."
    )
    controls: bool = Field(default=False, description="Keep the slides without a diagnosis, as a class of controls.")
    split: SplitConfig = Field(default=WHOLE_SET, description="Shares to draw by patient, as no split is published.")
    partial: bool = Field(default=False, description="Go on with a copy that lacks slides, and note what differs.")


def list_ebrains(source: Ebrains) -> SlideListing:
    """List the slides of annotation.csv.

    Raises:
        DataError: A missing table, column or slide; no diagnosis with enough slides.
    """
    root = set_root(source.root, _TITLE)
    require_files(root, ["annotation.csv"], _TITLE)
    rows = read_table(root / "annotation.csv")
    require_columns(root / "annotation.csv", rows, ["uuid", "pat_id", "diagnosis"])
    listing = SlideListing()
    for row in rows:
        diagnosis = row["diagnosis"].strip()
        folder = _RENAMED.get(diagnosis, diagnosis).replace("/", "-") or "Control"
        path = root / folder / f"{row['uuid']}.ndpi"
        listing.rows.append(SlideRow(row["uuid"], path, diagnosis or CONTROL, row["pat_id"] or None, None))
    if not source.controls:
        listing.dropped += [(row.key, "control without a diagnosis") for row in listing.rows if row.label == CONTROL]
        listing.rows = [row for row in listing.rows if row.label != CONTROL]
    keep_present(listing, _TITLE, partial=source.partial)
    counts = Counter(row.label for row in listing.rows)
    rare = {label for label, count in counts.items() if count < source.min_slides}
    reason = f"diagnosis with fewer than {source.min_slides} slides"
    listing.dropped += [(row.key, reason) for row in listing.rows if row.label in rare]
    listing.rows = [row for row in listing.rows if row.label not in rare]
    if not listing.rows:
        raise DataError("no diagnosis has enough slides", item=_TITLE, remedy="lower min_slides or add slides")
    return finish(listing, {}, source.split)
