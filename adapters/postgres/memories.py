"""What long streams remember, as text under a seal: only the code that made it for this stream takes it back.

What a subscription remembers says who uses it: that text is enciphered, too.
"""

from contextlib import suppress
from functools import cache
from hashlib import blake2b
from importlib.resources import files

import msgspec

from adapters.postgres.keys import Cipher, Tampered
from domain.memory import MEMORIES, Memory
from domain.subscription import Subscription

SEAL = 32
"""Hexadecimal digits in front of the JSON."""

_encode = msgspec.json.Encoder().encode
_DECODERS = {kind: msgspec.json.Decoder(memory) for kind, memory in MEMORIES.items()}


def is_personal(stream: str) -> bool:
    return stream.startswith(f"{Subscription.kind}/")


def sealed(stream: str, memory: Memory, cipher: Cipher | None) -> str:
    """Without a cipher only what is not personal."""
    text = _encode(memory)
    if is_personal(stream):
        assert cipher is not None, "whoever writes has a key for each subscription"
        text = cipher.seal(text, stream).encode()
    return _seal(stream, text) + text.decode()


def opened(stream: str, written: bytes, key: bytes | None) -> Memory | None:
    """The memory, None if other code made it, its key is gone, or anything about it is not as it was written."""
    seal, text = written[:SEAL], written[SEAL:]
    if seal != _seal(stream, text).encode():
        return None
    if is_personal(stream):
        plain = None
        with suppress(Tampered):
            plain = Cipher(key).open(text.decode(), stream) if key else None
        if plain is None:
            return None
        text = plain
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
    sources += [files(__package__) / name for name in ("mapper.py", "personal.py", "keys.py")]
    assert len(sources) > 1, "the domain's sources are installed with it"
    texts = [source.read_bytes() for source in sorted(sources, key=lambda source: source.name)]
    return blake2b(b"\n".join(texts), digest_size=32).digest()
