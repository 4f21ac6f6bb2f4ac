"""Opening published weights: find, name, compare with the model, load, and account for every tensor."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from medvlp import __version__
from medvlp.errors import CheckpointError, MedvlpError
from medvlp.io import atomic_folder, full_disk_told, sha256_file, write_json, write_manifest
from medvlp.model import DualEncoder, save_model
from medvlp.published.layout import Layout, Plan
from medvlp.published.registry import AUTO, choose
from medvlp.published.report import LoadReport
from medvlp.published.rules import Renamed, rename
from medvlp.published.source import Source, read_source

IMPORT_FORMAT = "medvlp-import/1"
REPORT = "weights_report.json"


def open_published(
    layout: str | Layout, path: str | Path, *, allow_partial: bool = False
) -> tuple[DualEncoder, LoadReport]:
    """Open published weights as a model in eval mode, on the CPU.

    Args:
        layout: Name of a layout, ``auto``, or a layout with other sizes.
        path: The weight file or the folder around it.
        allow_partial: Load also where tensors are missing (they keep random values) or left over.

    Returns:
        The model and the account of every tensor.

    Raises:
        CheckpointError: If the weights cannot be read, are of another layout, do not fit, hold numbers that are not
            finite, or are incomplete and ``allow_partial`` is False.
    """
    source = read_source(path)
    kind = choose(layout, source) if isinstance(layout, str) else layout
    plan = _planned(kind, source)
    renamed = rename(source.state, plan.rules)
    _refuse_broken(renamed, source)
    report = _account(kind, plan, source, renamed, _expected(plan, source))
    if report.misshapen or not (report.ok or allow_partial):
        raise CheckpointError(report.problem(), item=source.path, remedy=_remedy(report, kind))
    model = _build(plan, source)
    model.load_state_dict(renamed.state, strict=False)  # what is missing or left over was accounted for above
    return model.eval(), report


def inspect_weights(path: str | Path, layout: str | Layout = AUTO) -> LoadReport:
    """Account for every tensor without building the model's weights.

    Raises:
        CheckpointError: If the weights cannot be read or the layout cannot be told.
    """
    source = read_source(path)
    return inspect_source(choose(layout, source) if isinstance(layout, str) else layout, source)


def inspect_source(kind: Layout, source: Source) -> LoadReport:
    """Account for every tensor of a source that was read already; see :func:`inspect_weights`."""
    plan = _planned(kind, source)
    return _account(kind, plan, source, rename(source.state, plan.rules), _expected(plan, source))


def import_weights(
    path: str | Path,
    out: Path,
    layout: str | Layout = AUTO,
    *,
    allow_partial: bool = False,
    overwrite: bool = False,
) -> LoadReport:
    """Write published weights as a checkpoint of this library, which every verb opens.

    Beside the model files it holds ``weights_report.json``, the whole account.

    Raises:
        CheckpointError: As :func:`open_published`, or if the disk is full.
        DataError: If ``out`` exists and ``overwrite`` is False.
    """
    model, report = open_published(layout, path, allow_partial=allow_partial)
    source = read_source(path)
    header = {
        "format": IMPORT_FORMAT,
        "medvlp": __version__,
        "layout": report.layout,
        "partial": not report.ok,
        "source_sha256": {file.name: sha256_file(file) for file in source.files},
    }
    with full_disk_told(out, CheckpointError), atomic_folder(out, replace=overwrite) as partial:
        save_model(model, partial)
        write_json(partial / REPORT, report.to_json())
        write_manifest(partial, header)
    return report


def _planned(kind: Layout, source: Source) -> Plan:
    with _strange_settings_told(source):
        return kind.plan(source)


def _build(plan: Plan, source: Source) -> DualEncoder:
    with tempfile.TemporaryDirectory(prefix="medvlp-weights-") as folder, _strange_settings_told(source):
        plan.write(Path(folder))
        return DualEncoder(plan.config, source=Path(folder))


def _expected(plan: Plan, source: Source) -> dict[str, Tensor]:
    """Return names and shapes of the model's tensors, without memory for any."""
    with torch.device("meta"):
        return _build(plan, source).state_dict()


@contextmanager
def _strange_settings_told(source: Source) -> Iterator[None]:
    """Turn what timm, open_clip and transformers make of an odd configuration into one line."""
    try:
        yield
    except (MedvlpError, OSError):
        raise
    except Exception as error:  # a stranger's configuration can break a library in any way
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"its configuration describes no model that can be built here ({reason})",
            item=source.path,
            remedy="restore the published configuration, or make embeddings of the model",
        ) from error


def _account(kind: Layout, plan: Plan, source: Source, renamed: Renamed, expected: dict[str, Tensor]) -> LoadReport:
    state = renamed.state
    for name in ("logit_scale", "logit_bias"):
        if name in state and state[name].numel() == 1:
            state[name] = state[name].reshape(())
    known = {theirs: ours for theirs, ours in renamed.names.items() if ours in expected}
    unexpected = [*renamed.unexpected, *(theirs for theirs in renamed.names if theirs not in known)]
    for name in [name for name in state if name not in expected]:
        del state[name]
    missing = [
        f"{name} (lacks {', '.join(renamed.incomplete[name])})" if name in renamed.incomplete else name
        for name in expected
        if name not in state
    ]
    misshapen = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    notes = plan.notes
    if renamed.num_half > 0:
        notes = (*notes, f"{renamed.num_half} tensors came in half precision and are kept in float32.")
    return LoadReport(
        layout=kind.name,
        source=source.path.name,
        num_tensors=len(source.state),
        missing=tuple(missing),
        unexpected=tuple(unexpected),
        misshapen=tuple(misshapen),
        renamed=known,
        rules=renamed.rules,
        ignored=renamed.ignored,
        verified=kind.verified,
        unverified=kind.unverified,
        cites=kind.cites,
        notes=notes,
    )


def _refuse_broken(renamed: Renamed, source: Source) -> None:
    for name, tensor in renamed.state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                "holds numbers that are not finite", item=f"{source.path}: {name}", remedy="restore it"
            )


def _remedy(report: LoadReport, kind: Layout) -> str:
    if report.misshapen:
        return f"use weights of this architecture ({kind.title}), or another --layout"
    return (
        "use the whole weights of this architecture, or pass --allow-partial to keep random values for what is missing"
    )
