"""Records as strange as Kafka allows: header names that are not UTF-8, at which the library would stop for ever."""

from collections.abc import Sequence
from typing import Any

from kafka.record.default_records import DefaultRecordBatch  # type: ignore[import-untyped]


class HeaderName(str):
    """A name as it can be shown; to the library, which encodes what it counts and sends, it gives its own bytes."""

    raw: bytes

    def __new__(cls, raw: bytes) -> "HeaderName":
        name = super().__new__(cls, raw.decode(errors="replace"))
        name.raw = raw
        return name

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return self.raw


class _Slice(bytes):
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return HeaderName(bytes(self))


class _Records(bytes):
    """Only what is to be a text is ever decoded of it, and those are the names."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _Slice(part) if isinstance(index, slice) else part


def as_sent(
    key: bytes | None, value: bytes | None, names: Sequence[bytes], values: Sequence[bytes | None]
) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]:
    """A record's key, value and headers as the library lets us send them: it knows no header without a value, and no
    record with neither key nor value; both get an empty one.
    """
    headers: list[tuple[str, bytes]] = [
        (HeaderName(name), header or b"") for name, header in zip(names, values, strict=True)
    ]
    return key, b"" if key is None and value is None else value, headers


def _read_any_name(batch: Any) -> Any:
    try:
        return _read(batch)
    except UnicodeDecodeError:
        batch._buffer = _Records(batch._buffer)
        return _read(batch)


_read = DefaultRecordBatch._read_msg


def read_any_name() -> None:
    """From now on, for all consumers of this process."""
    DefaultRecordBatch._read_msg = _read_any_name
