"""Which codes the report benchmark asks for, and which of our findings answer them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from data_prep.reports.config import ReportsConfig
from medvlp.config import Config


class Answer(Config):
    """One of our findings, perhaps at certain regions only."""

    finding: str = Field(description="Finding of the vocabulary.")
    at: list[str] = Field([], description="Regions of the vocabulary at which it counts; empty for all.")


class Question(Config):
    """One coded finding and what counts as it."""

    name: str = Field(description="Row of the table.")
    codes: list[str] = Field(min_length=1, description="Headings, or heading/qualifier, any of which codes it.")
    answers: list[Answer] = Field(min_length=1, description="Our findings, any of which asserts it.")
    existence: list[Literal["present", "absent", "uncertain", "historical", "family"]] = Field(
        ["present"], description="What our triplet must say."
    )


class ReportsBenchmarkConfig(Config):
    """Presence of frequent coded findings by our triplets, against the reports' own codes."""

    kind: Literal["reports_benchmark"] = Field("reports_benchmark", description="Which schema this file follows.")
    reports: ReportsConfig = Field(description="The reports and how they are read.")
    codes: str = Field(
        description="Column of the codes: headings with qualifiers behind slashes, parted by semicolons."
    )
    normal: str = Field("normal", description="The code of a report without findings.")
    not_coded: str = Field("No Indexing", description="The code of reports that nobody coded; they are left out.")
    not_findings: list[str] = Field([], description="Headings about the picture, which are no findings.")
    body_parts: list[str] = Field([], description="Headings that are findings only together with a state.")
    states: list[str] = Field([], description="Qualifiers that make a body part's heading a finding.")
    same: dict[str, str] = Field({}, description="Headings counted as another.")
    questions: list[Question] = Field(min_length=1, description="The findings asked for.")
    num_draws: int = Field(1000, ge=100, description="Bootstrap draws over reports.")
