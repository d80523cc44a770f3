"""What long streams remember, as text under a seal: only the code that made it for this stream takes it back."""

from functools import cache
from hashlib import blake2b
from importlib.resources import files

import msgspec

from domain.memory import MEMORIES, Memory

SEAL = 32
"""Hexadecimal digits in front of the JSON."""

_encode = msgspec.json.Encoder().encode
_DECODERS = {kind: msgspec.json.Decoder(memory) for kind, memory in MEMORIES.items()}


def sealed(stream: str, memory: Memory) -> str:
    text = _encode(memory)
    return _seal(stream, text) + text.decode()


def opened(stream: str, written: bytes) -> Memory | None:
    """The memory, None if other code made it or anything about it is not as it was written."""
    seal, text = written[:SEAL], written[SEAL:]
    if seal != _seal(stream, text).encode():
        return None
    kind, _, _ = stream.partition("/")
    return _DECODERS[kind].decode(text)


def _seal(stream: str, text: bytes) -> str:
    return blake2b(b"%b\n%b" % (stream.encode(), text), key=_code(), digest_size=SEAL // 2).hexdigest()


@cache
def _code() -> bytes:
    """A digest of the code that makes a memory of stored events.

    Any change of it, a comment's too, lets all memories be made anew: it can't be forgotten, and costs one long replay.
    """
    sources = [source for source in files("domain").iterdir() if source.name.endswith(".py")]
    sources.append(files(__package__) / "mapper.py")
    assert len(sources) > 1, "the domain's sources are installed with it"
    texts = [source.read_bytes() for source in sorted(sources, key=lambda source: source.name)]
    return blake2b(b"\n".join(texts), digest_size=32).digest()
