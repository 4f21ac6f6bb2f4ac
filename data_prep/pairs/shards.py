"""Tar shards in the webdataset layout as a source: members with one base name are one sample.

Read with ``tarfile`` and not with the package ``webdataset``, which (measured on 1.0.2) ends without a word at a
damaged header or a cut between two members, gives half samples where members of a sample are not neighbours, and
decodes pickled members. Here every shard has to end in the end mark of the format, nothing but images, UTF-8 text
and JSON is read, and nothing is ever unpacked to disk under a name from the archive.
"""

from __future__ import annotations

import glob
import gzip
import json
import re
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from pydantic import Field

from data_prep.pairs.items import Item, Listing
from data_prep.pairs.split import given_split
from data_prep.pairs.tables import read_label_names
from medvlp.config import Config, resolve_path
from medvlp.data.pairs import Text
from medvlp.errors import DataError
from medvlp.io import MANIFEST, read_json, sha256_file

FORMAT = "medvlp-shards-1"
MADE_HERE = ("class-template", "name")
MAX_IMAGE_BYTES = 1 << 30
MAX_TEXT_BYTES = 1 << 20
_MAX_GROWTH = 200  # a gzip of images hardly shrinks; beyond this factor it is a bomb
_BLOCK = 512
_BOMB = f"grows more than {_MAX_GROWTH}-fold when unpacked"
_REPACK = "write the shard again from its source"


class JsonFields(Config):
    """Keys of a sample's JSON object."""

    captions: list[str] = Field(default=["caption"], description="Keys with free text about the image.")
    label: str | None = Field(default="label", description="Key of the class label (a list where several hold).")
    split: str | None = Field(default="split", description="Key with train, dev or test.")
    case: str | None = Field(default="case", description="Key that says which patient, slide or case it is.")
    group: str | None = Field(default=None, description="Key with a ready semantic group.")


