"""Header names that are not UTF-8: the library would never get past such a record; we read and pass on."""

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
        return HeaderName(self)


class _Records(bytes):
    """Only what is to be a text is ever decoded of it, and those are the names."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _Slice(part) if isinstance(index, slice) else part


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
