"""An export in its file: an event a line, and beside it what proves these to be the events that were sealed."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from adapters.merkle import Misplaced, root_of_some
from adapters.seals import Head, Progress, SealBroken, Sealed
from domain.kernel import PSEUDONYM

PAGE = 5_000

Format = Literal["jsonl", "parquet"]


class ParquetMissing(Exception):
    """The extra is not installed."""


class Line(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An event as it is exported; times are written as they were stored."""

    position: int
    id: str
    stream: str
    version: int
    type: str
    subject: str
    business_time: str
    recorded_time: str
    actor: str
    command_id: str
    correlation_id: str
    causation_id: str
    price_list: str
    command_time: str | None = None
    traceparent: str | None = None
    data: msgspec.Raw
    stored: str | None = None
    """As it was sealed, where its proof is exported too."""

    def leaf(self) -> bytes:
        return Sealed(self.stream, self.version, self.type, self.subject, self.stored or "").leaf()


class Manifest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What proves an export, in a file beside it; bytes are base64."""

    file: str
    sha256: str
    events: int
    subscription: str | None
    since: datetime | None
    until: datetime | None
    pseudonymous: bool
    unproved: int
    """Events whose stored form says who somebody is, and which a pseudonymous export can't contain."""
    head: Head
    hashes: list[bytes]
    """The roots over all that is not exported, in order: together with the events they give the head's root."""

    @staticmethod
    def beside(file: Path) -> Path:
        return file.with_name(f"{file.name}.proof.json")


# Files


@contextmanager
def _jsonl(file: Path) -> Iterator[Callable[[Sequence[Line]], object]]:
    with file.open("wb") as opened:
        yield lambda lines: opened.write(msgspec.json.Encoder().encode_lines(lines))


@contextmanager
def _parquet(file: Path) -> Iterator[Callable[[Sequence[Line]], object]]:
    pyarrow, parquet = _pyarrow()
    kinds = {"position": pyarrow.int64(), "version": pyarrow.int64()}
    names = [name for name in Line.__struct_fields__ if name != "data"] + ["data"]
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in names])
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:

        def write(lines: Sequence[Line]) -> None:
            rows = [{**msgspec.structs.asdict(line), "data": bytes(line.data).decode()} for line in lines]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))

        yield write


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError:
        raise ParquetMissing("Parquet needs pyarrow: pip install 'seatline[parquet]', or --format jsonl") from None
    return pyarrow, pyarrow.parquet


WRITERS = {"jsonl": _jsonl, "parquet": _parquet}


def lines_of(file: Path) -> Iterator[Line]:
    """Raises SealBroken if it is no export."""
    try:
        if file.suffix == ".parquet":
            _, parquet = _pyarrow()
            for batch in parquet.ParquetFile(file).iter_batches(PAGE):
                for row in batch.to_pylist():
                    yield msgspec.convert({**row, "data": msgspec.Raw(row["data"].encode())}, Line)
        else:
            decode = msgspec.json.Decoder(Line).decode
            with file.open("rb") as opened:
                yield from map(decode, opened)
    except (msgspec.DecodeError, KeyError) as error:
        raise SealBroken(f"{file}: is no export ({error})") from None


def digest_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


# Checking


def verify_export(file: Path, key: Ed25519PublicKey, progress: Progress) -> Manifest:
    """Check a file with what lies beside it, and nothing else; raises SealBroken."""
    manifest = _manifest(Manifest.beside(file))
    if not manifest.head.is_by(key):
        raise SealBroken(f"{file}: its head was not signed with this key")
    count = 0

    def leaves() -> Iterator[tuple[int, bytes]]:
        nonlocal count
        for count, line in enumerate(lines_of(file), start=1):
            if line.stored is not None:
                if complaint := _complaint(line):
                    raise SealBroken(f"{file}: position {line.position}: {complaint}")
                yield line.position - 1, line.leaf()
            if count % PAGE == 0:
                progress(count, manifest.events)

    hashes = iter(manifest.hashes)
    root = root_if_placed(manifest.head.size, leaves(), lambda first, last: next(hashes, b""))
    if root != manifest.head.root or next(hashes, None) is not None:
        raise SealBroken(f"{file}: has events that are not as they were sealed, or are missing")
    if (count, digest_of(file)) != (manifest.events, manifest.sha256):
        raise SealBroken(f"{file}: is not the file that was exported, though all that is proved in it is as it was")
    return manifest


def _manifest(path: Path) -> Manifest:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.DecodeError as error:
        raise SealBroken(f"{path}: is no proof of an export ({error})") from None


def root_if_placed(size: int, leaves: Iterable[tuple[int, bytes]], others: Callable[[int, int], bytes]) -> bytes | None:
    try:
        return root_of_some(size, leaves, others)
    except Misplaced:
        return None


def _complaint(line: Line) -> str | None:
    """Whether what a line shows is what it says was stored; of pseudonyms nobody without the key can tell."""
    try:
        stored = msgspec.json.decode(line.stored or "")
        stored = {"correlation_id": stored["command_id"], "causation_id": stored["command_id"], **stored}
        shown = {**msgspec.structs.asdict(line), "data": msgspec.json.decode(line.data)}
    except (msgspec.DecodeError, KeyError, TypeError):
        return "what it says was stored is no event"
    if line.id != f"{line.stream}@{line.version}":
        return f"{line.id} is not the id of version {line.version} of {line.stream}"
    for name in ("business_time", "recorded_time", "actor", "command_id", "correlation_id", "causation_id"):
        if not _same(stored.get(name), shown[name]):
            return f"{line.id} shows another {name} than was stored"
    for name in ("price_list", "command_time", "traceparent", "data"):
        if not _same(stored.get(name), shown[name]):
            return f"{line.id} shows other {name} than was stored"
    return None


def _same(stored: object, shown: object) -> bool:
    if isinstance(stored, dict) and isinstance(shown, dict):
        return stored.keys() == shown.keys() and all(_same(stored[name], shown[name]) for name in stored)
    if isinstance(stored, str) and stored.startswith(PSEUDONYM):
        return isinstance(shown, str)
    return stored == shown