class WebDataset(Config):
    """Tar shards (also .tar.gz) whose members are grouped by base name: 000017.jpg, 000017.txt, 000017.json."""

    name: Literal["webdataset"] = Field(description="Kind of source.")
    shards: Annotated[list[str], Field(min_length=1)] = Field(
        description="Paths of the tars; * and {000..009} are filled in."
    )
    image: list[str] = Field(
        default=["jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "dcm"],
        min_length=1,
        description="Endings of image members; the first one that a sample has is its image.",
    )
    texts: list[str] = Field(default=["txt"], description="Endings of text members.")
    label: str | None = Field(default="cls", description="Ending of the member that holds the class label.")
    json_member: str | None = Field(default="json", description="Ending of the member that holds a JSON object.")
    fields: JsonFields = Field(default=JsonFields(), description="Which key of the JSON object holds what.")
    split: Literal["train", "dev", "test", "shard"] | None = Field(
        default=None, description="Split of all samples, or shard: the first word of the shard's name (train-000.tar)."
    )
    shard_in_key: bool = Field(
        default=False, description="Put the shard's name before each key, where every shard counts anew."
    )
    label_names: str | None = Field(default=None, description="CSV with columns label,name: display names.")
    encoding: str = Field(default="utf-8", description="Text encoding of the text members.")


@dataclass
class _Sample:
    """What was found under one base name."""

    image: tuple[int, Callable[[], bytes]] | None = None  # preference, reader
    dicom: bool = False
    texts: dict[str, str] = field(default_factory=dict)
    label: str | None = None
    object: dict[str, Any] = field(default_factory=dict)


def list_shards(source: WebDataset) -> Listing:
    """List the samples of all shards.

    Raises:
        DataError: No shard, a shard that is cut or damaged (with the samples read so far), a hostile member, a
            repeated key, text in another encoding, or shards that differ from the manifest beside them.
    """
    shards = expand(source.shards)
    listing = Listing([])
    manifest = _manifest(shards)
    if source.label_names is not None:
        listing.label_names = read_label_names(resolve_path(source.label_names))
    owner: dict[str, str] = {}
    order: dict[str, int] = {}
    for shard in shards:
        listing.sources[shard.name] = _checked_digest(shard, manifest)
        for base, sample in _samples(shard, source, listing).items():
            item = _item(base, sample, shard, source, manifest is not None)
            if item.key in owner:
                raise DataError(
                    f"the key occurs twice (in {owner[item.key]} and {shard.name})",
                    item=item.key,
                    remedy="set source.shard_in_key: true if every shard counts anew, else remove one",
                )
            owner[item.key] = shard.name
            if item.load is None:
                listing.dropped.append((item.key, "sample without an image"))
                continue
            order[item.key] = int(sample.object.get("row", len(order))) if manifest is not None else len(order)
            listing.items.append(item)
    if not listing.items:
        raise DataError("no sample with an image", item=shards[0].name, remedy="check source.image, the endings")
    listing.items.sort(key=lambda item: order[item.key])
    if manifest is not None:
        listing.label_concepts = {label: list(ids) for label, ids in manifest.get("classes", {}).items()}
    return listing


def expand(patterns: list[str]) -> list[Path]:
    """Fill in ``{000..009}``, ``{a,b}`` and ``*``; every pattern must lead to a file.

    Raises:
        DataError: Naming the pattern that leads nowhere.
    """
    found: list[Path] = []
    for pattern in patterns:
        for text in braces(str(resolve_path(pattern))):
            paths = [Path(path) for path in sorted(glob.glob(text, recursive=True))]
            paths = [path for path in paths if path.is_file()]
            if not paths:
                raise DataError("no such shard", item=text, remedy="check source.shards")
            found += paths
    return list(dict.fromkeys(found))


def braces(text: str) -> list[str]:
    """Fill in the first ``{from..to}`` or ``{a,b}`` of a text, then the next."""
    match = re.search(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", text)
    if match is None:
        return [text]
    if match[3] is not None:
        values = match[3].split(",")
    else:
        values = [str(number).zfill(len(match[1])) for number in range(int(match[1]), int(match[2]) + 1)]
    return [rest for value in values for rest in braces(text[: match.start()] + value + text[match.end() :])]


def _manifest(shards: list[Path]) -> dict[str, Any] | None:
    """The manifest of our own export beside the shards, if all of them are from one."""
    folders = {shard.parent for shard in shards}
    if len(folders) != 1 or not (path := folders.pop() / MANIFEST).is_file():
        return None
    manifest = read_json(path)
    return manifest if isinstance(manifest, dict) and manifest.get("format") == FORMAT else None


def _checked_digest(shard: Path, manifest: dict[str, Any] | None) -> str:
    digest = sha256_file(shard)
    if manifest is not None:
        entry = manifest.get("files", {}).get(shard.name)
        if entry is None or entry["sha256"] != digest:
            raise DataError("differs from the manifest beside it", item=shard.name, remedy="export or copy it again")
    return digest


def _samples(shard: Path, source: WebDataset, listing: Listing) -> dict[str, _Sample]:
    samples: dict[str, _Sample] = {}
    seen: set[str] = set()
    for member, offset, path in _members(shard, listing, lambda: len(samples)):
        name = member.name.removeprefix("./")
        _refuse_hostile(member, shard)
        folder, _, leaf = name.rpartition("/")
        stem, dot, ending = leaf.partition(".")
        if not member.isreg() or re.match(r"__[^/]*__($|/)", name) or not stem or not dot:
            continue
        if name in seen:
            raise DataError("the member occurs twice", item=f"{shard.name}: {name!r}", remedy=_REPACK)
        seen.add(name)
        base, ending = f"{folder}/{stem}" if folder else stem, ending.lower()
        sample = samples.setdefault(base, _Sample())
        where = f"{shard.name}: {name!r}"
        if ending in source.image:
            _limit(member, MAX_IMAGE_BYTES, where)
            rank = source.image.index(ending)
            if sample.image is None or rank < sample.image[0]:
                sample.image = rank, _reader(path, offset, member.size)
                sample.dicom = ending in ("dcm", "dicom")
        elif ending in source.texts:
            sample.texts[ending] = _text(path, offset, member, source.encoding, where)
        elif ending == source.label:
            sample.label = _text(path, offset, member, source.encoding, where).strip() or None
        elif ending == source.json_member:
            sample.object = _object(_text(path, offset, member, "utf-8", where), where)
        else:
            listing.note("members of shards that are not used")
    return samples


def _members(
    shard: Path, listing: Listing, num_samples: Callable[[], int]
) -> Iterator[tuple[tarfile.TarInfo, int, Path]]:
    """Yield every member with the place of its data; the archive has to end as the format says."""
    path = shard
    cut = "the archive is cut or damaged after"
    with shard.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    if packed:
        path = _unpacked(shard, listing)
    size = path.stat().st_size
    number = 0
    try:
        with path.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            while (member := archive.next()) is not None:
                if member.isreg() and member.offset_data + member.size > size:
                    raise tarfile.ReadError("unexpected end of data")
                yield member, member.offset_data, path
                number += 1
                archive.members = []  # type: ignore[attr-defined]  # otherwise it keeps every member
            stream.seek(archive.offset)
            if stream.read(_BLOCK) != bytes(_BLOCK):
                raise tarfile.ReadError("no end mark")
    except tarfile.TarError:
        found = f"{number} members ({num_samples()} samples, the last may be part)"
        raise DataError(f"{cut} {found}", item=shard.name, remedy=_REPACK) from None


def _unpacked(shard: Path, listing: Listing) -> Path:
    """Unpack a compressed shard into a nameless place that is gone when the job ends."""
    folder = Path(listing.open.enter_context(tempfile.TemporaryDirectory(prefix="medvlp-shard-")))
    target, limit, total = folder / "shard.tar", shard.stat().st_size * _MAX_GROWTH, 0
    try:
        with gzip.open(shard, "rb") as packed, target.open("wb") as plain:
            while block := packed.read(1 << 20):
                total += len(block)
                if total > limit:
                    raise DataError(_BOMB, item=shard.name, remedy="unpack it yourself")
                plain.write(block)
    except EOFError:  # the reader of the tar counts the whole members and then misses the end mark
        listing.note("shards whose compression is cut at its end")
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"cannot be unpacked ({type(error).__name__})", item=shard.name, remedy=_REPACK) from None
    return target


def _refuse_hostile(member: tarfile.TarInfo, shard: Path) -> None:
    name = member.name
    if name.startswith("/") or ".." in name.split("/") or "\0" in name or "\\" in name:
        problem = "a member's name leaves the archive"
    elif not (member.isreg() or member.isdir()) or member.issparse():
        problem = "a member is a link, a device or sparse"
    else:
        return
    raise DataError(problem, item=f"{shard.name}: {name!r}", remedy="leave it out and write the shard again")


def _limit(member: tarfile.TarInfo, most: int, where: str) -> None:
    if member.size > most:
        raise DataError(f"{member.size:,} bytes, more than {most:,}", item=where, remedy="leave it out")


def _reader(path: Path, offset: int, size: int) -> Callable[[], bytes]:
    """Reads one member; each call opens the file, so that any thread may."""

    def read() -> bytes:
        with path.open("rb") as stream:
            return _at(stream, offset, size)

    return read


def _at(stream: IO[bytes], offset: int, size: int) -> bytes:
    stream.seek(offset)
    return stream.read(size)


def _text(path: Path, offset: int, member: tarfile.TarInfo, encoding: str, where: str) -> str:
    _limit(member, MAX_TEXT_BYTES, where)
    try:
        return _reader(path, offset, member.size)().decode(encoding)
    except UnicodeDecodeError:
        raise DataError(
            f"is not {encoding}", item=where, remedy="set source.encoding, for example latin-1 or cp1252"
        ) from None
    except LookupError:
        raise DataError(f"unknown encoding {encoding!r}", item="source.encoding", remedy="use utf-8") from None


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        raise DataError("is not JSON", item=where, remedy="write one object") from None
    if not isinstance(value, dict):
        raise DataError("is not a JSON object", item=where, remedy="write one object")
    return value


def _item(base: str, sample: _Sample, shard: Path, source: WebDataset, own: bool) -> Item:
    key = f"{shard.name.partition('.')[0]}/{base}" if source.shard_in_key else base
    load = None if sample.image is None else sample.image[1]
    if own:
        return _own_item(sample.object, load, f"{shard.name}: {base}")
    fields, value = source.fields, sample.object
    labels = value.get(fields.label) if fields.label is not None else None
    listed = [str(label).strip() for label in labels] if isinstance(labels, list) else []
    single = sample.label if sample.label is not None else (None if isinstance(labels, list) else _scalar(labels))
    found = [*(sample.texts.get(ending, "") for ending in source.texts),
             *(_scalar(value.get(name)) or "" for name in fields.captions)]  # fmt: skip
    texts = [Text(" ".join(text.split())) for text in found if text.strip()]
    split = source.split
    if split == "shard":
        split = given_split(re.split(r"[-_.]", shard.name)[0], shard.name)  # type: ignore[assignment]
    elif split is None and fields.split is not None and _scalar(value.get(fields.split)) is not None:
        split = given_split(str(_scalar(value[fields.split])), key)  # type: ignore[assignment]
    return Item(
        key=key,
        load=load,
        dicom=sample.dicom,
        label=single,
        labels=listed if single is None else [],
        texts=list(dict.fromkeys(texts)),
        split=split,
        case=_scalar(value.get(fields.case)) if fields.case is not None else None,
        group=_scalar(value.get(fields.group)) if fields.group is not None else None,
    )


def _scalar(value: Any) -> str | None:
    if value is None or isinstance(value, dict | list):
        return None
    text = str(value).strip()
    return text if text else None


def _own_item(value: dict[str, Any], load: Callable[[], bytes] | None, where: str) -> Item:
    """A sample of ``medvlp pairs export``, with everything the store held."""
    try:
        return Item(
            key=value["key"],
            load=load,
            keep_bytes=True,
            label=None if value["labels"] else value["label"],
            labels=list(value["labels"]),
            texts=[Text(text["text"], text["aspect"]) for text in value["texts"]],
            concepts=list(value["concepts"]),
            split=value["split"],
            case=value["case"],
            group=str(value["group"]),
        )
    except (KeyError, TypeError):
        raise DataError("does not hold a row of a store", item=where, remedy="export the store again") from None
