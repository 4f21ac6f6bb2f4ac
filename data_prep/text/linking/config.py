"""How text is linked, and what is learnt from annotated texts, as configurations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medvlp.config import Config

Tier = Literal["exact", "fuzzy", "rerank"]


class Fitted(Config):
    """What :func:`data_prep.text.linking.fit.fit` learns from annotated training texts."""

    kind: Literal["linker_fit"] = Field("linker_fit", description="Tells what this file holds.")
    graph: str = Field(description="Digest of the graph it was fitted with.")
    tiers: list[Tier] = Field(description="Tiers it was fitted for.")
    documents: int = Field(description="Number of training texts.")
    nil_threshold: float = Field(description="A mention whose best concept scores lower is linked to none.")
    proposal_threshold: float = Field(
        2.0, description="The same for spans that the linker proposes itself; 2 is never."
    )
    encoder_weight: float = Field(0.0, ge=0.0, le=1.0, description="Share of the encoder in a candidate's score.")
    prefer: list[str] = Field([], description="Prefixes of concept ids, the one that wins a tie first.")
    dropped: list[str] = Field([], description="Keys of names that seldom name their concept in these texts.")
    names: list[tuple[str, str]] = Field([], description="Pairs of concept id and a name the texts have for it.")


class LinkerConfig(Config):
    """A linker: which tiers it has, what may be linked, and where its parts are."""

    kind: Literal["linker"] = Field("linker", description="Tells what this file configures.")
    graph: str = Field("data/graph", description="Graph store whose concepts are linked.")
    tiers: list[Tier] = Field(["exact"], min_length=1, description="Tiers in use, each alone or with others.")
    semantic_types: list[str] = Field([], description="Link only concepts with one of these types; [] is all.")
    exclude_below: list[str] = Field(
        ["MONDO:0021125", "HP:0012823", "HP:0000005", "HP:0040279", "HP:0032443", "HP:0032223", "HP:0032319"],
        description="Never link these concepts and what is below (qualities such as mild, right, inherited).",
    )
    exclude: list[str] = Field(
        ["DOID:4", "DOID:225", "HP:0000001", "HP:0000118"],
        description="Never link these concepts (disease, syndrome, all, phenotypic abnormality).",
    )
    min_letters: int = Field(3, ge=1, description="Names with fewer letters and digits are linked only where defined.")
    word_order: bool = Field(True, description="Also match a name's words in another order, inside one clause.")
    abbreviations: bool = Field(True, description="Link abbreviations that the text defines, as their long form.")
    lists: bool = Field(True, description='Link both concepts of "breast and ovarian cancer".')
    max_concepts: int = Field(1, ge=1, description="Concepts of one mention that remain where a name has several.")
    num_candidates: int = Field(20, ge=1, description="Nearest names that the fuzzy tier looks at.")
    propose: bool = Field(True, description="Let the fuzzy tier look for mentions of its own, not only in given spans.")
    chunker: str | None = Field(
        None, description="Installed spaCy pipeline whose noun chunks are proposed; null proposes windows by rule."
    )
    nil_threshold: float = Field(0.75, ge=0.0, le=1.0, description="Least score of a fuzzy link; `fitted` replaces it.")
    proposal_threshold: float = Field(
        0.9, ge=0.0, description="Least score of a proposed mention; `fitted` replaces it."
    )
    encoder: str | None = Field(None, description="Text encoder folder (a stage-1 run) of the rerank tier.")
    encoder_weight: float = Field(0.5, ge=0.0, le=1.0, description="Share of the encoder in a candidate's score.")
    fitted: str | None = Field(None, description="File that fitting wrote; its values replace those above.")
    cache: str | None = Field(None, description="Folder in which the fuzzy index is kept; null builds it anew.")
