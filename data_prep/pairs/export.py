"""A pairs store as tar shards that the package ``webdataset`` reads, and that ``prepare`` reads back unchanged.

A sample is ``000017.jpg`` (or ``.png``), ``.txt`` (its first text), ``.cls`` (number of its class, where it has one)
and ``.json`` with everything the store holds about it. Equal stores give equal bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from data_prep.deid.text import ENGINE
from data_prep.pairs.private import Privacy, clean_texts
from data_prep.pairs.shards import FORMAT
from medvlp.data.pairs import SPLITS, PairsSplit, PairsStore
from medvlp.errors import DataError
from medvlp.io import atomic_folder, full_disk_told, write_manifest

_JPEG = b"\xff\xd8"


def export_webdataset(
    folder: str | Path,
    out: str | Path,
    *,
    shard_size: int = 1000,
    already_deidentified: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write ``train-000000.tar`` and so on, and a manifest with the sha256 and the number of samples of each.

    Args:
        folder: The pairs store.
        out: Folder to write; appears whole or not at all.
        shard_size: Samples in a shard; the last of a split may hold fewer.
        already_deidentified: The user's word about the free text of a store whose manifest does not say who
            de-identified it; without it the text is de-identified on the way.
        overwrite: Exchange an existing folder.

    Raises:
        DataError: A damaged store, a shard size below one, a row whose texts were nothing but identifiers.
    """
    out = Path(out)
    if shard_size < 1:
        raise DataError(f"{shard_size} samples in a shard", item="--shard-size", remedy="use 1 or more")
    if out.exists() and not overwrite:
        raise DataError("already exists", item=out, remedy="choose another name, or pass --overwrite")
    store = PairsStore.load(folder)
    given = already_deidentified or store.manifest.get("already_deidentified") is True
    known = store.manifest.get("deidentification")
    privacy = None if given or known is not None else Privacy(ENGINE)
    parts = {name: store.split(name) for name in SPLITS}
    number = {label: position for position, label in enumerate(store.classes)}
    counts: dict[str, int] = {}
    with full_disk_told(out), atomic_folder(out, replace=overwrite) as partial:
        for name, part in parts.items():
            for start in range(0, len(part), shard_size):
                rows = range(start, min(start + shard_size, len(part)))
                shard = f"{name}-{start // shard_size:06d}.tar"
                _write_shard(partial / shard, part, rows, number, privacy)
                counts[shard] = len(rows)
        header = {
            "format": FORMAT,
            "store_sha256": store.digest,
            "num_rows": len(store),
            "num_rows_per_shard": counts,
            "classes": store.class_concepts,
            "already_deidentified": given,
            "deidentification": known if privacy is None else privacy.to_json(),
        }
        write_manifest(partial, header)
    return out


def _write_shard(path: Path, part: PairsSplit, rows: range, number: dict[str, int], privacy: Privacy | None) -> None:
    columns = {
        name: part.column(name) for name in ("key", "texts", "concepts", "label", "labels", "group", "case", "split")
    }
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for row in rows:
            place, image = int(part.rows_N[row]), part.image_bytes(row)
            label, labels = columns["label"][row], columns["labels"][row]
            texts = columns["texts"][row] if privacy is None else clean_texts(columns["texts"][row], privacy)
            if not texts:
                remedy = "leave the row out and prepare the store again"
                raise DataError("its texts are nothing but identifiers", item=columns["key"][row], remedy=remedy)
            value = {
                "key": columns["key"][row],
                "texts": [{"text": text.text, "aspect": text.aspect} for text in texts],
                "concepts": columns["concepts"][row],
                "label": label,
                "labels": [] if labels == [label] else labels,
                "group": int(columns["group"][row]),
                "case": columns["case"][row],
                "split": columns["split"][row],
                "row": place,
            }
            _add(archive, f"{place:08d}.{'jpg' if image.startswith(_JPEG) else 'png'}", image)
            _add(archive, f"{place:08d}.txt", texts[0].text.encode())
            if label is not None:
                _add(archive, f"{place:08d}.cls", str(number[label]).encode())
            _add(archive, f"{place:08d}.json", _json(value))


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True).encode()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # no owner, time zero: equal stores give equal bytes
    member.size, member.mode = len(data), 0o644
    archive.addfile(member, io.BytesIO(data))
